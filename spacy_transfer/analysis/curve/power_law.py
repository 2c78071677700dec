"""The error as a power law of the number of texts, and how far it can be trusted. NumPy alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation.measures import N_RESAMPLES, Interval, Numbers, percentiles

# Exponents that are tried: 0.5 is usual, below 0.1 the error hardly falls.
_EXPONENTS = np.geomspace(0.05, 2.0, 60)
# A law has three numbers.
LEAST_SIZES = 4
# Resamples that are drawn at once.
_BLOCK = 50


@dataclass(frozen=True)
class Forecast:
    """What a number of texts brings.

    n (int): Training texts.
    score (Interval): By the law that fits best; the interval is that of the laws of the resamples.
    gain (Interval): The same minus the score of all texts that there are.
    """

    n: int
    score: Interval
    gain: Interval


@dataclass(frozen=True)
class Law:
    """error(n) = floor + factor * n ** -exponent.

    floor (float): What no number of texts takes away.
    factor (float): Above 0 where texts help.
    exponent (float): How fast they do.
    """

    floor: float
    factor: float
    exponent: float

    def score(self, n: float) -> float:
        """Give the score with so many texts.

        n (float): Training texts.
        """
        return 1.0 - (self.floor + self.factor * float(n) ** -self.exponent)


@dataclass(frozen=True)
class Outcome:
    """What came of the held-out texts: a score is the sum of one row divided by that of the other.

    hits (Numbers): (n_sizes, n_texts).
    out_of (Numbers): The same.
    """

    hits: Numbers
    out_of: Numbers

    def scores(self) -> Numbers:
        """Compute the score of each size, (n_sizes,)."""
        return self.hits.sum(axis=1) / np.maximum(self.out_of.sum(axis=1), 1e-9)

    def resampled(self, seed: int) -> Numbers:
        """Compute the scores of other texts that might have been held out.

        seed (int): Of the draws.
        RETURNS (Numbers): (N_RESAMPLES, n_sizes).
        """
        generator, n_texts = np.random.default_rng(seed), self.hits.shape[1]
        found = []
        for begin in range(0, N_RESAMPLES, _BLOCK):
            # A text comes a Poisson number of times, which is what drawing with replacement comes to.
            drawn = generator.poisson(1.0, (min(_BLOCK, N_RESAMPLES - begin), n_texts)).astype(np.float64)
            found.append((drawn @ self.hits.T) / np.maximum(drawn @ self.out_of.T, 1e-9))
        return np.concatenate(found)


def fit_law(sizes: Sequence[int], scores: Numbers) -> Law:
    """Fit a power law.

    sizes (Sequence[int]): Training texts, rising.
    scores (Numbers): Of each size.
    RETURNS (Law): By least squares, larger sizes weighing more.
    SOURCE: Hestness et al. 2017, arXiv:1712.00409; that three numbers with a floor extrapolate best of the simple laws:
        Viering & Loog 2021, arXiv:2103.10948.
    """
    floors, factors, exponents = _fit(np.asarray(sizes, dtype=np.float64), scores[None], _weights(sizes)[None])
    return Law(float(floors[0]), float(factors[0]), float(exponents[0]))


def forecast(
    sizes: Sequence[int], outcome: Outcome, n_now: int, wanted: Sequence[int], seed: int = 0
) -> list[Forecast]:
    """Extrapolate, and say how far that can be trusted.

    Each resample has other held-out texts, and leaves some of the smallest sizes out: of few texts the error often
    falls in another way.

    sizes (Sequence[int]): Training texts, rising.
    outcome (Outcome): Of each size.
    n_now (int): Training texts that there are.
    wanted (Sequence[int]): Numbers of training texts.
    seed (int): Of the resamples.
    RETURNS (list[Forecast]): For each.
    """
    law, n = fit_law(sizes, outcome.scores()), np.asarray(sizes, dtype=np.float64)
    draws = outcome.resampled(seed)
    generator = np.random.default_rng(seed + 1)
    begins = generator.integers(0, max(1, len(sizes) - LEAST_SIZES), len(draws))
    weights = _weights(sizes)[None] * (np.arange(len(sizes))[None] >= begins[:, None])
    laws = _fit(n, draws, weights)
    now = _scores(laws, n_now)
    return [
        Forecast(
            one, percentiles(law.score(one), _scores(laws, one)),
            percentiles(law.score(one) - law.score(n_now), _scores(laws, one) - now),
        )
        for one in wanted
    ]  # fmt: skip


def _weights(sizes: Sequence[int]) -> Numbers:
    return np.asarray(sizes, dtype=np.float64) / max(sizes)


def _scores(laws: tuple[Numbers, Numbers, Numbers], n: float) -> Numbers:
    floors, factors, exponents = laws
    return 1.0 - (floors + factors * float(n) ** -exponents)


def _fit(n: Numbers, scores: Numbers, weights: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Fit many curves at once: for each exponent the best floor and factor, none of them below 0.

    RETURNS (tuple): Floors, factors and exponents, (n_curves,).
    """
    errors, total = 1.0 - scores, weights.sum(axis=1)
    largest, best = float(n.max()), np.full(len(scores), np.inf)
    floors, factors, exponents = np.zeros(len(scores)), np.zeros(len(scores)), np.ones(len(scores))
    mean_error = (weights * errors).sum(axis=1) / total
    for exponent in _EXPONENTS.tolist():
        part = (n / largest) ** -exponent
        mean_part = (weights * part).sum(axis=1) / total
        spread = (weights * (part - mean_part[:, None]) ** 2).sum(axis=1)
        joint = (weights * (part - mean_part[:, None]) * (errors - mean_error[:, None])).sum(axis=1)
        factor = np.maximum(joint / np.maximum(spread, 1e-12), 0.0)
        floor = mean_error - factor * mean_part
        # Without a floor, where it would be below 0.
        alone = (weights * part * errors).sum(axis=1) / (weights * part**2).sum(axis=1)
        factor, floor = np.where(floor < 0, alone, factor), np.maximum(floor, 0.0)
        misfit = (weights * (errors - floor[:, None] - factor[:, None] * part) ** 2).sum(axis=1)
        better = misfit < best
        best = np.where(better, misfit, best)
        floors, exponents = np.where(better, floor, floors), np.where(better, exponent, exponents)
        factors = np.where(better, factor * largest**exponent, factors)
    return floors, factors, exponents
