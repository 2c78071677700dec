"""Scores of texts by linear probes that have not seen them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..nn.losses import BinaryCrossEntropy, CrossEntropy, Loss
from ..pipeline.interface import Floats
from .linear_probe import fit

# Inverse strengths of the penalty to choose from, rising. Weaker penalties learn wrong labels by heart.
_CS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class _Texts:
    """What probes are fitted on.

    x (Tensor): Vectors, centered and scaled, (n_texts, width).
    targets (Tensor): (n_texts, n_labels).
    known (Tensor): 0 where the annotation is missing.
    block (CrossEntropy | BinaryCrossEntropy): The loss as the config has it.
    loss (Loss): Of each text.
    """

    x: Tensor
    targets: Tensor
    known: Tensor
    block: CrossEntropy | BinaryCrossEntropy
    loss: Loss

    @classmethod
    def of(cls, vectors: Floats, targets: Floats, known: Floats, *, exclusive: bool) -> "_Texts":
        """Center and scale vectors."""
        block = CrossEntropy() if exclusive else BinaryCrossEntropy()
        x = torch.as_tensor(np.asarray(vectors), dtype=torch.float32)
        x = x - x.mean(dim=0)
        x = x / x.square().mean().sqrt().clamp(min=1e-6)
        y, seen = (torch.as_tensor(np.asarray(one), dtype=torch.float32) for one in (targets, known))
        return cls(x, y, seen, block, block.build([1.0] * y.shape[1]))

    def fit(self, rows: Tensor, c: float, start: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Fit weight and bias on some texts."""
        return fit(self.x[rows], self.targets[rows], self.known[rows], self.loss, c, start)

    def held_out(self, folds: int, seed: int) -> tuple[float, Tensor]:
        """Choose the penalty with the lowest loss on held-out texts.

        RETURNS (tuple[float, Tensor]): The penalty, and the logits of every text by probes on the other folds.
        """
        n_texts = len(self.x)
        order = torch.randperm(n_texts, generator=torch.Generator().manual_seed(seed))
        folds = max(2, min(folds, n_texts))
        parts = [order[fold::folds] for fold in range(folds)]
        rests = [torch.cat([part for other, part in enumerate(parts) if other != fold]) for fold in range(folds)]
        best: tuple[float, float, Tensor] | None = None
        solved: list[tuple[Tensor, Tensor] | None] = [None] * folds
        for c in _CS:
            logits = torch.zeros_like(self.targets)
            for fold, (held, rest) in enumerate(zip(parts, rests, strict=True)):
                # From weak to strong weights: each solution is a good start for the next.
                solved[fold] = weight, bias = self.fit(rest, c, solved[fold])
                logits[held] = self.x[held] @ weight.T + bias
            loss = float(self.loss(logits, self.targets, self.known).mean())
            if best is not None and loss > best[0]:
                # Weaker penalties fit longer, and what they learn more of are the texts at hand.
                break
            best = loss, c, logits
        assert best is not None
        return best[1], best[2]


def held_out_scores(
    vectors: Floats, targets: Floats, known: Floats, *, exclusive: bool, folds: int = 5, seed: int = 0
) -> Floats:
    """Score every text by logistic regression on all texts of the other folds.

    vectors (Floats): Of a frozen encoder, (n_texts, width).
    targets (Floats): 0 or 1, (n_texts, n_labels).
    known (Floats): 0 where the annotation is missing, (n_texts, n_labels).
    exclusive (bool): Exactly one label a text: scores sum to 1.
    folds (int): Parts of the data; at most as many as there are texts.
    seed (int): Of the parts.
    RETURNS (Floats): Scores, (n_texts, n_labels), by the penalty with the lowest loss on held-out texts.
    """
    texts = _Texts.of(vectors, targets, known, exclusive=exclusive)
    return texts.block.activate(texts.held_out(folds, seed)[1]).numpy()


def choose_penalty(
    vectors: Floats, targets: Floats, known: Floats, *, exclusive: bool, folds: int = 5, seed: int = 0
) -> float:
    """Choose the inverse strength of the penalty of a probe; see `held_out_scores`.

    RETURNS (float): That with the lowest loss on held-out texts.
    """
    texts = _Texts.of(vectors, targets, known, exclusive=exclusive)
    return texts.held_out(folds, seed)[0]


def scores_by_size(
    vectors: Floats, targets: Floats, known: Floats, order: Sequence[int], sizes: Sequence[int], held: Sequence[int], *,
    exclusive: bool, c: float,
) -> Iterator[Floats]:  # fmt: skip
    """Fit probes on more and more texts, and score others.

    vectors (Floats): Of a frozen encoder, (n_texts, width).
    targets (Floats): 0 or 1, (n_texts, n_labels).
    known (Floats): 0 where the annotation is missing, (n_texts, n_labels).
    order (Sequence[int]): Numbers of the texts to fit on.
    sizes (Sequence[int]): How many of them, from the first on; rising.
    held (Sequence[int]): Numbers of the texts that are scored.
    exclusive (bool): Exactly one label a text: scores sum to 1.
    c (float): Inverse strength of the penalty.
    YIELDS (Floats): For each size the scores, (n_held, n_labels).
    """
    texts = _Texts.of(vectors, targets, known, exclusive=exclusive)
    rows, others = torch.as_tensor(list(order)), torch.as_tensor(list(held))
    start = None
    for size in sizes:
        start = weight, bias = texts.fit(rows[:size], c, start)
        yield texts.block.activate(texts.x[others] @ weight.T + bias).numpy()
