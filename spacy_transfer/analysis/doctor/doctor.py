"""Find what is probably wrong with annotated data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ...corpora.check import Report, check_splits
from ...corpora.repeats import normalize
from ...corpora.splits import Split, read_splits
from ...docbins import find_docbins, read_docs
from ...errors import T642, T650
from ...json_types import ConfigBlock
from ...log import logger
from ...pipeline.components import classifiers_of, name_meant, require_whole_documents
from ...pipeline.interface import Floats
from ...pipeline.textcat import TransferTextCategorizer
from ...training.held_out import held_out_scores
from .confident import confident_joint, rank
from .neighbors import find_neighbors, outliers

# Texts that probes need to say anything.
_LEAST_TEXTS = 20
_BATCH = 256
# Share of the texts of the rarer label that the probe takes for the other one, from which on two are hard to tell
# apart, and texts there must be.
_CONFUSABLE, _LEAST_CONFUSED = 0.25, 3


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
    suspicion (float): From 0 to 1; above 0.5, another label fits better.
    is_likely (bool): Whether it is among those that are counted as wrong.
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
    vectors = _vectors(paths, pipeline, component, encoder)
    gold, known = _targets(splits, labels, exclusive=checked.exclusive)
    # Of exclusive labels, texts with another number than one say nothing.
    chosen = np.flatnonzero(gold.sum(axis=1) == 1 if checked.exclusive else known.any(axis=1))
    scores = held_out_scores(
        vectors[chosen], gold[chosen].astype(np.float32), known[chosen].astype(np.float32), exclusive=checked.exclusive
    ).astype(np.float64)
    labeled = [places[i] for i in chosen.tolist()]
    judge = _judge_exclusive if checked.exclusive else _judge_independent
    suspects, n_wrong, accuracy = judge(labeled, labels, gold[chosen], known[chosen], scores)
    near = find_neighbors(vectors, similarity)
    twins = [
        Twins(places[i], places[j], value)
        for i, j, value in near.pairs
        if normalize(places[i].text) != normalize(places[j].text)
    ]
    return Diagnosis(
        checked, accuracy, n_wrong, suspects, twins,
        _confusable(labels, gold[chosen], scores) if checked.exclusive else [],
        [places[i] for i in outliers(near.nearness)],
    )  # fmt: skip


# ---- vectors -----------------------------------------------------------------------------------------------------


def _vectors(paths: Sequence[Path], pipeline: Language | None, component: str | None, encoder: str | None) -> Floats:
    nlp = _frozen(encoder) if pipeline is None else pipeline
    require_whole_documents(nlp)
    pipes = classifiers_of(nlp, enabled_only=True)
    name = name_meant(pipes, component)
    if name is None:
        raise ValueError(T642.format(component=component or "", components=", ".join(pipes) or "none"))
    found, batch = [], list[Doc]()
    for file in (file for path in paths for file in find_docbins(path)):
        for doc in read_docs(file, nlp.vocab):
            batch.append(doc)
            if len(batch) == _BATCH:
                found.append(_of_batch(nlp, name, pipes[name], batch))
                batch = []
    if batch:
        found.append(_of_batch(nlp, name, pipes[name], batch))
    return np.concatenate(found)


def _of_batch(nlp: Language, name: str, pipe: TransferTextCategorizer, docs: list[Doc]) -> Floats:
    before = nlp.pipe_names[: nlp.pipe_names.index(name)]
    # What a shared encoder has computed, or a sentencizer marked.
    for other in before:
        docs = [nlp.get_pipe(other)(doc) for doc in docs]
    return pipe.vectors(docs)


def _frozen(encoder: str | None) -> Language:
    """A pipeline around an encoder as it is."""
    nlp = spacy.blank("xx")
    model: ConfigBlock = {
        "tuning": {"frozen_depth": "all"},
        "windows": {"length": "auto", "stride": "auto"},
        "pooling": {"@layers": "spacy-transfer.AutoPooling.v1"},
        **({"encoder": {"name": encoder}} if encoder else {}),
    }
    nlp.add_pipe("transfer_textcat", config={"model": model})
    examples = [Example.from_dict(nlp.make_doc(label), {"cats": {label: 1.0}}) for label in ("a", "b")]
    level = logger.level
    # The table of trainable weights would be about a head that nobody uses.
    logger.setLevel("WARNING")
    try:
        nlp.initialize(lambda: examples)
    finally:
        logger.setLevel(level)
    return nlp


# ---- labels ------------------------------------------------------------------------------------------------------


def _targets(splits: Sequence[Split], labels: Sequence[str], *, exclusive: bool) -> tuple[np.ndarray, np.ndarray]:
    column = {label: j for j, label in enumerate(labels)}
    cats = [one for split in splits for one in split.cats]
    gold = np.zeros((len(cats), len(labels)), dtype=bool)
    known = np.full_like(gold, exclusive)
    for i, one in enumerate(cats):
        for label in one.positives():
            gold[i, column[label]] = True
        if not exclusive:
            for label in one.named & column.keys():
                known[i, column[label]] = True
    return gold, known


def _judge_exclusive(
    places: Sequence[Place], labels: Sequence[str], gold: np.ndarray, known: np.ndarray, scores: np.ndarray
) -> tuple[list[Suspect], int, float]:
    given = gold.argmax(axis=1)
    found = confident_joint(scores, given)
    others = scores.copy()
    others[np.arange(len(given)), given] = -np.inf
    instead = np.where((found.suggested >= 0) & (found.suggested != given), found.suggested, others.argmax(axis=1))
    likely = (found.suggested >= 0) & (found.suggested != given)
    suspects = [
        Suspect(places[i], labels[given[i]], labels[instead[i]], (1.0 - float(found.margins[i])) / 2, bool(likely[i]))
        for i in rank(found, given)
    ]
    return suspects, found.n_wrong, float((scores.argmax(axis=1) == given).mean())


def _judge_independent(
    places: Sequence[Place], labels: Sequence[str], gold: np.ndarray, known: np.ndarray, scores: np.ndarray
) -> tuple[list[Suspect], int, float]:
    """Each label by itself: is it there or not; a text stands for the label that is most in doubt."""
    worst: dict[int, Suspect] = {}
    n_wrong = 0
    for j, label in enumerate(labels):
        rows = np.flatnonzero(known[:, j])
        given = gold[rows, j].astype(np.int64)
        if not len(rows) or given.min() == given.max():
            continue
        two = np.stack([1.0 - scores[rows, j], scores[rows, j]], axis=1)
        found = confident_joint(two, given)
        n_wrong += found.n_wrong
        likely = (found.suggested >= 0) & (found.suggested != given)
        for i, row in enumerate(rows.tolist()):
            one = Suspect(
                places[row], label if given[i] else "", "" if given[i] else label, (1.0 - float(found.margins[i])) / 2,
                bool(likely[i]),
            )  # fmt: skip
            if row not in worst or _key(one) < _key(worst[row]):
                worst[row] = one
    right = ((scores >= 0.5) == gold)[known]
    return sorted(worst.values(), key=_key), n_wrong, float(right.mean())


def _key(suspect: Suspect) -> tuple[bool, float]:
    return not suspect.is_likely, -suspect.suspicion


def _confusable(labels: Sequence[str], gold: np.ndarray, scores: np.ndarray) -> list[Confusable]:
    given, best = gold.argmax(axis=1), scores.argmax(axis=1)
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (given, best), 1)
    sizes = gold.sum(axis=0)
    found = []
    pairs = np.argwhere(np.triu(np.ones((len(labels), len(labels)), dtype=bool), 1)).tolist()
    for i, j in pairs:
        n, least = int(counts[i, j] + counts[j, i]), int(min(sizes[i], sizes[j]))
        if n >= _LEAST_CONFUSED and n >= _CONFUSABLE * least:
            found.append(Confusable(labels[i], labels[j], n, n / least))
    return sorted(found, key=lambda one: -one.share)
