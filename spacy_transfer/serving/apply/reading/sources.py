"""Which files are read, and in which format; packed ones and standard input become plain files for their readers."""

import glob
import gzip
import importlib
import os
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ....errors import T041, T521, T521_EMPTY, T521_FOLDER, T521_GLOB, T522, T523, require
from ....files import new_file, no_such_file, open_regular
from ....json_types import JsonObject

if TYPE_CHECKING:
    from pyarrow import CompressedInputStream

STANDARD_INPUT = "-"
# As messages name it.
STANDARD_INPUT_NAME = "standard input"
FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".txt": "txt",
    ".parquet": "parquet", ".spacy": "spacy", ".xlsx": "xlsx",
}  # fmt: skip
_PACKED = {".gz": "gzip", ".zst": "zstd"}
# Bytes of unpacked files that wait to be read.
_MOST_KEPT = 2_000_000_000
_KNOWN = ", ".join([*FORMATS, *_PACKED])


@dataclass(frozen=True)
class Source:
    """A file that is read.

    path (Path): The file.
    name (str): As messages and the side file name it.
    format (str): "csv", "tsv", "jsonl", "json", "txt", "parquet", "spacy" or "xlsx".
    packing (str): "gzip", "zstd", or nothing.
    """

    path: Path
    name: str
    format: str
    packing: str = ""

    def identity(self) -> JsonObject:
        """By which a run that goes on knows it again, JSON-able."""
        found = self.path.stat()
        is_standard_input = self.name == STANDARD_INPUT_NAME
        seen = {"path": self.name if is_standard_input else str(self.path.resolve()), "format": self.format}
        return seen if is_standard_input else {**seen, "size": found.st_size, "mtime_ns": found.st_mtime_ns}


def find_sources(given: Sequence[str | Path], input_format: str | None, copy: Path) -> list[Source]:
    """Find the files that are meant.

    given (Sequence[str | Path]): Files, folders, patterns such as "mail/*.csv", or "-" for standard input.
    input_format (str | None): Of files whose names do not say it.
    copy (Path): Where standard input was copied to, or is to be.
    RETURNS (list[Source]): In the order given; the files of a folder or a pattern sorted by their names.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T041 for an unknown format, T521 for nothing to read, T522 for standard input without a format.
    """
    found: list[Source] = []
    for one in given:
        if str(one) == STANDARD_INPUT:
            if input_format is None:
                raise ValueError(T522)
            found.append(Source(copy, STANDARD_INPUT_NAME, input_format))
            continue
        path = Path(one).expanduser()
        if path.is_dir():
            files = _in_folder(path)
            if not files:
                raise ValueError(T521.format(source=path, problem=T521_FOLDER.format(formats=_KNOWN)))
        elif path.exists():
            files = [path]
        elif glob.has_magic(str(one)):
            names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - the pattern may be absolute
            files = [Path(name) for name in names if Path(name).is_file()]
            if not files:
                raise ValueError(T521.format(source=path, problem=T521_GLOB))
        else:
            raise no_such_file(path, _KNOWN)
        found += [_source(file, input_format) for file in files]
    if not found:
        raise ValueError(T521.format(source="[]", problem=T521_GLOB))
    return found


def _in_folder(folder: Path) -> list[Path]:
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        # In place: hidden folders are not walked into.
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in names if not name.startswith(".") and _format_of(Path(name))[0]]
    return sorted(found)


def _format_of(path: Path) -> tuple[str | None, str]:
    packing = _PACKED.get(path.suffix.lower(), "")
    suffix = Path(path.stem).suffix if packing else path.suffix
    return FORMATS.get(suffix.lower()), packing


def _source(path: Path, input_format: str | None) -> Source:
    known, packing = _format_of(path)
    if (named := known or input_format) is None:
        raise ValueError(T041.format(path=path, suffix=path.suffix, formats=_KNOWN))
    with open_regular(path) as file:
        if not file.read(1):
            raise ValueError(T521.format(source=path, problem=T521_EMPTY))
    return Source(path, str(path), named, packing)


def copy_standard_input(copy: Path) -> None:
    """Copy standard input to a file, unless that was done before: readers look at a file more than once.

    copy (Path): The file. It is there when all of standard input is in it.
    RAISES (ValueError): T521 for an empty one.
    RAISES (OSError): What the file system says.
    """
    if copy.exists():
        return
    with new_file(copy, sync=True) as part, part.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        if not file.tell():
            raise ValueError(T521.format(source=STANDARD_INPUT_NAME, problem=T521_EMPTY))


class PlainFiles:
    """Files that readers can open: packed ones are unpacked to disk.

    A source is looked at before it is read. What is unpacked for that stays until then, as long as all that stays is
    not too much for a disk.

    scratch (Path): Folder for what is unpacked.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._kept: dict[Path, Path] = {}
        self._n_made = self._n_bytes = 0
        for left in scratch.glob("unpacked-*"):
            # Of a process that was killed: it may be half a file.
            left.unlink()

    @contextmanager
    def of(self, source: Source, *, keep: bool = False) -> Iterator[Path]:
        """Give the file of a source.

        source (Source): The source.
        keep (bool): Whether the source will be read again.
        YIELDS (Path): A plain file, while the block lasts. Errors within name the source.
        RAISES (ValueError): T523 for a damaged archive.
        RAISES (ImportError): T081 for zstd without pyarrow.
        """
        plain = source.path
        try:
            if source.packing:
                plain = self._kept.pop(source.path) if source.path in self._kept else self._unpacked(source)
            yield plain
        except (ValueError, OSError) as error:
            _name_source(error, plain, source.name)
            raise
        finally:
            if source.packing:
                self._done_with(source, plain, keep=keep)

    def _unpacked(self, source: Source) -> Path:
        self._n_made += 1
        plain = self._scratch / f"unpacked-{self._n_made}.{source.format}"
        try:
            _unpack(source, plain)
        except BaseException:
            plain.unlink(missing_ok=True)
            raise
        self._n_bytes += plain.stat().st_size
        return plain

    def _done_with(self, source: Source, plain: Path, *, keep: bool) -> None:
        if plain == source.path:
            return
        if keep and self._n_bytes <= _MOST_KEPT:
            self._kept[source.path] = plain
            return
        self._n_bytes -= plain.stat().st_size
        plain.unlink(missing_ok=True)


def _name_source(error: Exception, plain: Path, name: str) -> None:
    if error.args and isinstance(error.args[0], str):
        error.args = (error.args[0].replace(str(plain), name), *error.args[1:])


def _unpack(source: Source, plain: Path) -> None:
    packed: gzip.GzipFile | CompressedInputStream
    damaged: tuple[type[Exception], ...]
    if source.packing == "gzip":
        packed, damaged = gzip.GzipFile(source.path, "rb"), (gzip.BadGzipFile, EOFError, zlib.error)
    else:
        pyarrow = require("pyarrow", "parquet")
        packed = pyarrow.CompressedInputStream(importlib.import_module("pyarrow").OSFile(str(source.path)), "zstd")
        damaged = (OSError,)
    with plain.open("wb") as file, packed:
        while chunk := _chunk(packed, source, damaged):
            file.write(chunk)


def _chunk(
    packed: "gzip.GzipFile | CompressedInputStream", source: Source, damaged: tuple[type[Exception], ...]
) -> bytes:
    try:
        return packed.read(1 << 20)
    except damaged as error:
        raise ValueError(T523.format(path=source.name, packing=source.packing, reason=error)) from error
