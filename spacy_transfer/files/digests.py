"""SHA-256 of regular files and of data, and fingerprints to compare contents within this package."""

import hashlib
import json
import os
import stat
from collections.abc import Iterable
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


def sha256_of_data(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_parts(parts: Iterable[bytes]) -> str:
    """SHA-256 of bytes that come in parts, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def files_in(folder: Path) -> list[Path]:
    """All files of a folder that is moved or compared as a whole: without our locks, and what Python compiles there.

    folder (Path): The folder.
    RETURNS (list[Path]): Sorted.
    """
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path for path in files if not path.name.startswith(".spacy-transfer"))


def sha256_of_folder(folder: Path) -> str:
    """SHA-256 of the names and contents of `files_in` a folder, as 64 hexadecimal digits.

    RAISES (OSError): T375 for what is not a regular file; what the file system says otherwise.
    """
    parts = [[path.relative_to(folder).as_posix(), sha256_of(path)] for path in files_in(folder)]
    return sha256_of_data(json.dumps(parts).encode("utf-8"))


class RunningSha256:
    """SHA-256 of what has been written so far.

    data (bytes): What it begins with.
    """

    def __init__(self, data: bytes = b"") -> None:
        self._digest = hashlib.sha256(data)

    def update(self, data: bytes) -> None:
        """Go on with more bytes."""
        self._digest.update(data)

    def hexdigest(self) -> str:
        """As 64 hexadecimal digits."""
        return self._digest.hexdigest()


class Fingerprint:
    """Tells contents apart within this package, texts and weights: BLAKE2b, which is shorter and faster than SHA-256.

    size (int): Bytes, 1 to 64.
    purpose (bytes): Gives the same contents another fingerprint; 16 bytes at most.
    """

    def __init__(self, *, size: int = 16, purpose: bytes = b"") -> None:
        self._digest = hashlib.blake2b(digest_size=size, person=purpose)

    def update(self, data: bytes) -> None:
        """Go on with more bytes."""
        self._digest.update(data)

    def digest(self) -> bytes:
        """Of all that was added."""
        return self._digest.digest()

    def hexdigest(self) -> str:
        """Of all that was added, as hexadecimal digits."""
        return self._digest.hexdigest()


def fingerprint_of_data(data: bytes, *, size: int = 16, purpose: bytes = b"") -> bytes:
    """Fingerprint of bytes at hand, as `Fingerprint` makes it, in one call: caches ask for one for each row.

    data (bytes): The contents.
    size (int): Bytes, 1 to 64.
    purpose (bytes): Gives the same contents another fingerprint; 16 bytes at most.
    """
    return hashlib.blake2b(data, digest_size=size, person=purpose).digest()
