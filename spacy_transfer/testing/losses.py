"""Laws of losses."""

import torch
from torch import Tensor

from ..nn.losses import Loss, LossBuilder
from ..nn.own_blocks import check_loss
from .law import require, require_close, seeded

_N_DOCS = 6


def check_loss_laws(block: LossBuilder) -> None:
    """Check a loss on made-up logits, for two to five labels.

    block (LossBuilder): Of the config.
    RAISES (AssertionError): T501 for a law that does not hold.
    RAISES (ValueError): T352, T353 as when a network is built.
    """
    for n_labels in (2, 3, 5):
        targets = _targets(n_labels, exclusive=block.exclusive)
        positives = targets.sum(dim=0).tolist()
        weights = block.balanced(positives, [float(_N_DOCS)] * n_labels)
        good = len(weights) == n_labels and all(0.0 < float(weight) < float("inf") for weight in weights)
        require("balanced gives a finite weight above 0 for each label", good, block, weights)
        loss = check_loss(block, block.build([1.0] * n_labels), n_labels)
        _check_values(block, loss, targets)
        _check_scores(block, loss, n_labels)
        _check_learning(block, loss, targets)
    if block.exclusive is False:
        check_loss(block, block.build([1.0]), 1)


def _targets(n_labels: int, *, exclusive: bool) -> Tensor:
    targets = torch.zeros(_N_DOCS, n_labels)
    rows = torch.arange(_N_DOCS)
    targets[rows, rows % n_labels] = 1.0
    if not exclusive:
        targets[rows[::3], (rows[::3] + 1) % n_labels] = 1.0
        targets[4] = 0.0
    return targets


def _logits(n_passes: int, n_labels: int, seed: int = 0) -> Tensor:
    with seeded(seed):
        return torch.randn(n_passes, _N_DOCS, n_labels) * 2.0


def _values(loss: Loss, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    with seeded():
        values, _ = loss.of_batch(logits, lambda given: given, targets, known)
    return values


def _check_values(block: LossBuilder, loss: Loss, targets: Tensor) -> None:
    n_labels = targets.shape[1]
    known = torch.ones_like(targets)
    known[2] = 0.0
    if not block.exclusive:
        # Of exclusive labels, one that is not annotated is annotated with 0.
        known[1, 0] = 0.0
    logits = _logits(loss.n_passes, n_labels).requires_grad_()
    values = _values(loss, logits, targets, known)
    require("a loss is never NaN or infinite", bool(values.isfinite().all()), block, values)
    gradient = torch.autograd.grad(values.sum(), logits)[0]
    require("a gradient is never NaN or infinite", bool(gradient.isfinite().all()), block)
    require("the same batch has the same loss", torch.equal(values, _values(loss, logits, targets, known)), block)
    guessed = torch.where(known > 0, targets, 1.0 - targets)
    law = "a target that is not annotated (known = 0) does not change the loss"
    require_close(law, _values(loss, logits, guessed, known).detach(), values.detach(), block)
    half = _values(loss, logits.detach().bfloat16(), targets, known)
    require("logits in half precision give a loss in fp32", half.dtype == torch.float32, block, half.dtype)
    for size in (100.0, -100.0):
        far = _values(loss, torch.full_like(logits, size), targets, known)
        require("large logits give a finite loss", bool(far.isfinite().all()), block, far)
    if not loss.couples:
        some = torch.tensor([3, 0])
        law = "a document's loss does not depend on its batch, unless `couples` says so"
        found = _values(loss, logits[:, some], targets[some], known[some])
        require_close(law, found.detach(), values[some].detach(), block)


def _check_scores(block: LossBuilder, loss: Loss, n_labels: int) -> None:
    logits = _logits(1, n_labels)[0] * 10.0
    scores = block.activate(logits)
    require("scores lie in 0..1", bool(((scores >= 0.0) & (scores <= 1.0)).all()), block, scores)
    if block.exclusive:
        require_close("scores of exclusive labels sum to 1", scores.sum(dim=1), torch.ones(_N_DOCS), block)
    require_close("a document's score does not depend on its batch", block.activate(logits[2:3]), scores[2:3], block)
    activations = ("softmax", "sigmoid", "linear")
    require(f"`activation` is one of {activations}", loss.activation in activations, block, loss.activation)
    # A label that was added and has not been trained.
    awaited = torch.cat([logits, torch.full((_N_DOCS, 1), -torch.inf)], dim=1)
    law = "a logit of -inf scores 0 and leaves the others' scores as they are"
    require_close(law, block.activate(awaited), torch.cat([scores, torch.zeros(_N_DOCS, 1)], dim=1), block)


def _check_learning(block: LossBuilder, loss: Loss, targets: Tensor) -> None:
    logits = _logits(1, targets.shape[1], seed=1)[0].requires_grad_()
    known = torch.ones_like(targets)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    values: list[float] = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(logits, targets, known).sum()
        values.append(float(value.detach()))
        value.backward()
        optimizer.step()
    first, last = values[0], values[-1]
    require("following the gradient lowers the loss", last < first, block, f"{first:.4g} -> {last:.4g}")
    scores = block.activate(logits.detach())
    right, wrong = scores[targets > 0].mean(), scores[targets == 0].mean()
    law = "following the gradient scores the right labels higher than the others"
    require(law, bool(right > wrong), block, f"means of {right:.3f} and {wrong:.3f}")
