"""R-Drop: two passes with different dropout should agree."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ...checks import check_number
from .loss import Activation, Classify, Loss, widened
from .wrapper import WrappedLoss, Wrapper


class _RDrop(WrappedLoss):
    def __init__(self, inner: Loss, alpha: float) -> None:
        super().__init__(inner)
        self.n_passes = max(2, inner.n_passes)
        self.alpha = alpha

    def of_batch(self, vectors: Tensor, classify: Classify, targets: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Add the divergence of two passes to the inner loss.

        vectors (Tensor): Of all passes, of which the first two are compared, (n_passes, n_docs, width).
        classify (Callable): Vectors to logits.
        targets (Tensor): 0..1, (n_docs, n_labels).
        known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
        RETURNS (tuple[Tensor, Tensor]): Loss of each document, (n_docs,), and logits, (n_passes, n_docs, n_labels).
        """
        values, logits = self.inner.of_batch(vectors, classify, targets, known)
        return values + self.alpha * divergence(logits[0], logits[1], known, self.activation), logits


def divergence(one: Tensor, other: Tensor, known: Tensor, activation: Activation) -> Tensor:
    """Mean of both Kullback-Leibler divergences between what two passes predict.

    one (Tensor): Logits, (n_docs, n_labels).
    other (Tensor): Logits, (n_docs, n_labels).
    known (Tensor): As they, 0 where the annotation is missing.
    activation (str): "softmax": one distribution over the labels. "sigmoid": a Bernoulli distribution per label,
        averaged over them. "linear": a normal distribution of variance 1 per label, so half the squared distance.
    RETURNS (Tensor): (n_docs,).
    """
    one, other = widened(one), widened(other)
    if activation == "softmax":
        log_one, log_other = F.log_softmax(one, dim=1), F.log_softmax(other, dim=1)
        return 0.5 * ((log_one.exp() - log_other.exp()) * (log_one - log_other) * known).sum(dim=1)
    if activation == "sigmoid":
        # Both divergences of two Bernoulli distributions together, without a logarithm of what may be 0.
        return 0.5 * ((one.sigmoid() - other.sigmoid()) * (one - other) * known).mean(dim=1)
    return 0.5 * ((one - other).square() * known).mean(dim=1)


@dataclass(frozen=True)
class RDrop(Wrapper):
    """Another loss on two passes of each document with different dropout, and their disagreement.

    A step costs twice the time; memory stays, since a micro-batch takes half the documents. What is frozen has no
    dropout: with the whole encoder frozen only the head's makes a difference. Labels without annotation are left out.
    Class weights belong to the other loss; the disagreement knows none.

    loss (block): The block of the other loss; its mean over both passes counts.
    alpha (float): Factor on the mean of the two Kullback-Leibler divergences; 0 <= alpha.
    RAISES (ValueError): T001 if `loss` is no loss, T005 for values out of range, T101 for the same block inside.
    SOURCE: Liang et al. 2021, arXiv:2106.14448.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("loss", self, "alpha", "0 <= alpha", lambda value: 0.0 <= value < float("inf"))

    def build(self, weights: Sequence[float]) -> Loss:
        """Build the loss.

        weights (Sequence[float]): Weight of each label in the other loss.
        RETURNS (Loss): The module.
        """
        return _RDrop(self._inner.build(weights), self.alpha)
