"""A learning rate schedule that knows the length of the training."""

from collections.abc import Iterator

from thinc.api import Optimizer

from ...errors import T005, T328
from ...log import logger


class WarmupLinear(Iterator[float]):
    """A rate that rises in a line to its peak and falls in a line to 0 at the end of the training, for
    `[training.optimizer.learn_rate]`: `spacy-transfer.WarmupLinear.v1`.

    How many steps the training has is counted before the first one, from `[training] max_epochs`, `max_steps`, the
    batcher and the data, in `spacy train` and `spacy transfer train` alike; so the block needs no number of steps, and
    nothing of it refers to other sections, which `nlp.create_optimizer` and `nlp.resume_training` would not resolve.
    Where no loop counts (an optimizer for `nlp.update` in Python), the rate stays at its peak.

    peak (float): Highest rate.
    warmup (float): Share of the steps in which the rate rises, 0 <= warmup < 1.
    total_steps (int | None): Steps until the rate is 0, in place of the length of the training.
    counted_steps (int | None): Filled in when a training begins; leave it at null.
    RAISES (ValueError): T005 for a number out of range.
    SOURCE: Howard & Ruder 2018, arXiv:1801.06146; Devlin et al. 2019, arXiv:1810.04805.
    """

    def __init__(
        self,
        *,
        peak: float,
        warmup: float = 0.1,
        total_steps: int | None = None,
        counted_steps: int | None = None,
    ) -> None:
        # The config system hands a number in quotes on as a str.
        try:
            peak, warmup = float(peak), float(warmup)
        except OverflowError:
            # JSON's whole numbers may be of any length.
            peak = float("inf")
        for field, value, good, want in (
            ("peak", peak, 0.0 < peak < float("inf"), "above 0"),
            ("warmup", warmup, 0.0 <= warmup < 1.0, "0 <= warmup < 1, a share of the steps"),
            ("total_steps", total_steps, total_steps is None or total_steps >= 1, "1 or more, or null"),
        ):
            if not good:
                raise ValueError(T005.format(block="learn_rate", field=field, value=value, want=want))
        self.peak, self.warmup, self.total_steps, self.counted_steps = peak, warmup, total_steps, counted_steps
        # From this step on the rate falls in a line, to 0 at the other one.
        self.landing: tuple[int, int] | None = None
        self.has_limit = False
        self.n_drawn = 0
        self._told = False

    def __iter__(self) -> "WarmupLinear":
        return self

    def __next__(self) -> float:
        """The rate of the next step."""
        # Nobody but a loop draws a second number.
        if self.n_drawn and self.n_steps is None and not self.has_limit and not self._told:
            self._told = True
            logger.warning(T328.format(peak=self.peak))
        self.n_drawn += 1
        return self.at(self.n_drawn - 1)

    @property
    def n_steps(self) -> int | None:
        """Steps until the rate is 0; None as long as nobody has counted them."""
        return self.total_steps or self.counted_steps

    def at(self, step: int) -> float:
        """The rate of a step.

        step (int): From 0.
        """
        if self.landing is None or step < self.landing[0]:
            return self._unlimited(step)
        begin, end = self.landing
        return self._unlimited(begin) * max(0, end - step) / (end - begin)

    def _unlimited(self, step: int) -> float:
        if (n_steps := self.n_steps) is None:
            return self.peak
        n_warm = round(self.warmup * n_steps)
        if step < n_warm:
            # No step is lost to a rate of 0, neither the first nor the last.
            return self.peak * (step + 1) / (n_warm + 1)
        return self.peak * max(0, n_steps - step) / (n_steps - n_warm)


def set_length(optimizer: Optimizer, n_steps: int, *, has_limit: bool = False) -> None:
    """Tell the schedules of an optimizer how many steps the training has.

    optimizer (Optimizer): Of the training.
    n_steps (int): 0 where nobody knows.
    has_limit (bool): A limit of time will say it later.
    """
    for field, schedule in optimizer.schedules.items():
        if isinstance(schedule, WarmupLinear):
            schedule.counted_steps = n_steps or None
            schedule.has_limit = has_limit
            value = schedule.at(max(0, schedule.n_drawn - 1))
            setattr(optimizer, field, value)


def set_landing(optimizer: Optimizer, begin: int, end: int) -> None:
    """Let the rates fall to 0 in a line.

    optimizer (Optimizer): Of the training.
    begin (int): The first step of the fall.
    end (int): The number of all steps.
    """
    for field, schedule in optimizer.schedules.items():
        if isinstance(schedule, WarmupLinear):
            schedule.landing = (begin, end)
            value = schedule.at(max(0, schedule.n_drawn - 1))
            setattr(optimizer, field, value)
