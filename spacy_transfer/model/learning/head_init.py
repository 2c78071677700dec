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
        self, vectors: Tensor, targets: Tensor, known: Tensor, loss: Loss, *, exclusive: bool, tuning_follows: bool
    ) -> tuple[Tensor, Tensor]:
        """vectors (n_docs, width), targets, known (n_docs, n_labels) -> weight (n_labels, width), bias (n_labels,)."""


@dataclass(frozen=True)
class RandomInit:
    """Leaves the head as it was made: small random weights."""

    def choose(self, n_texts: int) -> list[int]:
        """RETURNS (list[int]): None."""
        return []

    def solve(
        self, vectors: Tensor, targets: Tensor, known: Tensor, loss: Loss, *, exclusive: bool, tuning_follows: bool
    ) -> tuple[Tensor, Tensor]:
        """Never called, since it wants no texts."""
        raise NotImplementedError
