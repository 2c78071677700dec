"""Scores of a pipeline before and after an update, as a whole and by label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spacy.language import Language

from ...evaluation.evaluate import annotated_examples
from ...evaluation.measures import f_of
from ...evaluation.predictions import predictions_of
from ...json_types import JsonObject


@dataclass(frozen=True)
class Measured:
    """How well texts are labeled.

    n_texts (int): Texts.
    measure (str): What the score is: "accuracy" where labels exclude each other, else "micro F".
    score (float | None): On all texts; None without any.
    by_label (dict[str, float]): F of each label that a text has or was given.
    counts (dict[str, int]): Texts that have the label.
    """

    n_texts: int
    measure: str
    score: float | None
    by_label: dict[str, float]
    counts: dict[str, int]

    @classmethod
    def from_json(cls, data: JsonObject) -> "Measured":
        """Take what `dataclasses.asdict` gave."""
        return cls(
            int(data["n_texts"]), str(data["measure"]), data["score"], dict(data["by_label"]),
            dict(data["counts"]),
        )  # fmt: skip


def measure(nlp: Language, name: str, path: Path) -> Measured:
    """Measure a classifier on annotated texts.

    nlp (Language): The pipeline.
    name (str): Of the classifier.
    path (Path): A .spacy file.
    RETURNS (Measured): Labels that the classifier does not know are errors where labels exclude each other.
    """
    examples = list(annotated_examples(nlp, path))
    for example, doc in zip(examples, nlp.pipe([one.predicted for one in examples]), strict=True):
        example.predicted = doc
    found = next(one for one in predictions_of(nlp, examples) if one.name == name)
    outcomes = found.outcomes
    hits, extras, misses = (
        flags.sum(axis=0).astype(float) for flags in (outcomes.hits, outcomes.extras, outcomes.misses)
    )
    wrong = extras + misses
    of_labels = f_of(hits, wrong)
    whole = found.right.mean() if found.exclusive and len(found.right) else f_of(hits.sum(), wrong.sum())
    score = None if np.isnan(whole) else float(whole)
    return Measured(
        len(found.texts), "accuracy" if found.exclusive else "micro F", score,
        {label: float(f) for label, f in zip(found.labels, of_labels, strict=True) if not np.isnan(f)},
        {label: int(n) for label, n in zip(found.labels, hits + misses, strict=True)},
    )  # fmt: skip


@dataclass(frozen=True)
class LabelChange:
    """What became of a label.

    label (str): The label.
    is_new (bool): Whether the pipeline did not have it.
    n_texts (int): Texts to measure on that have it.
    before (float | None): Its F before; None where there was none.
    after (float | None): Its F after the update; None where no text has it and none was given it.
    """

    label: str
    is_new: bool
    n_texts: int
    before: float | None
    after: float | None


def changes_by_label(
    labels: Sequence[str], new: Sequence[str], before: Sequence[Measured], after: Sequence[Measured]
) -> list[LabelChange]:
    """Compare labels before and after: old ones on old texts, new ones on new texts.

    labels (Sequence[str]): All labels.
    new (Sequence[str]): Those that the pipeline did not have.
    before (Sequence[Measured]): On old and on new texts.
    after (Sequence[Measured]): On the same.
    RETURNS (list[LabelChange]): New labels first; then the largest loss first.
    """
    found = []
    for label in labels:
        place = 1 if label in new or not before[0].counts.get(label) else 0
        found.append(
            LabelChange(
                label, label in new, after[place].counts.get(label, 0), before[place].by_label.get(label),
                after[place].by_label.get(label),
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: (not one.is_new, (one.after or 0.0) - (one.before or 0.0), one.label))
