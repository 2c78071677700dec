"""Scores of texts by linear probes that have not seen them."""

import numpy as np
import torch

from ..nn.losses import BinaryCrossEntropy, CrossEntropy
from ..pipeline.interface import Floats
from .linear_probe import fit

# Inverse strengths of the penalty to choose from. Weaker penalties learn wrong labels by heart.
_CS = (0.1, 0.3, 1.0, 3.0, 10.0)


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
    n_texts, n_labels = targets.shape
    block = CrossEntropy() if exclusive else BinaryCrossEntropy()
    loss = block.build([1.0] * n_labels)
    x = torch.as_tensor(np.asarray(vectors), dtype=torch.float32)
    x = x - x.mean(dim=0)
    x = x / x.square().mean().sqrt().clamp(min=1e-6)
    y, seen = (torch.as_tensor(np.asarray(one), dtype=torch.float32) for one in (targets, known))
    order = torch.randperm(n_texts, generator=torch.Generator().manual_seed(seed))
    folds = max(2, min(folds, n_texts))
    logits = {c: torch.zeros(n_texts, n_labels) for c in _CS}
    for fold in range(folds):
        held = order[fold::folds]
        inside = torch.ones(n_texts, dtype=torch.bool)
        inside[held] = False
        start = None
        for c in _CS:
            start = weight, bias = fit(x[inside], y[inside], seen[inside], loss, c, start)
            logits[c][held] = x[held] @ weight.T + bias
    best = min(_CS, key=lambda c: float(loss(logits[c], y, seen).mean()))
    return block.activate(logits[best]).numpy()
