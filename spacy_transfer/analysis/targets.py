"""Labels of texts as arrays."""

from collections.abc import Sequence

import numpy as np

from ..corpora.splits import Split
from ..evaluation.measures import Flags


def targets_of(splits: Sequence[Split], labels: Sequence[str], *, exclusive: bool) -> tuple[Flags, Flags]:
    """Make arrays of annotations.

    splits (Sequence[Split]): One after the other.
    labels (Sequence[str]): All of them, in the order of the columns.
    exclusive (bool): A text that names its label says that it has no other.
    RETURNS (tuple[Flags, Flags]): Which labels a text has, and which are annotated, (n_texts, n_labels).
    """
    column = {label: j for j, label in enumerate(labels)}
    cats = [one for split in splits for one in split.cats]
    gold = np.zeros((len(cats), len(labels)), dtype=bool)
    known = np.full_like(gold, exclusive)
    for i, one in enumerate(cats):
        for label in one.positives():
            if label in column:
                gold[i, column[label]] = True
        if not exclusive:
            for label in one.named & column.keys():
                known[i, column[label]] = True
    return gold, known


def usable(gold: Flags, known: Flags, *, exclusive: bool) -> list[int]:
    """Find the texts that say something.

    gold (Flags): Which labels a text has.
    known (Flags): Which are annotated.
    exclusive (bool): Texts with another number of labels than one say nothing.
    RETURNS (list[int]): Their numbers.
    """
    return np.flatnonzero(gold.sum(axis=1) == 1 if exclusive else known.any(axis=1)).tolist()
