"""From the row of a file to a text with its labels, or to the reason why the row is bad."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ... import errors
from ...text_output import is_visible
from ..annotation_tools import CATS, LABEL, LABELS, TEXT, Skipped, Tool, Unclear, recognize
from ..excerpt import excerpt
from .row_files import read_rows
from .rows import BadRow, Fields, Row, looks_like_list
from .table_format import Reading, TableFormat

Attribute = str | float | list[str | float] | None
# .spacy files hold 64 bits.
_TOO_LARGE = 2**63
_TRUTHS = {"true": 1.0, "false": 0.0}

LONGEST_TEXT = 1_000_000  # characters; spaCy refuses longer ones (E088)


@dataclass(frozen=True, slots=True)
class Record:
    """A text with its labels.

    line (int): Where it stood, from 1.
    text (str): As it stood there.
    values (dict[str, float]): Labels and their values, 0 to 1.
    fills (bool): Whether the labels of the set that are not in values are 0; else they are missing.
    attributes (dict[str, Attribute]): Further texts and numbers by name; None where the record has none.
    exclusive (bool): Whether it came in the form that takes exactly one label.
    """

    line: int
    text: str
    values: dict[str, float]
    fills: bool
    attributes: dict[str, Attribute] = field(default_factory=dict)
    exclusive: bool = False

    def cats(self, labels: list[str]) -> dict[str, float]:
        """The values as spaCy wants them, given the label set."""
        return {label: self.values.get(label, 0.0) for label in labels} if self.fills else self.values


@dataclass(frozen=True, slots=True)
class BadLine:
    """Lines that cannot be used.

    path (Path): Their file.
    line (int): The first of them, from 1.
    reason (str): Why.
    last_line (int): The last of them; 0 if there is only one.
    row (int): As a spreadsheet counts, where that is another number than the line; else 0.
    id (str): What the id column holds there.
    """

    path: Path
    line: int
    reason: str
    last_line: int = 0
    row: int = 0
    id: str = ""

    @property
    def n_lines(self) -> int:
        """How many lines are lost with it."""
        return max(self.last_line - self.line, 0) + 1

    def __str__(self) -> str:
        places = [f"lines {self.line} to {self.last_line}"] if self.n_lines > 1 else []
        places += [f"row {self.row}"] if self.row else []
        places += [f"id {excerpt(self.id)}"] if self.id else []
        where = f"{', '.join(places)}: " if places else ""
        return f"{self.path}:{self.line}: {where}{self.reason}"


def read_records(
    path: Path, fields: Fields, layout: TableFormat | None = None, reading: Reading | None = None
) -> Iterator[Record | BadLine]:
    """Read the records of a file; bad lines come out as such, in their place.

    path (Path): A .jsonl, .json, .csv, .tsv, .parquet or .xlsx file.
    fields (Fields): Which fields hold what.
    layout (TableFormat | None): How the file is written, as far as the user says so.
    reading (Reading | None): Gets what is found out on the way, and the records that an annotation tool leaves out.
    YIELDS (Record | BadLine): One for each row that is not blank and not left out.
    RAISES: As read_rows.
    """
    reading = Reading() if reading is None else reading
    tool: Tool | None = None
    begun = False
    for row in read_rows(path, fields, layout, reading):
        cells = row.cells
        if isinstance(cells, str):
            yield _bad(path, row, cells, fields)
            continue
        if not begun:
            tool, begun = recognize(cells), True
            if tool is not None:
                reading.notes.append(f"an export of {tool.name}")
        try:
            if tool is None:
                yield _with_attributes(parse_record(row.line, cells, fields), cells, fields)
            else:
                yield _of_tool(tool, row.line, cells, fields)
        except Skipped as skipped:
            reading.skip(str(skipped))
        except (BadRow, Unclear) as error:
            yield _bad(path, row, str(error), fields)


def _of_tool(tool: Tool, line: int, cells: dict[str, object], fields: Fields) -> Record:
    """The record of an annotation tool; fields that the user names win over the tool's own."""
    if fields.named:
        with suppress(Unclear):
            tool.read(cells)
        return _with_attributes(parse_record(line, cells, fields), cells, fields)
    row = {**cells, LABEL: None, LABELS: None, CATS: None, **tool.read(cells)}
    if fields.text != TEXT:
        data = cells.get("data", cells.get("fields"))
        row[TEXT] = {**(data if isinstance(data, dict) else {}), **cells}.get(fields.text)
    own = replace(fields, text=TEXT, label=LABEL, labels=LABELS, cats=CATS)
    return _with_attributes(parse_record(line, row, own), row, fields)


def _with_attributes(record: Record, cells: Mapping[str, object], fields: Fields) -> Record:
    if not fields.attributes:
        return record
    found = {name: _attribute(cells.get(source), source) for source, name in fields.attributes.items()}
    return replace(record, attributes=found)


def _bad(path: Path, row: Row, reason: str, fields: Fields) -> BadLine:
    name = row.cells.get(fields.id) if fields.id and isinstance(row.cells, dict) else None
    number = row.number if row.number != row.line else 0
    return BadLine(path, row.line, reason, row.last_line, number, "" if name is None else str(name))


