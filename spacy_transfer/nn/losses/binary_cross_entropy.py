"""Binary cross-entropy: one yes or no per label."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ...checks import check_share
from .loss import (
    ClassWeights,
    Loss,
    WeightedLoss,
    activated,
    balanced_positives,
    check_class_weights,
    widened,
)


class _BinaryCrossEntropy(WeightedLoss):
    def __init__(self, weights: Sequence[float], smoothing: float) -> None:
        super().__init__(weights, "sigmoid")
        self.smoothing = smoothing

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Compute the loss of each document.

        logits (Tensor): (n_docs, n_labels).
        targets (Tensor): 0..1, (n_docs, n_labels).
        known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
        RETURNS (Tensor): (n_docs,).
        """
        targets = targets * (1.0 - self.smoothing) + 0.5 * self.smoothing
        each = F.binary_cross_entropy_with_logits(
            widened(logits), targets, pos_weight=self.weights, reduction="none"
        )  # fmt: skip
        return (each * known).mean(dim=1)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """One yes or no per label, on logits, averaged over the labels: any number of labels a document.

    label_smoothing (float): Moves the targets toward 0.5; 0 <= label_smoothing < 1.
    class_weights (str | list): "none", "balanced" (negatives / positives of the label), or pairs of label and weight,
        [["spam", 2.0]]; the weight multiplies the loss of the label's positives, labels left out weigh 1.
    RAISES (ValueError): T005, T035 for values out of range.
    """

    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    exclusive = False

    def __post_init__(self) -> None:
        check_share("loss", self, "label_smoothing")
        check_class_weights(self.class_weights)

    def balanced(self, positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
        """Weight of each label's positives from the training data; see `LossBuilder`."""
        return balanced_positives(positives, n_known)

    def build(self, weights: Sequence[float]) -> Loss:
        """Build the loss.

        weights (Sequence[float]): Weight of each label's positives, in label order.
        RETURNS (Loss): The module.
        """
        return _BinaryCrossEntropy(weights, self.label_smoothing)

    def activate(self, logits: Tensor) -> Tensor:
        """Turn logits into scores.

        logits (Tensor): (n_docs, n_labels).
        RETURNS (Tensor): Independent scores in 0..1, (n_docs, n_labels).
        """
        return activated(logits, "sigmoid")
