"""Outputs that are neither inputs nor each other."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import T373, T373_INPUT, T373_OUTPUT


def refuse_same(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse a command that would write over what it reads, or write one file twice.

    outputs, inputs (Iterable[Path]): Files or folders, also such as are not there yet. An input that is a folder covers
        what lies in it.
    RAISES (ValueError): T373 for an output that is, or lies in, an input, or that is another output, by whatever name.
    """
    read = [path for path in inputs if path.exists()]
    written: list[Path] = []
    for path in outputs:
        for other in read:
            if _same(path, other) or (other.is_dir() and path.resolve().is_relative_to(other.resolve())):
                raise ValueError(T373.format(path=path, problem=T373_INPUT.format(other=other)))
        if any(_same(path, other) for other in written):
            raise ValueError(T373.format(path=path, problem=T373_OUTPUT))
        written.append(path)


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        # By inode: links, hard links and file systems that ignore case.
        return one.samefile(other)
    return one.resolve() == other.resolve()
