"""Gives memory that was freed back to the system.

Micro-batches come in many sizes, and the holes that one leaves in the heap of the C library seldom fit the next: over
50,000 distinct short texts in fp32 a process grew from 650 MB to 1.8 GB, and went on growing, with 700 MB in use.
"""

import ctypes
import sys
from collections.abc import Callable
from time import perf_counter

# Giving back takes some milliseconds for each 100 MB, and taking anew a few times as much: together 1 to 2 % of a run.
_LEAST_SECONDS, _SHARE = 1.0, 200


class FreedMemory:
    """Of this process.

    trim (Callable | None): Gives back what is free; None where the C library has no such function.
    clock (Callable): Seconds.
    """

    def __init__(self, trim: Callable[[], object] | None, clock: Callable[[], float] = perf_counter) -> None:
        self._trim, self._clock = trim, clock
        self._next = clock() + _LEAST_SECONDS

    def give_back(self) -> None:
        """Give back, if the last time is long enough ago, for what it took, to cost next to nothing."""
        now = self._clock()
        if self._trim is None or now < self._next:
            return
        self._trim()
        done = self._clock()
        self._next = done + max(_LEAST_SECONDS, _SHARE * (done - now))


def _malloc_trim() -> Callable[[], object] | None:
    # musl and macOS have none, and need none: they place blocks of this size apart.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    return None if trim is None else lambda: trim(0)


FREED_MEMORY = FreedMemory(_malloc_trim())
