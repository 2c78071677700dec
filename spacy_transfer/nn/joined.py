"""What is joined to the vectors of documents before the head: nothing, or numbers of each document."""

from collections.abc import Sequence
from typing import Protocol, final

import torch
from torch import Tensor

from .devices.pinned import to_device


class Joined(Protocol):
    """What is joined to the vectors of some documents."""

    def of(self, places: Sequence[int]) -> "Joined":
        """Select documents.

        places (Sequence[int]): Their numbers, in any order, each as often as it is wanted.
        RETURNS (Joined): That of these documents, in this order.
        """

    def join(self, vectors: Tensor) -> Tensor:
        """Put it next to vectors.

        vectors (Tensor): One per document, (n_docs, width).
        RETURNS (Tensor): What the head reads, (n_docs, width + n_features).
        """

    def balance(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Put it next to vectors on the same scale, so that a penalty on weights means the same for both.

        vectors (Tensor): One per document, (n_docs, width).
        RETURNS (tuple[Tensor, Tensor]): Both, (n_docs, width + n_features), and factors (width + n_features,) that turn
            weights on them into weights on what `join` gives.
        """


@final
class NothingJoined:
    """Joins nothing: vectors stay as they are."""

    def of(self, places: Sequence[int]) -> Joined:
        """See `Joined`."""
        return self

    def join(self, vectors: Tensor) -> Tensor:
        """See `Joined`."""
        return vectors

    def balance(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """See `Joined`."""
        return vectors, vectors.new_ones(vectors.shape[1])


NOTHING = NothingJoined()


@final
class JoinedValues:
    """Joins numbers.

    values (Tensor): Those of each document, (n_docs, n_features), on the network's device.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def of(self, places: Sequence[int]) -> Joined:
        """See `Joined`."""
        return JoinedValues(self.values[to_device(places, self.values.device)])

    def join(self, vectors: Tensor) -> Tensor:
        """See `Joined`."""
        return torch.cat([vectors, self.values], dim=1)

    def balance(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """See `Joined`."""
        wanted, given = _spread(vectors), _spread(self.values)
        # Where one of them is the same for all documents up to rounding, there is no scale to follow.
        varies = wanted > 1e-5 * vectors.square().mean().sqrt() and given > 0
        factor = wanted / given if varies else torch.ones_like(given)
        factors = torch.cat([vectors.new_ones(vectors.shape[1]), factor.expand(self.values.shape[1])])
        return torch.cat([vectors, self.values * factor], dim=1), factors


def _spread(values: Tensor) -> Tensor:
    return (values - values.mean(dim=0)).square().mean().sqrt()
