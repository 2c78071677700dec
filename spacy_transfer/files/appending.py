"""Files that grow: what is appended is on the disk before anything else speaks of it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


class GrowingFile:
    """Appends to a file. It is opened when something is appended first.

    path (Path): The file; it is made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def append(self, data: bytes) -> None:
        """Append, and wait until the disk has it.

        data (bytes): What goes to the end. After an error, part of it may be there.
        RAISES (OSError): What the file system says.
        """
        if self._file is None:
            self._file = self.path.open("ab")
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, whatever could not be written."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()
