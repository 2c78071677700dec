"""The base class of losses, and the shared parts of loss blocks: label weights and checks.

Every loss gives one value per document; the loop sums them and divides once, by the number of documents of the step.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from ...errors import T005, T034, T035

# A pair arrives from the config as a list, which the config system does not take for a tuple.
ClassWeights = Literal["none", "balanced"] | list[list[str | float]] | list[tuple[str, float]]
# vectors (n, width) -> logits (n, n_labels): the head.
Classify = Callable[[Tensor], Tensor]
Activation = Literal["softmax", "sigmoid", "linear"]


class Loss(nn.Module):
    """Loss of each document.

    forward: logits (n_docs, n_labels), targets (n_docs, n_labels) in 0..1, known (n_docs, n_labels) 0/1, 0 where the
        annotation is missing -> (n_docs,). `known` may also be a share of an annotation, which counts by its share.
    couples (bool): whether the loss of a document depends on the other documents of its batch.
    n_passes (int): how often each document passes the network in a step, with a dropout of its own each time.
    activation (Activation): which activation the logits are meant for.
    """

    couples: bool = False
    n_passes: int = 1
    activation: Activation = "softmax"

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """See the class."""
        raise NotImplementedError

    def of_batch(self, vectors: Tensor, classify: Classify, targets: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each document of a whole batch, from all its passes.

        vectors (Tensor): (n_passes, n_docs, width).
        classify (Classify): The head.
        targets (Tensor): (n_docs, n_labels).
        known (Tensor): (n_docs, n_labels).
        RETURNS (tuple[Tensor, Tensor]): Losses (n_docs,), and the logits they come from, (n_passes, n_docs, n_labels).
        """
        logits = classify(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])
        return torch.stack([self(once, targets, known) for once in logits]).mean(dim=0), logits


class LossBuilder(Protocol):
    """A block that makes a loss and knows the activation that goes with it."""

    @property
    def exclusive(self) -> bool:
        """Exactly one label a document, or any number."""

    @property
    def class_weights(self) -> ClassWeights:
        """As the block says it."""

    def balanced(self, positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
        """Weight of each label from the training data.

        positives (Sequence[float]): Sum of each label's targets.
        n_known (Sequence[float]): Documents annotated for it.
        """

    def build(self, weights: Sequence[float]) -> Loss:
        """Build the loss.

        weights (Sequence[float]): Weight of each label, in label order.
        RETURNS (Loss): The module.
        """

    def activate(self, logits: Tensor) -> Tensor:
        """Turn logits into scores.

        logits (Tensor): (n_docs, n_labels).
        RETURNS (Tensor): Scores in 0..1, (n_docs, n_labels).
        """


class WeightedLoss(Loss):
    """A loss with one weight per label.

    weights (Sequence[float]): In label order; kept as a buffer, (n_labels,).
    """

    weights: Tensor

    def __init__(self, weights: Sequence[float], activation: Activation) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(list(weights), dtype=torch.float32))
        self.activation = activation


def widened(logits: Tensor) -> Tensor:
    """In fp32 at least: losses are never computed in half precision, and in float64 where that is what comes."""
    return logits if logits.dtype == torch.float64 else logits.float()


def activated(logits: Tensor, activation: Activation) -> Tensor:
    """Turn logits into scores: those of a softmax sum to 1, others are independent.

    logits (Tensor): (n_docs, n_labels).
    activation (Activation): "softmax", "sigmoid" or "linear", which cuts at 0 and 1.
    RETURNS (Tensor): Scores in 0..1, (n_docs, n_labels).
    """
    if activation == "softmax":
        return widened(logits).softmax(dim=1)
    return widened(logits).sigmoid() if activation == "sigmoid" else widened(logits).clamp(0.0, 1.0)


# ---- weights of labels -------------------------------------------------------------------------------------------


def label_weights(
    builder: LossBuilder, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float]
) -> list[float]:
    """The weight of each label, as the loss block asks for it.

    builder (LossBuilder): The loss block.
    labels (Sequence[str]): All labels.
    positives (Sequence[float]): Counts in the training data, in label order.
    n_known (Sequence[float]): Counts in the training data, in label order.
    RETURNS (list[float]): In label order.
    RAISES (ValueError): T034 for a weight whose label does not exist.
    """
    asked = builder.class_weights
    if asked == "none":
        return [1.0] * len(labels)
    if isinstance(asked, str):
        return builder.balanced(positives, n_known)
    given = {str(label): float(weight) for label, weight in asked}
    if unknown := sorted(set(given) - set(labels)):
        raise ValueError(T034.format(unknown=unknown, labels=list(labels)))
    return [given.get(label, 1.0) for label in labels]


def balanced_documents(positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
    """For exclusive labels: n_docs / (n_labels * documents of the label), so that the mean weight of a training
    document is 1.

    SOURCE: scikit-learn's "balanced".
    """
    return [n / (len(positives) * p) if p else 1.0 for p, n in zip(positives, n_known, strict=True)]


def balanced_positives(positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
    """For independent labels: negatives / positives of the label, so that both sides weigh the same."""
    return [(n - p) / p if 0 < p < n else 1.0 for p, n in zip(positives, n_known, strict=True)]


# ---- checks of the blocks ----------------------------------------------------------------------------------------


def check_class_weights(asked: ClassWeights) -> None:
    """Check the weights that a block names.

    asked (ClassWeights): As the block says it.
    RAISES (ValueError): T005 for what is no pair of label and weight, T035 for a weight that is not above 0.
    """
    if isinstance(asked, str):
        return
    for pair in asked:
        if len(pair) != 2 or not isinstance(pair[0], str) or isinstance(pair[1], str):
            want = 'pairs of label and weight, [["spam", 2.0]]'
            raise ValueError(T005.format(block="loss", field="class_weights", value=pair, want=want))
        if not 0.0 < pair[1] < float("inf"):
            raise ValueError(T035.format(label=pair[0], weight=pair[1]))
