"""Documents that carry what a student learns."""

from collections.abc import Iterator, Sequence

import numpy as np
import spacy
from numpy.typing import NDArray
from spacy.tokens import Doc, DocBin


def stored_targets(lang: str, texts: Sequence[str], targets: NDArray[np.floating], names: Sequence[str]) -> bytes:
    """Make documents with targets.

    lang (str): Of the tokenizer.
    texts (Sequence[str]): The texts.
    targets (NDArray): 0 to 1, (n_texts, n_names).
    names (Sequence[str]): Labels in `doc.cats`.
    RETURNS (bytes): As a .spacy file has them.
    """

    def docs() -> Iterator[Doc]:
        """Make the documents."""
        make = spacy.blank(lang).make_doc
        for text, target in zip(texts, targets, strict=True):
            doc = make(text)
            doc.cats = dict(zip(names, target.tolist(), strict=True))
            yield doc

    stored: bytes = DocBin(docs=docs()).to_bytes()
    return stored
