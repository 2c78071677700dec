"""Supervised contrastive loss: pulls vectors of documents with the same label together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...checks import check_least, check_number
from .loss import Classify, Loss
from .wrapper import WrappedLoss, Wrapper


class _Contrastive(WrappedLoss):
    def __init__(self, inner: Loss, weight: float, temperature: float, views: int) -> None:
        super().__init__(inner)
        self.couples, self.n_passes = True, max(inner.n_passes, views)
        self.weight, self.temperature = weight, temperature

    def of_batch(self, vectors: Tensor, classify: Classify, targets: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Add the contrastive term to the inner loss.

        vectors (Tensor): Of all passes, (n_passes, n_docs, width).
        classify (Callable): Vectors to logits.
        targets (Tensor): 0..1, (n_docs, n_labels).
        known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
        RETURNS (tuple[Tensor, Tensor]): Loss of each document, (n_docs,), and logits, (n_passes, n_docs, n_labels).
        """
        values, logits = self.inner.of_batch(vectors, classify, targets, known)
        return values + self.weight * contrast(vectors, targets, known, self.temperature), logits


def overlap(targets: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """How alike the labels of documents are.

    targets (Tensor): (n_docs, n_labels) in 0..1.
    known (Tensor): As targets, 0 where the annotation is missing.
    RETURNS (tuple[Tensor, Tensor]): (n_docs, n_docs): the Jaccard overlap of two documents over the labels that both
        are annotated for (for soft labels smaller over larger, summed); and whether there is such a label. A document
        is like itself, even without a label.
    """
    both = known[:, None] * known[None]
    shared = (both * torch.minimum(targets[:, None], targets[None])).sum(dim=2)
    either = (both * torch.maximum(targets[:, None], targets[None])).sum(dim=2)
    comparable = both.sum(dim=2) > 0
    alike = torch.where(either > 0, shared / either.clamp(min=1e-12), 0.0)
    itself = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    return torch.where(itself, comparable.to(alike.dtype), alike), comparable


def contrast(vectors: Tensor, targets: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss of each document, the mean over its passes.

    vectors (Tensor): (n_passes, n_docs, width).
    targets (Tensor): (n_docs, n_labels).
    known (Tensor): (n_docs, n_labels).
    temperature (float): The cosine is divided by it.
    RETURNS (Tensor): (n_docs,); 0 for a document like no other one.
    """
    n_passes, n_docs, _ = vectors.shape
    points = F.normalize(vectors.flatten(0, 1), dim=1)
    with torch.no_grad():
        alike, comparable = (found.repeat(n_passes, n_passes) for found in overlap(targets, known))
        others = ~torch.eye(len(points), dtype=torch.bool, device=points.device)
        alike, comparable = alike * others, comparable & others
        share = alike / alike.sum(dim=1, keepdim=True).clamp(min=1e-12)
    cosines = points @ points.T / temperature
    # Not minus infinity: a document beside which there is no other one would be all of it, and NaN.
    log_shares = F.log_softmax(cosines.masked_fill(~comparable, torch.finfo(cosines.dtype).min), dim=1)
    values = -(share * torch.where(share > 0, log_shares, 0.0)).sum(dim=1)
    return values.view(n_passes, n_docs).mean(dim=0)


@dataclass(frozen=True)
class SupervisedContrastive(Wrapper):
    """Another loss, and beside it: documents with the same label get like vectors, others unlike ones.

    Every document is compared with all others of its batch (with `accumulate_gradient`: of its part), so batches should
    hold several documents of a label, and a step may take a second forward pass (`model.coupled`). Where labels are not
    exclusive, two documents count as alike by the Jaccard overlap of their labels. Within `RDrop` a document's second
    pass is alike, too. Missing annotations are left out. Class weights belong to the other loss; the contrast knows
    none. It moves the encoder and a pooling with weights, never the head, and needs a head that reads vectors.

    loss (block): The block of the other loss.
    weight (float): Factor on the contrast; 0 <= weight.
    temperature (float): Divides the cosine of two vectors; above 0, lower looks at the nearest only.
    views (int): How often each document passes the network in a step, with a dropout of its own each time; a document's
        views are alike, so even a label with one text in the batch has a pair. A step takes as many times as long.
    RAISES (ValueError): T001 if `loss` is no loss, T005 for values out of range, T101 for the same block inside.
    SOURCE: Khosla et al. 2020, arXiv:2004.11362 (their L_out); beside cross-entropy Gunel et al. 2021,
        arXiv:2011.01403.
    """

    weight: float = 0.5
    temperature: float = 0.3
    views: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("loss", self, "weight", "0 <= weight", lambda value: 0.0 <= value < float("inf"))
        check_number("loss", self, "temperature", "0 < temperature", lambda value: 0.0 < value < float("inf"))
        check_least("loss", self, "views", 1)

    def build(self, weights: Sequence[float]) -> Loss:
        """Build the loss.

        weights (Sequence[float]): Weight of each label in the other loss.
        RETURNS (Loss): The module.
        """
        return _Contrastive(self._inner.build(weights), self.weight, self.temperature, self.views)
