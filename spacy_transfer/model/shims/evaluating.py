"""Marks predictions made by an evaluation in a training loop, whose texts come again in the next one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_evaluating: ContextVar[bool] = ContextVar("evaluating", default=False)


@contextmanager
def evaluating() -> Iterator[None]:
    """Within: this thread predicts for an evaluation of our own loop."""
    token = _evaluating.set(True)
    try:
        yield
    finally:
        _evaluating.reset(token)


def is_evaluating() -> bool:
    """Whether this thread predicts within an evaluation of a training loop, ours or that of `spacy train`."""
    return _evaluating.get() or _is_within_spacys_loop()


def _is_within_spacys_loop() -> bool:
    # spaCy's loop tells components nothing; its frame is below ours while it evaluates.
    from spacy.training.loop import train_while_improving

    wanted, frame = train_while_improving.__code__, sys._getframe(1)
    while frame is not None:
        if frame.f_code is wanted:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
