"""Reads `.spacy` files and folders of them, and says what a wrong file is instead."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import errors
from .files import no_such_file
from .memory import refuse_bomb

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

SUFFIX = ".spacy"
# Key in `doc.user_data`: names of the attributes that are paths relative to the file.
PATHS = "transfer_paths"
# Of files of rows, which `spacy transfer convert` makes .spacy files of; `tables.row_files` has a reader for each.
TABLES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".xlsx")
# What other programs write, and nothing here reads.
SPREADSHEETS = (".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_TEXTS = (".txt", ".conll", ".conllu", ".iob", ".ner")
_N_SHOWN = 5
_N_BYTES = 4096


def find_docbins(path: Path) -> list[Path]:
    """Find the .spacy files that a path stands for, as `spacy.Corpus.v1` does.

    path (Path): A file, or a folder with files in it at any depth; names that begin with a dot are left out.
    RETURNS (list[Path]): Files, sorted.
    RAISES (FileNotFoundError): T440 if there is nothing.
    RAISES (ValueError): T391 for a table or a file of records, or a folder without .spacy files.
    """
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise no_such_file(path)
    found = _kind_of(path)
    if found is not None:
        raise ValueError(errors.T391.format(path=path, found=found))
    return [path]


def _in_folder(folder: Path) -> list[Path]:
    files: list[Path] = []
    others: list[Path] = []
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        # A link may lead back into a folder above.
        if (real := here.resolve()) in seen:
            continue
        seen.add(real)
        for entry in here.iterdir():
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                waiting.append(entry)
            elif entry.suffix == SUFFIX:
                files.append(entry)
            elif entry.suffix.lower() in TABLES:
                others.append(entry)
    if not files:
        names = ", ".join(str(other) for other in sorted(others)[:_N_SHOWN])
        found = f", only {names}. Create some with: python -m spacy transfer convert {names} FOLDER" if names else ""
        raise ValueError(errors.T391_NONE.format(path=folder, found=found))
    return sorted(files)


def _kind_of(path: Path) -> str | None:
    """What a file is that is no .spacy file, by its name or its first bytes; None if it may be one."""
    suffix = path.suffix.lower()
    if suffix in (*TABLES, *SPREADSHEETS, *_TEXTS):
        return f"a {suffix.removeprefix('.').upper()} file"
    with path.open("rb") as file:
        head = file.read(_N_BYTES)
    if head.startswith(b"PAR1"):
        return "a Parquet file"
    if head.startswith(b"PK\x03\x04"):
        return "a zip archive or a workbook"
    # zlib begins with 0x78, "x", and holds control characters at once; a table does not.
    if head and not any(byte < 9 or 13 < byte < 32 for byte in head) and b"\n" in head:
        try:
            head.decode("utf-8", "strict" if len(head) < _N_BYTES else "ignore")
        except UnicodeDecodeError:
            return None
        return "a JSONL file" if head.lstrip().startswith(b"{") else "a text file or a table"
    return None


def read_docs(path: Path, vocab: "Vocab | None" = None) -> "Iterator[Doc]":
    """Read the documents of a .spacy file.

    path (Path): One file.
    vocab (Vocab | None): Of the pipeline, or a new one.
    YIELDS (Doc): The documents.
    RAISES (ValueError): T047 for what is no .spacy file or a damaged one, T397 for one that unpacks to too much.
    """
    return (doc for doc, _ in read_stored(path, vocab))


def read_all_docs(path: Path, vocab: "Vocab | None" = None) -> "Iterator[Doc]":
    """Read the documents of all .spacy files that a path stands for.

    path (Path): A file, or a folder with files in it.
    vocab (Vocab | None): Of the pipeline, or a new one for each file.
    YIELDS (Doc): The documents, file by file in their order.
    RAISES (FileNotFoundError, ValueError): As `find_docbins`, at once, and `read_docs`.
    """
    return (doc for file in find_docbins(path) for doc in read_docs(file, vocab))


def read_stored(path: Path, vocab: "Vocab | None" = None) -> "Iterator[tuple[Doc, list[int]]]":
    """Read the documents of a .spacy file, and what the file holds of them.

    path (Path): One file.
    vocab (Vocab | None): Of the pipeline, or a new one.
    YIELDS (tuple[Doc, list[int]]): The documents, each with the attributes of tokens that the file has, as spaCy
        numbers them.
    RAISES (ValueError): T047 for what is no .spacy file or a damaged one, T397 for one that unpacks to too much.
    """
    import spacy.vocab
    from spacy.tokens import DocBin

    try:
        refuse_bomb(path)
        docs = DocBin(store_user_data=True).from_disk(path)
        for doc in docs.get_docs(spacy.vocab.Vocab() if vocab is None else vocab):
            _find_files(doc, path)
            yield doc, docs.attrs
    except MemoryError as error:
        size = path.stat().st_size
        raise ValueError(errors.T397.format(path=path, size=f"{size / 1e6:,.0f}", there="few")) from error
    except Exception as error:
        # spaCy's reader raises whatever its parts do: zlib.error, KeyError, struct.error, AssertionError, ...
        if str(error).startswith("[T"):
            raise
        reason = f"{type(error).__name__} {error}".strip()
        raise ValueError(errors.T047.format(path=path, format=".spacy (a DocBin)", reason=reason)) from error


def note_paths(doc: "Doc", names: Iterable[str]) -> None:
    """Remember which attributes are paths relative to the file that a document will be stored in.

    doc (Doc): The document.
    names (Iterable[str]): Of the extension attributes, bare.
    """
    doc.user_data[PATHS] = list(names)


def _find_files(doc: "Doc", path: Path) -> None:
    """Let such paths start where the file is, not where the process runs."""
    for name in doc.user_data.get(PATHS, ()):
        # Where spaCy keeps an extension attribute.
        key = ("._.", name, None, None)
        value = doc.user_data.get(key)
        if isinstance(value, str) and value.strip():
            doc.user_data[key] = str(path.absolute().parent / value)
