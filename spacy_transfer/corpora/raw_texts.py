"""Raw texts, without labels, from .txt, .jsonl and .spacy files."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from spacy.tokens import DocBin
from spacy.vocab import Vocab

from ..errors import T040, T041, T043_NO_TEXT, T043_TEXT_TYPE, T047, T136
from .excerpt import excerpt
from .rows import BadRow, decoded_lines, parse_json


def read_raw_texts(paths: Sequence[Path], *, field: str = "text") -> list[str]:
    """All texts of some files; what is only white space is left out.

    paths (Sequence[Path]): .txt (a text a line), .jsonl (one object a line), .spacy (documents).
    field (str): Field of a .jsonl file that holds the text.
    RAISES (FileNotFoundError): T040. RAISES (ValueError): T041 for another suffix, T047 for what is no .spacy file,
        T136 for a line of a .jsonl file that has no text.
    RAISES (UnicodeError): T042 for what is not UTF-8.
    """
    texts: list[str] = []
    for path in paths:
        formats = ", ".join(_READERS)
        if not path.is_file():
            raise FileNotFoundError(T040.format(path=path, formats=formats))
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise ValueError(T041.format(path=path, suffix=path.suffix, formats=formats))
        texts.extend(text for text in reader(path, field) if text.strip())
    return texts


def _read_lines(path: Path, field: str) -> Iterator[str]:
    return (line.strip() for line in decoded_lines(path))


def _read_jsonl(path: Path, field: str) -> Iterator[str]:
    for number, line in enumerate(decoded_lines(path), start=1):
        if line.strip():
            try:
                yield _text_in(parse_json(line), field)
            except BadRow as error:
                raise ValueError(T136.format(path=path, line=number, reason=error)) from error


def _text_in(value: object, field: str) -> str:
    text = value.get(field) if isinstance(value, dict) else None
    if text is None:
        raise BadRow(T043_NO_TEXT.format(field=field))
    if not isinstance(text, str):
        raise BadRow(T043_TEXT_TYPE.format(field=field, value=excerpt(text)))
    return text


def _read_docs(path: Path, field: str) -> Iterator[str]:
    try:
        docs = DocBin().from_disk(path)
        yield from (doc.text for doc in docs.get_docs(Vocab()))
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(T047.format(path=path, format=".spacy", reason=error)) from error


_READERS: dict[str, Callable[[Path, str], Iterator[str]]] = {
    ".txt": _read_lines,
    ".jsonl": _read_jsonl,
    ".spacy": _read_docs,
}
