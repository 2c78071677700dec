"""The networks behind the classifiers of a pipeline."""

from spacy.language import Language

from ..pipeline.components import classifiers_of
from .shims.classifier_shim import ClassifierShim


def networks_of(nlp: Language) -> dict[str, ClassifierShim]:
    """Find the shims of the classifiers of a pipeline, shared encoders included.

    nlp (Language): The pipeline.
    RETURNS (dict[str, ClassifierShim]): By name of the component, in the order of the pipeline; without those whose
        model is of somebody else's architecture.
    """
    shims = {name: next(iter(pipe.model.shims), None) for name, pipe in classifiers_of(nlp).items()}
    return {name: shim for name, shim in shims.items() if isinstance(shim, ClassifierShim)}
