"""Confident learning: which labels are probably wrong. NumPy alone."""

from dataclasses import dataclass

import numpy as np

from ...evaluation.measures import Counts, Numbers


@dataclass(frozen=True)
class Confidence:
    """What held-out scores say about given labels.

    joint (Counts): Texts by given label and by the label that they are confidently counted to,
        (n_labels, n_labels).
    suggested (Counts): Of each text the label that it is counted to, -1 where it is none with confidence.
    margins (Numbers): Score of the given label minus the highest other one; the lowest are the most suspicious.
    """

    joint: Counts
    suggested: Counts
    margins: Numbers

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
    suggested = np.where(above.any(axis=1), np.where(above, scores, -1.0).argmax(axis=1), -1)
    joint = np.zeros((n_labels, n_labels), dtype=np.int64)
    counted = suggested >= 0
    np.add.at(joint, (given[counted], suggested[counted]), 1)
    rows = np.arange(n_texts)
    others = scores.copy()
    others[rows, given] = -np.inf
    best_other = others.max(axis=1) if n_labels > 1 else np.zeros(n_texts)
    return Confidence(joint, suggested.astype(np.int64), scores[rows, given] - best_other)


def rank(confidence: Confidence, given: Counts) -> list[int]:
    """Order texts by how probably their label is wrong.

    confidence (Confidence): As `confident_joint` gives it.
    given (Counts): Number of the label that each text has.
    RETURNS (list[int]): All texts: first those that are counted to another label, each part by its margin.
    SOURCE: "prune by noise rate" with the normalized margin, in the same paper, section 3.2.
    """
    elsewhere = (confidence.suggested >= 0) & (confidence.suggested != given)
    return np.lexsort((confidence.margins, ~elsewhere)).tolist()
