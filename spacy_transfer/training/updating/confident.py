"""Chooses the texts without labels that a classifier is sure of, for each label its share."""

from collections.abc import Sequence

import numpy as np

from ...pipeline.interface import Floats


def most_confident(scores: Floats, *, exclusive: bool, share: float, least_score: float) -> list[dict[int, float]]:
    """Label the texts whose labels are sure.

    Each label has a threshold of its own: the score that the given share of its texts reaches. One threshold for all
    would leave out the labels that are hard to tell, which need more texts most.

    scores (Floats): (n_texts, n_labels).
    exclusive (bool): Exactly one label a text: the best one, if it is sure. Otherwise each label is decided by itself:
        it holds, it does not, or nothing is known.
    share (float): Of the texts that are given a label, and of those that are not.
    least_score (float): What is less sure is never taken.
    RETURNS (list[dict[int, float]]): For each text its labels by their places, 1 or 0; empty where nothing is sure.
    """
    n_texts, n_labels = scores.shape
    found: list[dict[int, float]] = [{} for _ in range(n_texts)]
    best = scores.argmax(axis=1) if n_texts else np.zeros(0, dtype=np.int64)
    for j in range(n_labels):
        given = best == j if exclusive else scores[:, j] >= 0.5
        for i in _surest(np.flatnonzero(given).tolist(), scores[:, j], share, least_score):
            found[i][j] = 1.0
        if not exclusive:
            for i in _surest(np.flatnonzero(~given).tolist(), 1.0 - scores[:, j], share, least_score):
                found[i][j] = 0.0
    if exclusive:
        return found
    # A text of which only labels are known that it does not have teaches little, and there are many of them.
    return [one if any(one.values()) else {} for one in found]


def _surest(rows: Sequence[int], sureness: Floats, share: float, least: float) -> list[int]:
    order = sorted(rows, key=lambda i: (-float(sureness[i]), i))
    return [int(i) for i in order[: int(np.ceil(share * len(order)))] if sureness[i] >= least]
