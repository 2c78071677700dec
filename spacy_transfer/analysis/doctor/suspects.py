"""Which labels are probably wrong, from scores of probes that have not seen the texts. NumPy alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation.measures import Flags, Numbers
from .confident import confident_joint, rank

# Share of the texts of the rarer label that the probe takes for the other one, from which on two are hard to tell
# apart, and texts there must be.
_CONFUSABLE, _LEAST_CONFUSED = 0.25, 3


@dataclass(frozen=True)
class Doubt:
    """A text whose label may be wrong.

    text (int): Its number.
    label (str): The label in doubt, "" for an independent one that may be missing.
    suggested (str): What it may be instead: another label, or "" for an independent one that should not be there.
    suspicion (float): 1 minus the held-out score of the label, or the score of one that is not there.
    is_likely (bool): Whether it is among the first, as many as are estimated to be wrong.
    """

    text: int
    label: str
    suggested: str
    suspicion: float
    is_likely: bool


@dataclass(frozen=True)
class Doubts:
    """What scores say about labels.

    ranked (list[Doubt]): All texts, the most suspicious first.
    n_wrong (int): Labels that are estimated to be wrong.
    accuracy (float): Share of the labels that the probes, which had not seen them, gave too.
    """

    ranked: list[Doubt]
    n_wrong: int
    accuracy: float


def find_doubts(scores: Numbers, gold: Flags, known: Flags, labels: Sequence[str], *, exclusive: bool) -> Doubts:
    """Rank texts by how probably their label is wrong.

    scores (Numbers): Held out, (n_texts, n_labels).
    gold (Flags): Which labels a text has.
    known (Flags): Which are annotated.
    labels (Sequence[str]): In the order of the columns.
    exclusive (bool): Each text has exactly one; else each label is judged by itself, and a text counts by the one that
        is most in doubt.
    RETURNS (Doubts): The ranking.
    """
    return _exclusive(scores, gold, labels) if exclusive else _independent(scores, gold, known, labels)


def _exclusive(scores: Numbers, gold: Flags, labels: Sequence[str]) -> Doubts:
    given = gold.argmax(axis=1)
    found = confident_joint(scores, given)
    ranked = [
        Doubt(i, labels[given[i]], labels[found.instead[i]], float(found.suspicion[i]), place < found.n_wrong)
        for place, i in enumerate(rank(found))
    ]
    return Doubts(ranked, found.n_wrong, float((scores.argmax(axis=1) == given).mean()))


def _independent(scores: Numbers, gold: Flags, known: Flags, labels: Sequence[str]) -> Doubts:
    worst: dict[int, Doubt] = {}
    n_wrong = 0
    for j, label in enumerate(labels):
        rows = np.flatnonzero(known[:, j])
        given = gold[rows, j].astype(np.int64)
        if not len(rows) or given.min() == given.max():
            continue
        found = confident_joint(np.stack([1.0 - scores[rows, j], scores[rows, j]], axis=1), given)
        n_wrong += found.n_wrong
        for place, i in enumerate(rank(found)):
            row, is_there = int(rows[i]), bool(given[i])
            one = Doubt(
                row, label if is_there else "", "" if is_there else label, float(found.suspicion[i]),
                place < found.n_wrong,
            )  # fmt: skip
            if row not in worst or _key(one) < _key(worst[row]):
                worst[row] = one
    right = ((scores >= 0.5) == gold)[known]
    return Doubts(sorted(worst.values(), key=_key), n_wrong, float(right.mean()))


def _key(doubt: Doubt) -> tuple[bool, float]:
    return not doubt.is_likely, -doubt.suspicion


def confusable(scores: Numbers, gold: Flags) -> list[tuple[int, int, int, float]]:
    """Find exclusive labels that cannot be told apart.

    scores (Numbers): Held out, (n_texts, n_labels).
    gold (Flags): Which label a text has.
    RETURNS (list[tuple]): Two labels, texts of either that were taken for the other, and their share of the rarer
        one's texts; the highest share first.
    """
    given, best, sizes = gold.argmax(axis=1), scores.argmax(axis=1), gold.sum(axis=0)
    counts = np.zeros((len(sizes), len(sizes)), dtype=np.int64)
    np.add.at(counts, (given, best), 1)
    found = []
    for i, j in np.argwhere(np.triu(np.ones_like(counts, dtype=bool), 1)).tolist():
        n, least = int(counts[i, j] + counts[j, i]), int(min(sizes[i], sizes[j]))
        if n >= _LEAST_CONFUSED and n >= _CONFUSABLE * least:
            found.append((i, j, n, n / least))
    return sorted(found, key=lambda one: -one[3])
