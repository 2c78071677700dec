"""Rows with their new columns as bytes, block by block: each block can be cut off and appended again."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ....corpora.excerpt import excerpt
from ....corpora.tables.rows import BadRow
from ....errors import T043_SURROGATE, T533, T533_FIELD
from ..reading.rows import Bad, Head, Row
from ..reading.sources import Source
from .answers import Answer


class Writer(Protocol):
    """One output format."""

    def head(self) -> bytes:
        """What stands before the first row."""

    def encode(self, rows: Sequence[Row], answers: Sequence[Answer], docs: bytes) -> tuple[bytes, list[Bad]]:
        """Make the bytes of a block.

        rows (Sequence[Row]): In order.
        answers (Sequence[Answer]): The new cells of each.
        docs (bytes): The documents, where the format holds them.
        RETURNS (tuple[bytes, list[Bad]]): The bytes, and the rows that cannot be written.
        """

    def finish(self, part: Path, place: Path) -> bool:
        """Make the output of all blocks.

        part (Path): A file of them, one after the other. It stays as it is.
        place (Path): Where the output is made.
        RETURNS (bool): Whether it was made; otherwise the part is the output.
        """


def check_columns(sources: Sequence[Source], heads: Sequence[Head], new: Sequence[str]) -> None:
    """Refuse new columns that have the name of an old one.

    sources (Sequence[Source]): The sources.
    heads (Sequence[Head]): What is known of them.
    new (Sequence[str]): Names of the new columns.
    RAISES (ValueError): T533.
    """
    for source, head in zip(sources, heads, strict=True):
        for column in new:
            if column in head.columns:
                raise ValueError(T533.format(path=source.name, column=column))


def all_columns(heads: Sequence[Head]) -> list[str]:
    """The columns of all sources, each once, in the order in which they come."""
    return list(dict.fromkeys(name for head in heads for name in head.columns))


def check_text(text: str) -> str:
    """Refuse what UTF-8 has no bytes for.

    text (str): A cell.
    RETURNS (str): The same.
    RAISES (BadRow): It holds half a surrogate pair.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = excerpt(text[error.start])
        raise BadRow(T043_SURROGATE.format(value=half, position=error.start)) from error
    return text


def cell_text(value: object) -> str:
    """Write a value of JSON or Parquet into a cell of a table.

    value (object): What the row holds.
    RETURNS (str): A str as it is, nothing for None, else JSON where there is such a form.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool | int | float | list | dict | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


class TableWriter:
    """CSV and TSV.

    columns (Sequence[str]): Of the sources.
    new (Sequence[str]): The new ones.
    delimiter (str): One character.
    has_mark (bool): Whether a byte order mark comes first, without which Excel takes UTF-8 for something else.
    """

    def __init__(self, columns: Sequence[str], new: Sequence[str], *, delimiter: str, has_mark: bool) -> None:
        self._columns, self._new, self._delimiter, self._has_mark = list(columns), list(new), delimiter, has_mark

    def head(self) -> bytes:
        """See `Writer`."""
        mark = b"\xef\xbb\xbf" if self._has_mark else b""
        return mark + self._lines([[*self._columns, *self._new]]).encode("utf-8")

    def encode(self, rows: Sequence[Row], answers: Sequence[Answer], docs: bytes) -> tuple[bytes, list[Bad]]:
        """See `Writer`."""
        lines: list[list[str]] = []
        bad: list[Bad] = []
        for row, answer in zip(rows, answers, strict=True):
            cells = [cell_text(row.cells.get(name)) for name in self._columns]
            try:
                check_text("".join(cells))
            except BadRow as error:
                bad.append(Bad(row.source, row.line, row.last_line, str(error)))
                continue
            lines.append([*cells, *(cell_text(answer[name]) for name in self._new)])
        return self._lines(lines).encode("utf-8"), bad

    def _lines(self, rows: Iterable[Sequence[str]]) -> str:
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=self._delimiter, lineterminator="\n").writerows(rows)
        return file.getvalue()

    def finish(self, part: Path, place: Path) -> bool:
        """See `Writer`."""
        return False


class JsonlWriter:
    """One JSON object in a line.

    new (Sequence[str]): Names of the new columns.
    """

    def __init__(self, new: Sequence[str]) -> None:
        self._new = frozenset(new)

    def head(self) -> bytes:
        """See `Writer`."""
        return b""

    def encode(self, rows: Sequence[Row], answers: Sequence[Answer], docs: bytes) -> tuple[bytes, list[Bad]]:
        """See `Writer`."""
        lines: list[bytes] = []
        bad: list[Bad] = []
        for row, answer in zip(rows, answers, strict=True):
            if clash := self._new & row.cells.keys():
                reason = T533_FIELD.format(column=min(clash))
                bad.append(Bad(row.source, row.line, row.last_line, reason))
                continue
            lines.append(_json({**row.cells, **answer}))
        return b"".join(lines), bad

    def finish(self, part: Path, place: Path) -> bool:
        """See `Writer`."""
        return False


def _json(value: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        # Half a surrogate pair in some other field: escaped, as it came.
        return json.dumps(value, default=str).encode("ascii") + b"\n"
