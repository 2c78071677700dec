"""Occlusion: by how much a score falls where a word is left out. Works for whatever gives scores."""

from collections.abc import Callable, Sequence

from spacy.tokens import Doc

from ..interface import Floats
from ..sources import Source, carry_over
from .explanation import Explanation, Part
from .words import sentences_of

# Documents to scores, (n_docs, n_labels), of labels in a fixed order.
Score = Callable[[list[Doc]], Floats]
_TOGETHER = 256  # documents that are scored at a time


def occlude(
    doc: Doc, labels: Sequence[str], columns: Sequence[int], score: Score, sources: Sequence[Source] = ()
) -> list[Explanation]:
    """Score a document without each of its words and sentences.

    doc (Doc): With at least one word.
    labels (Sequence[str]): Those to explain.
    columns (Sequence[int]): Their columns in the scores.
    score (Callable): Scores documents that no component has seen.
    sources (Sequence[Source]): What is read besides the text; it is there in each of these documents.
    RETURNS (list[Explanation]): One for each label.
    SOURCE: leave-one-out: Li, Monroe & Jurafsky 2016, arXiv:1612.08220.
    """
    words = [one.i for one in doc if not one.is_space]
    sentences = sentences_of(doc)
    units = [range(i, i + 1) for i in words]
    # One sentence is the text.
    units += [range(*one) for one in sentences] if len(sentences) > 1 else []
    rows = [score([without(doc, (), sources)])]
    for begin in range(0, len(units), _TOGETHER):
        rows.append(score([without(doc, unit, sources) for unit in units[begin : begin + _TOGETHER]]))
    scores = [row for some in rows for row in some.tolist()]
    found = []
    for label, column in zip(labels, columns, strict=True):
        whole, *others = [row[column] for row in scores]
        parts = [_part(doc, unit, whole - one) for unit, one in zip(units, others, strict=True)]
        first, rest = parts[: len(words)], parts[len(words) :]
        found.append(
            Explanation(doc.text, label, whole, "occlusion", first, rest, [], {}, None, None, n_runs=len(scores))
        )
    return found


def without(doc: Doc, left_out: Sequence[int], sources: Sequence[Source] = ()) -> Doc:
    """Copy a document without some of its tokens.

    doc (Doc): The document.
    left_out (Sequence[int]): Numbers of tokens.
    sources (Sequence[Source]): Attributes that go over; groups of spans do where the text stays as it is.
    RETURNS (Doc): A new one, with no annotation.
    """
    kept = [one for one in doc if one.i not in left_out]
    new = Doc(doc.vocab, words=[one.text for one in kept], spaces=[bool(one.whitespace_) for one in kept])
    carry_over(sources, doc, new)
    return new


def _part(doc: Doc, unit: Sequence[int], value: float) -> Part:
    text, begin = doc[unit[0] : unit[-1] + 1].text, doc[unit[0]].idx
    return Part(text, begin, begin + len(text), value)
