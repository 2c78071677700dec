"""Squared error of scores, or of ranks."""

from dataclasses import dataclass

from torch import Tensor

from .regression import Regression


@dataclass(frozen=True)
class SquaredError(Regression):
    """Squared distance, from scores that are regression targets or between the ranks of ordinal labels; between ranks
    it is the squared earth mover's distance.

    targets ("scores" | "ordinal"): See `Regression`.
    class_weights (str | list): See `Regression`.
    RAISES (ValueError): T005, T035 for values out of range.
    SOURCE: ordinal Hou et al. 2016, arXiv:1611.05916.
    """

    def penalty(self, distance: Tensor) -> Tensor:
        """Of each distance, elementwise."""
        return distance.square()
