"""Steps for losses over a whole batch or several passes of a document, in the memory of a micro-batch."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import T100
from ...nn.devices.pinned import to_device
from ...nn.losses import Loss
from ...nn.network import Network
from .accumulation import Gradients

# Indices of documents, each as often as it passes -> (n, n_labels).
Learn = Callable[[Sequence[int]], Tensor]


def is_plain(loss: Loss) -> bool:
    """Whether a document's loss is that of its logits alone, so that micro-batches simply add up."""
    return loss.n_passes == 1 and not loss.couples


def check_reads(loss: Loss, block: object, head: nn.Module) -> None:
    """Whether loss and head go together.

    loss (Loss): Built from block.
    block (object): Of the config, for the message.
    head (nn.Module): That of the network.
    RAISES (ValueError): T100 if the loss looks at vectors and the head at states.
    """
    if loss.couples and getattr(head, "reads", "vectors") != "vectors":
        raise ValueError(T100.format(loss=type(block).__name__, head=type(head).__name__))


def learn_whole(
    network: Network, loss: Loss, groups: Iterable[list[int]], learn: Learn, targets: Tensor, known: Tensor,
    gradients: Gradients, *, n_pieces: Callable[[Sequence[int]], int], budget: int,
) -> Tensor:  # fmt: skip
    """Forward, loss and backward of a batch; see `OwnEncoderShim.step`.

    network (Network): In training mode.
    loss (Loss): Of whole batches.
    groups (Iterable[list[int]]): Micro-batches, as indices of documents; each must have room for all passes of its own.
        Features that are joined to the vectors are part of them here: they are compared and mixed with the rest.
    learn (Callable): Takes documents, gives their logits with the graph of what moves.
    targets (Tensor): (n_docs, n_labels).
    known (Tensor): (n_docs, n_labels).
    gradients (Gradients): Where they are summed up.
    n_pieces (Callable): Takes a micro-batch, gives the pieces of a pass of it, padding included.
    budget (int): Most pieces whose graphs are held at a time.
    RETURNS (Tensor): Sum of the documents' losses, without dimensions.
    """
    if not len(targets):
        return torch.zeros((), device=targets.device)
    if loss.couples:
        listed = list(groups)
        n_kept = _n_kept([loss.n_passes * n_pieces(group) for group in listed], budget)
        return _coupled(network, loss, listed, learn, targets, known, gradients, n_kept)
    return _additive(loss, groups, learn, targets, known, gradients)


def _additive(
    loss: Loss, groups: Iterable[list[int]], learn: Learn, targets: Tensor, known: Tensor, gradients: Gradients
) -> Tensor:
    """One micro-batch after the other. The logits take the place of the vectors, so the head may read what it likes."""
    total = torch.zeros((), device=targets.device)
    for group in groups:
        chosen = to_device(group, targets.device)
        logits = _passes(learn(group * loss.n_passes), loss)
        values, _ = loss.of_batch(logits, lambda given: given, targets[chosen], known[chosen])
        value = values.sum()
        gradients.backward(value)
        total += value.detach()
    return total


def _n_kept(sizes: Sequence[int], budget: int) -> int:
    """How many of the last micro-batches keep their graphs: those that fit into the budget together, one at least."""
    fitting = int(np.searchsorted(np.cumsum(sizes[::-1]), budget, side="right"))
    return max(1, fitting)


def _coupled(
    network: Network, loss: Loss, groups: Sequence[list[int]], learn: Learn, targets: Tensor, known: Tensor,
    gradients: Gradients, n_kept: int,
) -> Tensor:  # fmt: skip
    """The vectors of all micro-batches, then head and loss on the whole batch, then the gradient of the vectors down
    each micro-batch. The graphs of the last ones are still there; the others run once more, from the random numbers
    that they had.

    SOURCE: Gao et al. 2021, arXiv:2101.06983 (GradCache).
    """

    def vectors_of(group: list[int]) -> Tensor:
        """Compute the vectors of a micro-batch, one part for each pass."""
        with network.headless():
            return _passes(learn(group * loss.n_passes), loss)

    device = targets.device
    n_again = len(groups) - n_kept
    draws: list[_Draws] = []
    found: list[Tensor] = []
    graphs: list[Tensor] = []
    for group in groups:
        draws.append(_Draws(device))
        # With a graph, though the first are thrown away: without one, torch takes other attention kernels, and those
        # draw another dropout.
        made = vectors_of(group)
        found.append(made.detach())
        if len(found) > n_again:
            graphs.append(made)
        # Before the next one is made: no graph more than are kept.
        del made
    places = [to_device(group, device) for group in groups]
    order = to_device(np.argsort(np.concatenate(groups)), device)
    vectors = torch.cat(found, dim=1)[:, order].requires_grad_()
    values, _ = loss.of_batch(vectors, network.classify, targets, known)
    value = values.sum()
    gradients.backward(value)
    wanted = vectors.grad
    if graphs[-1].requires_grad and wanted is not None:
        for place in reversed(places[n_again:]):
            graphs.pop().backward(wanted[:, place])
        if n_again:
            after = _Draws(device)
            for group, place, draw in zip(groups[:n_again], places[:n_again], draws[:n_again], strict=True):
                draw.restore()
                vectors_of(group).backward(wanted[:, place])
            after.restore()
    return value.detach()


def _passes(values: Tensor, loss: Loss) -> Tensor:
    """(n_passes * n_docs, n) to (n_passes, n_docs, n)."""
    return values.unflatten(0, (loss.n_passes, -1))


class _Draws:
    """Where torch's random numbers stand, on the CPU and on the device.

    device (torch.device): Where the network is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.host = torch.get_rng_state()
        self.there: Tensor | None = None
        if device.type == "cuda":
            self.there = torch.cuda.get_rng_state(device)
        elif device.type == "mps":
            self.there = torch.mps.get_rng_state()

    def restore(self) -> None:
        """Draw the same numbers again."""
        torch.set_rng_state(self.host)
        if self.there is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(self.there, self.device)
        elif self.there is not None:
            torch.mps.set_rng_state(self.there)
