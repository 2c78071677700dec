"""Reads the first rows of a file with all of their columns, before anybody knows which ones count."""

import csv
import importlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ... import errors
from .decoding import decoded_lines
from .excel_rows import excel_columns
from .row_files import read_rows
from .rows import Fields, Row
from .separated_rows import read_header
from .table_format import LARGEST_CELL, TableFormat, csv_reader

# So many rows tell what a column holds, even where they are sorted by label.
N_ROWS = 5000


@dataclass(frozen=True)
class Sample:
    """The first rows of a file.

    path (Path): The file.
    columns (tuple[str, ...]): Names of the columns in their order; of a table its first row.
    rows (list[dict[str, object]]): The rows below.
    layout (TableFormat): How the file is written, as far as the user says so.
    may_lack_header (bool): Whether the first row may be data: the format has no other place for names.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, object]]
    layout: TableFormat
    may_lack_header: bool

    def values(self, column: str) -> list[object]:
        """Collect what a column holds, without the empty cells.

        column (str): One of the columns.
        RETURNS (list[object]): The values, in order.
        """
        found = (row.get(column) for row in self.rows)
        return [value for value in found if value is not None and value != "" and value == value]


def read_sample(path: Path, layout: TableFormat) -> Sample:
    """Read the first rows of a file.

    path (Path): A .jsonl, .json, .csv, .tsv, .parquet or .xlsx file.
    layout (TableFormat): How it is written, as far as the user says so.
    RETURNS (Sample): At most N_ROWS rows; bad ones are left out.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T041 for another suffix, T047 if it is not what its suffix says, T395 to T397 as `read_rows`.
    RAISES (UnicodeError): T042 if a text file cannot be decoded.
    RAISES (ImportError): T081 without pyarrow, T395 without openpyxl.
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv") and path.is_file():
        return _of_table(path, layout)
    if suffix in (".parquet", ".xlsx") and path.is_file():
        names = _parquet_columns(path) if suffix == ".parquet" else excel_columns(path, layout)
        distinct = [name for name in dict.fromkeys(names) if name and names.count(name) == 1]
        rows = _some(read_rows(path, _all_of(distinct), layout)) if distinct else []
        return Sample(path, tuple(names), rows, layout, may_lack_header=suffix == ".xlsx" and not layout.columns)
    rows = _some(read_rows(path, Fields(), layout))
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Sample(path, tuple(names), rows, layout, may_lack_header=False)


def _of_table(path: Path, layout: TableFormat) -> Sample:
    names, settled = read_header(path, Fields(), layout)
    limit_before = csv.field_size_limit(LARGEST_CELL)
    try:
        lines = islice(decoded_lines(path, settled.encoding), max(0, settled.header_line - 1), None)
        reader = csv_reader(lines, settled.delimiter or ",", quoted=layout.quoting != "none", skip_blanks=False)
        found = (cells for cells in islice(_cut(reader), N_ROWS + 1) if any(cells))
        rows = [[cell.strip() for cell in cells] for cells in found if len(cells) == len(names)]
    finally:
        csv.field_size_limit(limit_before)
    # The header is a row as well, where there is one.
    below = rows if layout.columns else rows[1:]
    cells_by_name = [dict[str, object](zip(names, cells, strict=True)) for cells in below]
    return Sample(path, tuple(names), cells_by_name, layout, may_lack_header=not layout.columns)


def _cut(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """Rows up to one that cannot be cut: the conversion names it."""
    with suppress(csv.Error):
        yield from reader


def _some(rows: Iterator[Row]) -> list[dict[str, object]]:
    return [row.cells for row in islice(rows, N_ROWS) if isinstance(row.cells, dict)]


def _all_of(names: Sequence[str]) -> Fields:
    """The first column in the place of the text, the others next to it."""
    rest = {name: name for name in names[1:]}
    return Fields(text=names[0], label=None, labels=None, cats=None, attributes=rest)


def _parquet_columns(path: Path) -> list[str]:
    pyarrow = errors.require("pyarrow", "parquet")
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        names: list[str] = parquet.ParquetFile(path).schema_arrow.names
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(errors.T047.format(path=path, format="Parquet", reason=error)) from error
    return names
