"""The form of answers, which is also the one that OpenAPI shows, and how they come from scores."""

import json
from collections.abc import Mapping

from pydantic import BaseModel, Field
from starlette.responses import Response

from ....json_types import JsonObject
from ....pipeline.interface import Floats
from ...apply.options import Options
from ...apply.writing.answers import Answers
from ..limits import ServiceLimits
from ..served import Loaded, Served


class Answer(BaseModel):
    """What one component says of a text."""

    label: str = Field(description="The best label, or the word for none")
    score: float = Field(description="Of the best label")
    confidence: float | None = Field(None, description="With min_confidence: that the text has one of the labels")
    labels: list[str] | None = Field(None, description="With labels: those that reach their threshold")
    scores: dict[str, float] | None = Field(None, description="With all_scores, above or top")


class Result(BaseModel):
    """What a pipeline says of a text."""

    label: str | None = Field(None, description="The best label, or the word for none; with one component")
    score: float | None = Field(None, description="Of the best label; with one component")
    confidence: float | None = Field(None, description="With min_confidence; with one component")
    labels: list[str] | None = Field(None, description="With labels: those that reach it; with one component")
    scores: dict[str, float] | None = Field(None, description="With all_scores, above or top; with one component")
    components: dict[str, Answer] | None = Field(None, description="With several components, by their names")


class Answered(BaseModel):
    """The answer to a request."""

    pipeline: str = Field(description="Its name")
    results: list[Result] = Field(description="One for each text, in the order of the request")


class Problem(BaseModel):
    """Why a request is refused."""

    code: str
    message: str
    field: str | None = Field(None, description="Where in the request, such as texts.3")


class Refused(BaseModel):
    """The body of every refusal."""

    error: Problem


class ComponentShown(BaseModel):
    """A classifier of a pipeline."""

    name: str
    labels: list[str]
    exclusive: bool = Field(description="Whether a text has exactly one label")
    threshold: float = Field(description="Score from which a label counts, where a text may have any number of them")
    thresholds: dict[str, float] = Field(description="The same for each label; empty where a text has exactly one")


class PipelineShown(BaseModel):
    """A pipeline of the service."""

    name: str
    version: str
    components: list[ComponentShown]
    attributes: list[str] = Field(description="What a text must come with, as an object")


class PipelinesShown(BaseModel):
    """All pipelines, and what a request may hold."""

    pipelines: list[PipelineShown]
    limits: dict[str, int]


# ---- how they are made -------------------------------------------------------------------------------------------


class JsonAnswer(Response):
    """JSON in UTF-8; half a surrogate pair that a client sent goes back as the escape it was.

    content (object): What `json.dumps` takes.
    status_code (int): Of HTTP.
    headers (Mapping[str, str] | None): More headers.
    """

    media_type = "application/json"

    def __init__(self, content: object, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status_code, {"Cache-Control": "no-store", **(headers or {})})

    def render(self, content: object) -> bytes:
        """Write JSON.

        content (object): What `json.dumps` takes.
        """
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def results_of(loaded: Loaded, scores: Floats, options: Options) -> list[JsonObject]:
    """Make the answers of some texts, in the words of `spacy transfer apply`.

    loaded (Loaded): The pipeline.
    scores (Floats): Of all components side by side, (n_texts, n_labels).
    options (Options): Which scores are wanted.
    RETURNS (list[JsonObject]): One for each text; with several components one part for each of them, by name.
    """
    parts: dict[str, list[dict[str, object]]] = {}
    begin = 0
    for component in loaded.scoring.components:
        end = begin + component.n_columns
        answers = Answers([component], options, is_table=False)
        parts[component.name] = answers.make(scores[:, begin:end])
        begin = end
    if len(parts) == 1:
        return next(iter(parts.values()))
    return [{"components": {name: part[i] for name, part in parts.items()}} for i in range(len(scores))]


def shown_pipelines(served: Mapping[str, Served], limits: ServiceLimits) -> JsonObject:
    """Say which pipelines there are and what a request may hold.

    served (Mapping[str, Served]): Those that are loaded are shown.
    limits (ServiceLimits): Of the service.
    """
    shown = [
        {
            "name": name,
            "version": loaded.version,
            "components": [
                {
                    "name": component.name,
                    "labels": list(component.labels),
                    "exclusive": exclusive,
                    "threshold": threshold,
                    "thresholds": dict(zip(component.labels, component.thresholds, strict=False)),
                }
                for component, exclusive, threshold in zip(
                    loaded.scoring.components, loaded.exclusive, loaded.thresholds, strict=True
                )
            ],
            "attributes": list(loaded.attributes),
        }
        for name, one in served.items()
        if (loaded := one.loaded) is not None
    ]
    return {
        "pipelines": shown,
        "limits": {"body": limits.body, "texts": limits.texts, "length": limits.length, "queue": limits.queue},
    }
