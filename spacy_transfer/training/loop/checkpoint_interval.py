"""Decides when a checkpoint is due."""

import re
from dataclasses import dataclass
from time import perf_counter

from ...errors import T172

_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass
class Cadence:
    """Due when so many steps and so much time have passed since the last one.

    steps (int): 0 asks for none.
    seconds (float): 0 asks for none.
    times (float): So many times what the last one took, which keeps them to a share of the run where steps are fast and
        weights are many; 0 asks for none.
    """

    steps: int = 100
    seconds: float = 30.0
    times: float = 30.0

    def __post_init__(self) -> None:
        self._step, self._time, self._took = 0, perf_counter(), 0.0

    @classmethod
    def parse(cls, text: str) -> "Cadence":
        """Read how often checkpoints are written.

        text (str): "100" steps, "30s", "5m", "1h", or "auto": 100 steps, 30 s or 30 times what the last checkpoint
            took, whichever is later.

        RAISES (ValueError): T172 for anything else.
        """
        if text == "auto":
            return cls()
        found = re.fullmatch(r"(\d+)([smh]?)", text.strip())
        if not found or not int(found[1]):
            raise ValueError(T172.format(value=text))
        number, unit = int(found[1]), found[2]
        return cls(0, number * _SECONDS[unit], 0.0) if unit else cls(number, 0.0, 0.0)

    def is_due(self, n_done: int) -> bool:
        """Decide whether to write a checkpoint now.

        n_done (int): Steps done.
        RETURNS (bool): Whether enough steps and seconds have passed.
        """
        least = max(self.seconds, self.times * self._took)
        return n_done - self._step >= max(1, self.steps) and perf_counter() - self._time >= least

    def done(self, n_done: int, took: float = 0.0) -> None:
        """One was written, or could not be, after so many steps.

        n_done (int): Steps done.
        took (float): Seconds that it took.
        """
        self._step, self._time, self._took = n_done, perf_counter(), took
