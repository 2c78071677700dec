"""Trainings within a command that has more to do: ended by a signal, it all ends."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Trained


class Interrupted(Exception):
    """A run was ended by a signal.

    signal (int): Its number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


def to_its_end(training: "Callable[[], Trained]") -> "Trained":
    """Train, and do not come back from a training that somebody ended.

    training (Callable): Calls `train`.
    RETURNS (Trained): What came of it.
    RAISES (Interrupted): After SIGTERM or Ctrl-C.
    """
    from .session import Stopped

    try:
        trained = training()
    except Stopped as stopped:
        raise Interrupted(stopped.trained.signal) from stopped
    if trained.status == "interrupted":
        raise Interrupted(trained.signal)
    return trained
