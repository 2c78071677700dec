"""Ends a run cleanly on SIGTERM and Ctrl-C."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ending_on_signals(end: Callable[[int], None]) -> Iterator[None]:
    """Within: the first SIGTERM or Ctrl-C asks the run to end, the second Ctrl-C ends it at once.

    end (Callable): Takes the number of the signal; called between two steps of the interpreter.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        """Hand the signal on; a second Ctrl-C stops at once."""
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        seen.append(number)
        end(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
