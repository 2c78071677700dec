"""Asymmetric loss: different focusing for positives and negatives."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...checks import check_number, check_share
from .loss import (
    ClassWeights,
    Loss,
    WeightedLoss,
    activated,
    balanced_positives,
    check_class_weights,
    widened,
)

# Scores below the clip are put here before they are raised to a power: at 0 its gradient is infinite for gamma < 1.
_LEAST = 1e-12


class _Asymmetric(WeightedLoss):
    def __init__(self, weights: Sequence[float], gamma_negative: float, gamma_positive: float, clip: float) -> None:
        super().__init__(weights, "sigmoid")
        self.gamma_negative, self.gamma_positive, self.clip = gamma_negative, gamma_positive, clip

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Compute the loss of each document.

        logits (Tensor): (n_docs, n_labels).
        targets (Tensor): 0..1, (n_docs, n_labels).
        known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
        RETURNS (Tensor): (n_docs,).
        """
        logits = widened(logits)
        log_no = F.logsigmoid(-logits)
        yes = self.weights * targets * torch.exp(self.gamma_positive * log_no) * F.logsigmoid(logits)
        if self.clip:
            log_no = torch.log((torch.sigmoid(-logits) + self.clip).clamp(max=1.0))
        left = (torch.sigmoid(logits) - self.clip).clamp(min=_LEAST)
        no = (1.0 - targets) * left**self.gamma_negative * log_no
        return -((yes + no) * known).mean(dim=1)


@dataclass(frozen=True)
class Asymmetric:
    """For many labels of which few are right: easy negatives count less than easy positives, very easy ones nothing.

    Averaged over the labels, where the paper sums. With 0, 0, 0 it is `BinaryCrossEntropy`.

    gamma_negative (float): Focus on hard negatives, as `Focal`'s gamma.
    gamma_positive (float): Focus on hard positives.
    clip (float): Negatives with a score up to here have no loss, others as if their score were lower by it; sure but
        wrong ones, often annotations that were forgotten, then pull less; 0 <= clip < 1.
    class_weights (str | list): As in `BinaryCrossEntropy`: they multiply the loss of the label's positives.
    RAISES (ValueError): T005, T035 for values out of range.
    SOURCE: Ridnik et al. 2021, arXiv:2009.14119.
    """

    gamma_negative: float = 4.0
    gamma_positive: float = 1.0
    clip: float = 0.05
    class_weights: ClassWeights = "none"
    exclusive = False

    def __post_init__(self) -> None:
        for field in ("gamma_negative", "gamma_positive"):
            check_number("loss", self, field, f"0 <= {field}", lambda value: 0.0 <= value < float("inf"))
        check_share("loss", self, "clip")
        check_class_weights(self.class_weights)

    def balanced(self, positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
        """Weight of each label's positives from the training data; see `LossBuilder`."""
        return balanced_positives(positives, n_known)

    def build(self, weights: Sequence[float]) -> Loss:
        """Build the loss.

        weights (Sequence[float]): Weight of each label's positives, in label order.
        RETURNS (Loss): The module.
        """
        return _Asymmetric(weights, self.gamma_negative, self.gamma_positive, self.clip)

    def activate(self, logits: Tensor) -> Tensor:
        """Turn logits into scores.

        logits (Tensor): (n_docs, n_labels).
        RETURNS (Tensor): Independent scores in 0..1, (n_docs, n_labels).
        """
        return activated(logits, "sigmoid")
