"""The bytes of a graph, kept for processes that are forked and for copies: in memory, or in the open file."""

import os
import weakref
from pathlib import Path

from ...errors import T082
from ...files import open_regular, sha256_of_data

# Without it, processes would share a position in the file.
_HAS_PREAD = hasattr(os, "pread")
_AT_A_TIME = 2**24


class GraphBytes:
    """Gives the bytes of a graph as often as they are asked for.

    source (bytes | int): The bytes, or the descriptor of a file that stays open: what takes its place, or removes it,
        does not matter, and the graph takes no memory besides the runtime's.
    name (Path | str): What messages call it.
    sha256 (str): Of a file.
    """

    def __init__(self, source: bytes | int, name: Path | str, sha256: str = "") -> None:
        self.name = name
        self._source, self._sha256 = source, sha256
        if isinstance(source, int):
            weakref.finalize(self, os.close, source)

    @classmethod
    def of_file(cls, path: Path, sha256: str) -> "GraphBytes":
        """Keep a file.

        path (Path): The file.
        sha256 (str): Of its contents.
        RETURNS (GraphBytes): On Linux and macOS not read yet.
        RAISES (OSError): T082 if it is missing, no regular file, or altered.
        """
        try:
            opened = open_regular(path)
        except OSError as error:
            raise OSError(T082.format(file=path, error=error.strerror or error)) from error
        with opened:
            if _HAS_PREAD:
                return cls(os.dup(opened.fileno()), path, sha256)
            return cls(_checked(opened.read(), path, sha256), path)  # pragma: no cover - Windows

    def read(self) -> bytes:
        """Read them.

        RETURNS (bytes): All of them.
        RAISES (OSError): T082 for a file that was altered.
        """
        if isinstance(self._source, bytes):
            return self._source
        parts: list[bytes] = []
        at = 0
        while part := os.pread(self._source, _AT_A_TIME, at):
            parts.append(part)
            at += len(part)
        return _checked(b"".join(parts), self.name, self._sha256)


def _checked(data: bytes, name: Path | str, sha256: str) -> bytes:
    if sha256_of_data(data) != sha256:
        raise OSError(T082.format(file=name, error="its SHA-256 is not the one in cfg"))
    return data
