"""From the scores of teachers to what a student learns: renamed, averaged, softened, mixed with annotations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import T703, T704
from .answer_cache import Scores

Matrix = NDArray[np.float64]
# Teacher's label to student's; None drops it.
LabelMap = Mapping[str, str | None]

# Scores are kept this far from 0 and 1 where a logarithm is taken of them.
_LEAST = 1e-9
# What is below it is 0 in a target.
_NOTHING = 1e-6
# How far the scores of exclusive labels may be from 1 in all.
_TOLERATED = 0.02


@dataclass(frozen=True)
class TeacherScores:
    """What one teacher says of all texts.

    name (str): Of the teacher.
    scores (Sequence[Scores]): Of each text.
    """

    name: str
    scores: Sequence[Scores]

    def labels(self, renamed: LabelMap) -> set[str]:
        """Labels that it gives, in the student's names."""
        found = {label for one in self.scores for label in one}
        return {new for label in found if (new := renamed.get(label, label)) is not None}


def agree_on_labels(teachers: Sequence[TeacherScores], renamed: LabelMap, wanted: set[str]) -> list[str]:
    """Find the labels that the student learns.

    teachers (Sequence[TeacherScores]): All of them.
    renamed (LabelMap): Names of the student's labels.
    wanted (set[str]): Those of the labeled data; empty where there are none.
    RETURNS (list[str]): Sorted.
    RAISES (ValueError): T703 unless all teachers give the same labels, and those of the data.
    """
    first = teachers[0]
    expected, whose = (wanted, "the labeled data") if wanted else (first.labels(renamed), f"the teacher {first.name}")
    for teacher in teachers:
        if (found := teacher.labels(renamed)) != expected:
            only, lacking = sorted(found - expected), sorted(expected - found)
            raise ValueError(T703.format(name=teacher.name, only=only[:20], whose=whose, lacking=lacking[:20]))
    return sorted(expected)


def averaged(teachers: Sequence[TeacherScores], labels: Sequence[str], renamed: LabelMap, *, exclusive: bool) -> Matrix:
    """Average the scores of all teachers.

    teachers (Sequence[TeacherScores]): All of them.
    labels (Sequence[str]): The student's.
    renamed (LabelMap): Names of the student's labels; the scores of labels with one new name are added where labels
        are exclusive, otherwise the highest counts.
    exclusive (bool): Exactly one label a text: a teacher that gives it none does not count there.
    RETURNS (Matrix): (n_texts, n_labels).
    """
    column = {label: j for j, label in enumerate(labels)}
    total = np.zeros((len(teachers[0].scores), len(labels)))
    n_given = np.zeros((len(total), 1))
    for teacher in teachers:
        for i, scores in enumerate(teacher.scores):
            row = np.zeros(len(labels))
            for label, value in scores.items():
                if (new := renamed.get(label, label)) is not None:
                    j = column[new]
                    row[j] = row[j] + value if exclusive else max(row[j], value)
            total[i] += row
            n_given[i] += not exclusive or bool(row.any())
    return np.asarray(total / np.maximum(n_given, 1.0))


def distributions(scores: Matrix, texts: Sequence[str], *, are_dropped: bool) -> tuple[Matrix, NDArray[np.bool_]]:
    """Scores of exclusive labels that sum to 1.

    scores (Matrix): (n_texts, n_labels).
    texts (Sequence[str]): For messages.
    are_dropped (bool): Labels were dropped, so scores may sum to less.
    RETURNS (tuple[Matrix, NDArray]): The scores, and for each text whether there are any.
    RAISES (ValueError): T704 for scores of labels that are not exclusive.
    """
    sums = scores.sum(axis=1)
    given = sums > (_TOLERATED if are_dropped else _NOTHING)
    wrong = given & (np.abs(sums - 1.0) > _TOLERATED) & (not are_dropped)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(T704.format(n=int(wrong.sum()), total=float(sums[i]), text=texts[i][:80]))
    return scores / np.where(given, sums, 1.0)[:, None], given


def softened(scores: Matrix, temperature: float, *, exclusive: bool) -> Matrix:
    """Scores of the same logits, divided by a temperature.

    scores (Matrix): (n_texts, n_labels); of exclusive labels, each row sums to 1.
    temperature (float): Above 0.
    exclusive (bool): Scores of a softmax, or of a sigmoid for each label.
    RETURNS (Matrix): (n_texts, n_labels).
    """
    if exclusive:
        logits = np.log(np.maximum(scores, _LEAST)) / temperature
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: Matrix = powers / powers.sum(axis=1, keepdims=True)
        return found
    inside = np.clip(scores, _LEAST, 1.0 - _LEAST)
    logits = (np.log(inside) - np.log1p(-inside)) / temperature
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def tidied(targets: Matrix, is_learned: NDArray[np.bool_], *, exclusive: bool) -> Matrix:
    """Targets as documents can hold them: what is nearly 0 is 0, and rows of exclusive labels sum to 1 again.

    targets (Matrix): (n_texts, n_labels).
    is_learned (NDArray): Rows that count, (n_texts,).
    exclusive (bool): Exactly one label a text.
    RETURNS (Matrix): (n_texts, n_labels).
    """
    kept = np.where(targets < _NOTHING, 0.0, targets)
    if not exclusive:
        return np.where(kept > 1.0 - _NOTHING, 1.0, kept)
    sums = kept.sum(axis=1, keepdims=True)
    kept = kept / np.where(is_learned[:, None], sums, 1.0)
    # In fp32 a score next to 1 is 1, and then no other label may have any.
    sure = kept.max(axis=1, keepdims=True) > 1.0 - _NOTHING
    return np.where(sure, kept > 0.5, kept).astype(np.float64)


def whole(scores: Matrix, *, exclusive: bool) -> Matrix:
    """The labels that a teacher would give, as 0 and 1.

    scores (Matrix): (n_texts, n_labels).
    exclusive (bool): The best label, or all from 0.5 on.
    RETURNS (Matrix): (n_texts, n_labels).
    """
    if exclusive:
        found = np.zeros_like(scores)
        found[np.arange(len(scores)), scores.argmax(axis=1)] = 1.0
        return found
    return (scores >= 0.5).astype(np.float64)
