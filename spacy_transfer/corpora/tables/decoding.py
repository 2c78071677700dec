"""How to decode the lines of a text file: its encoding, given or detected, and its line ends."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ... import errors
from ..excerpt import excerpt

# The longer marks first: that of UTF-16 begins that of UTF-32.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What a file that is not UTF-8 may be, to show how it would read.
_OTHERS = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "mac_roman", "cp850", "koi8-r", "gb18030", "shift_jis", "big5",
    "euc_kr",
)  # fmt: skip
_CHUNK = 1 << 20  # bytes read at once
_N_LOOKED_AT = 2000  # lines with letters beyond ASCII that decide
_HIGH = re.compile("[^\x00-\x7f]")
# Within a word: apostrophes, hyphens, the point of Catalan.
_IN_WORDS = "\u2019\u2018\u2013\u2014\u00ad\u00b7"
# Letters of Icelandic, and what cp1252 makes of Turkish ones: which of the two it is cannot be told.
_TWO_WAYS = "\u00f0\u00fe\u00fd\u00d0\u00de\u00dd"

# Words of one letter, and abbreviations.
_WORDS = (
    "\u00e0\u00e8\u00e9\u00f3\u00e1\u00fa\u00c0\u00c8\u00c9\u00d3\u00c1\u00da\u00e5\u00c5\u00f6\u00d6\u00aa\u00ba\u00b5"
)


@dataclass(frozen=True)
class Decoding:
    """How a file is decoded.

    codec (str): As `codecs` names it.
    line_end (str): What ends a line: a line feed, or a carriage return where the file has no line feed.
    note (str): What to tell the user of it; empty for UTF-8 with line feeds.
    """

    codec: str
    line_end: str = "\n"
    note: str = ""


def find_decoding(path: Path, encoding: str | None = None) -> Decoding:
    """Find out how a text file is encoded, by all of its bytes.

    path (Path): The file.
    encoding (str | None): As given by the user. None: a byte order mark, UTF-8, UTF-16 by its zeros, or cp1252 where
        the text reads as Western European; the latter two with a note.
    RETURNS (Decoding): What to read it with.
    RAISES (ValueError): T396 for an encoding that Python does not know.
    RAISES (UnicodeError): T042 if it is not UTF-8 and what else it is cannot be told.
    """
    if encoding is not None:
        return _with_line_end(path, _known(encoding), "")
    with path.open("rb") as file:
        head = file.read(_CHUNK)
    for mark, marked in _MARKS.items():
        if head.startswith(mark):
            return _with_line_end(path, marked, "" if marked == "utf-8-sig" else f"encoding {marked.upper()}")
    if (codec := _by_zeros(head[:4096])) is not None:
        return _with_line_end(path, codec, f"encoding {codec.upper()}, without a byte order mark")
    if _decodes(path, "utf-8"):
        return _with_line_end(path, "utf-8", "")
    return _guess(path)


def decoded_lines(path: Path, decoding: Decoding | str | None = None) -> Iterator[str]:
    """Read a text file line by line; only a line feed ends a line, as JSONL and CSV want it.

    path (Path): The file, with or without a byte order mark.
    decoding (Decoding | str | None): How; found out if it is None, or the name of an encoding.
    YIELDS (str): Lines with their line feed.
    RAISES (UnicodeError): T042 with the offset and the line of the first byte that is no text.
    RAISES (ValueError): T396.
    """
    if not isinstance(decoding, Decoding):
        decoding = find_decoding(path, decoding)
    with path.open(encoding=decoding.codec, newline=decoding.line_end) as file:
        try:
            for number, line in enumerate(file):
                yield line if number else line.removeprefix("\ufeff")
        except UnicodeError as error:
            raise UnicodeError(_where(path, decoding.codec, errors.T042_GIVEN)) from error


def _known(encoding: str) -> str:
    try:
        info = codecs.lookup(encoding)
        if not getattr(info, "_is_text_encoding", True):
            raise LookupError
    except (LookupError, ValueError) as error:
        raise ValueError(
            errors.T396.format(option="--encoding", value=excerpt(encoding), want=errors.T396_ENCODING)
        ) from error
    return "utf-8-sig" if info.name == "utf-8" else info.name


def _with_line_end(path: Path, codec: str, note: str) -> Decoding:
    """Lines of old Macs, and of Excel's "CSV (Macintosh)", end with a carriage return alone."""
    if codec.startswith(("utf-16", "utf-32", "utf_16", "utf_32")):
        return Decoding(codec, note=note)
    with path.open("rb") as file:
        has_return = False
        while chunk := file.read(_CHUNK):
            if b"\n" in chunk:
                return Decoding(codec, note=note)
            has_return = has_return or b"\r" in chunk
    if not has_return:
        return Decoding(codec, note=note)
    return Decoding(codec, "\r", "; ".join(filter(None, [note, "lines end with carriage returns"])))


