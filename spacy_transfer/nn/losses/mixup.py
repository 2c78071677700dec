"""Hidden-state mixup: the head also learns from mixtures of documents."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...checks import check_number
from ..devices.pinned import to_device
from .loss import Classify, Loss
from .wrapper import WrappedLoss, Wrapper


class _Mixup(WrappedLoss):
    def __init__(self, inner: Loss, alpha: float) -> None:
        super().__init__(inner)
        self.couples = True
        self.alpha = alpha

    def of_batch(self, vectors: Tensor, classify: Classify, targets: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the inner loss on mixed vectors.

        vectors (Tensor): Of all passes, (n_passes, n_docs, width).
        classify (Callable): Vectors to logits.
        targets (Tensor): 0..1, (n_docs, n_labels).
        known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
        RETURNS (tuple[Tensor, Tensor]): Loss of each document, (n_docs,), and logits, (n_passes, n_docs, n_labels).
        """
        if not self.alpha:
            return self.inner.of_batch(vectors, classify, targets, known)
        share, partner = self._draw(known)
        share = share.to(vectors.dtype)
        mixed = share[:, None] * vectors + (1.0 - share[:, None]) * vectors[:, partner]
        return self.inner.of_batch(mixed, classify, *mix_targets(targets, known, share, partner))

    def _draw(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """Share of each document's own and its partner, from torch's generator of the CPU: the same on any device."""
        n_docs = len(known)
        share = to_device(beta(self.alpha, n_docs).float(), known.device)
        order = to_device(torch.rand(n_docs), known.device)
        # Documents without annotation mix among themselves. By sorting, which needs no look at the device's numbers.
        blank = (known == 0).all(dim=1).to(order.dtype)
        partner = torch.empty(n_docs, dtype=torch.int64, device=known.device)
        partner[torch.argsort(blank, stable=True)] = torch.argsort(order + 2.0 * blank)
        return share, partner


def beta(alpha: float, n: int) -> Tensor:
    """Numbers from Beta(alpha, alpha), (n,), in float64.

    By logarithms of gamma numbers: torch's own Beta gives 1/2 for a small alpha, where both of them are 0. A gamma
    number of alpha is one of alpha + 1 times u ** (1 / alpha).
    """
    gamma = torch.distributions.Gamma(torch.tensor(alpha + 1.0, dtype=torch.float64), 1.0)
    logs = gamma.sample((2, n)).log() + (1.0 - torch.rand(2, n, dtype=torch.float64)).log() / alpha
    return torch.sigmoid(logs[0] - logs[1])


def mix_targets(targets: Tensor, known: Tensor, share: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """Targets of mixed documents.

    targets (Tensor): (n_docs, n_labels).
    known (Tensor): (n_docs, n_labels).
    share (Tensor): Of a document's own, (n_docs,).
    partner (Tensor): Whom it is mixed with, (n_docs,).
    RETURNS (tuple[Tensor, Tensor]): Mixed targets and what is known of them. Where only one of the two is annotated,
        its target stands, and is known by its share.
    """
    own, its = share[:, None].to(targets.dtype) * known, (1.0 - share[:, None].to(targets.dtype)) * known[partner]
    both = own + its
    return torch.where(both > 0, (own * targets + its * targets[partner]) / both.clamp(min=1e-12), 0.0), both


@dataclass(frozen=True)
class Mixup(Wrapper):
    """Another loss on mixed documents: the vector of each is mixed with that of another one, and its targets alike.

    The partner is drawn anew in every step, among the whole batch (with `accumulate_gradient`: its part), so a step may
    take a second forward pass (`model.coupled`). Both passes of `RDrop` are mixed alike. Around `SupervisedContrastive`
    the contrast sees mixed vectors, inside it plain ones. Annotations count by their share; class weights are those of
    the other loss. It needs a head that reads vectors.

    loss (block): The block of the other loss.
    alpha (float): The share is drawn from Beta(alpha, alpha): below 1 most documents stay near one of the two, 1 draws
        all shares alike; 0 mixes nothing.
    RAISES (ValueError): T001 if `loss` is no loss, T005 for values out of range, T101 for the same block inside.
    SOURCE: Zhang et al. 2018, arXiv:1710.09412; of hidden states Verma et al. 2019, arXiv:1806.05236; of texts Guo et
        al. 2019, arXiv:1905.08941, Chen et al. 2020, arXiv:2004.12239.
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("loss", self, "alpha", "0 <= alpha", lambda value: 0.0 <= value < float("inf"))

    def build(self, weights: Sequence[float]) -> Loss:
        """Build the loss.

        weights (Sequence[float]): Weight of each label in the other loss.
        RETURNS (Loss): The module.
        """
        return _Mixup(self._inner.build(weights), self.alpha)
