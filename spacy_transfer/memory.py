"""Refuses files that unpack to more than fits in memory, before unpacking them."""

import os
import zlib
from contextlib import suppress
from pathlib import Path

from . import errors

_CHUNK = 1 << 20
# Objects made of an unpacked file take several times its size.
_SHARE = 0.25


def memory_there() -> int | None:
    """Find out how much memory this process may use.

    RETURNS (int | None): Bytes: the machine's memory, or less where a limit is set; None where nobody says.
    """
    sizes: list[int] = []
    with suppress(ValueError, OSError, AttributeError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    # Windows has no such limits.
    with suppress(ImportError, ValueError, OSError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            sizes.append(limit)
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            sizes.append(int(Path(name).read_text("ascii")))
    return min((size for size in sizes if size > 0), default=None)


def refuse_large(path: Path, size: int) -> None:
    """Refuse a file that is too large to be read at once.

    path (Path): The file.
    size (int): Bytes that it unpacks to.
    RAISES (ValueError): T397 if that is above a quarter of the memory.
    """
    there = memory_there()
    if there is not None and size > there * _SHARE:
        raise ValueError(errors.T397.format(path=path, size=f"{size / 1e6:,.0f}", there=f"{there / 1e6:,.0f}"))


def refuse_bomb(path: Path) -> None:
    """Refuse a file of zlib, as `.spacy` files are, that unpacks to more than the memory holds.

    path (Path): The file.
    RAISES (ValueError): T397.
    RAISES (zlib.error): It is damaged.
    """
    there = memory_there()
    # A packed byte makes 1,032 at most: small files need no look.
    if there is None or path.stat().st_size * 1032 <= there * _SHARE:
        return
    unpacker = zlib.decompressobj()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            while chunk:
                size += len(unpacker.decompress(chunk, _CHUNK))
                chunk = unpacker.unconsumed_tail
                refuse_large(path, size)