def _by_zeros(head: bytes) -> str | None:
    """Text in Latin letters has a zero in every second byte of UTF-16, and none in UTF-8."""
    for codec, zeros, others in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if len(head) >= 4 and zeros.count(0) > len(zeros) / 2 and others.count(0) <= len(others) / 20:
            return codec
    return None


def _decodes(path: Path, codec: str) -> bool:
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", True)
    except UnicodeDecodeError:
        return False
    return True


def _guess(path: Path) -> Decoding:
    with path.open("rb") as file:
        numbered = ((number, line) for number, line in enumerate(file, start=1) if not line.isascii())
        looked_at = list(islice(numbered, _N_LOOKED_AT))
    sample = b"".join(line for _, line in looked_at)
    number = next((number for number, line in looked_at if not _is_utf8(line)), looked_at[0][0])
    if _decodes(path, "cp1252") and _reads_western(sample.decode("cp1252")):
        shown = _shown(sample, "cp1252")
        note = f"encoding cp1252 (Windows, Western European), since line {number} is not UTF-8; it reads {shown}"
        return _with_line_end(path, "cp1252", note + "; if that is wrong, give --encoding")
    readings = "\n".join(f"  {codec}: {shown}" for codec in _OTHERS if (shown := _shown(sample, codec)))
    raise UnicodeError(_where(path, "utf-8", errors.T042_GUESSES.format(readings=readings)))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _reads_western(text: str) -> bool:
    """Whether letters beyond ASCII stand where Western European languages have them: single, and in the right case."""
    n_high = n_odd = 0
    for found in _HIGH.finditer(text):
        n_high += 1
        character, i = found[0], found.start()
        before, after = text[i - 1 : i], text[i + 1 : i + 2]
        run = text[max(0, i - 1) : i + 2]
        alone = not (before.isalpha() or after.isalpha())
        if character in _TWO_WAYS or (alone and character.isalpha() and character not in _WORDS):
            n_odd += 1
        elif character.isalpha():
            # Three in a row: another alphabet read with the wrong table. A capital after a small letter: another table.
            alien = len(run) == 3 and all(letter > "\x7f" and letter.isalpha() for letter in run)
            n_odd += alien or (character.isupper() and before.isascii() and before.islower())
        elif before.isalpha() and after.isalpha():
            n_odd += character not in _IN_WORDS
    return n_odd <= n_high / 10


def _shown(sample: bytes, codec: str) -> str:
    """The first word with letters beyond ASCII and its neighbors; empty if the sample does not decode."""
    try:
        text = sample.decode(codec)
    except UnicodeDecodeError:
        return ""
    found = _HIGH.search(text)
    if found is None:
        return ""
    begin = max(text.rfind("\n", 0, found.start()) + 1, found.start() - 20)
    return excerpt(text[begin : found.start() + 20].partition("\n")[0])


def _where(path: Path, codec: str, way_out: str) -> str:
    """The message for the first byte that is no text in this encoding."""
    content = path.read_bytes()
    name = codec.removesuffix("-sig").upper()
    try:
        content.decode(codec)
    except UnicodeDecodeError as error:
        # What takes a mark away counts from behind it.
        start = error.start + (3 if codec == "utf-8-sig" and content.startswith(codecs.BOM_UTF8) else 0)
        start = min(start, len(content) - 1)
        line = content.count(b"\n", 0, start) + 1
        return errors.T042.format(
            path=path, encoding=name, byte=content[start], offset=start, line=line, way_out=way_out
        )
    except UnicodeError as error:
        way_out = f"{error}. {way_out}"
    return errors.T042.format(
        path=path, encoding=name, byte=content[0] if content else 0, offset=0, line=1, way_out=way_out
    )
