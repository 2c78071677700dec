"""Focal loss: well-classified texts count less."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...checks import check_number
from .loss import (
    ClassWeights,
    Loss,
    WeightedLoss,
    activated,
    balanced_documents,
    balanced_positives,
    check_class_weights,
    widened,
)

# Scores are kept this far from 1 inside the focus, where the logarithm of 1 - score would have no gradient to give.
_LEAST = 1e-7


class _FocalCrossEntropy(WeightedLoss):
    def __init__(self, weights: Sequence[float], gamma: float) -> None:
        super().__init__(weights, "softmax")
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Compute the loss of each document.

        logits (Tensor): (n_docs, n_labels).
        targets (Tensor): 0..1, (n_docs, n_labels).
        known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
        RETURNS (Tensor): (n_docs,).
        """
        log_scores = F.log_softmax(widened(logits), dim=1)
        # (1 - score) ** gamma by logarithms: as a power its gradient is infinite at a score of 1 for gamma < 1.
        focus = torch.exp(self.gamma * torch.log(-torch.expm1(log_scores.clamp(max=-_LEAST))))
        return -(targets * known * self.weights * focus * log_scores).sum(dim=1)


class _FocalBinaryCrossEntropy(WeightedLoss):
    def __init__(self, weights: Sequence[float], gamma: float) -> None:
        super().__init__(weights, "sigmoid")
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Compute the loss of each document.

        logits (Tensor): (n_docs, n_labels).
        targets (Tensor): 0..1, (n_docs, n_labels).
        known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
        RETURNS (Tensor): (n_docs,).
        """
        logits = widened(logits)
        log_yes, log_no = F.logsigmoid(logits), F.logsigmoid(-logits)
        yes = self.weights * targets * torch.exp(self.gamma * log_no) * log_yes
        no = (1.0 - targets) * torch.exp(self.gamma * log_yes) * log_no
        return -((yes + no) * known).mean(dim=1)


@dataclass(frozen=True)
class Focal:
    """Cross-entropy times (1 - score of the right answer) ** gamma: easy documents count less.

    exclusive (bool): True: a softmax, exactly one label a document. False: one yes or no per label, averaged over them.
    gamma (float): How much less; 0 is plain cross-entropy; 0 <= gamma.
    class_weights (str | list): As in `CrossEntropy` where labels are exclusive, as in `BinaryCrossEntropy` where they
        are not; the paper's alpha.
    RAISES (ValueError): T005, T035 for values out of range.
    SOURCE: Lin et al. 2017, arXiv:1708.02002.
    """

    exclusive: bool
    gamma: float = 2.0
    class_weights: ClassWeights = "none"

    def __post_init__(self) -> None:
        check_number("loss", self, "gamma", "0 <= gamma", lambda value: 0.0 <= value < float("inf"))
        check_class_weights(self.class_weights)

    def balanced(self, positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
        """Weight of each label from the training data; see `LossBuilder`."""
        return (balanced_documents if self.exclusive else balanced_positives)(positives, n_known)

    def build(self, weights: Sequence[float]) -> Loss:
        """Build the loss.

        weights (Sequence[float]): Weight of each label, in label order.
        RETURNS (Loss): The module.
        """
        return (_FocalCrossEntropy if self.exclusive else _FocalBinaryCrossEntropy)(weights, self.gamma)

    def activate(self, logits: Tensor) -> Tensor:
        """Turn logits into scores.

        logits (Tensor): (n_docs, n_labels).
        RETURNS (Tensor): Scores in 0..1, (n_docs, n_labels).
        """
        return activated(logits, "softmax" if self.exclusive else "sigmoid")
