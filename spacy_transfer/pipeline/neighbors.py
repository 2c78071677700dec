"""Other components next to one of this package: they may write what it reads, or the labels it writes."""

import warnings
from collections.abc import Iterable, Sequence
from itertools import takewhile
from weakref import WeakKeyDictionary, ref

from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import T346
from .sources import WHOLE_TEXT

# Not an attribute of the component, which is copied, pickled and handed to other pipelines.
_pipelines: WeakKeyDictionary[object, ref[Language]] = WeakKeyDictionary()


def belongs_to(pipe: object, nlp: Language) -> None:
    """Remember for which pipeline a component was made.

    pipe (Pipe): The component.
    nlp (Language): Its pipeline.
    """
    _pipelines[pipe] = ref(nlp)


def pipeline_of(pipe: object) -> Language | None:
    """Say for which pipeline a component was made.

    pipe (Pipe): The component.
    RETURNS (Language | None): Its pipeline; None where nobody remembers, or it is gone.
    """
    made_for = _pipelines.get(pipe)
    return None if made_for is None else made_for()


def warn_of_shared_labels(pipe: Pipe, nlp: Language | None = None) -> None:
    """Warn of labels that a component before this one writes too: this one overwrites them.

    pipe (Pipe): A component with a name and labels.
    nlp (Language | None): Its pipeline; by default the one that it was made for.
    """
    nlp = pipeline_of(pipe) if nlp is None else nlp
    if nlp is None or not any(other is pipe for _, other in nlp.pipeline):
        return
    for name, other in nlp.pipeline:
        if other is pipe:
            return
        shared = sorted(set(getattr(other, "labels", ())) & set(pipe.labels))
        if shared and "doc.cats" in nlp.get_pipe_meta(name).assigns:
            text = T346.format(name=pipe.name, other=name, labels=shared[:10], example=f"{pipe.name}:{shared[0]}")
            warnings.warn(text, stacklevel=3)


def as_seen_by(pipe: Pipe, docs: list[Doc]) -> list[Doc]:
    """Run what comes before a component in the pipeline that it was made for.

    pipe (Pipe): The component.
    docs (list[Doc]): Documents that no component has seen.
    RETURNS (list[Doc]): The documents, as the component meets them.
    """
    made_for = _pipelines.get(pipe)
    nlp = None if made_for is None else made_for()
    if nlp is None or not any(other is pipe for _, other in nlp.pipeline):
        return docs
    return as_seen_in(nlp, pipe, docs)


def as_seen_in(nlp: Language, pipe: Pipe, docs: list[Doc]) -> list[Doc]:
    """Run what comes before a component in a pipeline: a transformer that it shares, a sentencizer.

    nlp (Language): The pipeline.
    pipe (Pipe): One of its components.
    docs (list[Doc]): Documents that no component has seen.
    RETURNS (list[Doc]): The documents, as the component meets them.
    """
    pipes = [other for _, other in nlp.pipeline]
    return _annotated(takewhile(lambda other: other is not pipe, pipes), docs)


def training_docs(examples: Sequence[Example], sources: Sequence[str], nlp: Language | None, name: str) -> list[Doc]:
    """The documents that initialization reads, with what the components before ours write during training.

    examples (Sequence[Example]): The training data; they are not changed.
    sources (Sequence[str]): What is read. Where that is the text alone, nothing needs to run before.
    nlp (Language | None): The pipeline; `[training] annotating_components` of it run over copies.
    name (str): Of our component.
    """
    if list(sources) == [WHOLE_TEXT]:
        return [eg.reference for eg in examples]
    docs = [eg.predicted for eg in examples]
    if nlp is None or name not in nlp.component_names:
        return docs
    before = nlp.component_names[: nlp.component_names.index(name)]
    annotating = set(nlp.config.get("training", {}).get("annotating_components") or [])
    writers = [nlp.get_pipe(other) for other in before if other in annotating]
    return _annotated(writers, [doc.copy() for doc in docs]) if writers else docs


def _annotated(writers: Iterable[Pipe], docs: list[Doc]) -> list[Doc]:
    for writer in writers:
        docs = list(writer.pipe(iter(docs))) if hasattr(writer, "pipe") else [writer(doc) for doc in docs]
    return docs
