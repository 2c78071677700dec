"""Two pipelines on the same texts: who is better, and how sure that is. NumPy alone."""

import math
from dataclasses import dataclass

import numpy as np

from .measures import Flags, Interval, Outcomes, Patterns, macro_f, percentiles


@dataclass(frozen=True)
class Comparison:
    """What another pipeline changes.

    n_gained (int): Texts that only the other one has right.
    n_lost (int): Texts that only the first one has right.
    p_value (float): Of McNemar's exact test: how likely a difference at least as large is if both are equally good.
    accuracy (Interval): The other's accuracy minus the first one's, by paired bootstrap.
    macro_f (Interval): The other's macro F minus the first one's, by paired bootstrap.
    """

    n_gained: int
    n_lost: int
    p_value: float
    accuracy: Interval
    macro_f: Interval


def mcnemar(n_gained: int, n_lost: int) -> float:
    """Test whether two pipelines are right equally often.

    n_gained (int): Texts that only one has right.
    n_lost (int): Texts that only the other has right.
    RETURNS (float): Two-sided p of the exact binomial test; 1 where they differ on no text.
    SOURCE: McNemar 1947; exact version as in Dietterich 1998.
    """
    n = n_gained + n_lost
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        for k in range(min(n_gained, n_lost) + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(log) for log in logs))


def compare(first: Outcomes, other: Outcomes, seed: int = 0) -> Comparison:
    """Compare two pipelines.

    first (Outcomes): Of all texts.
    other (Outcomes): Of the same texts in the same order; it may have other labels.
    seed (int): Of the resamples.
    RETURNS (Comparison): Both are measured on the same resamples.
    """
    gained, lost = other.right & ~first.right, first.right & ~other.right
    widths = first.hits.shape[1], other.hits.shape[1]
    patterns = Patterns.of(np.concatenate([first.rows(), other.rows(), gained[:, None], lost[:, None]], axis=1))
    accuracy, f = _differences(patterns.counts[None] @ patterns.rows, *widths, int(patterns.counts.sum()))
    blocks = [_differences(sums, *widths, int(patterns.counts.sum())) for _, sums in patterns.resample(seed)]
    accuracies = np.concatenate([one for one, _ in blocks]) if blocks else accuracy[:0]
    fs = np.concatenate([one for _, one in blocks]) if blocks else f[:0]
    n_gained, n_lost = int(gained.sum()), int(lost.sum())
    return Comparison(
        n_gained, n_lost, mcnemar(n_gained, n_lost), percentiles(float(accuracy[0]), accuracies),
        percentiles(float(f[0]), fs),
    )  # fmt: skip


def _differences(sums: np.ndarray, n_first: int, n_other: int, n_texts: int) -> tuple[np.ndarray, np.ndarray]:
    middle, end = 3 * n_first, 3 * (n_first + n_other)
    f = macro_f(sums[:, middle:end], n_other) - macro_f(sums[:, :middle], n_first)
    return (sums[:, end] - sums[:, end + 1]) / max(1, n_texts), f


def changes(first: Flags, other: Flags) -> tuple[list[int], list[int]]:
    """Find the texts on which two pipelines differ.

    first (Flags): Of each text, whether the first one is right.
    other (Flags): Whether the other one is.
    RETURNS (tuple[list[int], list[int]]): Numbers of the texts that turned right, and of those that turned wrong.
    """
    return np.flatnonzero(other & ~first).tolist(), np.flatnonzero(first & ~other).tolist()
