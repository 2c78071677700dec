"""Vectors of documents: those of a pipeline's classifier, or of an encoder that nobody has trained."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..docbins import read_all_docs
from ..json_types import ConfigBlock
from ..pipeline.components import classifier_meant
from ..pipeline.interface import Floats
from ..pipeline.neighbors import as_seen_in
from ..quiet import silent

_BATCH = 256


def vectors_of_data(
    paths: Sequence[Path], *, pipeline: Language | None = None, component: str | None = None, encoder: str | None = None
) -> Floats:
    """Make the vectors of all documents of some files.

    paths (Sequence[Path]): .spacy files, or folders of them.
    pipeline (Language | None): Whose vectors. None: those of an untrained encoder.
    component (str | None): Classifier of the pipeline. None: the only one.
    encoder (str | None): Folder or name of an encoder, without a pipeline. None: that of the shipped configs.
    RETURNS (Floats): (n_docs, width), in the order of the files.
    RAISES (ValueError): T642 for a pipeline without that classifier.
    """
    nlp = untrained(encoder) if pipeline is None else pipeline
    docs = (doc for path in paths for doc in read_all_docs(path, nlp.vocab))
    return vectors_of_docs(nlp, docs, component)


def vectors_of_docs(nlp: Language, docs: Iterable[Doc], component: str | None = None) -> Floats:
    """Make the vectors of documents.

    nlp (Language): The pipeline.
    docs (Iterable[Doc]): At least one.
    component (str | None): Classifier of the pipeline. None: the only one.
    RETURNS (Floats): (n_docs, width).
    RAISES (ValueError): T642 for a pipeline without that classifier.
    """
    _, pipe = classifier_meant(nlp, component)
    return np.concatenate([pipe.vectors(as_seen_in(nlp, pipe, batch)) for batch in _batches(docs)])


def _batches(docs: Iterable[Doc]) -> Iterator[list[Doc]]:
    waiting = iter(docs)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def untrained(encoder: str | None) -> Language:
    """Make a pipeline around an encoder as it is.

    encoder (str | None): Folder or name. None: that of the shipped configs.
    RETURNS (Language): Its classifier's vectors are the encoder's; the labels mean nothing.
    """
    nlp = spacy.blank("xx")
    model: ConfigBlock = {
        "tuning": {"frozen_depth": "all"},
        "windows": {"length": "auto", "stride": "auto"},
        "pooling": {"@layers": "spacy-transfer.AutoPooling.v1"},
        **({"encoder": {"name": encoder}} if encoder else {}),
    }
    nlp.add_pipe("transfer_textcat", config={"model": model})
    examples = [Example.from_dict(nlp.make_doc(label), {"cats": {label: 1.0}}) for label in ("a", "b")]
    # The table of trainable weights would be about a head that nobody uses.
    with silent():
        nlp.initialize(lambda: examples)
    return nlp
