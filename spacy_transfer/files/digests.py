"""SHA-256 of regular files."""

import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from ..errors import T375

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; never waits for the other end of a pipe.

    path (Path): The file. A link to a regular file is followed.
    RETURNS (BufferedReader): To be closed by the caller.
    RAISES (OSError): T375 for a device, a pipe, a socket or a folder; what the file system says otherwise.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise OSError(T375.format(path=path, kind=_KINDS.get(stat.S_IFMT(mode), "something else")))
    return os.fdopen(handle, "rb")


def sha256_of(path: Path) -> str:
    """SHA-256 of a regular file, as 64 hexadecimal digits.

    RAISES (OSError): T375 for what is not a regular file; what the file system says otherwise.
    """
    with open_regular(path) as file:
        return sha256_of_file(file)


def sha256_of_file(file: BufferedReader) -> str:
    """SHA-256 of what is left to read of an open file."""
    return hashlib.file_digest(file, "sha256").hexdigest()
