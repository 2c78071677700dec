"""Losses on distances: between scores and targets, or between ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ...errors import T005
from .loss import ClassWeights, Loss, WeightedLoss, activated, balanced_documents, check_class_weights, widened

# Distances, elementwise, to their penalties.
Penalty = Callable[[Tensor], Tensor]


class ScoreDistance(WeightedLoss):
    """Penalty of (logit - target), averaged over the labels.

    weights (Sequence[float]): Of each label.
    penalty (Callable): Of distances.
    """

    def __init__(self, weights: Sequence[float], penalty: Penalty) -> None:
        super().__init__(weights, "linear")
        self.penalty = penalty

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """See `Loss`."""
        return (self.weights * self.penalty(widened(logits) - targets) * known).mean(dim=1)


class RankDistance(WeightedLoss):
    """Penalty of the distance between the two cumulative distributions, summed over the ranks.

    weights (Sequence[float]): Of each label's documents.
    penalty (Callable): Of distances.
    """

    def __init__(self, weights: Sequence[float], penalty: Penalty) -> None:
        super().__init__(weights, "softmax")
        self.penalty = penalty

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """See `Loss`."""
        # Up to the last rank but one: at the last both are 1.
        distance = (widened(logits).softmax(dim=1) - targets).cumsum(dim=1)[:, :-1]
        of_document = (self.weights * targets).sum(dim=1) * known.mean(dim=1)
        return of_document * self.penalty(distance).sum(dim=1)


@dataclass(frozen=True)
class Regression:
    """What the blocks of both distances share.

    targets (str): "scores": labels are independent and the score of each is a target in 0..1 (any number of labels a
        document); the logits are the scores, cut to 0..1 when predicting. "ordinal": labels are exclusive, and their
        order, as given to `initialize`, is a scale (bad, fair, good): a neighbor of the right label is less wrong than
        one further away. Without labels given there the order is alphabetical.
    class_weights (str | list): "scores": "none", or pairs of label and weight, of the label's whole loss;
        "balanced" has nothing to count there. "ordinal": as in `CrossEntropy`, of the label's documents.
    """

    targets: Literal["scores", "ordinal"] = "scores"
    class_weights: ClassWeights = "none"

    def __post_init__(self) -> None:
        check_class_weights(self.class_weights)
        if not self.exclusive and self.class_weights == "balanced":
            want = '"none" or pairs of label and weight with targets = "scores", which have no counts to balance'
            raise ValueError(T005.format(block="loss", field="class_weights", value="balanced", want=want))

    @property
    def exclusive(self) -> bool:
        """Exactly one label a document."""
        return self.targets == "ordinal"

    def penalty(self, distance: Tensor) -> Tensor:
        """Of each distance, elementwise."""
        raise NotImplementedError

    def balanced(self, positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
        """Weight of each label's documents from the training data; see `LossBuilder`."""
        return balanced_documents(positives, n_known)

    def build(self, weights: Sequence[float]) -> Loss:
        """Build the loss.

        weights (Sequence[float]): Weight of each label, in label order.
        RETURNS (Loss): The module.
        """
        return (RankDistance if self.exclusive else ScoreDistance)(weights, self.penalty)

    def activate(self, logits: Tensor) -> Tensor:
        """Turn logits into scores.

        logits (Tensor): (n_docs, n_labels).
        RETURNS (Tensor): Scores in 0..1, (n_docs, n_labels).
        """
        return activated(logits, "softmax" if self.exclusive else "linear")
