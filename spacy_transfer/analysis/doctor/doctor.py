"""Find what is probably wrong with annotated data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spacy.language import Language

from ...corpora.inspection.check import Report, check_splits
from ...corpora.inspection.repeats import normalize
from ...corpora.splits import read_splits
from ...errors import T650
from ...training.held_out import held_out_scores
from ..targets import targets_of, usable
from ..vectors import vectors_of_data
from .neighbors import find_neighbors, outliers
from .suspects import confusable, find_doubts

# Texts that probes need to say anything.
_LEAST_TEXTS = 20


@dataclass(frozen=True)
class Place:
    """A text in the data.

    split (str): Name of its file.
    index (int): Its number there, from 0.
    text (str): The text.
    labels (list[str]): What it is labeled with.
    """

    split: str
    index: int
    text: str
    labels: list[str]


@dataclass(frozen=True)
class Suspect:
    """A text whose label may be wrong.

    place (Place): The text.
    label (str): The label in doubt.
    suggested (str): What it may be instead: another label, or for independent labels "" where it should not be there.
    suspicion (float): 1 minus the held-out score of the label, or the score of one that is not there.
    is_likely (bool): Whether it is among the first, as many as are estimated to be wrong.
    """

    place: Place
    label: str
    suggested: str
    suspicion: float
    is_likely: bool


@dataclass(frozen=True)
class Twins:
    """Two texts that are nearly the same, and not quite.

    first (Place): One.
    second (Place): The other.
    similarity (float): Cosine of their vectors.
    """

    first: Place
    second: Place
    similarity: float

    @property
    def contradict(self) -> bool:
        """Whether their labels differ."""
        return set(self.first.labels) != set(self.second.labels)

    @property
    def leak(self) -> bool:
        """Whether they are in different splits."""
        return self.first.split != self.second.split


@dataclass(frozen=True)
class Confusable:
    """Two labels that a linear probe cannot tell apart.

    first (str): One.
    second (str): The other.
    n (int): Texts of either that were taken for the other.
    share (float): Of the texts of the rarer one.
    """

    first: str
    second: str
    n: int
    share: float


@dataclass(frozen=True)
class Diagnosis:
    """What is probably wrong.

    checked (Report): What `check` says.
    accuracy (float): Share of texts whose label the probes, which had not seen it, gave too.
    n_wrong (int): Labels that are estimated to be wrong.
    suspects (list[Suspect]): All texts with labels, the most suspicious first.
    twins (list[Twins]): The most similar first; texts that are the same but for case and space are in `checked`.
    confusable (list[Confusable]): The highest share first.
    outliers (list[Place]): Texts that are like no others, the farthest first.
    """

    checked: Report
    accuracy: float
    n_wrong: int
    suspects: list[Suspect]
    twins: list[Twins]
    confusable: list[Confusable]
    outliers: list[Place]


def doctor(
    paths: Sequence[Path],
    *,
    pipeline: Language | None = None,
    component: str | None = None,
    encoder: str | None = None,
    similarity: float = 0.95,
    exclusive: bool | None = None,
) -> Diagnosis:
    """Find labels that are probably wrong, near-duplicates, labels that cannot be told apart, and outliers.

    Texts become vectors by a frozen encoder, and linear probes, cross-validated, say what each label should be.

    paths (Sequence[Path]): .spacy files or folders of them, the training data first.
    pipeline (Language | None): Takes the vectors of one of its classifiers. One that was trained on these very texts
        has learned their wrong labels too.
    component (str | None): The classifier, where there is more than one.
    encoder (str | None): Folder or name of an encoder, without a pipeline. None: that of the shipped configs.
    similarity (float): Cosine from which on two texts are nearly the same.
    exclusive (bool | None): Exactly one label a text. None: as `check` finds out.
    RETURNS (Diagnosis): Everything that was found.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T642 for a pipeline without that classifier, T650 for too few texts or labels; what `check`
        refuses.
    """
    splits = read_splits(paths)
    checked = check_splits(splits, exclusive=exclusive)
    places = [
        Place(split.name, i, text, split.cats[i].positives()) for split in splits for i, text in enumerate(split.texts)
    ]
    labels = [label for label in checked.labels if any(split.counts[label] for split in splits)]
    n_labeled = sum(bool(place.labels) for place in places)
    if n_labeled < _LEAST_TEXTS or len(labels) < (2 if checked.exclusive else 1):
        raise ValueError(T650.format(n_texts=n_labeled, n_labels=len(labels), least=_LEAST_TEXTS))
    vectors = vectors_of_data(paths, pipeline=pipeline, component=component, encoder=encoder)
    gold, known = targets_of(splits, labels, exclusive=checked.exclusive)
    chosen = usable(gold, known, exclusive=checked.exclusive)
    gold, known = gold[chosen], known[chosen]
    scores = held_out_scores(
        vectors[chosen], gold.astype(np.float32), known.astype(np.float32), exclusive=checked.exclusive
    ).astype(np.float64)
    doubts = find_doubts(scores, gold, known, labels, exclusive=checked.exclusive)
    suspects = [
        Suspect(places[chosen[one.text]], one.label, one.suggested, one.suspicion, one.is_likely)
        for one in doubts.ranked
    ]
    near = find_neighbors(vectors, similarity)
    twins = [
        Twins(places[i], places[j], value)
        for i, j, value in near.pairs
        if normalize(places[i].text) != normalize(places[j].text)
    ]
    apart = confusable(scores, gold) if checked.exclusive else []
    return Diagnosis(
        checked, doubts.accuracy, doubts.n_wrong, suspects, twins,
        [Confusable(labels[i], labels[j], n, share) for i, j, n, share in apart],
        [places[i] for i in outliers(near.nearness)],
    )  # fmt: skip
