"""Confident learning: which labels are probably wrong, and how many. NumPy alone."""

from dataclasses import dataclass

import numpy as np

from ...evaluation.measures import Counts, Numbers

# Share of the texts taken for a label that count as those the probes are surest of.
_SUREST = 0.2


@dataclass(frozen=True)
class Confidence:
    """What held-out scores say about given labels.

    joint (Counts): Texts by given label and by the label that they are confidently counted to,
        (n_labels, n_labels).
    counted (Counts): Of each text the label that it is counted to, -1 where it is none with confidence.
    instead (Counts): Of each text the label with the highest score, other than the given one.
    suspicion (Numbers): 1 minus the score of the given label.
    n_wrong (int): Labels that are estimated to be wrong.
    """

    joint: Counts
    counted: Counts
    instead: Counts
    suspicion: Numbers
    n_wrong: int


def confident_joint(scores: Numbers, given: Counts) -> Confidence:
    """Count texts by given and by probable label.

    scores (Numbers): Held out, (n_texts, n_labels).
    given (Counts): Number of the label that each text has, (n_texts,).
    RETURNS (Confidence): A text counts to the highest of the labels whose score is at least what texts with that label
        have on average.
    SOURCE: confident learning: Northcutt, Jiang & Chuang 2021, arXiv:1911.00068, equations 1 and 2.
    """
    n_texts, n_labels = scores.shape
    # Where no text has a label, nothing is counted to it.
    thresholds = np.full(n_labels, np.inf)
    for j in np.unique(given).tolist():
        thresholds[j] = scores[given == j, j].mean()
    above = scores >= thresholds
    counted = np.where(above.any(axis=1), np.where(above, scores, -1.0).argmax(axis=1), -1)
    joint = np.zeros((n_labels, n_labels), dtype=np.int64)
    is_counted = counted >= 0
    np.add.at(joint, (given[is_counted], counted[is_counted]), 1)
    rows = np.arange(n_texts)
    others = scores.copy()
    others[rows, given] = -np.inf
    # What is off the diagonal are wrong labels, and right ones of texts that are hard to judge.
    n_wrong = min(int(joint.sum() - np.trace(joint)), round(n_texts * share_wrong(scores, given)))
    return Confidence(joint, counted.astype(np.int64), others.argmax(axis=1), 1.0 - scores[rows, given], n_wrong)


def share_wrong(scores: Numbers, given: Counts) -> float:
    """Estimate the share of wrong labels from the texts that are easiest to judge.

    scores (Numbers): Held out, (n_texts, n_labels).
    given (Counts): Number of the label that each text has, (n_texts,).
    RETURNS (float): How often the given label is another one, among the fifth with the highest scores of the texts that
        are taken for each label; one more is counted than was seen, since few texts say little. Too low where labels of
        hard texts are wrong more often than those of easy ones.
    SOURCE: anchor points: Liu & Tao 2016, arXiv:1411.7718; Patrini et al. 2017, arXiv:1609.03683.
    """
    taken, best = scores.argmax(axis=1), scores.max(axis=1)
    n_other, n_surest = 0, 0
    for j in np.unique(taken).tolist():
        rows = np.flatnonzero(taken == j)
        surest = rows[np.argsort(-best[rows], kind="stable")][: max(1, round(_SUREST * len(rows)))]
        n_other += int((given[surest] != j).sum())
        n_surest += len(surest)
    return (n_other + 1) / (n_surest + 2)


def rank(confidence: Confidence) -> list[int]:
    """Order texts by how probably their label is wrong; as many as are estimated to be wrong come first.

    confidence (Confidence): As `confident_joint` gives it.
    RETURNS (list[int]): All texts, by the score of their label, which is called its self-confidence. The margin to the
        best other label finds fewer flipped labels, and so do votes of neighbors: see benchmarks/doctor.py.
    SOURCE: Kuan & Mueller 2022, Model-agnostic label quality scoring to detect real-world label errors.
    """
    return np.argsort(-confidence.suspicion, kind="stable").tolist()
