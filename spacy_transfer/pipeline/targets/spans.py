"""Sentences and spans as what is classified; their scores stand in `span._.cats`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from spacy.tokens import Doc, Span
from spacy.training import Example

from ...errors import T784, T785, T786, T787
from ..gold import shown
from ..interface import Floats
from ..sources import Source, in_order, key_of

SPANS = "spans:"
CATS = "cats"
_LEAST = 1e-6
# Of a shared transformer: its states are those of the whole document.
_STATES = "trf_data"
# Characters of a text, and groups of a document, in a message.
_SHOWN, _MOST_GROUPS = 80, 10


class Finder(Protocol):
    """Finds the spans of a document."""

    @property
    def source(self) -> Source:
        """What a document must bring along."""

    def find(self, doc: Doc) -> list[Span]:
        """The spans that are classified, in the order of the text, each range once.

        RAISES (ValueError): T784, T785 where the document does not have them.
        """

    def annotated(self, doc: Doc) -> list[Span]:
        """The spans that may be annotated; none where the document does not have them."""


@dataclass(frozen=True)
class SentenceFinder:
    """The sentences of a document."""

    source = Source("sents", is_target=True)

    def find(self, doc: Doc) -> list[Span]:
        """See `Finder`."""
        if len(doc) < 2:
            return [doc[:]] if len(doc) else []
        if not doc.has_annotation("SENT_START"):
            raise ValueError(T785.format(text=doc.text[:_SHOWN]))
        return list(doc.sents)

    def annotated(self, doc: Doc) -> list[Span]:
        """See `Finder`."""
        return list(doc.sents) if len(doc) > 1 and doc.has_annotation("SENT_START") else [doc[:]]


@dataclass(frozen=True)
class SpanGroupFinder:
    """The spans of a group.

    group (str): Its key in `doc.spans`.
    """

    group: str

    @property
    def source(self) -> Source:
        """See `Finder`."""
        return Source(f"{SPANS}{self.group}", group=self.group, is_target=True)

    def find(self, doc: Doc) -> list[Span]:
        """See `Finder`."""
        if self.group not in doc.spans:
            if not len(doc):
                return []
            groups = ", ".join(repr(key) for key in list(doc.spans)[:_MOST_GROUPS]) or "none"
            raise ValueError(T784.format(group=self.group, text=doc.text[:_SHOWN], groups=groups))
        return in_order(doc.spans[self.group])

    def annotated(self, doc: Doc) -> list[Span]:
        """See `Finder`."""
        return list(doc.spans[self.group]) if self.group in doc.spans else []


class _Annotation(NamedTuple):
    """What is annotated: the characters from `start` to `end`, and their `cats`."""

    start: int
    end: int
    cats: Mapping[str, float]


@dataclass(frozen=True)
class SpanTarget:
    """Sentences or spans.

    name (str): As the config says it.
    finder (Finder): Finds them.
    doc_cats (str | None): How `doc.cats` comes of the scores of a document's parts; not at all by default.
    RAISES (ValueError): T787 where somebody else has `span._.cats`.
    """

    name: str
    finder: Finder
    doc_cats: Literal["max", "mean"] | None = None

    def __post_init__(self) -> None:
        _register()

    @property
    def sources(self) -> Sequence[Source]:
        """See `Target`."""
        return [self.finder.source]

    @property
    def scores_documents(self) -> bool:
        """See `Target`."""
        return self.doc_cats is not None

    def parts(self, docs: Sequence[Doc]) -> Sequence[Doc]:
        """See `Target`."""
        return [_part(span) for doc in docs for span in self.finder.find(doc)]

    def annotated(self, examples: Sequence[Example], labels: Sequence[str]) -> list[Example]:
        """See `Target`."""
        return [
            Example(_part(_span_at(eg, one)), _with_cats(_part(_exact(eg.reference, one)), one.cats))
            for eg in examples for one in self._annotations(eg.reference, labels)
        ]  # fmt: skip

    def predicted(self, examples: Sequence[Example], labels: Sequence[str]) -> list[Example]:
        """See `Target`."""
        found = []
        for eg in examples:
            scored = [
                _Annotation(key[2], key[3], cats) for key, cats in eg.predicted.user_data.items()
                if isinstance(key, tuple) and key[:2] == ("._.", CATS) and key[2] is not None and cats
            ]  # fmt: skip
            for one in self._annotations(eg.reference, labels):
                gold = _with_cats(_part(_exact(eg.reference, one)), one.cats)
                # Of the part itself, or of what covers most of it where documents are taken apart elsewhere.
                best = max(scored, key=lambda other: _closeness(one, other), default=one)
                # One that nothing covers has no score to speak of, but a wrong label has more than the right one.
                missed = {label: 0.0 if one.cats.get(label) else _LEAST for label in labels}
                given = best.cats if best is not one and _overlap(one, best) > 0 else missed
                found.append(Example(_with_cats(_part(_exact(eg.reference, one)), given), gold))
        return found

    def write(self, docs: Sequence[Doc], labels: Sequence[str], scores: Floats) -> None:
        """See `Target`."""
        # Where a pickled pipeline was loaded, nobody has.
        _register()
        rows = np.asarray(scores).tolist()
        begin = 0
        for doc in docs:
            for span in self.finder.find(doc):
                span._.set(CATS, {**(span._.get(CATS) or {}), **dict(zip(labels, rows[begin], strict=True))})
                begin += 1
        if self.doc_cats is not None:
            for doc, row in zip(docs, self.of_documents(docs, scores).tolist(), strict=True):
                doc.cats.update(zip(labels, row, strict=True))

    def of_documents(self, docs: Sequence[Doc], scores: Floats) -> Floats:
        """See `Target`. A document without parts has 0 for every label."""
        out = np.full((len(docs), scores.shape[1]), np.nan, dtype=np.float32)
        if self.doc_cats is None:
            return out
        join = np.max if self.doc_cats == "max" else np.mean
        begin = 0
        for i, doc in enumerate(docs):
            n_parts = len(self.finder.find(doc))
            out[i] = join(scores[begin : begin + n_parts], axis=0) if n_parts else 0.0
            begin += n_parts
        return out

    def answers(self, docs: Sequence[Doc], scores: Floats) -> list[list[tuple[int, int, str, list[float]]]]:
        """See `Target`."""
        rows = iter(np.asarray(scores, dtype=np.float64).tolist())
        return [[(s.start_char, s.end_char, s.text, next(rows)) for s in self.finder.find(doc)] for doc in docs]

    def _annotations(self, doc: Doc, labels: Sequence[str]) -> Iterator[_Annotation]:
        """What of a document is annotated: spans by `span._.cats` or by their labels, else the document as one part."""
        cats: dict[tuple[int, int], Mapping[str, float]] = {}
        marked: dict[tuple[int, int], dict[str, float]] = {}
        for span in self.finder.annotated(doc):
            place = (span.start_char, span.end_char)
            own = doc.user_data.get(key_of(span, CATS))
            if own is not None:
                cats[place] = _checked(own, span)
            elif span.label_:
                marked.setdefault(place, dict.fromkeys(labels, 0.0))[span.label_] = 1.0
        cats = {**marked, **cats}
        if not cats and doc.cats:
            cats = {(0, len(doc.text)): doc.cats}
        for start, end in sorted(cats):
            yield _Annotation(start, end, cats[start, end])


def _register() -> None:
    if not Span.has_extension(CATS):
        Span.set_extension(CATS, default=None)
    elif any(part is not None for part in Span.get_extension(CATS)[1:]):
        raise ValueError(T787)


def _checked(cats: object, span: Span) -> Mapping[str, float]:
    if not isinstance(cats, Mapping):
        raise ValueError(T786.format(text=span.text[:_SHOWN], value=shown(cats)))
    return cats


def _part(span: Span) -> Doc:
    """A document of its own, with the attributes of the whole one. Without the space behind it, as in `span.text`."""
    doc = span.doc
    spaces = [bool(token.whitespace_) for token in span]
    if spaces:
        spaces[-1] = False
    part = Doc(doc.vocab, words=[token.text for token in span], spaces=spaces)
    for key, value in doc.user_data.items():
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "._." and key[2] is None and key[1] != _STATES:
            part.user_data[key] = value
    return part


def _with_cats(doc: Doc, cats: Mapping[str, float]) -> Doc:
    doc.cats = dict(cats)
    return doc


def _exact(doc: Doc, one: _Annotation) -> Span:
    span = doc.char_span(one.start, one.end, alignment_mode="expand")
    return doc[:] if span is None else span


def _span_at(example: Example, one: _Annotation) -> Span:
    """Of the predicted document, whose tokens may be others; of the annotated one where its text is another."""
    same = example.predicted.text == example.reference.text
    return _exact(example.predicted if same else example.reference, one)


def _overlap(one: _Annotation, other: _Annotation) -> int:
    return min(one.end, other.end) - max(one.start, other.start)


def _closeness(one: _Annotation, other: _Annotation) -> tuple[int, int]:
    """Characters in common; of two with as many, the shorter one."""
    return _overlap(one, other), other.start - other.end
