"""Components of one pipeline that write the same labels into `doc.cats`."""

import warnings
from typing import Any
from weakref import WeakKeyDictionary, ref

from spacy.language import Language

from ..errors import T346

# Not an attribute of the component, which is copied, pickled and handed to other pipelines.
_pipelines: WeakKeyDictionary[object, ref[Language]] = WeakKeyDictionary()


def belongs_to(pipe: object, nlp: Language) -> None:
    """Remember for which pipeline a component was made.

    pipe (Pipe): The component.
    nlp (Language): Its pipeline.
    """
    _pipelines[pipe] = ref(nlp)


def warn_of_shared_labels(pipe: Any, nlp: Language | None = None) -> None:
    """Warn of labels that a component before this one writes too: this one overwrites them.

    pipe (Pipe): A component with a name and labels.
    nlp (Language | None): Its pipeline; by default the one that it was made for.
    """
    if nlp is None:
        made_for = _pipelines.get(pipe)
        nlp = None if made_for is None else made_for()
    if nlp is None or not any(other is pipe for _, other in nlp.pipeline):
        return
    for name, other in nlp.pipeline:
        if other is pipe:
            return
        shared = sorted(set(getattr(other, "labels", ())) & set(pipe.labels))
        if shared and "doc.cats" in nlp.get_pipe_meta(name).assigns:
            text = T346.format(name=pipe.name, other=name, labels=shared[:10], example=f"{pipe.name}:{shared[0]}")
            warnings.warn(text, stacklevel=3)
