"""Losses of every kind, and logits, annotations and vectors for them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spacy_transfer.nn.losses import BinaryCrossEntropy, CrossEntropy
from spacy_transfer.nn.losses.asymmetric import Asymmetric
from spacy_transfer.nn.losses.focal import Focal
from spacy_transfer.nn.losses.smooth_l1 import SmoothL1
from spacy_transfer.nn.losses.squared_error import SquaredError

N_DOCS, N_LABELS, WIDTH = 6, 4, 5
ONES = [1.0] * N_LABELS
WEIGHTS = [0.5, 2.0, 1.0, 3.0]
EXCLUSIVE: dict[str, Any] = {
    "cross-entropy": CrossEntropy(),
    "smoothed cross-entropy": CrossEntropy(label_smoothing=0.1),
    "focal": Focal(exclusive=True),
    "focal, gamma 0.5": Focal(exclusive=True, gamma=0.5),
    "squared earth mover": SquaredError("ordinal"),
    "smooth L1 of ranks": SmoothL1("ordinal", beta=0.3),
}
INDEPENDENT: dict[str, Any] = {
    "binary cross-entropy": BinaryCrossEntropy(),
    "smoothed binary cross-entropy": BinaryCrossEntropy(label_smoothing=0.1),
    "binary focal": Focal(exclusive=False),
    "binary focal, gamma 0.5": Focal(exclusive=False, gamma=0.5),
    "asymmetric": Asymmetric(),
    "asymmetric, gamma 0.5": Asymmetric(gamma_negative=0.5, gamma_positive=0.0, clip=0.2),
    "asymmetric without clip": Asymmetric(clip=0.0),
    "squared error": SquaredError("scores"),
    "smooth L1": SmoothL1("scores", beta=0.3),
}
PLAIN = {**EXCLUSIVE, **INDEPENDENT}
NAMES = list(PLAIN)


def data(exclusive: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and hard targets in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((N_DOCS, N_LABELS), generator=generator, dtype=torch.float64) * 2
    if exclusive:
        return logits, F.one_hot(torch.tensor([0, 1, 2, 3, 0, 2]), N_LABELS).double()
    return logits, torch.randint(0, 2, (N_DOCS, N_LABELS), generator=generator).double()


def some_known(exclusive: bool) -> Tensor:
    """Single labels without annotation, and one document without any; where labels are exclusive only that."""
    known = torch.ones((N_DOCS, N_LABELS), dtype=torch.float64)
    known[3] = 0.0
    if not exclusive:
        known[0, 1] = known[5, 2] = 0.0
    return known


def soft(targets: Tensor, exclusive: bool) -> Tensor:
    values = (targets * 3 + torch.rand(targets.shape, generator=torch.Generator().manual_seed(5))).double()
    return values.softmax(dim=1) if exclusive else values / 4


def vectors_and_head(n_passes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn((n_passes, N_DOCS, WIDTH), generator=generator, dtype=torch.float64)
    return vectors, torch.randn((N_LABELS, WIDTH), generator=generator, dtype=torch.float64)
