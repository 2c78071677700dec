"""Numbers about predictions: rates with intervals, F by label, confusions. NumPy alone."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]

CONFIDENCE = 0.95
# Of the normal distribution, for CONFIDENCE.
_Z = 1.959963984540054
N_RESAMPLES = 1000
# Numbers drawn at once.
_MOST_DRAWN = 4_000_000
# Numbers drawn in all: of very many different rows fewer resamples are made, at least _FEWEST.
_MOST_IN_ALL, _FEWEST = 20_000_000, 200
# Where no label stands in a confusion.
NO_LABEL = ""


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % interval.

    value (float): NaN where there is nothing to count.
    low (float): Lower end.
    high (float): Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcomes:
    """What came of every decision: (n_texts, n_labels) flags.

    hits (Flags): The label is right and was given.
    extras (Flags): It was given, but is wrong.
    misses (Flags): It is right, but was not given.
    """

    hits: Flags
    extras: Flags
    misses: Flags

    @classmethod
    def of(cls, gold: Flags, predicted: Flags, known: Flags | None = None) -> "Outcomes":
        """Compare.

        gold (Flags): The right labels, (n_texts, n_labels).
        predicted (Flags): Those that were given.
        known (Flags | None): Where there is an annotation; None: everywhere.
        RETURNS (Outcomes): Decisions that nobody can judge are none of the three.
        """
        counted = predicted if known is None else predicted & known
        return cls(gold & predicted, counted & ~gold, gold & ~predicted)

    @property
    def right(self) -> Flags:
        """Of each text, whether it has exactly the right labels."""
        return np.asarray(~(self.extras | self.misses).any(axis=1))

    def rows(self) -> Flags:
        """All three next to each other, (n_texts, 3 * n_labels)."""
        return np.concatenate([self.hits, self.extras, self.misses], axis=1)


def wilson(n_right: float, n: float) -> Interval:
    """Estimate a share.

    n_right (float): Cases that count.
    n (float): All cases.
    RETURNS (Interval): The share; without cases it may be anything from 0 to 1.
    SOURCE: Wilson 1927; unlike the normal approximation it holds near 0 and 1 and for few cases, see Brown, Cai &
        DasGupta 2001.
    """
    if not n:
        return Interval(math.nan, 0.0, 1.0)
    share, z = n_right / n, _Z**2 / n
    middle = (share + z / 2) / (1 + z)
    half = _Z / (1 + z) * math.sqrt(share * (1 - share) / n + z / (4 * n))
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def f_interval(n_hits: int, n_wrong: int) -> Interval:
    """Estimate the F of one label.

    n_hits (int): Texts that have the label and got it.
    n_wrong (int): Texts that have it or got it, but not both.
    RETURNS (Interval): F = 2 J / (1 + J), where J is the share of hits in all these texts: its interval is Wilson's,
        which a bootstrap cannot give where all few texts are right.
    SOURCE: "Wilson indirect" of Lam, Gopal & Qian 2023, arXiv:2309.14621.
    """
    share = wilson(n_hits, n_hits + n_wrong)
    value, low, high = (2 * j / (1 + j) for j in (share.value, share.low, share.high))
    return Interval(value, low, high)


def f_of(hits: Numbers, wrong: Numbers) -> Numbers:
    """Compute F, element by element.

    hits (Numbers): Texts with the label that got it.
    wrong (Numbers): Texts that have it or got it, but not both.
    RETURNS (Numbers): F; NaN where both are 0.
    """
    whole = 2 * hits + wrong
    with np.errstate(invalid="ignore"):
        return np.where(whole > 0, 2 * hits / np.maximum(whole, 1), np.nan)


def mean_of_known(values: Numbers) -> Numbers:
    """Average the last axis, NaN left out; NaN where all are."""
    known = ~np.isnan(values)
    n_known = known.sum(axis=-1)
    sums = np.where(known, values, 0.0).sum(axis=-1)
    return np.where(n_known > 0, sums / np.maximum(n_known, 1), np.nan)


@dataclass(frozen=True)
class Patterns:
    """Texts of the same outcome are one: a resample is then a draw of how often each outcome comes.

    rows (Numbers): The different rows of `Outcomes.rows`, of one pipeline or of several side by side.
    counts (Counts): Texts of each.
    """

    rows: Numbers
    counts: Counts

    @classmethod
    def of(cls, rows: Flags) -> "Patterns":
        """Count the different rows.

        rows (Flags): (n_texts, width).
        """
        packed = np.ascontiguousarray(np.packbits(rows, axis=1))
        if not packed.size:
            return cls(np.zeros((0, rows.shape[1])), np.zeros(0, dtype=np.int64))
        keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
        _, first, counts = np.unique(keys, return_index=True, return_counts=True)
        return cls(rows[first].astype(np.float64), counts.astype(np.int64))

    def resample(self, seed: int = 0) -> list[tuple[Counts, Numbers]]:
        """Draw texts with replacement, again and again.

        seed (int): Of the draws.
        RETURNS (list[tuple[Counts, Numbers]]): Blocks of resamples: how often each pattern came, (n, n_patterns), and
            the sums of the rows, (n, width).
        """
        n_patterns = len(self.counts)
        if not n_patterns:
            return []
        n_left = min(N_RESAMPLES, max(_FEWEST, _MOST_IN_ALL // n_patterns))
        generator, n_texts = np.random.default_rng(seed), int(self.counts.sum())
        block = max(1, _MOST_DRAWN // n_patterns)
        found = []
        while n_left > 0:
            drawn = generator.multinomial(n_texts, self.counts / n_texts, size=min(block, n_left))
            found.append((drawn, drawn @ self.rows))
            n_left -= len(drawn)
        return found


def percentiles(value: float, draws: Numbers) -> Interval:
    """Make the interval of a number from its resamples.

    value (float): Of all texts.
    draws (Numbers): Of each resample; NaN counts for nothing.
    """
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return Interval(value, math.nan, math.nan)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


@dataclass(frozen=True)
class FScores:
    """F over all labels, by bootstrap over texts.

    macro (Interval): The mean over labels that any text has or got, as in scikit-learn.
    micro (Interval): Of all decisions together.
    by_label (list[Interval]): Of each label.
    """

    macro: Interval
    micro: Interval
    by_label: list[Interval]


def bootstrap_f(outcomes: Outcomes, seed: int = 0) -> FScores:
    """Compute F and how far it would be another with other texts.

    outcomes (Outcomes): Of all texts.
    seed (int): Of the resamples.
    """
    patterns = Patterns.of(outcomes.rows())
    n_labels = outcomes.hits.shape[1]
    sums = (patterns.counts @ patterns.rows)[None]
    macro, micro, each = _f_scores(sums, n_labels)
    blocks = [_f_scores(drawn, n_labels) for _, drawn in patterns.resample(seed)] or [(macro[:0], micro[:0], each[:0])]
    macros, micros, eaches = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return FScores(
        percentiles(float(macro[0]), macros),
        percentiles(float(micro[0]), micros),
        [percentiles(float(each[0, j]), eaches[:, j]) for j in range(n_labels)],
    )


def _f_scores(sums: Numbers, n_labels: int) -> tuple[Numbers, Numbers, Numbers]:
    """Macro F, micro F and F by label of sums of rows."""
    hits, wrong = sums[:, :n_labels], sums[:, n_labels : 2 * n_labels] + sums[:, 2 * n_labels : 3 * n_labels]
    each = f_of(hits, wrong)
    return mean_of_known(each), f_of(hits.sum(axis=1), wrong.sum(axis=1)), each


def macro_f(sums: Numbers, n_labels: int) -> Numbers:
    """Compute the macro F of sums of `Outcomes.rows`.

    sums (Numbers): (n, 3 * n_labels).
    n_labels (int): Labels.
    RETURNS (Numbers): (n,).
    """
    return _f_scores(sums, n_labels)[0]


def confusions(labels: Sequence[str], outcomes: Outcomes) -> list[tuple[str, str, int]]:
    """Count which label was taken for which.

    labels (Sequence[str]): In the order of the columns.
    outcomes (Outcomes): Of all texts. A text with a miss and an extra label is a confusion of the two; where one of
        both is missing, NO_LABEL stands for it.
    RETURNS (list[tuple[str, str, int]]): Right label, given label, texts; most frequent first.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    for i in np.flatnonzero(~outcomes.right).tolist():
        missed = [labels[j] for j in np.flatnonzero(outcomes.misses[i]).tolist()] or [NO_LABEL]
        extra = [labels[j] for j in np.flatnonzero(outcomes.extras[i]).tolist()] or [NO_LABEL]
        pairs.update((right, given) for right in missed for given in extra)
    return sorted(((right, given, n) for (right, given), n in pairs.items()), key=lambda one: (-one[2], one[:2]))
