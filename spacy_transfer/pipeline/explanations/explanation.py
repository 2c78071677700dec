"""An explanation: what the words, sentences and windows of a text add to the score of a label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spacy.tokens import Doc, Span, SpanGroup

from ...json_types import JsonObject

Method = Literal["gradients", "occlusion"]
# Before the label, in the key of a span group.
KEY = "explanation:"
# Log-odds that nobody sees in a score.
FLAT = 0.01


@dataclass(frozen=True)
class Part:
    """A part of a text.

    text (str): The part.
    begin (int): Its first character.
    end (int): One past its last character.
    value (float): What it adds; below 0 it speaks against the label.
    """

    text: str
    begin: int
    end: int
    value: float


@dataclass(frozen=True)
class Explanation:
    """What the parts of a text add to the score of a label.

    With gradients a value is in units of the logit, the log-odds of the score: values sum to `difference`. With
    occlusion it is by how much the score falls without the part.

    text (str): The text.
    label (str): The label.
    score (float): Its score.
    method (str): "gradients" or "occlusion".
    words (Sequence[Part]): The tokens of the document, without spaces.
    sentences (Sequence[Part]): Its sentences.
    windows (Sequence[Part]): Its windows, where it has more than one and gradients explain it; they overlap.
    elsewhere (dict[str, float]): What is read besides the text, and adds to the score: by source.
    difference (float | None): Log-odds of the score, minus those without any word; None for occlusion.
    gap (float | None): By what share of `difference` the sum of all parts misses it; None for occlusion.
    n_runs (int): Gradients that were computed, or texts that were scored.
    """

    text: str
    label: str
    score: float
    method: Method
    words: Sequence[Part]
    sentences: Sequence[Part]
    windows: Sequence[Part]
    elsewhere: dict[str, float]
    difference: float | None
    gap: float | None
    n_runs: int

    @property
    def is_flat(self) -> bool:
        """Whether the words hardly change the score, so that a gap is large only next to next to nothing."""
        return self.difference is not None and abs(self.difference) < FLAT

    def strongest(self, n: int = 10) -> list[Part]:
        """Find the words that matter most.

        n (int): How many.
        RETURNS (list[Part]): For and against the label, the strongest first.
        """
        return sorted(self.words, key=lambda one: -abs(one.value))[:n]

    def write(self, doc: Doc) -> SpanGroup:
        """Write it to a document, where it is stored, copied and packed with all that spaCy stores.

        doc (Doc): With the same text.
        RETURNS (SpanGroup): `doc.spans["explanation:LABEL"]`: a span for each word; `attrs` has `values` in their
            order, `label`, `score`, `method`, `difference` and `gap`.
        """
        spans = [_span(doc, one, self.label) for one in self.words]
        attrs = {
            "values": [one.value for one in self.words], "label": self.label, "score": self.score,
            "method": self.method, "difference": self.difference, "gap": self.gap,
        }  # fmt: skip
        key = f"{KEY}{self.label}"
        doc.spans[key] = SpanGroup(doc, name=key, attrs=attrs, spans=spans)
        return doc.spans[key]

    def to_json(self) -> JsonObject:
        """Give all of it as an object of JSON.

        RETURNS (JsonObject): A key for each field.
        """
        listed = {name: [vars(one) for one in getattr(self, name)] for name in ("words", "sentences", "windows")}
        return {**vars(self), **listed}


def _span(doc: Doc, part: Part, label: str) -> Span:
    return doc.char_span(part.begin, part.end, label=label, alignment_mode="expand")
