"""The error for a full disk."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import T372

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
# How libraries that are written in Rust quote the operating system.
_CODE = re.compile(r"(?:os error|code:) (\d+)")


class DiskFull(OSError):
    """No space left.

    path (Path): What was to be written.
    needed (int): Bytes.
    free (int): Bytes.
    """

    def __init__(self, path: Path, needed: int, free: int) -> None:
        super().__init__(
            T372.format(path=path, needed=_megabytes(needed), free=_megabytes(free), way_out="run the command again")
        )
        self.path, self.needed, self.free = path, needed, free

    def going_on(self, command: str) -> "DiskFull":
        """The same, with a command that goes on from what is there.

        command (str): To run when there is space.
        """
        way_out = f"continue with:\n{command}"
        self.args = (
            T372.format(path=self.path, needed=_megabytes(self.needed), free=_megabytes(self.free), way_out=way_out),
        )
        return self


@contextmanager
def saying_when_full(path: Path, made: Path | None, needs: int = 0) -> Iterator[None]:
    """Within: an error of a full disk becomes `DiskFull`, whichever library met it.

    path (Path): What is written, for the message.
    made (Path | None): Where it is made.
    needs (int): Bytes, if known.
    RAISES (DiskFull): T372.
    """
    try:
        yield
    except DiskFull as error:
        if made is None or made not in error.path.parents:
            raise
        # The name under which it was being made says nothing to the user.
        raise DiskFull(path, max(needs, error.needed), error.free) from error
    except Exception as error:
        if not is_full(error):
            raise
        free = 0
        with suppress(OSError):
            free = shutil.disk_usage(path.parent).free
        raise DiskFull(path, max(needs, 0 if made is None else size_of(made)), free) from error


def is_full(error: BaseException) -> bool:
    """Whether an error is that of a full disk or quota."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    code = _CODE.search(str(error))
    return code is not None and int(code[1]) in _FULL


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    total = 0
    with suppress(OSError):
        files = [path] if path.is_file() else path.rglob("*")
        for file in files:
            if file.is_file():
                total += file.stat().st_size
    return total


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"
