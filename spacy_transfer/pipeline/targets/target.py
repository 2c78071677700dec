"""The parts of documents that a classifier scores one by one, as the component's `target` names them."""

from collections.abc import Sequence
from typing import Literal, Protocol, final

import numpy as np
from spacy.tokens import Doc
from spacy.training import Example

from ...errors import T005
from ..interface import Floats
from ..sources import Source
from .spans import SPANS, SentenceFinder, SpanGroupFinder, SpanTarget

DOCUMENTS, SENTENCES = "docs", "sents"
DocCats = Literal["max", "mean"]


class Target(Protocol):
    """What is classified. Each part is handed on as a document of its own: whatever reads documents reads it."""

    @property
    def name(self) -> str:
        """As the config says it."""

    @property
    def sources(self) -> Sequence[Source]:
        """What must be known of a document to find the parts."""

    @property
    def scores_documents(self) -> bool:
        """Whether `doc.cats` is written."""

    def parts(self, docs: Sequence[Doc]) -> Sequence[Doc]:
        """Take documents apart.

        docs (Sequence[Doc]): Any number.
        RETURNS (Sequence[Doc]): The parts of all of them, in order.
        RAISES (ValueError): T784 for a missing span group, T785 for a document without sentence boundaries.
        """

    def annotated(self, examples: Sequence[Example], labels: Sequence[str]) -> list[Example]:
        """Take annotated documents apart.

        examples (Sequence[Example]): Any number.
        labels (Sequence[str]): All labels, as far as they are known.
        RETURNS (list[Example]): The annotated parts of all of them, each with its `cats`.
        RAISES (ValueError): T786 for annotations that are no scores by label.
        """

    def predicted(self, examples: Sequence[Example], labels: Sequence[str]) -> list[Example]:
        """Take predicted documents with annotations apart, for a scorer.

        examples (Sequence[Example]): Any number.
        labels (Sequence[str]): All labels.
        RETURNS (list[Example]): The annotated parts, the predicted side with the scores that were given.
        RAISES (ValueError): T786 for annotations that are no scores by label.
        """

    def write(self, docs: Sequence[Doc], labels: Sequence[str], scores: Floats) -> None:
        """Write scores into documents.

        docs (Sequence[Doc]): As for `parts`.
        labels (Sequence[str]): In the order of the columns.
        scores (Floats): Of all parts, (n_parts, n_labels).
        """

    def of_documents(self, docs: Sequence[Doc], scores: Floats) -> Floats:
        """Give scores of documents.

        docs (Sequence[Doc]): As for `parts`.
        scores (Floats): Of all parts, (n_parts, n_labels).
        RETURNS (Floats): (n_docs, n_labels); NaN where documents have no scores.
        """

    def answers(self, docs: Sequence[Doc], scores: Floats) -> list[list[tuple[int, int, str, list[float]]]]:
        """Give scores by part, for whoever writes them elsewhere.

        docs (Sequence[Doc]): As for `parts`.
        scores (Floats): Of all parts, (n_parts, n_labels).
        RETURNS (list): Of each document its parts: first and last character, text, scores; none for whole documents.
        """


@final
class WholeDocuments:
    """Documents as they are."""

    name = DOCUMENTS
    sources: Sequence[Source] = ()
    scores_documents = True

    def parts(self, docs: Sequence[Doc]) -> Sequence[Doc]:
        """See `Target`."""
        return docs

    def annotated(self, examples: Sequence[Example], labels: Sequence[str]) -> list[Example]:
        """See `Target`."""
        return list(examples)

    def predicted(self, examples: Sequence[Example], labels: Sequence[str]) -> list[Example]:
        """See `Target`."""
        return list(examples)

    def write(self, docs: Sequence[Doc], labels: Sequence[str], scores: Floats) -> None:
        """See `Target`."""
        for doc, row in zip(docs, np.asarray(scores).tolist(), strict=True):
            doc.cats.update(zip(labels, row, strict=True))

    def of_documents(self, docs: Sequence[Doc], scores: Floats) -> Floats:
        """See `Target`."""
        return scores

    def answers(self, docs: Sequence[Doc], scores: Floats) -> list[list[tuple[int, int, str, list[float]]]]:
        """See `Target`."""
        return [[] for _ in docs]


def make_target(name: str, doc_cats: DocCats | None) -> Target:
    """Make a target of what the config says.

    name (str): "docs", "sents" or "spans:KEY".
    doc_cats (str | None): How the scores of parts become those of their document: "max", "mean", or not at all.
    RETURNS (Target): Of this name.
    RAISES (ValueError): T005 for another name or way, T787 where `span._.cats` is taken.
    """
    if name != SENTENCES and name != DOCUMENTS and (not name.startswith(SPANS) or name == SPANS):
        want = '"docs", "sents" or "spans:KEY"'
        raise ValueError(T005.format(block="component", field="target", value=name, want=want))
    if doc_cats not in (None, "max", "mean") or (name == DOCUMENTS and doc_cats is not None):
        want = 'null, or "max" or "mean" where target is "sents" or "spans:KEY"'
        raise ValueError(T005.format(block="component", field="doc_cats", value=doc_cats, want=want))
    if name == DOCUMENTS:
        return WholeDocuments()
    finder = SentenceFinder() if name == SENTENCES else SpanGroupFinder(name.removeprefix(SPANS))
    return SpanTarget(name, finder, doc_cats)
