"""Chooses the reader of a file of rows by its suffix."""

from collections.abc import Callable, Iterator
from pathlib import Path

from ... import errors
from ...docbins import SPREADSHEETS, TABLES
from ...files import no_such_file
from ..text_folder import read_text_folder
from .excel_rows import read_excel
from .json_rows import read_json, read_jsonl
from .parquet_rows import read_parquet
from .rows import Fields, Row
from .separated_rows import read_separated
from .table_format import Reading, TableFormat

READERS: dict[str, Callable[[Path, Fields, TableFormat, Reading], Iterator[Row]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_separated,
    ".tsv": read_separated,
    ".parquet": read_parquet,
    ".xlsx": read_excel,
}
FORMATS = ", ".join(TABLES)


def read_rows(
    path: Path, fields: Fields, layout: TableFormat | None = None, reading: Reading | None = None
) -> Iterator[Row]:
    """Read a file in the format that its suffix names, or a folder of text files whose names are the labels.

    path (Path): The file or folder; a file that is packed, or of an unknown suffix, is refused.
    fields (Fields): Which fields count; a table needs the text and one that holds labels.
    layout (TableFormat | None): How it is written, as far as the user says so.
    reading (Reading | None): Gets what is found out on the way.
    RETURNS (Iterator[Row]): Its rows.
    RAISES (FileNotFoundError): T440, T880 for a folder of something else.
    RAISES (ValueError): T041 for another suffix, T046 for unclear columns, T047 if it is not what its suffix says,
        T395 for a spreadsheet, T396 for a layout that cannot be, T397 for what does not fit into memory.
    RAISES (UnicodeError): T042 if a text file cannot be decoded.
    RAISES (ImportError): T081 for a Parquet file without pyarrow, T395 for a workbook without openpyxl.
    """
    if path.is_dir():
        return read_text_folder(path, fields, layout or TableFormat(), reading or Reading())
    if not path.is_file():
        raise no_such_file(path, FORMATS)
    suffix = path.suffix.lower()
    reader = READERS.get(suffix)
    if reader is None:
        if suffix in SPREADSHEETS:
            raise ValueError(errors.T395.format(path=path, way_out=errors.T395_SAVE))
        raise ValueError(errors.T041.format(path=path, suffix=path.suffix, formats=FORMATS))
    return reader(path, fields, layout or TableFormat(), reading or Reading())
