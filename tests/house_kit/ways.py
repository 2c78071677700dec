"""Ways by which a pipeline is stored or copied."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import spacy
from spacy.language import Language

NAME = "transfer_textcat"


def fresh(nlp: Language) -> Language:
    """An empty pipeline of the same configuration."""
    return spacy.util.load_model_from_config(nlp.config, auto_fill=True)


WAYS: dict[str, Callable[[Language, Path], Language]] = {
    "disk": lambda nlp, folder: (nlp.to_disk(folder), spacy.load(folder))[1],
    "bytes": lambda nlp, folder: fresh(nlp).from_bytes(nlp.to_bytes()),
    "pickle": lambda nlp, folder: pickle.loads(pickle.dumps(nlp)),
    "deepcopy": lambda nlp, folder: copy.deepcopy(nlp),
    "component on disk": lambda nlp, folder: _component_alone(nlp, folder),
}


def _component_alone(nlp: Language, folder: Path) -> Language:
    nlp.get_pipe(NAME).to_disk(folder)
    other = fresh(nlp)
    other.get_pipe(NAME).from_disk(folder)
    return other
