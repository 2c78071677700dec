"""Laws of the steps before the encoder: augmentations, and features of documents."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.util import to_numpy

from ..model.features.layer import fit
from ..model.learning.augmentation import AugmentationBuilder, draw_texts
from .law import require, require_close

_TEXTS = [
    "my card is lost",
    "Why can I not login?",
    "two  spaces,\n a line",
    "word",
    "",
    " ",
    "日本語の文です",
    "my card is late",
]


def check_augmentation_laws(block: AugmentationBuilder) -> None:
    """Check an augmentation on texts of several kinds, empty ones too.

    block (AugmentationBuilder): Of the config.
    RAISES (AssertionError): T501 for a law that does not hold.
    RAISES (ValueError): T120 to T123 as in training.
    """
    targets = np.zeros((len(_TEXTS), 3), dtype=np.float32)
    targets[np.arange(len(_TEXTS)), [0, 1, 2, 2, 0, 1, 1, 0]] = 1.0
    targets[1, 2] = np.nan
    for given in (targets, None):
        for n_draws in (0, 1, 7):
            texts, labels = list(_TEXTS), None if given is None else given.copy()
            before = _random_numbers()
            drawn, _ = draw_texts(block, texts, labels, n_draws)
            same = labels is None or np.array_equal(labels, targets, equal_nan=True)
            require("texts and targets that are given stay as they are", texts == _TEXTS and same, block)
            untouched = before == _random_numbers()
            require("it draws from random numbers of its own, not from the process's", untouched, block)
            again, _ = draw_texts(block, texts, labels, n_draws)
            require("the same arguments give the same texts", drawn == again, block, [drawn, again])
    require("no texts give no texts", list(block.draw([], None, 0)) == [], block)


def _random_numbers() -> list[str]:
    """Where the random numbers of the process are, to compare."""
    return [str(random.getstate()), repr(np.random.get_state()), str(torch.get_rng_state().tolist())]


def check_feature_laws(features: Model, docs: Sequence[Doc]) -> None:
    """Check a layer that gives features of documents.

    features (Model[list[Doc], Floats2d]): The layer, as its block made it.
    docs (Sequence[Doc]): Documents with what it reads.
    RAISES (AssertionError): T501 for a law that does not hold.
    RAISES (ValueError): T221 as when a component is initialized.
    """
    docs = list(docs)
    width = fit(features, docs)
    values = _values(features, docs)
    require("there is a row for each document", values.shape == (len(docs), width), features, tuple(values.shape))
    require("features are finite", bool(values.isfinite().all()), features)
    require("the width is nO", features.get_dim("nO") == width, features, width)
    require_close("prediction is the same each time", _values(features, docs), values, features)
    for i in (0, len(docs) - 1):
        law = "a document's features do not depend on its batch"
        require_close(law, _values(features, docs[i : i + 1]), values[i : i + 1], features)
    trained, backprop = features(docs, is_train=True)
    law = "the backward pass takes a gradient for each feature"
    try:
        backprop(features.ops.alloc2f(*trained.shape) + 1.0)
    except Exception as error:
        # Whatever a layer of a third party raises.
        require(law, False, features, f"{type(error).__name__}: {error}")
    copied = features.copy()
    copied.from_bytes(features.to_bytes())
    require_close("stored and loaded it gives the same", _values(copied, docs), _values(features, docs), features)


def _values(features: Model, docs: Sequence[Doc]) -> torch.Tensor:
    return torch.from_numpy(np.array(to_numpy(features.predict(list(docs))), dtype=np.float32))
