"""Splits dev and test parts off, label by label, near-duplicates on one side."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from ..corpora.dev_part import Part

# Texts of a label from which on each part gets at least one of them.
_LEAST = 5


def divide(strata: Sequence[str], groups: Sequence[int], shares: Mapping[Part, float], *, seed: int = 0) -> list[Part]:
    """Put each text into a part.

    strata (Sequence[str]): Of each text the label by which the parts are kept alike.
    groups (Sequence[int]): Of each text the group; the texts of a group stay together.
    shares (Mapping[Part, float]): Of the texts, for "dev" and "test"; a part that is not named gets none.
    seed (int): Of the order in which groups are taken.
    RETURNS (list[Part]): A part for each text: of each label about its share, at least one text where it has five, and
        none of a label with fewer.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    by_stratum: dict[str, list[list[int]]] = defaultdict(list)
    for indices in members.values():
        by_stratum[strata[indices[0]]].append(indices)
    parts: list[Part] = ["train"] * len(strata)
    for stratum in sorted(by_stratum):
        waiting = by_stratum[stratum]
        random.Random(f"{seed} {stratum}").shuffle(waiting)
        n_texts = sum(map(len, waiting))
        for part, share in shares.items():
            wanted = int(n_texts * share + 0.5) if n_texts >= _LEAST else 0
            wanted = max(wanted, 1) if share and n_texts >= _LEAST else wanted
            left: list[list[int]] = []
            n_taken, n_groups = 0, len(waiting)
            for indices in waiting:
                # The last group of a label is for training.
                if n_taken + len(indices) <= wanted and n_groups > 1:
                    n_taken, n_groups = n_taken + len(indices), n_groups - 1
                    for index in indices:
                        parts[index] = part
                else:
                    left.append(indices)
            waiting = left
    return parts


def deal(strata: Sequence[str], groups: Sequence[int], n_folds: int, *, seed: int = 0) -> list[int]:
    """Deal texts out to folds, label by label.

    strata (Sequence[str]): Of each text the label by which the folds are kept alike.
    groups (Sequence[int]): Of each text the group; the texts of a group stay together.
    n_folds (int): How many folds.
    seed (int): Of the order.
    RETURNS (list[int]): A fold for each text.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    order = list(members.values())
    random.Random(seed).shuffle(order)
    # One label after the other: the folds differ by one group a label, and the labels by where they begin.
    order.sort(key=lambda indices: strata[indices[0]])
    folds = [0] * len(strata)
    for number, indices in enumerate(order):
        for index in indices:
            folds[index] = number % n_folds
    return folds


def can_be_held_out(strata: Sequence[str]) -> bool:
    """Say whether what is learned from some texts can be tried on others.

    strata (Sequence[str]): Of each text a label; "" for none.
    RETURNS (bool): True if there are two labels, and half of them have two texts.
    """
    counts = Counter(label for label in strata if label)
    return len(counts) > 1 and 2 * sum(n > 1 for n in counts.values()) >= len(counts)
