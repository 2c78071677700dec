"""Vectors that frozen encoders have computed, by the digest of the content."""

from typing import final

import numpy as np
from numpy.typing import NDArray

_PER_ENTRY = 300  # bytes of a key and what holds it


@final
class VectorMemory:
    """Keeps vectors until its room is used up; copies and other processes begin with none.

    room (int): Bytes.
    """

    def __init__(self, room: int) -> None:
        self._room = self._left = room
        self._found: dict[str, NDArray[np.float32]] = {}

    def get(self, digest: str) -> NDArray[np.float32] | None:
        """The vector of a content, (width,), if it is known.

        digest (str): Of the content.
        """
        return self._found.get(digest)

    def keep(self, digest: str, vector: NDArray[np.float32]) -> None:
        """Remember a vector while there is room.

        digest (str): Of the content.
        vector (NDArray): (width,).
        """
        size = vector.nbytes + _PER_ENTRY
        if size <= self._left and digest not in self._found:
            self._left -= size
            self._found[digest] = vector

    def clear(self) -> None:
        """Forget all of them."""
        self._left = self._room
        self._found = {}
