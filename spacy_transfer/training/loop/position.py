"""The position of a run."""

import math
from dataclasses import dataclass, field

from torch import Tensor

from .single_step import Losses


@dataclass
class Position:
    """Where a run is, as JSON.

    n_done (int): Steps done.
    n_words (int): Words read.
    n_skipped (int): Steps left out for a loss that is no number.
    n_skipped_in_a_row (int): Of them those since the last good step.
    losses (dict): Sums since the last evaluation, by component.
    n_docs (int): Documents since then.
    norms (dict): Gradient norms of the last step, by component.
    results (list): Score and step of every evaluation.
    best_scores (dict): All numbers of the best one.
    measure (str): What the score is.
    pending (bool): The last step's evaluation is still to be made.
    measured (list): Seconds and steps at which the speed began to be measured; empty without a limit of time.
    landing (list): Step from which the rate falls to 0, and the number of steps then fixed; empty before that.
    rate (float): Of the last step.
    epoch (int): Of the last step.
    seconds (float): Spent in training.
    """

    n_done: int = 0
    n_words: int = 0
    n_skipped: int = 0
    n_skipped_in_a_row: int = 0
    n_docs: int = 0
    epoch: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    pending: bool = False
    losses: Losses = field(default_factory=dict)
    norms: dict[str, float | Tensor] = field(default_factory=dict)
    results: list[tuple[float, int]] = field(default_factory=list)
    best_scores: dict[str, float] = field(default_factory=dict)
    measure: str = ""
    measured: list[float] = field(default_factory=list)
    landing: list[int] = field(default_factory=list)

    @property
    def best(self) -> tuple[float, int]:
        """Score and step of the best evaluation; of equal ones the earliest."""
        finite = [one for one in self.results if not math.isnan(one[0])] or self.results
        score, step = max((score, -step) for score, step in finite)
        return score, -step
