"""Steps of losses that look at a whole batch, or at several passes of a document, in the memory of a micro-batch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import T100
from ..nn.losses import Loss
from .gradients import Gradients
from .pathway import Pathway
from .reading import Document, TextReader


def is_plain(loss: Loss) -> bool:
    """Whether a document's loss is that of its logits alone, so that micro-batches simply add up."""
    return loss.n_passes == 1 and not loss.couples


def check_reads(loss: Loss, block: object, head: nn.Module) -> None:
    """Whether loss and head go together.

    loss (Loss): Built from block. block: Of the config, for the message. head (nn.Module): That of the network.
    RAISES (ValueError): T100 if the loss looks at vectors and the head at states.
    """
    if loss.couples and getattr(head, "reads", "vectors") != "vectors":
        raise ValueError(T100.format(loss=type(block).__name__, head=type(head).__name__))


def learn_whole(
    pathway: Pathway, gradients: Gradients, loss: Loss, documents: Sequence[Document], reader: TextReader,
    targets: Tensor, known: Tensor, budget: int,
) -> Tensor:  # fmt: skip
    """Forward, loss and backward of a batch; see `NetworkShim.step`.

    targets, known (Tensor): (n_docs, n_labels). budget (int): Most pieces in a micro-batch.
    RETURNS (Tensor): Sum of the documents' losses, without dimensions.
    """
    if not documents:
        return torch.zeros((), device=targets.device)
    # All passes of a document stand in one micro-batch, so it takes fewer documents.
    groups = list(pathway.groups(documents, max(1, budget // loss.n_passes)))
    learn = _coupled if loss.couples else _additive
    return learn(pathway, gradients, loss, documents, reader, targets, known, groups)


def _additive(
    pathway: Pathway, gradients: Gradients, loss: Loss, documents: Sequence[Document], reader: TextReader,
    targets: Tensor, known: Tensor, groups: Sequence[list[int]],
) -> Tensor:  # fmt: skip
    """One micro-batch after the other. The logits take the place of the vectors, so the head may read what it likes."""
    total = torch.zeros((), device=targets.device)
    for group in groups:
        chosen = torch.tensor(group, device=targets.device)
        logits = _passes(pathway.learn(documents, group * loss.n_passes, reader), loss)
        values, _ = loss.of_batch(logits, lambda given: given, targets[chosen], known[chosen])
        value = values.sum()
        gradients.backward(value)
        total += value.detach()
    return total


def _coupled(
    pathway: Pathway, gradients: Gradients, loss: Loss, documents: Sequence[Document], reader: TextReader,
    targets: Tensor, known: Tensor, groups: Sequence[list[int]],
) -> Tensor:  # fmt: skip
    """The vectors of all micro-batches, then head and loss on the whole batch, then each micro-batch once more, from
    the random numbers it had, to take the gradient of its vectors down. The last one is still there: one alone runs
    once.

    SOURCE: Gao et al. 2021, arXiv:2101.06983 (GradCache).
    """
    device = targets.device
    draws: list[_Draws] = []
    found: list[Tensor] = []
    for group in groups:
        # Before the next one is made: only one graph at a time.
        last = torch.zeros(())
        draws.append(_Draws(device))
        # With a graph, though all but the last are thrown away: without one, torch takes other attention kernels, and
        # those draw another dropout.
        last = _passes(pathway.learn_vectors(documents, group * loss.n_passes, reader), loss)
        found.append(last.detach())
    places = [torch.tensor(group, device=device) for group in groups]
    vectors = torch.cat(found, dim=1)[:, torch.argsort(torch.cat(places))].requires_grad_()
    values, _ = loss.of_batch(vectors, pathway.network.classify, targets, known)
    value = values.sum()
    gradients.backward(value)
    wanted = vectors.grad
    if last.requires_grad and wanted is not None:
        last.backward(wanted[:, places[-1]])
        del last
        after = _Draws(device)
        for group, place, draw in zip(groups[:-1], places[:-1], draws[:-1], strict=True):
            draw.restore()
            again = _passes(pathway.learn_vectors(documents, group * loss.n_passes, reader), loss)
            again.backward(wanted[:, place])
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
