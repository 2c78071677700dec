"""Refuses outputs that are also inputs, or another program's files."""

import json
from collections.abc import Iterable
from pathlib import Path

from ..errors import T373, T373_INPUT, T373_OUTPUT, T376


def refuse_same(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse a command that would write over what it reads, or write one file twice.

    outputs (Iterable[Path]): Files or folders, also such as are not there yet.
    inputs (Iterable[Path]): Files or folders, also such as are not there yet.
    RAISES (ValueError): T373 for an output that is or holds an input, that is a file within a folder that is read, or
        that is, holds or lies in another output, by whatever name.
    """
    read = [path for path in inputs if path.exists()]
    written: list[Path] = []
    for path in outputs:
        for other in read:
            if _same(path, other) or _is_in(other, path) or (path.is_file() and _is_in(path, other)):
                raise ValueError(T373.format(path=path, problem=T373_INPUT.format(other=other)))
        if any(_same(path, other) or _is_in(path, other) or _is_in(other, path) for other in written):
            raise ValueError(T373.format(path=path, problem=T373_OUTPUT))
        written.append(path)


def refuse_others_file(path: Path, *, what: str, keys: Iterable[str]) -> None:
    """Refuse to write over a file that is not an older one of the same kind.

    path (Path): The output.
    what (str): What it is, for the message.
    keys (Iterable[str]): Of the JSON object in it.
    RAISES (FileExistsError): T376 for anything else that stands there.
    """
    if not path.exists():
        return
    try:
        data = json.loads(path.read_text("utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not set(keys) <= set(data):
        raise FileExistsError(T376.format(path=path, what=what))


def _is_in(path: Path, folder: Path) -> bool:
    return folder.is_dir() and path.resolve().is_relative_to(folder.resolve())


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        # By inode: links, hard links and file systems that ignore case.
        return one.samefile(other)
    return one.resolve() == other.resolve()
