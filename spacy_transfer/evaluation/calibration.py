"""What a score is worth: calibration, coverage and precision by threshold. NumPy alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .measures import Flags, Interval, Numbers, wilson

# At 0 everything is decided.
THRESHOLDS = (0.99, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3, 0.0)
N_BINS = 10
# Points of a curve that is drawn.
_MOST_POINTS = 200


@dataclass(frozen=True)
class Worth:
    """Decisions with a score of at least so much.

    threshold (float): The score.
    n (int): Decisions.
    share (float): Of all decisions.
    right (Interval): Share of them that is right.
    """

    threshold: float
    n: int
    share: float
    right: Interval


def worth(scores: Numbers, right: Flags, thresholds: Sequence[float] = THRESHOLDS) -> list[Worth]:
    """Say how often decisions are right whose score is at least so high.

    scores (Numbers): Of each decision, from 0 to 1.
    right (Flags): Whether it is right.
    thresholds (Sequence[float]): Scores, highest first. One that lets through the same decisions as the one before is
        left out.
    RETURNS (list[Worth]): A row for each.
    """
    rows: list[Worth] = []
    for threshold in thresholds:
        taken = scores >= threshold
        n = int(taken.sum())
        if n and (not rows or rows[-1].n < n):
            rows.append(Worth(threshold, n, n / len(scores), wilson(int(right[taken].sum()), n)))
    return rows


def least_score(scores: Numbers, right: Flags, wanted: float) -> Worth | None:
    """Find from which score on decisions are right often enough.

    scores (Numbers): Of each decision.
    right (Flags): Whether it is right.
    wanted (float): Share that is to be right.
    RETURNS (Worth | None): With the lowest such score; None if there is none.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    n_right = np.cumsum(right[order])
    # Decisions of one score are taken together.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, dtype=np.int64)
    good = [int(end) for end in ends if n_right[end] >= wanted * (end + 1)]
    if not good:
        return None
    n = good[-1] + 1
    return Worth(float(ranked[n - 1]), n, n / len(scores), wilson(int(n_right[n - 1]), n))


@dataclass(frozen=True)
class Bin:
    """Decisions of like scores.

    low (float): Lowest score.
    high (float): Highest score.
    n (int): Decisions.
    score (float): Their mean score.
    right (Interval): Share of them that is right.
    """

    low: float
    high: float
    n: int
    score: float
    right: Interval


@dataclass(frozen=True)
class Calibration:
    """Whether a score is the share of decisions that are right.

    error (float): Expected calibration error: the mean distance between score and share, over all decisions.
    excess (float): Mean score minus the share that is right; above 0, scores promise too much.
    bins (list[Bin]): Those that are not empty.
    """

    error: float
    excess: float
    bins: list[Bin]


def calibration(scores: Numbers, right: Flags) -> Calibration:
    """Compare scores with how often they are right.

    scores (Numbers): Of each decision, from 0 to 1.
    right (Flags): Whether it is right.
    RETURNS (Calibration): Over ten bins of equal width.
    SOURCE: expected calibration error: Guo et al. 2017, arXiv:1706.04599.
    """
    if not len(scores):
        return Calibration(math.nan, math.nan, [])
    number = np.clip((scores * N_BINS).astype(int), 0, N_BINS - 1)
    bins, error = [], 0.0
    for i in range(N_BINS):
        chosen = number == i
        if not chosen.any():
            continue
        n, mean = int(chosen.sum()), float(scores[chosen].mean())
        share = wilson(int(right[chosen].sum()), n)
        bins.append(Bin(i / N_BINS, (i + 1) / N_BINS, n, mean, share))
        error += n / len(scores) * abs(mean - share.value)
    return Calibration(error, float(scores.mean() - right.mean()), bins)


@dataclass(frozen=True)
class Curve:
    """Precision against recall over all thresholds.

    average_precision (float): Area below the steps; NaN without a right decision.
    thresholds (list[float]): Falling.
    precision (list[float]): At each of them.
    recall (list[float]): At each of them.
    """

    average_precision: float
    thresholds: list[float]
    precision: list[float]
    recall: list[float]


def precision_recall(scores: Numbers, gold: Flags) -> Curve:
    """Go through all thresholds.

    scores (Numbers): Of a label, or of several one after the other.
    gold (Flags): Where it is right.
    RETURNS (Curve): At most 200 points, evenly chosen.
    """
    n_gold = int(gold.sum())
    if not n_gold:
        return Curve(math.nan, [], [], [])
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hits = np.cumsum(gold[order])[ends]
    precision, recall = hits / (ends + 1), hits / n_gold
    area = float((np.diff(recall, prepend=0.0) * precision).sum())
    chosen = np.unique(np.linspace(0, len(ends) - 1, min(len(ends), _MOST_POINTS)).round().astype(int))
    return Curve(area, ranked[ends][chosen].tolist(), precision[chosen].tolist(), recall[chosen].tolist())
