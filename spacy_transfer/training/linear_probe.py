"""The linear probe: fits the head on vectors of the frozen encoder, so that step 0 is already a strong classifier."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import T005
from ..log import announce
from ..nn.losses import Loss

_CS = (0.01, 0.1, 1.0, 10.0)


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression on the vectors of the pretrained encoder, as the head's first weights (LP-FT).

    Multinomial for exclusive labels, one against the rest for others, by L-BFGS on the classifier's own loss: soft
    labels, missing labels, class weights and smoothing count as in training. C is chosen by cross-validation
    on the training data.

    Cs (list[float] | None): Inverse strengths of the L2 penalty to choose from, as in scikit-learn, on vectors
        that were centered and scaled to unit variance. None tries 0.01, 0.1, 1 and 10.
    folds (int): Of the cross-validation; 2 or more.
    loss_fraction (float | "auto"): The fitted weights are scaled down by the factor s for which mean_loss(s * logits) =
        loss_fraction * mean_loss(0), the loss of a head that knows nothing: a head that already separates the training
        texts would leave the encoder without a gradient. 0 keeps the weights as fitted. "auto": 0 where the whole
        encoder stays frozen, 0.85 where tuning follows.
    most_texts (int): Training texts to solve on at most, spread evenly.
    seed (int): Of the folds.
    SOURCE: solving first, then fine-tuning: Kumar et al. 2022, arXiv:2202.10054.
    """

    Cs: list[float] | None = None
    folds: int = 4
    loss_fraction: float | Literal["auto"] = "auto"
    most_texts: int = 50_000
    seed: int = 0

    def __post_init__(self) -> None:
        Cs = _CS if self.Cs is None else self.Cs
        is_auto = self.loss_fraction == "auto"
        checks = (
            ("Cs", bool(Cs) and min(Cs) > 0, "one or more numbers above 0"),
            ("folds", self.folds >= 2, "folds >= 2"),
            ("loss_fraction", is_auto or 0.0 <= float(self.loss_fraction) < 1.0, "0 <= loss_fraction < 1"),
            ("most_texts", self.most_texts >= 1, "most_texts >= 1"),
        )
        for name, good, want in checks:
            if not good:
                raise ValueError(T005.format(block="head_init", field=name, value=getattr(self, name), want=want))

    def choose(self, n_texts: int) -> list[int]:
        """Indices of the texts to solve on, spread evenly over the data."""
        n = min(n_texts, self.most_texts)
        return [i * n_texts // n for i in range(n)]

    def solve(
        self, vectors: Tensor, targets: Tensor, known: Tensor, loss: Loss, *, exclusive: bool, tuning_follows: bool,
        n_names: int = 0,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Weights of a linear head.

        vectors (Tensor): (n_docs, width).
        targets (Tensor): (n_docs, n_labels).
        known (Tensor): (n_docs, n_labels); above 1 where a text counts for several.
        loss (Loss): The classifier's.
        exclusive (bool): Exactly one label a document.
        tuning_follows (bool): The encoder is trained afterwards.
        n_names (int): So many of the texts, the last ones, are names of labels: they are learned from, and C is chosen
            on the others.
        RETURNS (tuple[Tensor, Tensor]): weight (n_labels, width) and bias (n_labels,).
        """
        texts = vectors[: len(vectors) - n_names]
        middle = texts.mean(dim=0)
        scale = (texts - middle).square().mean().sqrt().clamp(min=1e-6)
        x = (vectors - middle) / scale
        c = self._cross_validate(x, targets, known, loss, exclusive, n_names)
        weight, bias = fit(x, targets, known, loss, c, None)
        x, targets, known = (given[: len(texts)] for given in (x, targets, known))
        keep = (0.85 if tuning_follows else 0.0) if self.loss_fraction == "auto" else float(self.loss_fraction)
        if keep:
            shrink = _shrink(x, weight, bias, targets, known, loss, keep)
            weight, bias = weight * shrink, bias * shrink
        weight = weight / scale
        return weight, bias - weight @ middle

    def _cross_validate(
        self, x: Tensor, targets: Tensor, known: Tensor, loss: Loss, exclusive: bool, n_names: int
    ) -> float:
        """The c with the highest held-out accuracy (exclusive; ties: lower loss) or the lowest held-out loss."""
        Cs, n_docs = sorted(self.Cs or _CS), len(x) - n_names
        if len(Cs) == 1 or n_docs < 2 * self.folds:
            return Cs[(len(Cs) - 1) // 2]
        order = torch.randperm(n_docs, generator=torch.Generator().manual_seed(self.seed)).to(x.device)
        found = {c: [0.0, 0.0] for c in Cs}
        for fold in range(self.folds):
            held = order[fold :: self.folds]
            inside = torch.ones(len(x), dtype=torch.bool, device=x.device)
            inside[held] = False
            start = None
            for c in Cs:
                # From weak to strong weights: each solution is a good start for the next.
                start = weight, bias = fit(x[inside], targets[inside], known[inside], loss, c, start)
                logits = x[held] @ weight.T + bias
                right = (logits.argmax(dim=1) == targets[held].argmax(dim=1)).sum() if exclusive else torch.zeros(())
                found[c][0] += float(right)
                found[c][1] -= float(loss(logits, targets[held], known[held]).sum())
        best = max(Cs, key=lambda c: tuple(found[c]))
        n_right, negative = found[best]
        share = f"{n_right / n_docs:.1%} right, " if exclusive else ""
        announce(f"Linear probe on {n_docs} texts: C = {best:g}, held out {share}loss {-negative / n_docs:.3f}")
        return best


def fit(
    x: Tensor,
    targets: Tensor,
    known: Tensor,
    loss: Loss,
    c: float,
    start: tuple[Tensor, Tensor] | None,
    fixed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Minimize the mean loss plus the L2 penalty of the weights.

    x (Tensor): Vectors, centered and scaled, (n_docs, width).
    targets (Tensor): (n_docs, n_labels).
    known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
    loss (Loss): Of each document.
    c (float): Inverse strength of the penalty.
    start (tuple[Tensor, Tensor] | None): Weight and bias to start from; None: zeros.
    fixed (Tensor | None): Logits of the first labels, which stay as they are, (n_docs, n_fixed).
    RETURNS (tuple[Tensor, Tensor]): weight (n_labels, width) and bias (n_labels,), of labels that are not fixed.
    """
    n_docs, width = x.shape
    fixed = x.new_zeros((n_docs, 0)) if fixed is None else fixed
    n_labels = targets.shape[1] - fixed.shape[1]
    weight = torch.zeros((n_labels, width), device=x.device) if start is None else start[0].clone()
    bias = torch.zeros(n_labels, device=x.device) if start is None else start[1].clone()
    solver = torch.optim.LBFGS(
        [weight.requires_grad_(), bias.requires_grad_()], max_iter=200, history_size=10, tolerance_grad=1e-5,
        tolerance_change=1e-7, line_search_fn="strong_wolfe",
    )  # fmt: skip
    penalty = 0.5 / (c * n_docs)

    def closure() -> Tensor:
        """Compute the penalized loss and its gradient."""
        solver.zero_grad()
        logits = torch.cat([fixed, x @ weight.T + bias], dim=1)
        value = loss(logits, targets, known).mean() + penalty * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(closure)
    return weight.detach(), bias.detach()


def _shrink(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, known: Tensor, loss: Loss, keep: float) -> float:
    """Factor on the weights that leaves the share `keep` of the loss of a head of zeros.

    RETURNS (float): 0 to 1.
    """
    logits = x @ weight.T + bias

    def at(factor: float) -> float:
        """Compute the loss with the weights scaled by a factor."""
        return float(loss(logits * factor, targets, known).mean())

    wanted, low, high = keep * at(0.0), 0.0, 1.0
    if at(high) >= wanted:
        return high
    # The loss is convex in the factor and falls from 0 on, so it passes the wanted value once.
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if at(middle) > wanted else (low, middle)
    return high
