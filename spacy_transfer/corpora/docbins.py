"""Reads `.spacy` files and folders of them, and says what a wrong file is instead."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from thinc.api import Config

from .. import errors
from ..files import no_such_file
from .memory import refuse_bomb
from .row_files import READERS, SPREADSHEETS

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

SUFFIX = ".spacy"
_READERS = ("spacy.Corpus.v1", "spacy-transfer.Corpus.v1")
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
            elif entry.suffix.lower() in READERS:
                others.append(entry)
    if not files:
        names = ", ".join(str(other) for other in sorted(others)[:_N_SHOWN])
        found = f", only {names}. Create some with: python -m spacy transfer convert {names} FOLDER" if names else ""
        raise ValueError(errors.T391_NONE.format(path=folder, found=found))
    return sorted(files)


def _kind_of(path: Path) -> str | None:
    """What a file is that is no .spacy file, by its name or its first bytes; None if it may be one."""
    suffix = path.suffix.lower()
    if suffix in READERS or suffix in SPREADSHEETS or suffix in _TEXTS:
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


def check_path_of(reader: object) -> None:
    """Say why a reader of a config gave no documents, if it is its path.

    reader (object): A reader such as `spacy.Corpus.v1`, with a `path`; others are not looked at.
    RAISES (FileNotFoundError, ValueError): As find_docbins.
    """
    path = getattr(reader, "path", None)
    if isinstance(path, str | Path):
        find_docbins(Path(path))


@contextmanager
def naming_damaged_corpora(config: Config) -> Iterator[None]:
    """Within: an error that comes of a damaged .spacy file of a config says which one.

    spaCy's reader raises whatever its parts do. The files are read once more for it, after an error only.

    config (Config): Of a training.
    RAISES (ValueError): T047, T397.
    """
    try:
        yield
    except (OSError, ImportError):
        raise
    except Exception as error:
        if str(error).startswith("[T"):
            raise
        for path in _paths(config):
            for file in find_docbins(path):
                for _ in read_docs(file):
                    pass
        for path in _label_files(config):
            try:
                json.loads(path.read_text("utf-8"))
            except (ValueError, RecursionError) as reason:
                raise ValueError(errors.T047.format(path=path, format="a list of labels", reason=reason)) from error
        raise


def check_corpora(config: Config) -> None:
    """Say before a run which corpus of a config is no .spacy file; what is missing is left to who reads it.

    config (Config): Of a training.
    RAISES (ValueError): T391.
    """
    for path in _paths(config):
        find_docbins(path)


def _label_files(config: Config) -> Iterator[Path]:
    """What `spacy.read_labels.v1` reads for the components of a config, as far as it is there."""
    waiting: list[object] = [config.interpolate().get("initialize")]
    while waiting:
        block = waiting.pop()
        if isinstance(block, Mapping):
            waiting.extend(block.values())
            path = block.get("path") if block.get("@readers") == "spacy.read_labels.v1" else None
            if isinstance(path, str) and Path(path).is_file():
                yield Path(path)


def _paths(config: Config) -> Iterator[Path]:
    """What the readers of .spacy files read, as far as it is there."""
    try:
        corpora = config.interpolate().get("corpora", {})
    except (ValueError, KeyError):
        # A variable without a value: spaCy says it better.
        return
    for block in corpora.values() if isinstance(corpora, Mapping) else ():
        path = block.get("path") if isinstance(block, Mapping) and block.get("@readers") in _READERS else None
        if isinstance(path, str) and path and Path(path).expanduser().exists():
            yield Path(path).expanduser()
