"""Rows of JSONL and JSON files."""

from collections.abc import Iterator
from pathlib import Path

from ... import errors
from ...memory import refuse_large
from ..excerpt import excerpt
from .decoding import decoded_lines, find_decoding
from .rows import BadRow, Fields, Row, parse_json
from .table_format import Reading, TableFormat


def read_jsonl(path: Path, fields: Fields, layout: TableFormat, reading: Reading) -> Iterator[Row]:
    """Read a file with one JSON object in a line; arguments as `read_separated`."""
    decoding = find_decoding(path, layout.encoding)
    if decoding.note:
        reading.notes.append(decoding.note)
    for number, line in enumerate(decoded_lines(path, decoding), start=1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except BadRow as error:
            yield Row(number, str(error), number, number)
            continue
        yield _row(number, value)


def read_json(path: Path, fields: Fields, layout: TableFormat, reading: Reading) -> Iterator[Row]:
    """Read a JSON file that is one list of objects; its rows are counted from 1."""
    refuse_large(path, path.stat().st_size)
    decoding = find_decoding(path, layout.encoding)
    if decoding.note:
        reading.notes.append(decoding.note)
    try:
        values = parse_json("".join(decoded_lines(path, decoding)))
    except BadRow as error:
        raise ValueError(errors.T047.format(path=path, format="JSON", reason=error)) from error
    if not isinstance(values, list):
        raise ValueError(errors.T047.format(path=path, format="JSON", reason=errors.T047_ROWS))
    reading.notes.append("rows counted from 1")
    for number, value in enumerate(values, start=1):
        yield _row(number, value)


def _row(number: int, value: object) -> Row:
    cells = value if isinstance(value, dict) else errors.T043_OBJECT.format(value=excerpt(value))
    return Row(number, cells, number, number)
