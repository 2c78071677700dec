"""Rows of files: a line number and the relevant cells, or what is wrong with the line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ... import errors
from ..excerpt import excerpt

N_COLUMNS_SHOWN = 10


class Row(NamedTuple):
    """A row of a file.

    line (int): Its first line, from 1.
    cells (dict[str, object] | str): The cells by field, or the reason why the row cannot be used.
    last_line (int): Its last line; the first unless cells hold line breaks or rows were swallowed.
    number (int): As a spreadsheet counts it, the header being row 1; the line where the file has no header.
    """

    line: int
    cells: dict[str, object] | str
    last_line: int
    number: int


@dataclass(frozen=True)
class Fields:
    """Which fields of a row hold what.

    text (str): The text.
    label (str | None): The one label of an exclusive record.
    labels (str | None): A list of the labels that hold.
    cats (str | None): Labels with a value from 0 to 1.
    label_columns (tuple[str, ...]): A field for each label, with 0 or 1; no other form counts then.
    label_names (Mapping[str, str]): Names of labels that are written as numbers, by number.
    missing (frozenset[str]): Labels that mean that there is none.
    separator (str): Between the labels in one cell of a table.
    attributes (Mapping[str, str]): Further fields that are kept, and the names of their extension attributes.
    paths (frozenset[str]): Those of them that hold the path of a picture or a sound; then a text is not needed.
    id (str | None): The field by which messages name a row.
    named (bool): Whether the user named the fields of the labels, so that no annotation tool's are taken.
    numbers (bool): Whether a label may be a whole number, which is then named by its digits.
    """

    text: str = "text"
    label: str | None = "label"
    labels: str | None = "labels"
    cats: str | None = "cats"
    label_columns: tuple[str, ...] = ()
    label_names: Mapping[str, str] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    separator: str = "|"
    attributes: Mapping[str, str] = field(default_factory=dict)
    paths: frozenset[str] = frozenset()
    id: str | None = None
    named: bool = False
    numbers: bool = False

    @property
    def forms(self) -> list[str]:
        """The fields that may hold labels; a record has one of them."""
        if self.label_columns:
            return []
        return [name for name in (self.label, self.labels, self.cats) if name is not None]

    @property
    def others(self) -> list[str]:
        """The fields that must be there next to the text and the form of the labels."""
        return [*self.label_columns, *self.attributes, *([self.id] if self.id else [])]


class BadRow(ValueError):
    """A line that cannot be used; the text says why."""


def parse_json(text: str) -> object:
    """Parse one JSON value and refuse what Python's parser lets pass.

    text (str): JSON.
    RETURNS (object): The value.
    RAISES (BadRow): It is no JSON, is nested too deeply, or has a key twice (the parser would keep the last one).
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except BadRow:
        raise
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at column {error.colno}"
        raise BadRow(errors.T043_JSON.format(reason=reason)) from error
    except (ValueError, RecursionError) as error:
        raise BadRow(errors.T043_JSON.format(reason=error)) from error


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    raise BadRow(errors.T043_TWICE.format(key=twice))


def find_columns(header: Sequence[str], fields: Fields) -> tuple[list[str], str | None]:
    """Find the columns that count: the text's, the labels', and those that are kept.

    header (Sequence[str]): The names of all columns.
    fields (Fields): Which ones are wanted.
    RETURNS (tuple[list[str], str | None]): The columns, and what is unclear about them, if anything.
    """
    there = set(header)
    forms = [name for name in fields.forms if name in there]
    if fields.text not in there:
        return [], errors.T046_MISSING.format(fields=excerpt(fields.text))
    if fields.forms and not forms:
        return [], errors.T046_MISSING.format(fields=" or ".join(excerpt(name) for name in fields.forms))
    if len(forms) > 1:
        return [], errors.T046_SEVERAL.format(fields=" and ".join(excerpt(name) for name in forms))
    columns = list(dict.fromkeys([fields.text, *forms, *fields.others]))
    for name in columns:
        if name not in there:
            return [], errors.T046_MISSING.format(fields=excerpt(name))
        if header.count(name) > 1:
            return [], errors.T046_TWICE.format(field=name)
    return columns, None


def unclear_columns(path: Path, header: Sequence[str], problem: str, hints: Sequence[str] = ()) -> ValueError:
    """Make the error for a table whose columns are unclear.

    path (Path): The file.
    header (Sequence[str]): Its columns.
    problem (str): What is unclear.
    hints (Sequence[str]): What may help.
    RETURNS (ValueError): T046; ten columns are shown.
    """
    columns = ", ".join(excerpt(name) for name in header[:N_COLUMNS_SHOWN])
    if len(header) > N_COLUMNS_SHOWN:
        columns += f" and {len(header) - N_COLUMNS_SHOWN:,} more"
    more = "".join(f". {hint}" for hint in hints)
    return ValueError(errors.T046.format(path=path, columns=columns, problem=problem, hints=more))


def cell_of(name: str, text: str, fields: Fields) -> object:
    """Read a cell of a table as JSONL would have it.

    name (str): Its column.
    text (str): The cell.
    fields (Fields): Which fields hold what.
    RETURNS (object): A list of labels, an object of values, or the cell itself.
    RAISES (BadRow): It holds a list or an object in a form that is not JSON.
    """
    if name == fields.labels:
        if text.lstrip().startswith(("[", "{", "(")):
            value = parse_list(text, name)
            if value is not None:
                return value
        return [label for label in text.split(fields.separator) if label.strip()]
    if name == fields.cats:
        if not text.strip():
            return None
        try:
            return parse_json(text)
        except BadRow as error:
            hint = errors.T043_PYTHON if text.lstrip().startswith("{'") else ""
            message = f"{error}{hint}"
            raise BadRow(message) from error
    return text


def parse_list(text: str, name: str) -> object:
    """Read a cell that looks like a list.

    text (str): The cell.
    name (str): Its column.
    RETURNS (object): The JSON value; None if it is a cell in round brackets that is no list.
    RAISES (BadRow): It looks like a list and is none.
    """
    if not looks_like_list(text):
        return None
    try:
        value = parse_json(text)
    except BadRow as error:
        raise BadRow(errors.T043_LIST.format(field=name, value=excerpt(text))) from error
    if not isinstance(value, list):
        raise BadRow(errors.T043_LIST.format(field=name, value=excerpt(text)))
    return value


_WRAPPERS = ("array(", "set(", "frozenset(", "list(", "tuple(", "Index(", "Series(", "dict(")


def looks_like_list(text: str) -> bool:
    """Whether a str is plainly the written form of a list, a tuple, a set, an array or an object.

    text (str): A cell, or a label.
    RETURNS (bool): True for "['a']", "[a, b]", "{'a': 1}", "('a', 'b')"; False for "(other)".
    """
    text = text.strip()
    if text[:1] + text[-1:] in ("[]", "{}") and len(text) > 1:
        return True
    if text[:1] == "(" and text[-1:] == ")":
        return any(mark in text for mark in "'\",")
    return text.startswith(_WRAPPERS) and text.endswith(")")
