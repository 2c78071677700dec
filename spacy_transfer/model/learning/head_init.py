"""The blocks for head initialization."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ...nn.losses import Loss


class HeadInitBuilder(Protocol):
    """A block that gives a linear head its first weights."""

    def choose(self, n_texts: int) -> list[int]:
        """Indices of the training texts it wants to see; none to leave the head as it is."""

    def solve(
        self, vectors: Tensor, targets: Tensor, known: Tensor, loss: Loss, *, exclusive: bool, tuning_follows: bool,
        n_names: int = 0,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Compute the first weights of the head.

        vectors (Tensor): Of the chosen texts, (n_docs, width).
        targets (Tensor): 0..1, (n_docs, n_labels).
        known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
        loss (Loss): The classifier's.
        exclusive (bool): Exactly one label a document.
        tuning_follows (bool): The encoder is trained afterwards.
        n_names (int): So many of the texts, the last ones, are names of labels.
        RETURNS (tuple[Tensor, Tensor]): Weight (n_labels, width) and bias (n_labels,).
        """


@dataclass(frozen=True)
class RandomInit:
    """Leaves the head as it was made: small random weights."""

    def choose(self, n_texts: int) -> list[int]:
        """Choose no texts; see `HeadInitBuilder`."""
        return []

    def solve(
        self, vectors: Tensor, targets: Tensor, known: Tensor, loss: Loss, *, exclusive: bool, tuning_follows: bool,
        n_names: int = 0,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Never called, since it wants no texts."""
        raise NotImplementedError
