"""Rows of Excel workbooks."""

import datetime
import importlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ... import errors
from ...memory import refuse_large
from .rows import BadRow, Fields, Row, cell_of, find_columns, unclear_columns
from .table_format import Reading, TableFormat

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.worksheet.worksheet import Worksheet


def read_excel(path: Path, fields: Fields, layout: TableFormat, reading: Reading) -> Iterator[Row]:
    """Read the first sheet of an .xlsx file; lines are its rows, as Excel counts them.

    path (Path): The file.
    fields (Fields): Which columns count.
    layout (TableFormat): Its columns and header line.
    reading (Reading): Gets what is found out on the way.
    YIELDS (Row): Rows that are not blank.
    RAISES (ValueError): T046 for unclear columns, T047 for what is no workbook, T397 for one that is too large.
    RAISES (ImportError): T395 without openpyxl.
    """
    with _opened(path) as book:
        sheets = book.sheetnames
        reading.notes.append(f"sheet {sheets[0]!r}" + (f", the first of {len(sheets)}" if len(sheets) > 1 else ""))
        yield from _read_sheet(path, book.worksheets[0], fields, layout)


def excel_columns(path: Path, layout: TableFormat) -> list[str]:
    """Read the names of the columns of the first sheet of an .xlsx file.

    path (Path): The file.
    layout (TableFormat): Its columns and header line.
    RETURNS (list[str]): The names; empty for an empty sheet.
    RAISES (ValueError): As `read_excel`.
    RAISES (ImportError): T395 without openpyxl.
    """
    if layout.columns:
        return list(layout.columns)
    with _opened(path) as book:
        for number, values in enumerate(book.worksheets[0].iter_rows(values_only=True), start=1):
            if number >= layout.header_line and any(value is not None and value != "" for value in values):
                return [_text(value).strip() for value in values]
    return []


@contextmanager
def _opened(path: Path) -> Iterator["Workbook"]:
    """A workbook; what is wrong with it is said in our words."""
    try:
        openpyxl = importlib.import_module("openpyxl")
    except ImportError as error:
        raise ImportError(errors.T395.format(path=path, way_out=errors.T395_INSTALL)) from error
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_large(path, max((entry.file_size for entry in archive.infolist()), default=0))
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            yield book
        finally:
            book.close()
    except Exception as error:
        # What openpyxl and zipfile raise of damaged workbooks: zlib.error, NotImplementedError, errors of XML, ...
        if str(error).startswith("[T"):
            raise
        reason = f"{type(error).__name__} {error}".strip()
        raise ValueError(errors.T047.format(path=path, format="an Excel workbook", reason=reason)) from error


def _read_sheet(path: Path, sheet: "Worksheet", fields: Fields, layout: TableFormat) -> Iterator[Row]:
    header = list(layout.columns)
    columns = _columns(path, header, fields) if header else []
    for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        if number < layout.header_line or all(value is None or value == "" for value in values):
            continue
        cells = [_text(value) for value in values]
        if not header:
            header = [cell.strip() for cell in cells]
            columns = _columns(path, header, fields)
        elif [cell.strip() for cell in cells[: len(header)]] == header:
            yield Row(number, errors.T043_HEADER, number, number)
        else:
            cells += [""] * (len(header) - len(cells))
            try:
                yield Row(number, {name: cell_of(name, cells[i], fields) for name, i in columns}, number, number)
            except BadRow as error:
                yield Row(number, str(error), number, number)


def _columns(path: Path, header: list[str], fields: Fields) -> list[tuple[str, int]]:
    names, problem = find_columns(header, fields)
    if problem is not None:
        raise unclear_columns(path, header, problem, [errors.T046_NO_HEADER])
    return [(name, header.index(name)) for name in names]


def _text(value: object) -> str:
    """A cell as Excel's own CSV would have it: whole numbers without a point, dates as ISO."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return str(value)
