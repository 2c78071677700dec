"""The names of labels as further texts to learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ...checks import check_number
from ...errors import T005, T660, T661
from ..shims.label_names import words_of

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LabelTexts:
    """What labels are called, or a description of each, as texts of the label: where there are few texts, a name says
    what the label is about.

    A linear probe is solved on all of them beside the training texts. In each step, those of the labels in the batch
    pass the network with it. In prediction they are not used.

    texts (dict[str, str | list[str]] | None): For each label one text, or several. Labels left out, and all labels
        where it is None, go by the words in their name: "card_lost" gives "card lost".
    weight (float): How many training texts one counts for; above 0.
    RAISES (ValueError): T005 for a weight out of range, or texts that are none.
    SOURCE: label names in the batch: Yehudai & Bandel 2024, arXiv:2404.12365.
    """

    texts: dict[str, str | list[str]] | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_number("label_texts", self, "weight", "0 < weight", lambda value: 0.0 < value < float("inf"))
        for label, given in (self.texts or {}).items():
            found = [given] if isinstance(given, str) else list(given)
            if not found or not all(isinstance(text, str) and text.strip() for text in found):
                want = "for each label a text, or a list of texts, none of them empty"
                raise ValueError(T005.format(block="label_texts", field=f"texts.{label}", value=given, want=want))

    def of(self, labels: Sequence[str]) -> "TextsOfLabels":
        """Find the texts of the labels of a classifier.

        labels (Sequence[str]): All, in order.
        RETURNS (TextsOfLabels): One or more of each.
        RAISES (ValueError): T660 for texts of a label that does not exist, T661 for a label whose name has no words.
        """
        given = self.texts or {}
        if unknown := sorted(set(given) - set(labels)):
            raise ValueError(T660.format(unknown=", ".join(map(repr, unknown)), labels=", ".join(map(repr, labels))))
        if silent := [label for label in labels if label not in given and not says_something(label)]:
            raise ValueError(T661.format(labels=", ".join(map(repr, silent))))
        texts: list[str] = []
        owners: list[int] = []
        for place, label in enumerate(labels):
            its = given.get(label, words_of(label))
            for text in [its] if isinstance(its, str) else its:
                texts.append(text)
                owners.append(place)
        return TextsOfLabels(texts, owners, len(labels), self.weight)


def says_something(label: str) -> bool:
    """Whether a label's name has a word in it: "card_lost" and "sci/tech" do, "17", "c3" and "LABEL_2" do not.

    label (str): The label.
    RETURNS (bool): True for a word of two letters or more (one, in scripts without letters' case), "label" and "class"
        aside.
    """
    words = [word for word in words_of(label).split() if word.lower() not in ("label", "class")]
    return any(word.isalpha() and (len(word) > 1 or word.lower() == word.upper()) for word in words)


@final
class TextsOfLabels:
    """The texts of the labels of one classifier.

    texts (Sequence[str]): All.
    owners (Sequence[int]): Of each, the place of its label.
    n_labels (int): Labels.
    weight (float): How many training texts one counts for.
    """

    def __init__(self, texts: Sequence[str], owners: Sequence[int], n_labels: int, weight: float) -> None:
        self.texts = list(texts)
        self._owners = np.array(owners, dtype=np.int64)
        self._n_labels, self._weight = n_labels, weight

    def with_labels(self, targets: Floats) -> list[int]:
        """Say which of them go with a batch.

        targets (Floats): Of its texts, 0 where it is not known; (n_texts, n_labels).
        RETURNS (list[int]): Places of the texts of its labels.
        """
        n_texts = (targets > 0).sum(axis=0).tolist()
        return [place for place, owner in enumerate(self._owners) if n_texts[owner]]

    def rows(self, places: Sequence[int]) -> tuple[Floats, Floats]:
        """Give what is known of some of them.

        places (Sequence[int]): Which.
        RETURNS (tuple[Floats, Floats]): Targets, and how much they count, both (n_places, n_labels).
        """
        targets = np.zeros((len(places), self._n_labels), dtype=np.float32)
        targets[np.arange(len(places)), self._owners[list(places)]] = 1.0
        return targets, np.full_like(targets, self._weight)
