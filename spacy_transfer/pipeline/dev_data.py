"""Checks before the first step that there is dev data, and that train and dev have the same labels."""

import random
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import resolve_dot_names

from ..errors import T327, T329
from ..log import logger
from .length import is_counted_elsewhere, is_for_a_loop

# Labels that a message names.
_MOST_NAMED = 10


def check_dev(
    nlp: Language | None, name: str, labels: Sequence[str], train: Iterable[Doc],
    annotated: Callable[[Sequence[Example]], Sequence[Example]],
) -> None:  # fmt: skip
    """While a pipeline is initialized for a training that its config describes: look at the dev data.

    nlp (Language | None): The pipeline.
    name (str): Of the component.
    labels (Sequence[str]): Its labels.
    train (Iterable[Doc]): Annotated training texts.
    annotated (Callable): Gives what of annotated documents is classified.
    RAISES (ValueError): T327 if there are no dev data.
    """
    if nlp is None or is_counted_elsewhere() or not is_for_a_loop(nlp):
        return
    config = nlp.config.interpolate()
    before, before_numpy = random.getstate(), np.random.get_state()
    try:
        (corpus,) = resolve_dot_names(config, [config["training"]["dev_corpus"]])
        dev = list(corpus(nlp))
    except Exception as error:  # whatever a reader raises, the loop will meet it, if one follows
        logger.debug(error)
        return
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)
    require_dev(dev, config["training"]["dev_corpus"])
    compare_labels(name, labels, train, [example.reference for example in annotated(dev)])


def require_dev(dev: Sequence[Example], where: str) -> None:
    """Refuse dev data without examples.

    dev (Sequence[Example]): What was read.
    where (str): Section of the config that reads them.
    RAISES (ValueError): T327 if there are none.
    """
    if not dev:
        raise ValueError(T327.format(where=where))


def compare_labels(name: str, labels: Sequence[str], train: Iterable[Doc], dev: Iterable[Doc]) -> None:
    """Say which labels of a component no text has, of the training or of the dev data."""
    absent = {what: _absent(labels, docs) for what, docs in (("training", train), ("dev", dev))}
    effects = {
        "training": "nothing can be learned about them",
        "dev": "how well they are predicted is not measured, and in macro averages they count as 0",
    }
    for what, missing in absent.items():
        if missing and len(missing) < len(labels):
            named = ", ".join(repr(label) for label in missing[:_MOST_NAMED])
            if len(missing) > _MOST_NAMED:
                named += f" and {len(missing) - _MOST_NAMED} more"
            logger.warning(T329.format(what=what, name=name, labels=named, effect=effects[what]))


def _absent(labels: Sequence[str], docs: Iterable[Doc]) -> list[str]:
    missing = dict.fromkeys(labels)
    for doc in docs:
        if not missing:
            break
        for label, value in doc.cats.items():
            if label in missing and isinstance(value, int | float) and value > 0:
                del missing[label]
    return list(missing)
