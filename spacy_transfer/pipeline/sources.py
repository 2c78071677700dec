"""What a classifier may read from a Doc: its text, extension attributes, span groups."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from spacy.tokens import Doc, Span, SpanGroup, Token

from ..errors import T005, T110, T111, T400, T400_DEPTH, T400_SURROGATE

WHOLE_TEXT = "text"
_DEEPEST = 100  # lists within lists; one that contains itself has no end


@dataclass(frozen=True)
class Source:
    """One of the things that are read.

    name (str): As the config says it: "text", "_.title" (`doc._.title`), "spans:sentences" (`doc.spans["sentences"]`,
        in the order of the text, the same range once) or "spans:sentences._.summary" (`span._.summary` of each).
    group (str | None): The key of a span group.
    attribute (str | None): The name of an extension attribute.
    is_target (bool): Nothing is read of it: its spans, or the sentences where it has no group, are classified.
    """

    name: str
    group: str | None = None
    attribute: str | None = None
    is_target: bool = False

    def read(self, doc: Doc) -> list[str]:
        """The texts found, in order; empty if there is nothing.

        RAISES (ValueError): T110 for an attribute that is neither registered nor stored with the document, T111 for a
            value that has no text, T400 for one with half a surrogate pair or with lists that have no end.
        """
        if self.group is None:
            return [doc.text] if self.attribute is None else self._texts(_value(doc, self.attribute, self.name))
        spans = in_order(doc.spans[self.group]) if self.group in doc.spans else []
        if self.attribute is None:
            return [span.text for span in spans]
        return [text for span in spans for text in self._texts(_value(span, self.attribute, self.name))]

    def _texts(self, value: object, depth: int = 0) -> list[str]:
        if value is None:
            return []
        if isinstance(value, str):
            self._check_surrogates(value)
            return [value]
        if isinstance(value, Doc | Span | Token):
            return [value.text]
        if isinstance(value, SpanGroup):
            return [span.text for span in in_order(value)]
        if isinstance(value, list | tuple):
            if depth == _DEEPEST:
                raise ValueError(T400.format(source=self.name, problem=T400_DEPTH.format(depth=_DEEPEST)))
            return [text for one in value for text in self._texts(one, depth + 1)]
        raise ValueError(T111.format(source=self.name, type=type(value).__name__))

    def _check_surrogates(self, text: str) -> None:
        """spaCy refuses them in the text of a document, but not in attributes; a tokenizer ends in a TypeError."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            half = T400_SURROGATE.format(value=ascii(text[error.start]), position=error.start)
            raise ValueError(T400.format(source=self.name, problem=half)) from error

    def keys(self, doc: Doc) -> list[Hashable]:
        """The keys in `doc.user_data` under which the document stores what is read here."""
        if self.attribute is None:
            return []
        if self.group is None:
            found = [key_of(doc, self.attribute)]
        else:
            found = [key_of(span, self.attribute) for span in doc.spans.get(self.group, [])]
        return [key for key in found if key in doc.user_data]

    def is_carried_by(self, doc: Doc) -> bool:
        """Whether the document itself holds it, be it empty."""
        if self.group is not None and self.group not in doc.spans:
            return False
        return self.attribute is None or bool(self.keys(doc))


def parse_sources(names: Sequence[str]) -> list[Source]:
    """Sources by name.

    RAISES (ValueError): T005 if there is none, one is no source, or one stands there twice.
    """
    want = 'a list of different ones of "text", "_.NAME", "spans:KEY", "spans:KEY._.NAME"'
    sources = []
    for name in names:
        group, attribute = None, None
        rest = name if isinstance(name, str) else ""
        if rest.startswith("spans:"):
            group, *more = rest.removeprefix("spans:").rsplit("._.", 1)
            attribute = more[0] if more else None
        elif rest.startswith("_."):
            attribute = rest.removeprefix("_.")
        if (rest != WHOLE_TEXT and group is None and attribute is None) or "" in (group, attribute):
            raise ValueError(T005.format(block="text", field="sources", value=name, want=want))
        sources.append(Source(name, group, attribute))
    if not sources or len(set(sources)) < len(sources):
        raise ValueError(T005.format(block="text", field="sources", value=list(names), want=want))
    return sources


