"""Which of some texts would teach a classifier most. NumPy alone."""

from typing import Literal

import numpy as np

from ...evaluation.clusters import clusters_of, unit_length
from ...evaluation.measures import Counts, Numbers
from ...pipeline.interface import Floats

Strategy = Literal["margin", "entropy", "coverage", "both"]
STRATEGIES: tuple[Strategy, ...] = ("margin", "entropy", "coverage", "both")
# Centers that are told apart at most; each text is compared with each.
_MOST_CENTERS = 2000


def uncertainty(
    scores: Floats, *, exclusive: bool, threshold: float = 0.5, by: Literal["margin", "entropy"] = "margin"
) -> Numbers:
    """Say how little a classifier knows about texts.

    scores (Floats): (n_texts, n_labels).
    exclusive (bool): Scores of a text sum to 1.
    threshold (float): Where labels are independent, the score from which on one is given.
    by (str): "margin": the two best labels are close together, or the score of a label is close to the threshold;
        "entropy": scores are far from 0 and 1, whichever label it is.
    RETURNS (Numbers): From 0, sure, to 1, (n_texts,).
    """
    values = np.clip(scores.astype(np.float64), 0.0, 1.0)
    if not len(values):
        return np.zeros(0)
    if by == "entropy":
        if exclusive:
            return _entropy(values).sum(axis=1) / np.log(max(2, values.shape[1]))
        return (_entropy(values) + _entropy(1.0 - values)).mean(axis=1) / np.log(2)
    if exclusive:
        if values.shape[1] < 2:
            return 1.0 - values[:, 0]
        best = -np.partition(-values, 1, axis=1)[:, :2]
        return 1.0 - (best[:, 0] - best[:, 1])
    # The same 1 at the threshold and 0 at both ends, wherever it is.
    room = np.where(values >= threshold, 1.0 - threshold, threshold)
    return 1.0 - (np.abs(values - threshold) / np.maximum(room, 1e-9)).min(axis=1).clip(max=1.0)


def _entropy(values: Numbers) -> Numbers:
    return -values * np.log(np.maximum(values, 1e-12))


def choose(
    scores: Floats, vectors: Floats, n: int, strategy: Strategy, *, exclusive: bool, threshold: float = 0.5,
    covered: Floats | None = None, seed: int = 0,
) -> list[int]:  # fmt: skip
    """Choose texts to annotate.

    scores (Floats): (n_texts, n_labels).
    vectors (Floats): (n_texts, width); not needed for "margin" and "entropy".
    n (int): How many.
    strategy (str): "margin", "entropy": those that the classifier knows least about; "coverage": the middle of each of
        the clusters that have no annotated text; "both": uncertain ones that differ from each other.
    exclusive (bool): Exactly one label a text.
    threshold (float): Where labels are independent, the score from which on one is given.
    covered (Floats | None): Vectors of annotated texts, for "coverage".
    seed (int): Of "coverage" and "both".
    RETURNS (list[int]): Numbers of the texts, at most n, the most wanted first.
    SOURCE: "both" is BADGE, Ash et al. 2020, arXiv:1906.03671; "coverage" is TypiClust's idea, Hacohen et al. 2022,
        arXiv:2202.02794.
    """
    n = min(n, len(scores))
    if n < 1:
        return []
    if strategy in ("margin", "entropy"):
        by: Literal["margin", "entropy"] = "margin" if strategy == "margin" else "entropy"
        found = uncertainty(scores, exclusive=exclusive, threshold=threshold, by=by)
        return np.argsort(-found, kind="stable")[:n].tolist()
    generator = np.random.default_rng(seed)
    if strategy == "coverage":
        return _cover(vectors, n, covered, generator)
    return _spread(_gradients(scores, exclusive=exclusive, threshold=threshold), vectors, n, generator)


# ---- both --------------------------------------------------------------------------------------------------------


def _gradients(scores: Floats, *, exclusive: bool, threshold: float) -> Floats:
    """The gradient of the loss on the logits, if the labels were those that the classifier gives."""
    given = np.zeros_like(scores)
    if exclusive:
        given[np.arange(len(scores)), scores.argmax(axis=1)] = 1.0
    else:
        given[scores >= threshold] = 1.0
    return scores - given


def _spread(gradients: Floats, vectors: Floats, n: int, generator: np.random.Generator) -> list[int]:
    """Choose as k-means++ chooses its first centers, among the gradients of the head's weights.

    These are outer products of `gradients` and `vectors`: their inner products are products of inner products, so none
    of them is ever made.
    """
    squares = (gradients**2).sum(axis=1, dtype=np.float64) * (vectors**2).sum(axis=1, dtype=np.float64)
    chosen = [int(squares.argmax())]
    # A text of which the classifier is sure has no gradient: 0 counts as chosen, or it would be one more kind of text.
    nearest = squares.copy()
    while True:
        last = chosen[-1]
        inner = (gradients @ gradients[last]).astype(np.float64) * (vectors @ vectors[last])
        nearest = np.minimum(nearest, np.maximum(squares + squares[last] - 2 * inner, 0.0))
        nearest[chosen] = 0.0
        if len(chosen) == n:
            return chosen
        total = nearest.sum()
        if total <= 0:
            # The classifier is sure of all the others, or they are the same.
            rest = np.setdiff1d(np.arange(len(vectors)), chosen)
            return [*chosen, *rest[np.argsort(-squares[rest], kind="stable")][: n - len(chosen)].tolist()]
        chosen.append(int(generator.choice(len(vectors), p=nearest / total)))


# ---- coverage ----------------------------------------------------------------------------------------------------


def _cover(vectors: Floats, n: int, covered: Floats | None, generator: np.random.Generator) -> list[int]:
    """The most typical text of each of the largest clusters without an annotated one."""
    known = np.zeros((0, vectors.shape[1]), dtype=np.float32) if covered is None else covered
    every = unit_length(np.concatenate([vectors, known]).astype(np.float32))
    n_texts = len(vectors)
    n_centers = min(len(every), max(n, min(n + len(known), _MOST_CENTERS)))
    labels = clusters_of(every, n_centers, generator)
    free = np.setdiff1d(np.arange(n_centers), labels[n_texts:])
    sizes = np.bincount(labels[:n_texts], minlength=n_centers)
    # Where all clusters have annotated texts, and for what is still wanted, the largest ones come again.
    order = sorted(free.tolist(), key=lambda one: -sizes[one])
    order += sorted(np.setdiff1d(np.arange(n_centers), free).tolist(), key=lambda one: -sizes[one])
    members = {one: _typical(every, np.flatnonzero(labels[:n_texts] == one)) for one in order}
    chosen: list[int] = []
    while len(chosen) < n:
        for one in order:
            if members[one] and len(chosen) < n:
                chosen.append(members[one].pop(0))
    return chosen


def _typical(unit: Floats, members: Counts) -> list[int]:
    """Texts of a cluster, those nearest to its middle first."""
    if not len(members):
        return []
    return members[np.argsort(-(unit[members] @ unit[members].mean(axis=0)), kind="stable")].tolist()
