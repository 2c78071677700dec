"""Rows of JSONL, CSV, TSV and Parquet files: a line number and the cells that count, or what is wrong with the line."""

import csv
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import errors
from .excerpt import excerpt

Row = tuple[int, dict[str, object] | str]  # line number from 1; the cells by field, or the reason why the line is bad

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LARGEST_CELL = 100_000_000  # characters; csv stops at 131,072 by itself, fewer than a text may have


@dataclass(frozen=True)
class Fields:
    """Which fields of a row hold what.

    text (str): The text.
    label (str | None): The one label of an exclusive record.
    labels (str | None): A list of the labels that hold.
    cats (str | None): Labels with a value from 0 to 1.
    separator (str): Between the labels in one cell of a CSV or TSV file.
    attributes (tuple[str, ...]): Further texts, kept as extension attributes.
    """

    text: str = "text"
    label: str | None = "label"
    labels: str | None = "labels"
    cats: str | None = "cats"
    separator: str = "|"
    attributes: tuple[str, ...] = ()

    @property
    def forms(self) -> list[str]:
        """The fields that may hold labels; a record has one of them."""
        return [name for name in (self.label, self.labels, self.cats) if name is not None]


class BadRow(ValueError):
    """A line that cannot be used; the text says why."""


def decoded_lines(path: Path) -> Iterator[str]:
    """Read a UTF-8 file line by line; only a line feed ends a line, as JSONL and CSV want it.

    path (Path): The file, with or without a byte order mark.
    YIELDS (str): Lines with their line feed.
    RAISES (UnicodeError): T042 with the offset and the line of the first byte that is not UTF-8.
    """
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
            try:
                yield content.decode("utf-8")
            except UnicodeDecodeError as error:
                position = len(line) - len(content) + error.start
                guess = "UTF-16" if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"
                message = errors.T042.format(
                    path=path,
                    byte=line[position],
                    offset=offset + position,
                    line=number,
                    guess=guess,
                    way_out=path.with_suffix(f".utf8{path.suffix}"),
                )
                raise UnicodeError(message) from error
            offset += len(line)


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
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise BadRow(errors.T043_TWICE.format(key=key))
        found[key] = value
    return found


def _read_jsonl(path: Path, fields: Fields) -> Iterator[Row]:
    for number, line in enumerate(decoded_lines(path), start=1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except BadRow as error:
            yield number, str(error)
            continue
        yield number, value if isinstance(value, dict) else errors.T043_OBJECT.format(value=excerpt(value))


def _columns(path: Path, header: Sequence[str], fields: Fields) -> list[str]:
    """The columns that count, the text's, the labels' and those of attributes; T046 unless they are clear."""
    problem = None
    forms = [name for name in fields.forms if name in header]
    twice = [name for name in (fields.text, *fields.forms, *fields.attributes) if header.count(name) > 1]
    absent = [name for name in fields.attributes if name not in header]
    if fields.text not in header:
        problem = errors.T046_MISSING.format(fields=f"'{fields.text}'")
    elif not forms:
        problem = errors.T046_MISSING.format(fields=" or ".join(f"'{name}'" for name in fields.forms))
    elif len(forms) > 1:
        problem = errors.T046_SEVERAL.format(fields=" and ".join(f"'{name}'" for name in forms))
    elif absent:
        problem = errors.T046_MISSING.format(fields=f"'{absent[0]}'")
    elif twice:
        problem = errors.T046_TWICE.format(field=twice[0])
    if problem:
        columns = ", ".join(excerpt(name) for name in header)
        raise ValueError(errors.T046.format(path=path, columns=columns, problem=problem))
    return [fields.text, forms[0], *fields.attributes]


def _cell(name: str, text: str, fields: Fields) -> object:
    """A cell of a CSV file as JSONL would have it."""
    if name == fields.labels:
        return [label for label in text.split(fields.separator) if label.strip()]
    if name == fields.cats:
        return parse_json(text) if text.strip() else None
    return text


def _read_separated(path: Path, fields: Fields, *, delimiter: str, form: str) -> Iterator[Row]:
    """A table with a header, quoted as Excel and pandas do it; a quote never closed is a bad line."""
    reader = csv.reader(decoded_lines(path), delimiter=delimiter, strict=True)
    header: list[str] = []
    columns: list[str] = []
    limit_before = csv.field_size_limit(LARGEST_CELL)
    try:
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if not header:
                    raise ValueError(errors.T047.format(path=path, format=form, reason=error)) from error
                yield number, errors.T043_CSV.format(format=form, reason=error)
                continue
            if not cells:
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                columns = _columns(path, header, fields)
            elif len(cells) != len(header):
                yield number, errors.T043_COLUMNS.format(n_cells=len(cells), n_columns=len(header))
            else:
                try:
                    yield number, {name: _cell(name, cells[header.index(name)], fields) for name in columns}
                except BadRow as error:
                    yield number, str(error)
    finally:
        csv.field_size_limit(limit_before)


def _read_csv(path: Path, fields: Fields) -> Iterator[Row]:
    return _read_separated(path, fields, delimiter=",", form="CSV")


def _read_tsv(path: Path, fields: Fields) -> Iterator[Row]:
    return _read_separated(path, fields, delimiter="\t", form="TSV")


def _read_parquet(path: Path, fields: Fields) -> Iterator[Row]:
    pyarrow: Any = errors.require("pyarrow", "parquet")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    number = 0
    try:
        file = parquet.ParquetFile(path)
        columns = _columns(path, file.schema_arrow.names, fields)
        for batch in file.iter_batches(columns=columns):
            maps = {name for name in columns if pyarrow.types.is_map(batch.schema.field(name).type)}
            for index in range(batch.num_rows):
                number += 1
                try:
                    cells = {name: batch.column(name)[index].as_py() for name in columns}
                except UnicodeDecodeError as error:
                    yield number, errors.T043_CELL.format(reason=error)
                    continue
                yield number, {name: dict(cell) if cell and name in maps else cell for name, cell in cells.items()}
    except pyarrow.ArrowException as error:
        raise ValueError(errors.T047.format(path=path, format="Parquet", reason=error)) from error


READERS: dict[str, Callable[[Path, Fields], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}


def read_rows(path: Path, fields: Fields) -> Iterator[Row]:
    """Read a file in the format that its suffix names.

    path (Path): A .jsonl, .csv, .tsv or .parquet file; the lines of a Parquet file are its rows, from 1.
    fields (Fields): Which fields count; a table needs the text and one that holds labels.
    RETURNS (Iterator[Row]): Line numbers with cells, or with the reason why the line cannot be used.
    RAISES (FileNotFoundError): T040.
    RAISES (ValueError): T041 for another suffix, T046 for unclear columns, T047 if it is not what its suffix says.
    RAISES (UnicodeError): T042 if a text file is not UTF-8.
    RAISES (ImportError): T081 for a Parquet file without pyarrow.
    """
    formats = ", ".join(READERS)
    if not path.is_file():
        raise FileNotFoundError(errors.T040.format(path=path, formats=formats))
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(errors.T041.format(path=path, suffix=path.suffix, formats=formats))
    return reader(path, fields)