def store_attribute(doc: Doc, name: str, value: object) -> None:
    """Set `doc._.name` without registering it: files are written without knowing who will read them."""
    doc.user_data[key_of(doc, name)] = value


def has_attribute(holder: Doc | Span, name: str) -> bool:
    """Whether an extension attribute is registered, or the document stores a value of it."""
    return bool(holder.has_extension(name)) or key_of(holder, name) in holder.doc.user_data


def attribute_of(holder: Doc | Span, name: str) -> object:
    """The value of an extension attribute that there is, see `has_attribute`."""
    if holder.has_extension(name):
        return getattr(holder._, name)
    # A file brings its values along; who only trains on it need not register them.
    return holder.doc.user_data[key_of(holder, name)]


def register_attributes(names: Iterable[str]) -> None:
    """Register the extension attributes that some sources read, with the default None, where nobody has.

    names (Iterable[str]): Of sources, as the config says them.
    """
    for source in parse_sources(list(names)) if (names := list(names)) else []:
        holder = Doc if source.group is None else Span
        if source.attribute is not None and not holder.has_extension(source.attribute):
            holder.set_extension(source.attribute, default=None)


def carry_over(sources: Iterable[Source], reference: Doc, predicted: Doc) -> None:
    """Give a predicted document what the reference holds of the sources; nothing else of the annotation goes over.

    Span groups go over only where both have the same text. What the predicted document has already, it keeps.
    """
    same_text = reference.text == predicted.text
    for source in sources:
        if source.is_target and same_text and reference.cats and not _has_parts(source, reference):
            # Annotated as a whole, it is the one part.
            _carry_whole(source, predicted)
        elif source.is_target and source.group is None:
            if same_text and _has_parts(source, reference):
                _carry_sentences({sent.start_char for sent in reference.sents}, predicted)
        elif source.group is not None:
            if not same_text or source.group not in reference.spans:
                continue
            if source.group not in predicted.spans:
                spans = [_moved(span, predicted) for span in reference.spans[source.group]]
                predicted.spans[source.group] = spans
        for key in source.keys(reference):
            predicted.user_data.setdefault(key, reference.user_data[key])


def _has_parts(source: Source, doc: Doc) -> bool:
    return doc.has_annotation("SENT_START") if source.group is None else source.group in doc.spans


def _carry_whole(source: Source, predicted: Doc) -> None:
    if source.group is None:
        _carry_sentences({0}, predicted)
    elif source.group not in predicted.spans:
        predicted.spans[source.group] = [predicted[:]]


def _carry_sentences(starts: set[int], predicted: Doc) -> None:
    if not predicted.has_annotation("SENT_START"):
        for token in predicted:
            token.is_sent_start = token.idx in starts


def left_behind(sources: Iterable[Source], reference: Doc, predicted: Doc) -> list[str]:
    """Names of the sources that the reference holds and the predicted document lacks."""
    return [s.name for s in sources if s.is_carried_by(reference) and not s.is_carried_by(predicted)]


def _moved(span: Span, doc: Doc) -> Span:
    """The span in another document of the same text, whatever its tokens."""
    return doc.char_span(
        span.start_char, span.end_char, label=span.label, kb_id=span.kb_id, span_id=span.id, alignment_mode="expand"
    )


def in_order(spans: Iterable[Span]) -> list[Span]:
    """Spans in the order of the text, the same range once.

    spans (Iterable[Span]): Of one document.
    """
    ranges = {(span.start_char, span.end_char): span for span in spans}
    return [ranges[place] for place in sorted(ranges)]


def _value(holder: Doc | Span, name: str, source: str) -> object:
    if not has_attribute(holder, name):
        kind = type(holder).__name__
        raise ValueError(T110.format(source=source, kind=kind, name=name))
    return attribute_of(holder, name)


def key_of(holder: Doc | Span, name: str) -> tuple[str, str, int | None, int | None]:
    """Where spaCy keeps an extension attribute in `doc.user_data`.

    holder (Doc | Span): Whose attribute it is.
    name (str): Of the attribute.
    RETURNS (tuple): A key.
    """
    if isinstance(holder, Doc):
        return ("._.", name, None, None)
    return ("._.", name, holder.start_char, holder.end_char)
