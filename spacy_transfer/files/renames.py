"""Renames that leave the old file or the new one, never nothing."""

import ctypes
import errno
import os
import secrets
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

_AT_FDCWD = -2 if sys.platform == "darwin" else -100
_EXCHANGE = 2
# Of a kernel, a C library, a file system or a container that does not know the call.
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ENOTSUP}


def put(new: Path, place: Path, aside: Path) -> None:
    """Let a file or folder take a place: a file in one step, a folder in two, the old one stepping aside first.

    new (Path): What takes the place.
    place (Path): Where it goes.
    aside (Path): A free name.
    RAISES (OSError): What the file system says; then the old one is in its place.
    """
    if not new.is_dir():
        new.replace(place)
        return
    if not os.path.lexists(place):
        new.rename(place)
        return
    place.rename(aside)
    try:
        new.rename(place)
    except OSError:
        aside.rename(place)
        raise


def put_aside(path: Path) -> Path:
    """Give a file another name in its folder, one that nothing else has.

    path (Path): The file, "log.jsonl".
    RETURNS (Path): Where it is now, "log-put-aside-0f3a9c21.jsonl".
    RAISES (OSError): What the file system says.
    """
    return path.rename(path.with_name(f"{path.stem}-put-aside-{secrets.token_hex(4)}{path.suffix}"))


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step: the old and the new folder, so that no moment is without one.

    RETURNS (bool): Whether the system can.
    RAISES (OSError): What the file system says otherwise.
    """
    call = _call()
    if call is None:
        return False
    if call(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


@cache
def _call() -> Callable[[bytes, bytes], int] | None:
    """Linux's renameat2 or macOS's renamex_np."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            swap = library.renamex_np
            return lambda one, other: int(swap(one, other, _EXCHANGE))
        rename = library.renameat2
        return lambda one, other: int(rename(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE))
    except (OSError, AttributeError, TypeError):
        return None
