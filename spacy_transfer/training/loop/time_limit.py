"""A training length in seconds: when the learning rate begins to fall, and when the run ends."""

import math
from dataclasses import dataclass

# Of the time, after which the steps that are left are counted, and the rate falls to 0 within them. So late their speed
# is known: caches are full, evaluations and checkpoints were seen.
_LANDING = 0.8
# Speed is measured from this share of the time on.
_MEASURED = 0.4
# Of the steps that would just fit, so many are made.
_CAUTION = 0.95


@dataclass
class TimeLimit:
    """How long a run may train: a plain stop by the clock, with a landing before it.

    How many steps fit into a time is not known before step 0: steps over cached states take a tenth of those that
    fill the cache. So up to four fifths of the time the run is, bit for bit, the one without a limit. Then the steps
    that are left are fixed once, from the speed since two fifths; the rate falls in a line from where it is to 0 within
    them; and the checkpoints know it, so a resumed run lands on the same step with the same bits. Only the moment of
    that decision depends on the clock, and the stop before the last step where the machine became slower. A schedule
    that is not ours keeps its rate.
    SOURCE: Haegele et al. 2024, arXiv:2405.18392 (a rate that stays high and falls at the end, over a fifth of the
    steps, is as good as one that falls all the time).

    seconds (float): Spent in training, those before an interruption included; 0: no limit.
    """

    seconds: float = 0.0

    def is_up(self, elapsed: float) -> bool:
        """Decide whether the time is up.

        elapsed (float): Seconds spent.
        RETURNS (bool): False without a limit.
        """
        return 0 < self.seconds <= elapsed

    def is_measuring(self, elapsed: float) -> bool:
        """Whether it is time to measure the speed."""
        return 0 < self.seconds * _MEASURED <= elapsed

    def is_landing(self, elapsed: float) -> bool:
        """Whether it is time to fix the steps that are left."""
        return 0 < self.seconds * _LANDING <= elapsed

    def n_left(self, elapsed: float, n_done: int, since: tuple[float, int]) -> int:
        """Steps that still fit.

        elapsed (float): Seconds spent.
        n_done (int): Steps done.
        since (tuple): Seconds and steps at which measuring began.
        RETURNS (int): Steps.
        """
        seconds, steps = elapsed - since[0], n_done - since[1]
        if seconds <= 0 or steps <= 0:
            seconds, steps = elapsed, n_done
        return max(1, math.floor(_CAUTION * (self.seconds - elapsed) * steps / seconds))
