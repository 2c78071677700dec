"""From `doc.cats` to targets, with every annotation checked."""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from numbers import Real
from typing import SupportsFloat, TypeGuard

import numpy as np
from spacy.tokens import Doc

from ..errors import T032, T033, T036
from .interface import Floats


@dataclass(frozen=True)
class Gold:
    """Annotations of some documents.

    targets (Floats): (n_docs, n_labels) in 0..1.
    known (Floats): 1 where there is an annotation, 0 where it is missing.
    unknown (set[str]): Labels in the data that are not among the labels.
    missed (set[str]): Those of them that are the one label of a document which also says no to labels of ours.
    """

    targets: Floats
    known: Floats
    unknown: Set[str]
    missed: Set[str]


def read_gold(docs: Sequence[Doc], labels: Sequence[str], *, exclusive: bool, name: str) -> Gold:
    """Read and check the annotations.

    docs (Sequence[Doc]): Documents with gold `cats`.
    labels (Sequence[str]): In the order of the columns.
    exclusive (bool): Exactly one label a document: one 1 and no other, or soft labels that sum to 1. A document whose
        label is not among the labels is left out.
    name (str): Of the component, for errors.
    RAISES (ValueError): T032 for several labels or none where one is wanted, T033 for a score that is no number from 0
        to 1, T036 for a label that is no str.
    """
    column = {label: j for j, label in enumerate(labels)}
    targets = np.zeros((len(docs), len(labels)), dtype=np.float32)
    known = np.zeros_like(targets)
    unknown: set[str] = set()
    missed: set[str] = set()
    for i, doc in enumerate(docs):
        for label, value in doc.cats.items():
            # Asked by type first, since thousands of labels in every step are almost all of them.
            if type(label) is not str:
                check_label(label)
            j = column.get(label)
            if j is None:
                unknown.add(label)
                continue
            is_plain = type(value) is float and 0.0 <= value <= 1.0
            targets[i, j] = value if is_plain else score_of(label, value, doc)
            known[i, j] = 1.0
        if not exclusive:
            continue
        others = {label for label, value in doc.cats.items() if label not in column and _number(value)}
        if others and not targets[i].any():
            missed |= others if known[i].any() else set()
            known[i] = 0.0
        else:
            _check_one(doc, targets[i], name)
            known[i] = 1.0
    return Gold(targets, known, unknown, missed)


def check_label(label: object) -> None:
    """Check a label.

    RAISES (ValueError): T036 if it is not a str.
    """
    if not isinstance(label, str):
        raise ValueError(T036.format(label=shown(label), type=type(label).__name__))


def score_of(label: str, value: object, doc: Doc) -> float:
    """Check one annotation.

    label (str): Its label.
    value (object): What the document says of it.
    doc (Doc): For the message.
    RETURNS (float): From 0 to 1.
    RAISES (ValueError): T033 for anything else.
    """
    if not is_score(value):
        raise ValueError(T033.format(label=label, value=shown(value), text=doc.text[:80]))
    return float(value)


def is_score(value: object) -> TypeGuard[SupportsFloat]:
    """Whether a value is a number from 0 to 1; NaN fails the comparison, and 10 ** 400 is not a float.

    value (object): Of a label.
    RETURNS (bool): True for Python's and NumPy's numbers and for bools.
    """
    number = _number(value)
    return number is not None and 0.0 <= number <= 1.0


def _number(value: object) -> float | None:
    """A real number as a float, infinite where it is too far from 0 for one; None for anything else."""
    if not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def shown(value: object, longest: int = 80) -> str:
    """A value from data, as a message shows it.

    value (object): Anything.
    longest (int): Characters.
    RETURNS (str): Its `repr`, cut off where it is long.
    """
    try:
        text = repr(value)
    except Exception:
        # An int of more than 4,300 digits, or a class whose own repr fails.
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _check_one(doc: Doc, row: Floats, name: str) -> None:
    n_positive = int((row > 0).sum())
    if n_positive == 1 and row.max() == 1.0:
        return
    if n_positive and math.isclose(float(row.sum()), 1.0, abs_tol=1e-3) and row.max() < 1.0:
        return
    found = "none" if not n_positive else f"{n_positive} that sum to {float(row.sum()):g}"
    positive = {label: value for label, value in doc.cats.items() if _number(value)}
    raise ValueError(T032.format(name=name, found=found, cats=shown(positive, 400), text=doc.text[:80]))