def parse_record(line: int, row: Mapping[str, object], fields: Fields) -> Record:
    """Make a record of a row.

    line (int): Where the row stood, from 1.
    row (Mapping[str, object]): Its fields.
    fields (Fields): Which of them hold what; None counts as missing.
    RETURNS (Record): The text and its labels, white space around labels stripped.
    RAISES (BadRow): There is no text or no label, one of another type, a value outside 0 to 1, or two forms at once.
    """
    text = "" if _is_without(row, fields) else parse_text(row.get(fields.text), fields.text)
    if fields.label_columns:
        return Record(line, text, _truths(row, fields), fills=False)
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
        return Record(line, text, {_label(value, form, fields): 1.0}, fills=True, exclusive=True)
    if form == fields.labels:
        if not isinstance(value, list | tuple):
            raise BadRow(errors.T043_LABELS_TYPE.format(field=form, value=excerpt(value)))
        return Record(line, text, {_label(label, form, fields): 1.0 for label in value}, fills=True)
    return Record(line, text, _cats(value, form, fields), fills=False)


def _is_without(row: Mapping[str, object], fields: Fields) -> bool:
    """Whether a row has no text, and a picture or a sound instead."""
    return is_blank(row.get(fields.text)) and any(
        isinstance(path := row.get(name), str) and path.strip() for name in fields.paths
    )


def is_blank(value: object) -> bool:
    """Whether a cell says nothing: it is missing, or nothing but spaces."""
    return value is None or (isinstance(value, str) and not value.strip())


def parse_text(value: object, field: str) -> str:
    """Check a text.

    value (object): What the field holds.
    field (str): Its name, for messages.
    RETURNS (str): The text as it is.
    RAISES (BadRow): It is missing, empty, no str, too long for spaCy, or holds half a surrogate pair.
    """
    if is_blank(value):
        raise BadRow(errors.T043_NO_TEXT.format(field=field))
    if not isinstance(value, str):
        raise BadRow(errors.T043_TEXT_TYPE.format(field=field, value=excerpt(value)))
    if len(value) > LONGEST_TEXT:
        raise BadRow(errors.T043_TEXT_LENGTH.format(n_characters=len(value), longest=LONGEST_TEXT))
    _check_surrogates(value)
    return value


def _attribute(value: object, name: str) -> Attribute:
    given: list[object] = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
    parts: list[str | float] = []
    for part in given:
        # A bool is an int.
        if not isinstance(part, str | int | float) or (isinstance(part, int) and abs(part) >= _TOO_LARGE):
            raise BadRow(errors.T043_ATTRIBUTE.format(field=name, value=excerpt(value)))
        if isinstance(part, str):
            _check_surrogates(part)
        parts.append(part)
    return value if value is None or isinstance(value, str | int | float) else parts


def _check_surrogates(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = excerpt(text[error.start])
        raise BadRow(errors.T043_SURROGATE.format(value=half, position=error.start)) from error


def _label(value: object, form: str, fields: Fields) -> str:
    if is_blank(value):
        raise BadRow(_no_label(form))
    if fields.label_names:
        value = _named(value, fields.label_names)
    # A bool is an int.
    if fields.numbers and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadRow(errors.T043_LABEL_TYPE.format(value=excerpt(value)))
    _check_surrogates(value)
    label = value.strip()
    if label in fields.missing:
        raise BadRow(errors.T043_MISSING.format(label=label))
    if label[-1] in ")]}" and looks_like_list(label):
        raise BadRow(errors.T043_LIST.format(field=form, value=excerpt(label)))
    if not label.isprintable() and not is_visible(label):
        raise BadRow(errors.T043_INVISIBLE.format(value=excerpt(label)))
    return label


def _named(value: object, names: Mapping[str, str]) -> object:
    """The name of a label that is a number: 3, "3" and, as pandas writes columns with gaps, 3.0."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    number = str(value).strip().removesuffix(".0")
    if number in names:
        return names[number]
    if isinstance(value, str) and value.strip() in names.values():
        return value
    known = ", ".join(list(names)[:N_NAMES_SHOWN]) + (", ..." if len(names) > N_NAMES_SHOWN else "")
    raise BadRow(errors.T043_NO_NAME.format(value=excerpt(value), numbers=known))


N_NAMES_SHOWN = 10


def _no_label(*names: str) -> str:
    return errors.T043_NO_LABEL.format(fields=" or ".join(f"'{name}'" for name in names))


def _cats(value: object, form: str, fields: Fields) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise BadRow(errors.T043_CATS_TYPE.format(field=form, value=excerpt(value)))
    cats: dict[str, float] = {}
    for key, number in value.items():
        if number is None:
            continue
        label = _label(key, form, fields)
        # NaN fails both comparisons
        if not isinstance(number, int | float) or not 0.0 <= number <= 1.0:
            raise BadRow(errors.T043_CATS_VALUE.format(label=label, value=excerpt(number)))
        if label in cats:
            raise BadRow(errors.T043_TWICE.format(key=label))
        cats[label] = float(number)
    if not cats:
        raise BadRow(_no_label(form))
    return cats


def _truths(row: Mapping[str, object], fields: Fields) -> dict[str, float]:
    """The values of labels that have a column each."""
    values: dict[str, float] = {}
    for name in fields.label_columns:
        value = row.get(name)
        number: object = value
        if isinstance(value, str):
            cell = value.strip().lower()
            try:
                number = _TRUTHS[cell] if cell in _TRUTHS else float(cell)
            except ValueError:
                number = None
        # NaN fails both comparisons
        if not isinstance(number, int | float) or not 0.0 <= number <= 1.0:
            raise BadRow(errors.T043_TRUTH.format(label=name, value=excerpt(value)))
        values[name.strip()] = float(number)
    return values
