"""Losses on logits. A loss also knows which activation turns its logits into scores.

Every loss gives one value per document; the loop sums them and divides once, by the number of documents of the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import T005, T034, T035

# A pair arrives from the config as a list, which the config system does not take for a tuple.
ClassWeights = Literal["none", "balanced"] | list[list[str | float]] | list[tuple[str, float]]


class Loss(nn.Module):
    """Loss of each document.

    forward: logits (n_docs, n_labels), targets (n_docs, n_labels) in 0..1, known (n_docs, n_labels) 0/1, 0 where the
        annotation is missing -> (n_docs,).
    """

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """See the class."""
        raise NotImplementedError


class _CrossEntropy(Loss):
    def __init__(self, weights: Tensor, smoothing: float) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.smoothing = smoothing

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        targets = targets * (1.0 - self.smoothing) + self.smoothing / targets.shape[1]
        return -(targets * known * self.get_buffer("weights") * F.log_softmax(logits.float(), dim=1)).sum(dim=1)


class _BinaryCrossEntropy(Loss):
    def __init__(self, weights: Tensor, smoothing: float) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.smoothing = smoothing

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        targets = targets * (1.0 - self.smoothing) + 0.5 * self.smoothing
        each = F.binary_cross_entropy_with_logits(
            logits.float(), targets, pos_weight=self.get_buffer("weights"), reduction="none"
        )
        return (each * known).mean(dim=1)


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy over a softmax: exactly one label a document.

    label_smoothing (float): Share of the target spread evenly over all labels; 0 <= label_smoothing < 1.
    class_weights: "none", "balanced" (n_docs / (n_labels * documents of the label), so that the mean weight of a
        training document is 1), or pairs of label and weight, [["spam", 2.0]]; labels left out weigh 1.
    SOURCE: label smoothing Szegedy et al. 2016, arXiv:1512.00567; balanced weights as in scikit-learn.
    """

    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    exclusive = True

    def __post_init__(self) -> None:
        _check(self)

    def balanced(self, positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
        """Weight of each label from the training data.

        positives (Sequence[float]): Sum of each label's targets. n_known (Sequence[float]): Documents annotated for it.
        """
        return [n / (len(positives) * p) if p else 1.0 for p, n in zip(positives, n_known, strict=True)]

    def build(self, weights: Sequence[float]) -> Loss:
        """weights (Sequence[float]): Weight of each label, in label order."""
        return _CrossEntropy(torch.tensor(list(weights), dtype=torch.float32), self.label_smoothing)

    def activate(self, logits: Tensor) -> Tensor:
        """Logits (n_docs, n_labels) to scores that sum to 1."""
        return logits.float().softmax(dim=1)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """One yes or no per label, on logits, averaged over the labels: any number of labels a document.

    label_smoothing (float): Moves the targets towards 0.5; 0 <= label_smoothing < 1.
    class_weights: "none", "balanced" (negatives / positives of the label), or pairs of label and weight,
        [["spam", 2.0]]; the weight multiplies the loss of the label's positives, labels left out weigh 1.
    """

    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    exclusive = False

    def __post_init__(self) -> None:
        _check(self)

    def balanced(self, positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
        """Weight of each label's positives from the training data.

        positives (Sequence[float]): Sum of each label's targets. n_known (Sequence[float]): Documents annotated for it.
        """
        return [(n - p) / p if 0 < p < n else 1.0 for p, n in zip(positives, n_known, strict=True)]

    def build(self, weights: Sequence[float]) -> Loss:
        """weights (Sequence[float]): Weight of each label's positives, in label order."""
        return _BinaryCrossEntropy(torch.tensor(list(weights), dtype=torch.float32), self.label_smoothing)

    def activate(self, logits: Tensor) -> Tensor:
        """Logits (n_docs, n_labels) to independent scores in 0..1."""
        return logits.float().sigmoid()


LossBrick = CrossEntropy | BinaryCrossEntropy


def label_weights(
    brick: LossBrick, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float]
) -> list[float]:
    """The weight of each label, as the loss block asks for it.

    labels (Sequence[str]): All labels. positives, n_known: Counts in the training data, in label order.
    RETURNS (list[float]): In label order.
    RAISES (ValueError): T034 for a weight whose label does not exist.
    """
    if brick.class_weights == "none":
        return [1.0] * len(labels)
    if brick.class_weights == "balanced":
        return brick.balanced(positives, n_known)
    given = {str(label): float(weight) for label, weight in brick.class_weights}
    if unknown := sorted(set(given) - set(labels)):
        raise ValueError(T034.format(unknown=unknown, labels=list(labels)))
    return [given.get(label, 1.0) for label in labels]


def _check(brick: LossBrick) -> None:
    smoothing = float(brick.label_smoothing)
    if not 0.0 <= smoothing < 1.0:
        want = "0 <= label_smoothing < 1"
        raise ValueError(T005.format(block="loss", field="label_smoothing", value=smoothing, want=want))
    object.__setattr__(brick, "label_smoothing", smoothing)
    if not isinstance(brick.class_weights, str):
        for pair in brick.class_weights:
            if len(pair) != 2 or not isinstance(pair[0], str) or isinstance(pair[1], str):
                want = 'pairs of label and weight, [["spam", 2.0]]'
                raise ValueError(T005.format(block="loss", field="class_weights", value=pair, want=want))
            if not 0.0 < pair[1] < float("inf"):
                raise ValueError(T035.format(label=pair[0], weight=pair[1]))
