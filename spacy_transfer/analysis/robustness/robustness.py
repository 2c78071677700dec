"""Measure how far the accuracy of a pipeline falls where texts are noisy."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ...errors import T750
from ...evaluation.comparison import compare
from ...evaluation.evaluate import judge
from ...evaluation.measures import Interval, Outcomes, wilson
from ...evaluation.predictions import Predictions, predictions_of
from ...json_types import JsonObject
from ...pipeline.components import (
    classifier_meant,
    sources_read_by,
)
from ...pipeline.interface import Floats
from ...pipeline.sources import WHOLE_TEXT, Source, carry_over
from .attack import Target, attack
from .noise import ATTACK, NOISES

# Texts that turned wrong, which are kept to be looked at.
_N_EXAMPLES = 5


@dataclass(frozen=True)
class Turned:
    """A text that turned wrong.

    before (str): As it is.
    after (str): Changed.
    labels (list[str]): The right labels.
    given (list[str]): Those that the changed text got.
    """

    before: str
    after: str
    labels: list[str]
    given: list[str]


@dataclass(frozen=True)
class Drop:
    """What a kind of noise costs.

    noise (str): Its name.
    n_texts (int): Texts that were measured.
    n_changed (int): Texts in which it changed something.
    accuracy (Interval): Share of the texts with exactly the right labels.
    difference (Interval): Accuracy minus that of the same texts as they are, by paired bootstrap.
    n_lost (int): Texts that turned wrong.
    n_gained (int): Texts that turned right.
    examples (list[Turned]): Some that turned wrong.
    n_queries (float | None): Texts that were scored for each one, on average; for an attack.
    """

    noise: str
    n_texts: int
    n_changed: int
    accuracy: Interval
    difference: Interval
    n_lost: int
    n_gained: int
    examples: list[Turned]
    n_queries: float | None = None

    @property
    def hurts(self) -> bool:
        """Whether the whole interval of the difference lies below 0."""
        return self.difference.high < 0.0


@dataclass(frozen=True)
class Robustness:
    """How a classifier takes noise.

    component (str): Its name.
    n_texts (int): Texts that it was measured on.
    accuracy (Interval): As they are.
    drops (list[Drop]): Of each kind of noise, the worst first; the attack is the last one.
    """

    component: str
    n_texts: int
    accuracy: Interval
    drops: list[Drop]

    def to_json(self) -> JsonObject:
        """Give all of it as an object of JSON.

        RETURNS (JsonObject): A key for each field.
        """
        return asdict(self)


def robustness(
    pipeline: Language,
    data: Path,
    *,
    component: str | None = None,
    limit: int | None = None,
    n_attacked: int = 100,
    n_queries: int = 60,
    seed: int = 0,
    batch_size: int = 256,
) -> Robustness:
    """Measure how far accuracy falls under typing errors, another case, missing spaces, look-alike letters, emoji, an
    added sentence, other names, and an attack on single words.

    pipeline (Language): A trained pipeline.
    data (Path): Annotated documents, a .spacy file or a folder of them.
    component (str | None): The spacy-transfer classifier to look at. None: the only one.
    limit (int | None): Most texts, drawn at random. None: all of them.
    n_attacked (int): Texts that are attacked, of those that are right; 0 leaves the attack out.
    n_queries (int): Most texts that the attack has scored for each of them.
    seed (int): Of all that is drawn.
    batch_size (int): Documents a batch.
    RETURNS (Robustness): Accuracies, and differences with intervals.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T642 where it is unclear which classifier is meant, T750 for one that does not read the text,
        T791 for one of sentences or spans;
        what `evaluate` finds wrong with data, other labels (T640) among it.
    """
    name, pipe = classifier_meant(pipeline, component)
    sources = sources_read_by([pipe])
    if WHOLE_TEXT not in [one.name for one in sources]:
        raise ValueError(T750.format(name=name, sources=", ".join(one.name for one in sources)))
    judged = judge(pipeline, data, component=name, batch_size=batch_size)
    (found,) = judged.components
    places = list(found.places)
    if limit is not None and limit < len(places):
        places = sorted(Random(seed).sample(places, limit))
    tried = _Trial(pipeline, name, [judged.references[i] for i in places], sources, batch_size)
    clean = _chosen(found, places)
    drops = [_drop(noise.name, tried, clean, noise.change(tried.texts, seed)) for noise in NOISES]
    drops.sort(key=lambda one: one.difference.value)
    if n_attacked:
        drops.append(_attacked(tried, clean, n_attacked, n_queries, seed))
    return Robustness(name, len(places), wilson(int(clean.right.sum()), len(places)), drops)


@dataclass(frozen=True)
class _Trial:
    """Annotated documents, and a pipeline that reads them with other texts."""

    nlp: Language
    name: str
    references: list[Doc]
    sources: Sequence[Source]
    batch_size: int

    @property
    def texts(self) -> list[str]:
        """As they are."""
        return [one.text for one in self.references]

    def judge(self, texts: Sequence[str]) -> Predictions:
        """Predict the documents with other texts."""
        docs = self._docs(texts, self.references)
        examples = [Example(doc, reference) for doc, reference in zip(docs, self.references, strict=True)]
        return next(one for one in predictions_of(self.nlp, examples) if one.name == self.name)

    def scores(self, texts: Sequence[str], reference: Doc) -> Floats:
        """Score texts in the place of that of one document, (n_texts, n_labels)."""
        labels = self.nlp.get_pipe(self.name).labels
        docs = self._docs(texts, [reference] * len(texts))
        return np.asarray([[doc.cats[label] for label in labels] for doc in docs], dtype=np.float32)

    def _docs(self, texts: Sequence[str], references: Sequence[Doc]) -> list[Doc]:
        docs = [self.nlp.make_doc(text) for text in texts]
        for doc, reference in zip(docs, references, strict=True):
            carry_over(self.sources, reference, doc)
        return list(self.nlp.pipe(docs, batch_size=self.batch_size))


@dataclass(frozen=True)
class _Clean:
    """What was predicted of the texts as they are."""

    found: Predictions
    rows: list[int]
    outcomes: Outcomes

    @property
    def right(self) -> np.ndarray:
        """Of each text, whether it is right."""
        return self.outcomes.right


def _chosen(found: Predictions, places: Sequence[int]) -> _Clean:
    row_of = {place: row for row, place in enumerate(found.places)}
    rows = [row_of[place] for place in places]
    return _Clean(found, rows, _of(found.outcomes, rows))


def _of(outcomes: Outcomes, rows: Sequence[int]) -> Outcomes:
    return Outcomes(outcomes.hits[rows], outcomes.extras[rows], outcomes.misses[rows])


def _drop(noise: str, tried: _Trial, clean: _Clean, texts: Sequence[str]) -> Drop:
    return _compared(noise, tried.texts, texts, clean.outcomes, tried.judge(texts))


def _compared(
    noise: str, before: Sequence[str], after: Sequence[str], clean: Outcomes, found: Predictions,
    n_queries: float | None = None,
) -> Drop:  # fmt: skip
    comparison = compare(clean, found.outcomes)
    lost = np.flatnonzero(clean.right & ~found.right).tolist()
    turned = [Turned(before[i], after[i], found.true_labels(i), found.given_labels(i)) for i in lost[:_N_EXAMPLES]]
    n_changed = sum(one != other for one, other in zip(before, after, strict=True))
    return Drop(
        noise, len(before), n_changed, wilson(int(found.right.sum()), len(before)), comparison.accuracy,
        comparison.n_lost, comparison.n_gained, turned, n_queries,
    )  # fmt: skip


def _attacked(tried: _Trial, clean: _Clean, n: int, n_queries: int, seed: int) -> Drop:
    """Of a sample: those that are wrong as they are stay as they are."""
    everything = list(range(len(tried.references)))
    sample = sorted(Random(seed).sample(everything, min(n, len(everything))))
    texts, used = [tried.references[i].text for i in sample], list[int]()
    for place, i in enumerate(sample):
        if not clean.right[i] or not texts[place].strip():
            continue
        row, reference = clean.rows[i], tried.references[i]
        found = clean.found
        target = Target(found.gold[row], found.known[row], found.exclusive, found.threshold)
        score = partial(tried.scores, reference=reference)
        one = attack(texts[place], target, score, n_queries=n_queries, seed=seed)
        used.append(one.n_queries)
        if one.succeeded:
            texts[place] = one.text
    part = _Trial(tried.nlp, tried.name, [tried.references[i] for i in sample], tried.sources, tried.batch_size)
    return _compared(
        ATTACK.name, part.texts, texts, _of(clean.outcomes, sample), part.judge(texts), float(np.mean(used or [0]))
    )  # fmt: skip
