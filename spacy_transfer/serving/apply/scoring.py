"""Texts to scores: straight through the network where nothing else reads the documents, else through the pipeline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc

from ...errors import T527, T682, T790
from ...evaluation.measures import Flags
from ...pipeline.components import classifiers_of, media_read_by, sources_read_by
from ...pipeline.interface import Floats, JudgedScores, TextInterface, interface_of
from ...pipeline.sources import WHOLE_TEXT, store_attribute
from ...pipeline.targets.target import DOCUMENTS
from ...pipeline.textcat import TransferTextCategorizer
from .options import Options, check_labels
from .reading.rows import Row

# Documents that go through the components together; a transformer keeps its states of all of them.
_BATCH = 256
# What msgpack has a form for.
_STORABLE = (str, int, float, bool, list, dict, type(None))


@dataclass(frozen=True)
class Component:
    """A component whose scores are written.

    name (str): Of the component.
    labels (tuple[str, ...]): In the order of its scores.
    thresholds (tuple[float, ...]): Of each label; empty where labels exclude each other, so that the best one holds.
    min_confidence (float | None): From which a document counts as one with a known label. None where it has no
        confidence; else that is one more column after the scores.
    has_spans (bool): It classifies sentences or spans.
    scores_documents (bool): Documents have scores.
    """

    name: str
    labels: tuple[str, ...]
    thresholds: tuple[float, ...] = ()
    min_confidence: float | None = None
    has_spans: bool = False
    scores_documents: bool = True

    @property
    def n_columns(self) -> int:
        """Columns of its scores and its confidence."""
        return len(self.labels) + (self.min_confidence is not None)

    @classmethod
    def of(cls, pipe: TransferTextCategorizer) -> "Component":
        """Describe a component.

        pipe (TransferTextCategorizer): The component.
        RETURNS (Component): What is written of it.
        """
        thresholds = () if pipe.exclusive else tuple(pipe.thresholds.values())
        return cls(
            pipe.name, pipe.labels, thresholds, pipe.min_confidence if pipe.has_confidence else None,
            pipe.target.name != DOCUMENTS, pipe.target.scores_documents,
        )  # fmt: skip

    def reached(self, scores: Floats) -> Flags:
        """Find the labels of documents: those that reach their threshold, or the best one.

        scores (Floats): (n_docs, n_labels).
        RETURNS (Flags): (n_docs, n_labels).
        """
        if self.thresholds:
            return np.asarray(scores >= np.asarray(self.thresholds))
        return np.asarray(np.arange(len(self.labels)) == scores.argmax(axis=1)[:, None])


# Of a component's sentences or spans: first and last character, text, scores.
Spans = list[tuple[int, int, str, list[float]]]


class ScoredRows(NamedTuple):
    """What came of rows.

    scores (Floats): Of all components side by side, (n_rows, n_columns); NaN where documents have none.
    docs (list[Doc]): The documents, if they are wanted.
    spans (list[list[Spans]]): Of each row, by component; empty where none classifies sentences or spans.
    """

    scores: Floats
    docs: list[Doc]
    spans: list[list[Spans]]


def check_components(components: Sequence[Component], options: Options) -> None:
    """Compare components with what is wanted of them, before anything is scored.

    components (Sequence[Component]): Of a pipeline.
    options (Options): As given.
    RAISES (ValueError): T396 where the word for no label is a label, T682 for a confidence that none of them has.
    """
    check_labels([label for one in components for label in one.labels], options)
    if options.min_confidence is not None and all(one.min_confidence is None for one in components):
        raise ValueError(T682.format(components=", ".join(one.name for one in components)))


class Scoring(Protocol):
    """A way from rows to scores."""

    @property
    def components(self) -> Sequence[Component]:
        """Whose scores there are."""

    def score(self, rows: Sequence[Row]) -> ScoredRows:
        """Score rows.

        rows (Sequence[Row]): Any number. The same ones in the same order give the same bits.
        RETURNS (ScoredRows): In their order.
        """


def active_classifiers(nlp: Language) -> list[TransferTextCategorizer]:
    """Find the spacy-transfer classifiers of a pipeline that are not disabled.

    nlp (Language): The pipeline.
    RETURNS (list[TransferTextCategorizer]): In their order.
    RAISES (ValueError): T527 if there are none.
    """
    found = list(classifiers_of(nlp, enabled_only=True).values())
    if not found:
        name = nlp.path or nlp.meta.get("name") or nlp.lang
        raise ValueError(T527.format(pipeline=name, components=", ".join(nlp.pipe_names) or "none"))
    return found


def reads_only_text(nlp: Language) -> bool:
    """Check whether the scores of a document depend on its text alone.

    nlp (Language): The pipeline.
    """
    return all(source.name == WHOLE_TEXT for source in sources_read_by(active_classifiers(nlp)))


def attributes_read_by(nlp: Language) -> list[str]:
    """Find the extension attributes of documents that the classifiers read: columns of a table can hold them.

    nlp (Language): The pipeline.
    RETURNS (list[str]): Names, without the underscore.
    """
    read = sources_read_by(active_classifiers(nlp))
    return [one.attribute for one in read if one.group is None and one.attribute is not None]


def media_read_in(nlp: Language) -> dict[str, str]:
    """Find the extension attributes in which the classifiers read pictures and sounds.

    nlp (Language): The pipeline.
    RETURNS (dict[str, str]): As `media_read_by`.
    """
    return media_read_by(active_classifiers(nlp))


def direct_scores(nlp: Language) -> Callable[[Sequence[str]], Floats] | None:
    """Find a way from texts to scores without documents: one component alone, which reads the whole text.

    nlp (Language): The pipeline, trained.
    RETURNS (Callable | None): Texts to scores, (n_texts, n_labels), as `nlp.pipe` would give them. None if tokens or
        other components are needed, or if the tokenizer is not spaCy's, which never changes a text.
    """
    if len(nlp.pipeline) != 1 or type(nlp.tokenizer).__module__ != "spacy.tokenizer":
        return None
    (pipe,) = active_classifiers(nlp)
    if pipe.target.name != DOCUMENTS:
        return None
    net = interface_of(pipe.model)
    return net.scores_of_texts if isinstance(net, TextInterface) and net.reads_whole_texts else None


class DirectScoring:
    """No documents: texts go to the network as they are.

    nlp (Language): The pipeline.
    scores (Callable): As `direct_scores` gave it.
    """

    def __init__(self, nlp: Language, scores: Callable[[Sequence[str]], Floats]) -> None:
        self.components = [Component.of(pipe) for pipe in active_classifiers(nlp)]
        self._scores = scores

    def score(self, rows: Sequence[Row]) -> ScoredRows:
        """See `Scoring`."""
        return ScoredRows(self._scores([row.text for row in rows]), [], [])


class PipelineScoring:
    """Every component sees the documents, in batches of like length.

    nlp (Language): The pipeline.
    keeps_docs (bool): Whether the documents are wanted too, with the columns of their rows as attributes.
    """

    def __init__(self, nlp: Language, *, keeps_docs: bool) -> None:
        self.components = [Component.of(pipe) for pipe in active_classifiers(nlp)]
        self._nlp, self._keeps_docs = nlp, keeps_docs
        self._has_spans = any(one.has_spans for one in self.components)
        self._attributes = attributes_read_by(nlp)
        # Whose relative paths start where the row comes from.
        self._paths = [name for name, folder in media_read_in(nlp).items() if not folder]

    def score(self, rows: Sequence[Row]) -> ScoredRows:
        """See `Scoring`."""
        order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].text), i))
        out = np.zeros((len(rows), sum(one.n_columns for one in self.components)), dtype=np.float32)
        docs: dict[int, Doc] = {}
        spans: dict[int, list[Spans]] = {}
        for begin in range(0, len(order), _BATCH):
            chosen = order[begin : begin + _BATCH]
            batch = [self._doc(rows[i]) for i in chosen]
            out[chosen], parts = self._run(batch)
            if self._keeps_docs:
                docs.update(zip(chosen, batch, strict=True))
            elif self._has_spans:
                spans.update(zip(chosen, parts, strict=True))
        return ScoredRows(out, [docs[i] for i in sorted(docs)], [spans[i] for i in sorted(spans)])

    def _doc(self, row: Row) -> Doc:
        if row.doc is not None:
            return row.doc
        doc = self._nlp.make_doc(row.text)
        for name in self._attributes:
            if name in row.cells:
                store_attribute(doc, name, row.cells[name])
        for name in self._paths:
            value = row.cells.get(name)
            if isinstance(value, str) and value.strip():
                store_attribute(doc, name, str(Path(row.folder) / value))
        if self._keeps_docs:
            for name, value in row.cells.items():
                if name != row.text_field and name not in self._attributes:
                    store_attribute(doc, name, value if isinstance(value, _STORABLE) else str(value))
        return doc

    def _run(self, docs: list[Doc]) -> tuple[Floats, list[list[Spans]]]:
        """Let every component run, and take the scores of each before the next one can write over them."""
        found: list[Floats] = []
        spans: list[list[Spans]] = [[] for _ in docs]
        for _, pipe in self._nlp.pipeline:
            if isinstance(pipe, TransferTextCategorizer):
                scores = pipe.predict(docs)
                pipe.set_annotations(docs, scores)
                found.append(np.asarray(pipe.target.of_documents(docs, scores), dtype=np.float32))
                if isinstance(scores, JudgedScores):
                    found.append(scores.confidence[:, None])
                for own, parts in zip(spans, pipe.target.answers(docs, scores), strict=True):
                    own.append(parts)
            else:
                docs[:] = _through(pipe, docs)
        return np.concatenate(found, axis=1), spans


def _through(pipe: Pipe, docs: list[Doc]) -> list[Doc]:
    if hasattr(pipe, "pipe"):
        return list(pipe.pipe(docs, batch_size=len(docs)))
    return [pipe(doc) for doc in docs]


def require_documents(components: Sequence[Component]) -> None:
    """Refuse components without scores of documents, where a text gets one answer.

    components (Sequence[Component]): Whose scores are asked for.
    RAISES (ValueError): T790.
    """
    for one in components:
        if not one.scores_documents:
            raise ValueError(T790.format(name=one.name))


def make_scoring(nlp: Language, *, keeps_docs: bool) -> Scoring:
    """Choose the way from rows to scores.

    nlp (Language): The pipeline.
    keeps_docs (bool): Whether documents are to be written.
    RETURNS (Scoring): The shortest.
    RAISES (ValueError): T527 without a spacy-transfer component, T006 for one that was never trained.
    """
    for pipe in active_classifiers(nlp):
        # Says what is wrong with a component that was never trained.
        pipe.predict([])
    scores = None if keeps_docs else direct_scores(nlp)
    return DirectScoring(nlp, scores) if scores is not None else PipelineScoring(nlp, keeps_docs=keeps_docs)
