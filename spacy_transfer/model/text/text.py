"""The parts of a document that a classifier reads, as one clean text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from spacy.tokens import Doc

from ...errors import T001, T112
from ...pipeline.sources import WHOLE_TEXT, Source, parse_sources
from .normalization import Normalization

_SHOWN = 80  # characters of a text in a message


@dataclass(frozen=True)
class Text:
    """The text of a document as the encoder gets it, the same in training and in use; stored with the pipeline.

    sources (list[str]): What is read, in this order: "text", the whole text; "_.title", the extension attribute
        `doc._.title`, a str, Doc, Span, Token, span group or a list of those; "spans:sentences", the spans of
        `doc.spans["sentences"]` in the order of the text; "spans:sentences._.summary", an attribute of each span.
    separator (str): Put between all that is read.
    missing (str): Where an attribute or a group is absent, None, or empty once cleaned: "error" stops, "skip" reads the
        rest, "text" reads the whole text in its place, once. Where nothing is left the document counts as empty and
        gets scores like any empty one. An empty whole text is never an error.
    normalization (Normalization | None): `spacy-transfer.Normalization.v1`; each part is cleaned for itself, before
        they are joined.
    RAISES (ValueError): T001 for a normalization that is none, T005 for sources that are none.
    """

    sources: Sequence[str] = (WHOLE_TEXT,)
    separator: str = " "
    missing: Literal["error", "skip", "text"] = "error"
    normalization: Normalization | None = None

    def __post_init__(self) -> None:
        names = [self.sources] if isinstance(self.sources, str) else list(self.sources)
        parse_sources(names)
        object.__setattr__(self, "sources", tuple(names))
        if self.normalization is None:
            object.__setattr__(self, "normalization", Normalization())
        if not isinstance(self.normalization, Normalization):
            got = type(self.normalization).__name__
            want = "spacy-transfer.Normalization.v1"
            raise ValueError(T001.format(field="normalization", arch="spacy-transfer.Text.v1", want=want, got=got))

    @cached_property
    def _sources(self) -> list[Source]:
        return parse_sources(self.sources)

    def read(self, docs: Sequence[Doc]) -> list[str]:
        """One text a document.

        RAISES (ValueError): T110 for an attribute that is not registered, T111 for a value without text, T112 for one
            that is missing where `missing` is "error".
        """
        if self.sources == (WHOLE_TEXT,):
            return self.clean([doc.text for doc in docs])
        return [self._read(doc) for doc in docs]

    def _read(self, doc: Doc) -> str:
        return self.separator.join(text for _, text in self.parts(doc))

    def parts(self, doc: Doc) -> list[tuple[str, str]]:
        """Say what is read of a document, and where from.

        doc (Doc): Any.
        RETURNS (list[tuple[str, str]]): Names of sources and cleaned texts; joined by the separator, what `read` gives.
        RAISES (ValueError): As `read`.
        """
        if self.sources == (WHOLE_TEXT,):
            return [(WHOLE_TEXT, self.clean([doc.text])[0])]
        parts: list[tuple[str, str]] = []
        waits_for_text = WHOLE_TEXT not in self.sources
        for source in self._sources:
            found = [(source.name, text) for text in self._parts(source.read(doc))]
            if not found and source.name != WHOLE_TEXT:
                if self.missing == "error":
                    raise ValueError(T112.format(source=source.name, text=doc.text[:_SHOWN]))
                if self.missing == "text" and waits_for_text:
                    waits_for_text = False
                    found = [(WHOLE_TEXT, text) for text in self._parts([doc.text])]
            parts += found
        return parts

    def _parts(self, texts: list[str]) -> list[str]:
        return [text for text in self.clean(texts) if text and not text.isspace()]

    def clean(self, texts: Sequence[str]) -> list[str]:
        """Clean texts, or parts of them.

        texts (Sequence[str]): Any number.
        RETURNS (list[str]): As many.
        """
        return self.normalization.apply(texts) if self.normalization else list(texts)
