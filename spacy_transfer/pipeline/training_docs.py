"""The documents used for initialization: the same as in training."""

from collections.abc import Sequence

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from .sources import WHOLE_TEXT


def training_docs(examples: Sequence[Example], sources: Sequence[str], nlp: Language | None, name: str) -> list[Doc]:
    """The predicted documents, with what the components before ours write during training.

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
    if writers:
        docs = [doc.copy() for doc in docs]
    for writer in writers:
        docs = list(writer.pipe(iter(docs))) if hasattr(writer, "pipe") else [writer(doc) for doc in docs]
    return docs
