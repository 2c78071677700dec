"""What an update learns from: annotations where there are some, the pipeline's own scores where there are none."""

from collections.abc import Sequence

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ...pipeline.gold import Gold, read_gold
from ...pipeline.interface import Floats
from ...pipeline.neighbors import as_seen_in
from ...pipeline.textcat import TransferTextCategorizer
from .given import Given

# Scores below it are 0 where labels exclude each other: together they weigh nothing, and a file would be full of them.
_LEAST_SCORE = 1e-4
_BATCH = 256


def scores_of(nlp: Language, pipe: TransferTextCategorizer, docs: Sequence[Doc]) -> Floats:
    """Score documents as the pipeline would.

    nlp (Language): The pipeline; what runs before the classifier may be read by it.
    pipe (TransferTextCategorizer): The classifier.
    docs (Sequence[Doc]): Any number; they are not changed.
    RETURNS (Floats): (n_docs, n_labels).
    """
    found = [np.zeros((0, len(pipe.labels)), dtype=np.float32)]
    for begin in range(0, len(docs), _BATCH):
        batch = [doc.copy() for doc in docs[begin : begin + _BATCH]]
        found.append(pipe.predict(as_seen_in(nlp, pipe, batch)))
    return np.concatenate(found)


def gold_of(given: Given, pipe: TransferTextCategorizer) -> tuple[list[Doc], Gold]:
    """Say what the rows of new labels are probed on.

    given (Given): The texts.
    pipe (TransferTextCategorizer): Has the new labels already.
    RETURNS (tuple[list[Doc], Gold]): All texts, and their targets; those without labels have the pipeline's scores
        already. Where labels are independent and every new text has one of them, the others count as not having it.
    """
    docs = [*given.new, *given.replay, *given.raw]
    gold = read_gold(docs, pipe.labels, exclusive=pipe.exclusive, name=pipe.name)
    if not pipe.exclusive:
        n_new = len(given.new)
        for label in given.labels:
            j = pipe.labels.index(label)
            if (gold.targets[:n_new, j] > 0)[gold.known[:n_new, j] > 0].all():
                gold.known[n_new:, j] = 1.0
    return docs, gold


def annotate(docs: Sequence[Doc], scores: Floats, labels: Sequence[str], *, exclusive: bool, keeps: float) -> None:
    """Fill the annotations of texts up with scores.

    docs (Sequence[Doc]): Their `cats` are changed.
    scores (Floats): Of these labels, (n_docs, n_labels).
    labels (Sequence[str]): Labels in the order of the scores.
    exclusive (bool): Exactly one label a text: annotations are mixed with scores. Otherwise labels without an
        annotation get their score.
    keeps (float): Share of the scores in the mixture; 1 for texts that have no annotation.
    """
    for doc, row in zip(docs, scores.tolist(), strict=True):
        own = dict(zip(labels, row, strict=True))
        if not exclusive:
            doc.cats = {**own, **doc.cats}
            continue
        mixed = {label: keeps * value for label, value in own.items() if keeps * value >= _LEAST_SCORE}
        for label, value in doc.cats.items():
            if value:
                mixed[label] = mixed.get(label, 0.0) + (1.0 - keeps) * value
        whole = sum(mixed.values())
        doc.cats = {label: value / whole for label, value in mixed.items()}
