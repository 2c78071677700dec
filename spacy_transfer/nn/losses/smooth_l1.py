"""Smooth L1: squared near 0, linear beyond."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...checks import check_number
from .regression import Regression


@dataclass(frozen=True)
class SmoothL1(Regression):
    """As `SquaredError`, but distances above `beta` count by their size, not its square: outliers pull less.

    targets ("scores" | "ordinal"): See `Regression`.
    class_weights (str | list): See `Regression`.
    beta (float): Distance up to which it is distance ** 2 / (2 * beta), beyond distance - beta / 2; above 0. Scores lie
        in 0..1, so 1 leaves nothing but squares.
    RAISES (ValueError): T005, T035 for values out of range.
    SOURCE: Huber 1964; Girshick 2015, arXiv:1504.08083.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("loss", self, "beta", "0 < beta", lambda value: 0.0 < value < float("inf"))

    def penalty(self, distance: Tensor) -> Tensor:
        """Of each distance, elementwise."""
        return F.smooth_l1_loss(distance, torch.zeros_like(distance), reduction="none", beta=self.beta)
