"""Raw texts without labels: one text per line, tables, records, `.spacy` files and folders of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...docbins import SUFFIX, find_docbins, read_docs
from ...errors import T136
from ...files import no_such_file
from ..tables.column_choice import Columns, choose_text_column
from ..tables.decoding import decoded_lines
from ..tables.records import is_blank, parse_text
from ..tables.row_files import FORMATS, read_rows
from ..tables.rows import BadRow, Fields
from ..tables.sample_rows import read_sample
from ..tables.table_format import TableFormat

_FORMATS = f".txt, {SUFFIX}, {FORMATS}"


def read_raw_texts(paths: Sequence[Path], *, field: str = "text", layout: TableFormat | None = None) -> list[str]:
    """All texts of some files; what is only white space is left out.

    Texts are checked as those with labels are: no half surrogate pairs, none above the length that spaCy takes.

    paths (Sequence[Path]): .txt (a text a line), .spacy (documents), folders of .spacy files, and all files that
        `convert` reads, tables and records.
    field (str): Field or column that holds the text.
    layout (TableFormat | None): How tables are written, as far as it is not found out.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T041 for another suffix, T046 for a table without the column, T047 for what is not what its
        suffix says, T136 for a text that cannot be used, T391 for a folder without .spacy files, T395 to T397 as in
        `read_rows`.
    RAISES (UnicodeError): T042 for what cannot be decoded.
    """
    texts: list[str] = []
    for path in paths:
        if not path.exists():
            raise no_such_file(path, _FORMATS)
        for line, text in _read(path, field, layout):
            if text is not None and is_blank(text):
                continue
            try:
                texts.append(parse_text(text, field))
            except BadRow as error:
                raise ValueError(T136.format(path=path, line=line, reason=error)) from error
    return texts


def find_text_column(path: Path, layout: TableFormat | None = None) -> Columns:
    """Find the column of the text in a file of raw texts.

    path (Path): As `read_raw_texts` takes it.
    layout (TableFormat | None): How a table is written; None finds out.
    RETURNS (Columns): Its name, that of the columns of a table without a header, and what to tell of the choice.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T613 where several can be meant, T619 where it cannot be told whether the first row of a table
        is its header; as `read_sample`.
    """
    if path.is_dir() or path.suffix.lower() in (".txt", SUFFIX):
        return Columns()
    return choose_text_column(read_sample(path, layout or TableFormat()))


def _read(path: Path, field: str, layout: TableFormat | None) -> Iterator[tuple[int, object]]:
    """Where a text stands, from 1, and the text."""
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == SUFFIX:
        for file in find_docbins(path):
            yield from ((number, doc.text) for number, doc in enumerate(read_docs(file), start=1))
    elif suffix == ".txt":
        lines = decoded_lines(path, layout.encoding if layout is not None else None)
        yield from ((number, line.strip()) for number, line in enumerate(lines, start=1))
    else:
        fields = Fields(text=field, label=None, labels=None, cats=None)
        for row in read_rows(path, fields, layout):
            if isinstance(row.cells, str):
                raise ValueError(T136.format(path=path, line=row.line, reason=row.cells))
            yield row.line, row.cells.get(field)
