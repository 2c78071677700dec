"""Rows of Parquet files."""

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ... import errors
from ..excerpt import excerpt
from .rows import Fields, Row, find_columns, unclear_columns
from .table_format import Reading, TableFormat

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Scalar

# Few rows at once: in a column that repeats one long text a batch is as large as its rows, not as the file.
_BATCH = 1000


def read_parquet(path: Path, fields: Fields, layout: TableFormat, reading: Reading) -> Iterator[Row]:
    """Read a Parquet file; its rows are counted from 1. Labels that are numbers get the names that the file stores.

    path (Path): The file.
    fields (Fields): Which columns count.
    layout (TableFormat): Not needed.
    reading (Reading): Gets what is found out on the way.
    YIELDS (Row): All rows.
    RAISES (ValueError): T046 for unclear columns, T047 for what is no Parquet file, or a damaged one.
    RAISES (ImportError): T081 without pyarrow.
    """
    pyarrow = errors.require("pyarrow", "parquet")
    parquet = importlib.import_module("pyarrow.parquet")
    number = 0
    try:
        file = parquet.ParquetFile(path)
        schema = file.schema_arrow
        columns = _columns(path, schema.names, fields)
        names = {} if fields.label_names else _stored_names(schema.metadata, fields)
        for name, found in names.items():
            reading.notes.append(f"label names of '{name}' taken from the file: {excerpt(', '.join(found))}")
        for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
            maps = {name for name in columns if pyarrow.types.is_map(batch.schema.field(name).type)}
            lists = [_values(batch.column(name)) for name in columns]
            for values in zip(*lists, strict=True):
                number += 1
                bad = next((value for value in values if isinstance(value, _Unreadable)), None)
                if bad is not None:
                    yield Row(number, errors.T043_CELL.format(reason=bad.reason), number, number)
                    continue
                cells = dict(zip(columns, values, strict=True))
                for name in maps:
                    cells[name] = dict(cells[name]) if cells[name] else cells[name]
                for name, found in names.items():
                    cells[name] = _named(cells[name], found)
                yield Row(number, cells, number, number)
    except ValueError as error:
        if str(error).startswith("[T"):
            raise
        raise ValueError(errors.T047.format(path=path, format="Parquet", reason=error)) from error
    except (pyarrow.ArrowException, OverflowError, OSError, MemoryError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(errors.T047.format(path=path, format="Parquet", reason=reason)) from error


class _Unreadable:
    """A cell that Python has no value for, a time in nanoseconds for instance."""

    def __init__(self, reason: object) -> None:
        self.reason = reason


def _values(column: "ChunkedArray") -> Sequence[object]:
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, TypeError, ImportError):
        return [_value(cell) for cell in column]


def _value(cell: "Scalar") -> object:
    try:
        return cell.as_py()
    except (ValueError, OverflowError, TypeError, ImportError) as error:
        return _Unreadable(error)


def _columns(path: Path, header: Sequence[str], fields: Fields) -> list[str]:
    """The columns that count; those of a question where the file is an export of Argilla."""
    columns, problem = find_columns(header, fields)
    answers = [name for name in header if ".responses" in name]
    if problem is not None and not fields.named and fields.text in header and answers:
        return list(dict.fromkeys([fields.text, *answers, *(name for name in fields.others if name in header)]))
    if problem is not None:
        raise unclear_columns(path, header, problem)
    return columns


def _stored_names(metadata: Mapping[bytes, bytes] | None, fields: Fields) -> dict[str, list[str]]:
    """The names of labels that `datasets` of Hugging Face stores in the schema, for the columns of the labels."""
    try:
        stored = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = stored["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    found: dict[str, list[str]] = {}
    for name in (fields.label, fields.labels):
        feature = features.get(name) if name is not None and isinstance(features, dict) else None
        if isinstance(feature, list):
            feature = feature[0] if feature else None
        if isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
            feature = feature["feature"]
        names = feature.get("names") if isinstance(feature, dict) else None
        if name is not None and isinstance(names, list) and all(isinstance(part, str) for part in names) and names:
            found[name] = names
    return found


def _named(value: object, names: Sequence[str]) -> object:
    """Names for numbers; -1, which `datasets` writes where there is no label, is none."""
    if isinstance(value, list | tuple):
        return [_named(part, names) for part in value]
    if isinstance(value, int) and not isinstance(value, bool) and -1 <= value < len(names):
        return names[value] if value >= 0 else None
    return value
