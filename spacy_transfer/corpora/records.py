"""From the row of a file to a text with its labels, or to the reason why not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import errors
from .excerpt import excerpt
from .rows import BadRow, Fields, read_rows

Attribute = str | float | list[str | float] | None
# .spacy files hold 64 bits.
_TOO_LARGE = 2**63

LONGEST_TEXT = 1_000_000  # characters; spaCy refuses longer ones (E088)


@dataclass(frozen=True, slots=True)
class Record:
    """A text with its labels.

    line (int): Where it stood, from 1.
    text (str): As it stood there.
    values (dict[str, float]): Labels and their values, 0 to 1.
    fills (bool): Whether the labels of the set that are not in values are 0; else they are missing.
    attributes (dict[str, Attribute]): Further texts and numbers by name; None where the record has none.
    """

    line: int
    text: str
    values: dict[str, float]
    fills: bool
    attributes: dict[str, Attribute] = field(default_factory=dict)

    def cats(self, labels: list[str]) -> dict[str, float]:
        """The values as spaCy wants them, given the label set."""
        return {label: self.values.get(label, 0.0) for label in labels} if self.fills else self.values


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used: its file, its number from 1, and why."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


def read_records(path: Path, fields: Fields) -> Iterator[Record | BadLine]:
    """Read the records of a file; bad lines come out as such, in their place.

    path (Path): A .jsonl, .csv, .tsv or .parquet file.
    fields (Fields): Which fields hold what.
    YIELDS (Record | BadLine): One for each line that is not blank.
    RAISES: As read_rows: T040, T041, T042, T046, T047, T081.
    """
    for line, row in read_rows(path, fields):
        if isinstance(row, str):
            yield BadLine(path, line, row)
            continue
        try:
            record = parse_record(line, row, fields)
            attributes = {name: _attribute(row.get(name), name) for name in fields.attributes}
            yield replace(record, attributes=attributes) if attributes else record
        except BadRow as error:
            yield BadLine(path, line, str(error))


def parse_record(line: int, row: Mapping[str, object], fields: Fields) -> Record:
    """Make a record of a row.

    line (int): Where the row stood, from 1.
    row (Mapping[str, object]): Its fields.
    fields (Fields): Which of them hold what; None counts as missing.
    RETURNS (Record): The text and its labels, white space around labels stripped.
    RAISES (BadRow): There is no text or no label, one of another type, a value outside 0 to 1, or two forms at once.
    """
    text = _text(row.get(fields.text), fields)
    forms = [name for name in fields.forms if row.get(name) is not None]
    if len(forms) > 1:
        raise BadRow(errors.T043_MIXED.format(fields=" and ".join(f"'{name}'" for name in forms)))
    if not forms:
        raise BadRow(_no_label(*fields.forms))
    form, value = forms[0], row[forms[0]]
    if form == fields.label:
        if isinstance(value, list | tuple | dict):
            raise BadRow(
                errors.T043_LABEL_LIST.format(field=form, value=excerpt(value), labels=fields.labels or "labels")
            )
        return Record(line, text, {_label(value, form): 1.0}, fills=True)
    if form == fields.labels:
        if not isinstance(value, list | tuple):
            raise BadRow(errors.T043_LABELS_TYPE.format(field=form, value=excerpt(value)))
        return Record(line, text, {_label(label, form): 1.0 for label in value}, fills=True)
    return Record(line, text, _cats(value, form), fills=False)


def _text(value: object, fields: Fields) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRow(errors.T043_NO_TEXT.format(field=fields.text))
    if not isinstance(value, str):
        raise BadRow(errors.T043_TEXT_TYPE.format(field=fields.text, value=excerpt(value)))
    if len(value) > LONGEST_TEXT:
        raise BadRow(errors.T043_TEXT_LENGTH.format(n_characters=len(value), longest=LONGEST_TEXT))
    _check_surrogates(value)
    return value


def _attribute(value: object, name: str) -> Attribute:
    parts: list[Any] = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
    for part in parts:
        # A bool is an int.
        if not isinstance(part, str | int | float) or (isinstance(part, int) and abs(part) >= _TOO_LARGE):
            raise BadRow(errors.T043_ATTRIBUTE.format(field=name, value=excerpt(value)))
        if isinstance(part, str):
            _check_surrogates(part)
    return value if value is None or isinstance(value, str | int | float) else parts


def _check_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = excerpt(text[error.start])
        raise BadRow(errors.T043_SURROGATE.format(value=half, position=error.start)) from error


def _label(value: object, form: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRow(_no_label(form))
    if not isinstance(value, str):
        raise BadRow(errors.T043_LABEL_TYPE.format(value=excerpt(value)))
    _check_surrogates(value)
    return value.strip()


def _no_label(*names: str) -> str:
    return errors.T043_NO_LABEL.format(fields=" or ".join(f"'{name}'" for name in names))


def _cats(value: object, form: str) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise BadRow(errors.T043_CATS_TYPE.format(field=form, value=excerpt(value)))
    cats: dict[str, float] = {}
    for key, number in value.items():
        if number is None:
            continue
        label = _label(key, form)
        # NaN fails both comparisons
        if not isinstance(number, int | float) or not 0.0 <= number <= 1.0:
            raise BadRow(errors.T043_CATS_VALUE.format(label=label, value=excerpt(number)))
        if label in cats:
            raise BadRow(errors.T043_TWICE.format(key=label))
        cats[label] = float(number)
    if not cats:
        raise BadRow(_no_label(form))
    return cats
