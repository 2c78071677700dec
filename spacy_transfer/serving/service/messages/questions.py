"""What a request asks for: its form, which is also the one that OpenAPI shows, and what it may hold."""

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from ....corpora.excerpt import excerpt
from ....errors import (
    T586,
    T586_ABSTAIN,
    T586_ATTRIBUTE,
    T586_BLANK,
    T586_BOTH,
    T586_EMPTY,
    T586_FIELD,
    T586_FILE,
    T586_KIND,
    T586_SCORES,
    T586_SURROGATE,
    T586_UNREAD,
    T589,
    T590,
    T682,
)
from ...apply.options import Options
from ...apply.reading.rows import Row
from ...apply.scoring import Component
from ..lanes import row_of
from ..limits import ServiceLimits
from .refusals import Refusal

_EXAMPLE = '{"text": "Where is my parcel?"}'
# Of the two forms of a text; in no message.
_STRING, _OBJECT = "<string>", "<object>"


class Document(BaseModel):
    """A text with extension attributes, for pipelines that read some."""

    model_config = ConfigDict(extra="allow", strict=True)

    text: str


def _form_of(value: object) -> str:
    return _OBJECT if isinstance(value, dict | Document) else _STRING


Text = Annotated[Annotated[str, Tag(_STRING)] | Annotated[Document, Tag(_OBJECT)], Discriminator(_form_of)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Question(BaseModel):
    """One text or several, and which scores are wanted; what is not given is as the service was started."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"text": "Where is my parcel?"}, {"texts": ["Where is it?"], "top": 3}]},
    )

    text: Text | None = Field(None, description="One text")
    texts: list[Text] | None = Field(None, description="Several texts; either this or text")
    pipeline: str | None = Field(None, description="Name of the pipeline, where there are several")
    labels: bool | None = Field(None, description="Give the labels that reach their threshold")
    all_scores: bool | None = Field(None, description="Give the scores of all labels")
    above: Share | None = Field(None, description="Give all labels with at least this score")
    top: Annotated[int, Field(ge=1)] | None = Field(None, description="Give this many labels, best first")
    min_score: Share | None = Field(None, description="Where the best score is lower, label is abstain")
    min_confidence: Share | Literal["auto"] | None = Field(
        None, description="Where the confidence that the text has one of the labels is lower, label is abstain"
    )
    abstain: str | None = Field(None, description="Word for no label")

    def all_texts(self) -> list[tuple[str, str | Document]]:
        """The texts with the names of their places.

        RAISES (Refusal): T586 unless there is at least one.
        """
        if (self.text is None) == (self.texts is None):
            raise _unusable(T586_BOTH)
        if self.text is not None:
            return [("text", self.text)]
        if not self.texts:
            raise _unusable(T586_EMPTY, field="texts")
        return [(f"texts.{i}", one) for i, one in enumerate(self.texts)]

    def options(self, usual: Options, components: Sequence[Component]) -> Options:
        """Which scores are wanted.

        usual (Options): As the service was started.
        components (Sequence[Component]): Of the pipeline.
        RAISES (Refusal): T586 for options that exclude each other, T682 for a confidence that no component has.
        """
        chosen = (self.all_scores or None, self.above, self.top)
        n_chosen = sum(one is not None for one in chosen)
        if n_chosen > 1:
            raise _unusable(T586_SCORES)
        min_score = usual.min_score if self.min_score is None else self.min_score
        abstain = usual.abstain if self.abstain is None else self.abstain
        least = usual.min_confidence if self.min_confidence is None else self.min_confidence
        is_used = min_score is not None or least is not None
        if is_used and any(abstain in component.labels for component in components):
            raise _unusable(T586_ABSTAIN.format(abstain=abstain), field="abstain")
        if least is not None and all(component.min_confidence is None for component in components):
            names = ", ".join(component.name for component in components)
            raise Refusal(400, T682.format(components=names), field="min_confidence")
        is_said = n_chosen or self.all_scores is not None
        return Options(
            labels=usual.labels if self.labels is None else self.labels,
            all_scores=bool(self.all_scores) if is_said else usual.all_scores,
            above=self.above if is_said else usual.above,
            top=self.top if is_said else usual.top,
            min_score=min_score,
            min_confidence=least,
            abstain=abstain,
        )


def read_question(data: object) -> Question:
    """Check the form of a request.

    data (object): Its JSON.
    RETURNS (Question): What it asks.
    RAISES (Refusal): T586 with the first field that is wrong.
    """
    if not isinstance(data, dict):
        raise _unusable(T586_KIND.format(example=_EXAMPLE))
    try:
        return Question.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if part not in (_STRING, _OBJECT))
        shown = excerpt(field)[1:-1]
        raise _unusable(T586_FIELD.format(field=shown, problem=first["msg"]), field) from None


@dataclass(frozen=True)
class Reads:
    """What a pipeline can be given.

    attributes (Sequence[str]): Names of extension attributes that it reads.
    longest (int): Characters of a text.
    media (Collection[str]): Those of the attributes that hold pictures or sounds: in a request a file in Base64, and
        never the path of a file of this machine. A document that has one needs no text, and none needs one.
    """

    attributes: Sequence[str]
    longest: int
    media: Collection[str] = ()


def rows_of(question: Question, limits: ServiceLimits, reads: Reads) -> list[Row]:
    """Check the texts of a request.

    question (Question): The request.
    limits (ServiceLimits): Of the service.
    reads (Reads): Of the pipeline.
    RETURNS (list[Row]): One for each text.
    RAISES (Refusal): T589 for too many texts, T590 for a text that is too long, T586 for one that is blank or lacks
        what the pipeline reads.
    """
    texts = question.all_texts()
    if len(texts) > limits.texts:
        raise Refusal(413, T589.format(n=len(texts), most=limits.texts), field="texts")
    return [_row(field, text, reads) for field, text in texts]


def _row(field: str, given: str | Document, reads: Reads) -> Row:
    text = given if isinstance(given, str) else given.text
    if len(text) > reads.longest:
        raise Refusal(413, T590.format(field=field, n=len(text), most=reads.longest), field=field)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _unusable(T586_SURROGATE.format(field=field), field) from None
    attributes = {} if isinstance(given, str) else dict(given.model_extra or {})
    if not text.strip() and not any(attributes.get(name) for name in reads.media):
        raise _unusable(T586_BLANK.format(field=field), field)
    for name in attributes:
        if name not in reads.attributes:
            raise _unusable(T586_UNREAD.format(field=field, name=excerpt(name)[1:-1]), field)
    for name in reads.attributes:
        if name in reads.media:
            attributes[name] = _file(attributes.get(name), f"{field}.{name}")
        elif name not in attributes:
            names = ", ".join(reads.attributes)
            raise _unusable(T586_ATTRIBUTE.format(field=field, name=name, names=names), field)
    return row_of(text, attributes)


def _file(value: object, field: str) -> bytes | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except ValueError:
        pass
    raise _unusable(T586_FILE.format(field=field), field)


def _unusable(problem: str, field: str = "") -> Refusal:
    return Refusal(400, T586.format(problem=problem), field=field)
