"""Rows of Parquet files that keep Arrow's values, so that columns come out of another Parquet file as they were."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ....errors import T047, require

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile

_BATCH = 1000


class ArrowCells(Mapping[str, object]):
    """The cells of a row, made Python values when they are looked at.

    batch (RecordBatch): The row and others.
    index (int): Which one it is.
    """

    __slots__ = ("batch", "index")

    def __init__(self, batch: "RecordBatch", index: int) -> None:
        self.batch, self.index = batch, index

    def __getitem__(self, name: str) -> object:
        cell = self.batch.column(name)[self.index]
        try:
            return cell.as_py()
        except (ValueError, OverflowError, TypeError, ImportError):
            # A time in nanoseconds, for which Python has no value.
            return str(cell)

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.schema.names)

    def __len__(self) -> int:
        return len(self.batch.schema.names)


def parquet_columns(path: Path) -> tuple[tuple[str, ...], int]:
    """Look into a Parquet file.

    path (Path): The file.
    RETURNS (tuple): Names of the columns, and how many rows there are.
    RAISES (ValueError): T047 for what is no Parquet file.
    RAISES (ImportError): T081 without pyarrow.
    """
    with _damage_named(path):
        file = _open(path)
        return tuple(file.schema_arrow.names), int(file.metadata.num_rows)


def parquet_rows(path: Path, text_field: str) -> Iterator[tuple[int, object, ArrowCells]]:
    """Read a Parquet file.

    path (Path): The file.
    text_field (str): Column of the text.
    YIELDS (tuple): Number of the row from 1, what its text column holds, and all cells.
    RAISES (ValueError): T047 for a damaged file.
    """
    number = 0
    with _damage_named(path):
        for batch in _open(path).iter_batches(batch_size=_BATCH):
            cells = batch.column(text_field).to_pylist()
            for index, text in enumerate(cells):
                number += 1
                yield number, text, ArrowCells(batch, index)


def _open(path: Path) -> "ParquetFile":
    require("pyarrow", "parquet")
    return importlib.import_module("pyarrow.parquet").ParquetFile(path)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    pyarrow = require("pyarrow", "parquet")
    try:
        yield
    except (pyarrow.ArrowException, OverflowError, OSError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(T047.format(path=path, format="Parquet", reason=reason)) from error
