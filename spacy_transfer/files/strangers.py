"""Untrusted files: must be regular, inside their folder, and JSON of limited size and depth."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import T450, T450_LINK, T450_NESTED, T450_NO_OBJECT, T450_SIZE
from ..json_types import JsonObject
from .digests import open_regular

MEGABYTE = 1_000_000
# Real ones have some kilobytes, at most a hundred.
MOST_BYTES = 10 * MEGABYTE
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


class UnusableFile(OSError, ValueError):
    """A file holds what cannot be used; the message names file, key and value."""


def stays_inside(folder: Path, path: Path) -> bool:
    """Whether a path is in a folder, links followed. The Hugging Face cache links from `snapshots/COMMIT` to `blobs`
    next to it, which counts as inside.

    folder (Path): The folder.
    path (Path): A path in it.
    """
    root = folder.resolve()
    if root.parent.name == "snapshots":
        root = root.parent.parent
    return path.resolve().is_relative_to(root)


def check_inside(folder: Path, names: Iterable[str]) -> None:
    """Refuse files of a folder that are links to somewhere else: reading them would carry a stranger's choice of your
    files away.

    folder (Path): The folder.
    names (Iterable[str]): Names of files in it; those that are not there are skipped.
    RAISES (UnusableFile): T450 for the first such link.
    """
    for name in names:
        path = folder / name
        if not stays_inside(folder, path):
            raise UnusableFile(T450.format(file=path, problem=T450_LINK))


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file.

    path (Path): The file.
    most (int): Bytes it may have.
    RAISES (UnusableFile): T450 for what is not a regular file, cannot be read or is larger.
    """
    try:
        with open_regular(path) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UnusableFile(T450.format(file=path, problem=error.strerror or error)) from error
    if len(data) > most:
        raise UnusableFile(T450.format(file=path, problem=T450_SIZE.format(most=most // MEGABYTE)))
    return data


def read_string(path: Path, most: int = MOST_BYTES) -> str:
    """Read a regular file of UTF-8 text.

    RAISES (UnusableFile): T450, as `read_bytes`, and for other encodings.
    """
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnusableFile(T450.format(file=path, problem=error)) from error


def parse_object(text: str | bytes, file: Path | str) -> JsonObject:
    """Parse a JSON object.

    text (str | bytes): JSON.
    file (Path | str): What the message calls it.
    RETURNS (JsonObject): The object.
    RAISES (UnusableFile): T450 for text that is not JSON, nested too deeply, or not an object.
    """
    data = parse(text, file)
    if not isinstance(data, dict):
        raise UnusableFile(T450.format(file=file, problem=T450_NO_OBJECT.format(type=type(data).__name__)))
    return data


def parse(text: str | bytes, file: Path | str) -> object:
    """Parse JSON.

    RAISES (UnusableFile): T450 for text that is not JSON, nested too deeply, or no text.
    """
    try:
        data = json.loads(text)
        if _HALF.search(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")):
            # Half of a pair that stands for one character: nothing that it gets into could be written as UTF-8.
            json.dumps(data, ensure_ascii=False).encode("utf-8")
        return data
    except RecursionError as error:
        raise UnusableFile(T450.format(file=file, problem=T450_NESTED)) from error
    except ValueError as error:
        raise UnusableFile(T450.format(file=file, problem=error)) from error


def read_object(path: Path, most: int = MOST_BYTES) -> JsonObject:
    """Read a file that holds a JSON object.

    RAISES (UnusableFile): T450 for anything else.
    """
    return parse_object(read_bytes(path, most), path)
