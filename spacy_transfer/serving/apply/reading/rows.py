"""Rows of the sources with their places: all columns come along, whichever format they are read from."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ....corpora.excerpt import excerpt
from ....corpora.tables.decoding import decoded_lines, find_decoding
from ....corpora.tables.excel_rows import excel_columns, read_excel
from ....corpora.tables.json_rows import read_json, read_jsonl
from ....corpora.tables.records import parse_text
from ....corpora.tables.rows import N_COLUMNS_SHOWN, BadRow, Fields
from ....corpora.tables.rows import Row as FileRow
from ....corpora.tables.separated_rows import read_header, read_separated
from ....corpora.tables.table_format import DELIMITERS, Reading, TableFormat
from ....docbins import read_stored
from ....errors import T047, T047_HEADER, T524, T524_CHOICE, T524_NONE, T525, T526, require
from ....pipeline.sources import attribute_of, has_attribute
from ..options import Options
from .arrow_rows import parquet_columns, parquet_rows
from .sources import STANDARD_INPUT_NAME, Source

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

TEXT = "text"
# Formats whose rows have the columns of a header.
_SHEETS = ("csv", "tsv", "xlsx")
# What a column of texts is called where nobody says it; "text" comes first.
_USUAL = ("text", "document", "content", "body", "message", "comment", "review", "description", "sentence", "utterance")
# Rows of a JSONL file that tell which field is the text.
_N_LOOKED_AT = 100


class Row(NamedTuple):
    """A document.

    source (int): Of the sources.
    line (int): Where it stands, from 1.
    last_line (int): Where it ends.
    cells (Mapping[str, object]): All columns.
    text (str): What is classified.
    text_field (str): The column that holds it.
    doc (Doc | None): That of a `.spacy` file.
    attrs (tuple[int, ...]): What the file holds of its tokens, as spaCy numbers it.
    folder (str): Where relative paths in its cells start.
    """

    source: int
    line: int
    last_line: int
    cells: Mapping[str, object]
    text: str
    text_field: str
    doc: "Doc | None" = None
    attrs: tuple[int, ...] = ()
    folder: str = ""


class Bad(NamedTuple):
    """What cannot be used.

    source (int): Of the sources.
    line (int): Where it stands, from 1.
    last_line (int): Where it ends.
    reason (str): Why.
    """

    source: int
    line: int
    last_line: int
    reason: str


@dataclass(frozen=True)
class Head:
    """What is known of a source before its rows are read.

    columns (tuple[str, ...]): Names of its columns; of a JSONL file those that were looked at.
    text_field (str): The one that holds the text.
    layout (TableFormat): How it is written, settled.
    has_mark (bool): Whether the file begins with a byte order mark, or is in another encoding than UTF-8.
    note (str): What was found out and may be wrong; empty if nothing was.
    n_lines (int): Lines or rows; 0 where nobody knows.
    """

    columns: tuple[str, ...]
    text_field: str
    layout: TableFormat
    has_mark: bool = False
    note: str = ""
    n_lines: int = 0


def look_into(path: Path, source: Source, options: Options, *, all_columns: bool) -> Head:
    """Find out what a source holds.

    path (Path): Its plain file.
    source (Source): The source.
    options (Options): As the user gave them.
    all_columns (bool): Whether all fields of a JSONL file must be known, which takes a reading of it.
    RETURNS (Head): What there is.
    RAISES (ValueError): T524 where it is unclear which column holds the text, T525 for a column that is there twice;
        T047, T396 for what is not what its name says.
    RAISES (UnicodeError): T042 for bytes that are no text.
    """
    layout = options.layout
    if source.format == "parquet":
        columns, n_rows = parquet_columns(path)
        _refuse_twice(source, columns)
        field = _text_field(source, columns, options)
        return Head(columns, field, layout, note=_field_note(field, options), n_lines=n_rows)
    if source.format == "spacy":
        return Head((TEXT,), TEXT, layout)
    if source.format == "xlsx":
        require("openpyxl", "excel")
        columns = tuple(excel_columns(path, layout))
        while columns and not columns[-1]:
            columns = columns[:-1]
        if not columns:
            raise ValueError(T047.format(path=source.name, format="an Excel workbook", reason=T047_HEADER))
        _refuse_twice(source, columns)
        field = _text_field(source, columns, options)
        return Head(columns, field, layout, note=_field_note(field, options))
    decoding = find_decoding(path, layout.encoding)
    settled = replace(layout, encoding=layout.encoding or decoding.codec)
    has_mark = decoding.codec != "utf-8" and layout.encoding is None
    n_lines = 0 if source.format == "json" else _count_lines(path)
    if source.format == "txt":
        return Head((TEXT,), TEXT, settled, has_mark, decoding.note, n_lines)
    if source.format in ("csv", "tsv"):
        wanted = Fields(text=options.text_field or TEXT, label=None, labels=None, cats=None)
        names, settled = read_header(path, wanted, layout)
        _refuse_twice(source, names)
        field = _text_field(source, names, options)
        own = "\t" if source.format == "tsv" else ","
        cut = f"delimiter {DELIMITERS.get(settled.delimiter or own, repr(settled.delimiter))}"
        notes = [cut if settled.delimiter != own and layout.delimiter is None else "", decoding.note]
        note = "; ".join(filter(None, [*notes, _field_note(field, options)]))
        return Head(tuple(names), field, settled, has_mark, note, n_lines)
    rows = _json_reader(source)(path, _fields(TEXT, ()), settled, Reading())
    seen: dict[str, None] = {}
    for row in rows if all_columns else islice(rows, _N_LOOKED_AT):
        if isinstance(row.cells, dict):
            seen.update(dict.fromkeys(row.cells))
    field = _text_field(source, list(seen), options)
    note = "; ".join(filter(None, [decoding.note, _field_note(field, options)]))
    return Head(tuple(seen), field, settled, has_mark, note, n_lines)


def read_source(
    path: Path, number: int, source: Source, head: Head, vocab: "Vocab | None", media: Collection[str] = ()
) -> Iterator[Row | Bad]:
    """Read the rows of a source.

    path (Path): Its plain file.
    number (int): Of the source.
    source (Source): The source.
    head (Head): What `look_into` found.
    vocab (Vocab | None): For the documents of a `.spacy` file; None where nobody needs them as documents.
    media (Collection[str]): Columns and attributes with a picture or a sound; a row that has one needs no text.
    YIELDS (Row | Bad): In order; blank lines are left out.
    """
    folder = "" if source.name == STANDARD_INPUT_NAME else str(source.path.absolute().parent)

    def checked(line: int, last: int, cells: Mapping[str, object], text: object, field: str) -> Row | Bad:
        """Make a row of what was read."""
        found, is_empty = "", text is None or (isinstance(text, str) and not text.strip())
        if not is_empty or all(_is_nothing(cells.get(name)) for name in media):
            try:
                found = parse_text(text, field)
            except BadRow as error:
                return Bad(number, line, last, str(error))
        return Row(number, line, last, cells, found, field, folder=folder)

    if source.format == "spacy":
        for line, (doc, attrs) in enumerate(read_stored(path, vocab), start=1):
            there = {name: attribute_of(doc, name) for name in media if has_attribute(doc, name)}
            read = checked(line, line, {TEXT: doc.text, **there}, doc.text, TEXT)
            read = read._replace(cells={TEXT: doc.text}) if isinstance(read, Row) else read
            yield read._replace(doc=doc, attrs=tuple(attrs)) if vocab is not None and isinstance(read, Row) else read
        return
    if source.format == "txt":
        for line, whole in enumerate(decoded_lines(path, head.layout.encoding), start=1):
            # A carriage return belongs to the end of the line.
            text = whole.removesuffix("\n").removesuffix("\r")
            if text.strip():
                yield checked(line, line, {TEXT: text}, text, TEXT)
        return
    if source.format == "parquet":
        for line, value, arrow_cells in parquet_rows(path, head.text_field):
            yield checked(line, line, arrow_cells, value, head.text_field)
        return
    if source.format in _SHEETS:
        reader = read_excel if source.format == "xlsx" else read_separated
        rows = reader(path, _fields(head.text_field, head.columns), head.layout, Reading())
    else:
        rows = _json_reader(source)(path, _fields(head.text_field, ()), head.layout, Reading())
    for row in rows:
        if isinstance(row.cells, str):
            yield Bad(number, row.line, row.last_line, row.cells)
            continue
        # In the order of the file; the reader gives the text first.
        cells = {name: row.cells[name] for name in head.columns} if source.format in _SHEETS else row.cells
        yield checked(row.line, row.last_line, cells, row.cells.get(head.text_field), head.text_field)


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _fields(text: str, columns: Sequence[str]) -> Fields:
    return Fields(text=text, label=None, labels=None, cats=None, attributes={name: name for name in columns})


def _json_reader(source: Source) -> Callable[[Path, Fields, TableFormat, Reading], Iterator[FileRow]]:
    return read_json if source.format == "json" else read_jsonl


def _refuse_twice(source: Source, names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(T525.format(path=source.name, column=excerpt(twice)))


def _text_field(source: Source, columns: Sequence[str], options: Options) -> str:
    """The column of the text: named by the user, or the only one that can be meant."""
    shown = ", ".join(excerpt(name) for name in columns[:N_COLUMNS_SHOWN]) or "none"
    if len(columns) > N_COLUMNS_SHOWN:
        shown += f" and {len(columns) - N_COLUMNS_SHOWN:,} more"
    if options.text_field is not None:
        if options.text_field not in columns:
            problem = T524_NONE.format(column=excerpt(options.text_field))
            raise ValueError(T524.format(path=source.name, columns=shown, problem=problem))
        return options.text_field
    if TEXT in columns:
        return TEXT
    usual = [name for name in columns if name.strip().lower() in _USUAL]
    if len(usual) != 1 and len(columns) != 1:
        raise ValueError(T524.format(path=source.name, columns=shown, problem=T524_CHOICE))
    return usual[0] if usual else columns[0]


def _field_note(field: str, options: Options) -> str:
    return "" if field == TEXT or options.text_field is not None else f"the text is in {excerpt(field)}"


def _count_lines(path: Path) -> int:
    n_lines = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            n_lines += chunk.count(b"\n")
    return n_lines + 1


def require_columns(heads: Sequence[Head], sources: Sequence[Source], needed: Sequence[str]) -> None:
    """Refuse sources that lack what a pipeline reads besides the text.

    heads (Sequence[Head]): Of the sources.
    sources (Sequence[Source]): The same.
    needed (Sequence[str]): Names of the attributes that the components read.
    RAISES (ValueError): T526.
    """
    for source, head in zip(sources, heads, strict=True):
        missing = [name for name in needed if source.format != "spacy" and name not in head.columns]
        if missing:
            raise ValueError(T526.format(attributes=", ".join(missing), path=source.name))
