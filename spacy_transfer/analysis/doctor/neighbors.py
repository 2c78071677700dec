"""Nearest neighbors by vector: near-duplicates and outliers. NumPy alone."""

from dataclasses import dataclass

import numpy as np

from ...evaluation.clusters import unit_length
from ...evaluation.measures import Numbers
from ...pipeline.interface import Floats

# Similarities that are in memory at once.
_MOST_AT_ONCE = 20_000_000
_N_NEAREST = 10
# Pairs that are kept; of a text that comes a thousand times there would be half a million.
_MOST_PAIRS = 20_000


@dataclass(frozen=True)
class Neighbors:
    """What is near what.

    pairs (list[tuple[int, int, float]]): Texts that are nearly the same, and their similarity; most similar first.
    nearness (Numbers): Mean similarity of each text to its ten nearest ones.
    """

    pairs: list[tuple[int, int, float]]
    nearness: Numbers


def find_neighbors(vectors: Floats, similarity: float) -> Neighbors:
    """Compare each text with all others.

    vectors (Floats): (n_texts, width).
    similarity (float): Least cosine of a pair.
    RETURNS (Neighbors): Pairs and nearness.
    """
    n_texts = len(vectors)
    unit = unit_length(vectors)
    block, n_nearest = max(1, _MOST_AT_ONCE // max(1, n_texts)), min(_N_NEAREST, n_texts - 1)
    nearness = np.zeros(n_texts)
    pairs: list[tuple[int, int, float]] = []
    for begin in range(0, n_texts, block):
        cosines = unit[begin : begin + block] @ unit.T
        rows = np.arange(len(cosines))
        cosines[rows, begin + rows] = -1.0
        if n_nearest:
            nearness[begin : begin + block] = -np.partition(-cosines, n_nearest - 1, axis=1)[:, :n_nearest].mean(axis=1)
        if len(pairs) >= _MOST_PAIRS:
            continue
        first, second = np.nonzero(cosines >= similarity)
        # Each pair once.
        kept = begin + first < second
        found = zip(
            (begin + first[kept]).tolist(), second[kept].tolist(), cosines[first[kept], second[kept]].tolist(),
            strict=True,
        )  # fmt: skip
        pairs.extend(found)
    pairs.sort(key=lambda pair: -pair[2])
    return Neighbors(pairs, nearness)


def outliers(nearness: Numbers, factor: float = 6.0) -> list[int]:
    """Find texts that are far from all others.

    nearness (Numbers): Of each text.
    factor (float): How many median deviations below the median.
    RETURNS (list[int]): The farthest first.
    """
    if len(nearness) < 2 * _N_NEAREST:
        return []
    median = float(np.median(nearness))
    deviation = float(np.median(np.abs(nearness - median)))
    far = np.flatnonzero(nearness < median - factor * max(deviation, 1e-6))
    return far[np.argsort(nearness[far], kind="stable")].tolist()
