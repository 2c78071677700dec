"""Confident learning: which labels are probably wrong. NumPy alone."""

from dataclasses import dataclass

import numpy as np

from ...evaluation.measures import Counts, Numbers


@dataclass(frozen=True)
class Confidence:
    """What held-out scores say about given labels.

    joint (Counts): Texts by given label and by the label that they are confidently counted to,
        (n_labels, n_labels).
    counted (Counts): Of each text the label that it is counted to, -1 where it is none with confidence.
    instead (Counts): Of each text the label with the highest score, other than the given one.
    suspicion (Numbers): 1 minus the score of the given label.
    """

    joint: Counts
    counted: Counts
    instead: Counts
    suspicion: Numbers

    @property
    def n_wrong(self) -> int:
        """How many labels are estimated to be wrong."""
        return int(self.joint.sum() - np.trace(self.joint))


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
    return Confidence(joint, counted.astype(np.int64), others.argmax(axis=1), 1.0 - scores[rows, given])


def rank(confidence: Confidence) -> list[int]:
    """Order texts by how probably their label is wrong; as many as are estimated to be wrong come first.

    confidence (Confidence): As `confident_joint` gives it.
    RETURNS (list[int]): All texts, by the score of their label, which is called its self-confidence. The margin to the
        best other label finds fewer flipped labels, and so do votes of neighbors: see benchmarks/doctor.py.
    SOURCE: Kuan & Mueller 2022, Model-agnostic label quality scoring to detect real-world label errors.
    """
    return np.argsort(-confidence.suspicion, kind="stable").tolist()
