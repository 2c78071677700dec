"""How sure it is that a document has one of the known labels, from its vector and its logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of the documents it was fitted for: 0 %, 1 %, ... 100 %.
N_QUANTILES = 101
# Of log odds: single precision knows nothing beyond.
_SUREST = 30.0

_judging: ContextVar[bool] = ContextVar("judging", default=False)


@contextmanager
def judging() -> Iterator[None]:
    """Within: this thread wants the confidence of documents as one more column of their logits."""
    token = _judging.set(True)
    try:
        yield
    finally:
        _judging.reset(token)


def is_judging() -> bool:
    """Whether this thread wants the confidence next to logits."""
    return _judging.get()


class Confidence(nn.Module):
    """Compares documents with those it was fitted for: 0.05 says that 5 in 100 of them look stranger.

    What a document looks like is the squared distance from its vector, of unit length, to the mean of all documents
    less that to the nearest mean of a group, each in units of its covariance (relative Mahalanobis distance); the log
    odds of its best label; and how close it is to the nearest prototype. Nothing in it is trained.

    forward: vectors (n_docs, width), logits (n_docs, n_labels) -> (n_docs,) in 0..1.

    n_groups (int): Groups: labels, and where a document may have no label, those without one.
    n_prototypes (int): Of all groups.
    width (int): Of vectors.
    exclusive (bool): Whether a document has exactly one label.
    SOURCE: Lee et al. 2018, arXiv:1807.03888; on vectors of fine-tuned Transformers Podolskiy et al. 2021,
        arXiv:2101.03778; relative to all documents: Ren et al. 2021, arXiv:2106.09022; the
        nearest documents: Sun et al. 2022, arXiv:2204.06507.
    """

    means: Tensor
    whitening: Tensor
    center: Tensor
    background: Tensor
    prototypes: Tensor
    weights: Tensor
    quantiles: Tensor

    def __init__(self, n_groups: int, n_prototypes: int, width: int, *, exclusive: bool) -> None:
        super().__init__()
        self.exclusive = exclusive
        # Of the groups, multiplied by the whitening.
        self.register_buffer("means", torch.zeros(n_groups, width))
        # The distance of x and y is the length of (x - y) @ whitening.
        self.register_buffer("whitening", torch.zeros(width, width))
        # The same of all documents as one group.
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("background", torch.zeros(width, width))
        self.register_buffer("prototypes", torch.zeros(n_prototypes, width))
        # On nearness, log odds and closeness.
        self.register_buffer("weights", torch.zeros(3))
        self.register_buffer("quantiles", torch.zeros(N_QUANTILES))

    def forward(self, vectors: Tensor, logits: Tensor) -> Tensor:
        """See the class."""
        x = F.normalize(vectors.float(), dim=1)
        own = torch.cdist(x @ self.whitening, self.means).amin(dim=1).square()
        near = (x @ self.background - self.center).square().sum(dim=1) - own
        odds = log_odds(logits, exclusive=self.exclusive)
        close = (x @ self.prototypes.T - self.prototypes.square().sum(dim=1) / 2).amax(dim=1)
        return self._rank(self.weights[0] * near + self.weights[1] * odds + self.weights[2] * close)

    def _rank(self, value: Tensor) -> Tensor:
        """The share of the documents fitted for that look stranger, between two of them in proportion. Below the
        strangest it falls off, so that documents far away still differ."""
        known, last = self.quantiles, len(self.quantiles) - 1
        above = torch.searchsorted(known, value.contiguous()).clamp(1, last)
        low, high = known[above - 1], known[above]
        share = (above - 1 + ((value - low) / (high - low).clamp(min=1e-6)).clamp(0.0, 1.0)) / last
        spread = (known[last // 2] - known[0]).clamp(min=1e-6)
        tail = torch.exp((value - known[0]).clamp(max=0.0) / spread) / last
        # From 0.01 at the strangest document down; within the range from 0.01 up.
        return torch.where(value < known[0], tail, (1 / last + share * (1 - 1 / last)).clamp(max=1.0))


def log_odds(logits: Tensor, *, exclusive: bool) -> Tensor:
    """Compute the log odds of the best label.

    logits (Tensor): (n_docs, n_labels); -infinity for labels that wait for their first text.
    exclusive (bool): Whether scores are a softmax of logits, otherwise a sigmoid of each.
    RETURNS (Tensor): (n_docs,), within -30 and 30.
    """
    logits = logits.float()
    if not exclusive:
        return logits.amax(dim=1).clamp(-_SUREST, _SUREST)
    best, place = logits.max(dim=1)
    others = logits.scatter(1, place[:, None], -torch.inf).logsumexp(dim=1)
    return (best - others).clamp(-_SUREST, _SUREST)
