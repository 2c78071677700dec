"""Cross-entropy over a softmax."""

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
    balanced_documents,
    check_class_weights,
    widened,
)


class _CrossEntropy(WeightedLoss):
    def __init__(self, weights: Sequence[float], smoothing: float) -> None:
        super().__init__(weights, "softmax")
        self.smoothing = smoothing

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Compute the loss of each document.

        logits (Tensor): (n_docs, n_labels).
        targets (Tensor): 0..1, (n_docs, n_labels).
        known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
        RETURNS (Tensor): (n_docs,).
        """
        targets = targets * (1.0 - self.smoothing) + self.smoothing / targets.shape[1]
        return -(targets * known * self.weights * F.log_softmax(widened(logits), dim=1)).sum(dim=1)


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy over a softmax: exactly one label a document.

    label_smoothing (float): Share of the target spread evenly over all labels; 0 <= label_smoothing < 1.
    class_weights (str | list): "none", "balanced" (n_docs / (n_labels * documents of the label), so that the mean
        weight of a training document is 1), or pairs of label and weight, [["spam", 2.0]]; labels left out weigh 1.
    RAISES (ValueError): T005, T035 for values out of range.
    SOURCE: label smoothing Szegedy et al. 2016, arXiv:1512.00567; balanced weights as in scikit-learn.
    """

    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    exclusive = True

    def __post_init__(self) -> None:
        check_share("loss", self, "label_smoothing")
        check_class_weights(self.class_weights)

    def balanced(self, positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
        """Weight of each label from the training data; see `LossBuilder`."""
        return balanced_documents(positives, n_known)

    def build(self, weights: Sequence[float]) -> Loss:
        """Build the loss.

        weights (Sequence[float]): Weight of each label, in label order.
        RETURNS (Loss): The module.
        """
        return _CrossEntropy(weights, self.label_smoothing)

    def activate(self, logits: Tensor) -> Tensor:
        """Turn logits into scores.

        logits (Tensor): (n_docs, n_labels).
        RETURNS (Tensor): Scores that sum to 1, (n_docs, n_labels).
        """
        return activated(logits, "softmax")
