"""Right labels and scores of all texts, by component, as arrays."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..pipeline.components import classifiers_of
from ..pipeline.textcat import TransferTextCategorizer
from .measures import Flags, Numbers, Outcomes
from .scorer import round_gold


@dataclass(frozen=True)
class Predictions:
    """What one classifier says of annotated texts.

    name (str): Of the component.
    labels (list[str]): In the order of the columns.
    exclusive (bool): Exactly one label a text.
    threshold (float): Score from which a label is given, where labels are not exclusive.
    places (list[int]): Numbers of the texts in the data; those without an annotation for these labels are left out.
    texts (list[str]): The texts.
    strangers (list[list[str]]): Of each text, right labels that the component does not know.
    gold (Flags): Right labels, (n_texts, n_labels).
    known (Flags): Where there is an annotation, (n_texts, n_labels).
    scores (Numbers): (n_texts, n_labels).
    n_left_out (int): Texts that are left out.
    unknown (dict[str, int]): Labels in the data that the component does not know, and how many texts have them.
    thresholds (tuple[float, ...]): The threshold of each label, where they have one of their own; else empty.
    """

    name: str
    labels: list[str]
    exclusive: bool
    threshold: float
    places: list[int]
    texts: list[str]
    strangers: list[list[str]]
    gold: Flags
    known: Flags
    scores: Numbers
    n_left_out: int
    unknown: dict[str, int]
    thresholds: tuple[float, ...] = ()

    @cached_property
    def predicted(self) -> Flags:
        """The labels that are given, (n_texts, n_labels)."""
        if not self.exclusive:
            return self.scores >= (np.asarray(self.thresholds) if self.thresholds else self.threshold)
        given = np.zeros_like(self.gold)
        if len(given):
            given[np.arange(len(given)), self.scores.argmax(axis=1)] = True
        return given

    @cached_property
    def outcomes(self) -> Outcomes:
        """What came of each decision; a text of which no label of the component is right is an error."""
        return Outcomes.of(self.gold, self.predicted, self.known)

    @cached_property
    def right(self) -> Flags:
        """Of each text, whether its labels are exactly right."""
        return self.outcomes.right

    @cached_property
    def sureness(self) -> Numbers:
        """Of each text the highest score if labels are exclusive; else that of its worst mistake, or its least sure
        decision where there is none."""
        if not len(self.scores):
            return np.zeros(0)
        if self.exclusive:
            return self.scores.max(axis=1)
        # How much the decision was believed in, right or wrong.
        belief = np.where(self.predicted, self.scores, 1.0 - self.scores)
        wrong = self.outcomes.extras | self.outcomes.misses
        return np.where(wrong.any(axis=1), np.where(wrong, belief, 0.0).max(axis=1), belief.min(axis=1))

    def true_labels(self, i: int) -> list[str]:
        """Name the right labels of a text, unknown ones last."""
        return [*(self.labels[j] for j in np.flatnonzero(self.gold[i])), *self.strangers[i]]

    def given_labels(self, i: int) -> list[str]:
        """Name the labels that a text was given."""
        return [self.labels[j] for j in np.flatnonzero(self.predicted[i])]

    def errors(self) -> list[int]:
        """Find the texts that are wrong, the surest first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.sureness[wrong], kind="stable")].tolist()

    def decisions(self) -> tuple[Numbers, Flags]:
        """Give what a score is asked for: of exclusive labels the best of each text, else all labels that are given.

        RETURNS (tuple[Numbers, Flags]): Scores, and whether they are right.
        """
        if self.exclusive:
            return self.sureness, self.right
        counted = self.predicted & self.known
        return self.scores[counted], self.gold[counted]

    def judgments(self) -> tuple[Numbers, Flags]:
        """Give what calibration is about: of exclusive labels the best of each text, else every label of every text.

        RETURNS (tuple[Numbers, Flags]): Scores, and whether the label is right.
        """
        return self.decisions() if self.exclusive else (self.scores[self.known], self.gold[self.known])


def predictions_of(nlp: Language, examples: Sequence[Example]) -> list[Predictions]:
    """Collect what the classifiers of a pipeline say.

    nlp (Language): The pipeline.
    examples (Sequence[Example]): Predicted and annotated.
    RETURNS (list[Predictions]): One for each spacy-transfer classifier that is not disabled, in their order.
    RAISES (ValueError): T033 and T036 for annotations that are no values from 0 to 1.
    """
    pipes = classifiers_of(nlp, enabled_only=True)
    # What another component of the pipeline knows is no stranger.
    others = {name: {label for other in pipes if other != name for label in pipes[other].labels} for name in pipes}
    return [_collect(name, pipe, examples, others[name]) for name, pipe in pipes.items()]


def _collect(name: str, pipe: TransferTextCategorizer, examples: Sequence[Example], others: set[str]) -> Predictions:
    labels, wanted = list(pipe.labels), set(pipe.labels)
    # Sentences and spans count as texts.
    examples = pipe.target.predicted(examples, labels)
    familiar = wanted | others
    places = [i for i, example in enumerate(examples) if not wanted.isdisjoint(example.reference.cats)]
    shape = len(places), len(labels)
    gold, known = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    scores = np.zeros(shape)
    strangers: list[list[str]] = []
    for row, place in enumerate(places):
        example = examples[place]
        values = round_gold(example.reference, labels, pipe.exclusive)
        gold[row] = [values.get(label, 0.0) > 0 for label in labels]
        known[row] = True if pipe.exclusive else [label in values for label in labels]
        scores[row] = [example.predicted.cats.get(label, 0.0) for label in labels]
        is_ours = pipe.exclusive and bool(gold[row].any())
        strangers.append([] if is_ours else _strangers(example.reference, familiar))
    unknown: Counter[str] = Counter()
    for example in examples:
        unknown.update(_strangers(example.reference, familiar))
    return Predictions(
        name, labels, pipe.exclusive, float(pipe.cfg["threshold"]), places,
        [examples[place].reference.text for place in places], strangers, gold, known, scores,
        len(examples) - len(places), dict(unknown.most_common()),
        tuple(pipe.thresholds.values()) if pipe.cfg["thresholds"] else (),
    )  # fmt: skip


def _strangers(doc: Doc, known: set[str]) -> list[str]:
    return [label for label, value in doc.cats.items() if label not in known and value >= 0.5]
