"""Laws of poolings and heads."""

from typing import Protocol

import torch
from torch import Tensor, nn

from ..nn.own_blocks import check_pooling
from .law import require, require_close, seeded

_WIDTH, _N_PIECES, _N_DOCS = 8, 5, 3
_GARBAGE = 100.0


class _Pools(Protocol):
    def build(self, width: int) -> nn.Module:
        """See the builders of poolings and heads."""


class _Head(Protocol):
    reads: str

    def build(self, width: int, n_labels: int) -> nn.Module:
        """See the builders of poolings and heads."""


def check_pooling_laws(block: _Pools) -> None:
    """Check a pooling on made-up states: three documents, the second in two windows.

    block (PoolingBuilder): Of the config.
    RAISES (AssertionError): T501 for a law that does not hold.
    RAISES (ValueError): T354 as when a network is built.
    """
    for width in (4, _WIDTH):
        with seeded():
            check_pooling(block, block.build(width), width)
    with seeded():
        pooling = block.build(_WIDTH)
        states = torch.randn(4, _N_PIECES, _WIDTH)
    counted = torch.ones(4, _N_PIECES)
    counted[0, 3:] = counted[3, 2:] = 0.0
    owner = torch.tensor([0, 1, 1, 2])
    pooling.eval()
    with torch.no_grad():
        vectors = pooling(states, counted, owner, _N_DOCS)
        require(
            "evaluation is the same each time", torch.equal(vectors, pooling(states, counted, owner, _N_DOCS)), block
        )
        _check_half(pooling, states, counted, owner, block)
        padding = torch.full((4, 3, _WIDTH), _GARBAGE)
        longer = torch.cat([states, padding], dim=1), torch.cat([counted, torch.zeros(4, 3)], dim=1)
        require_close("padding does not change a vector", pooling(*longer, owner, _N_DOCS), vectors, block)
        masked = torch.where(counted.bool()[:, :, None], states, _GARBAGE)
        law = "states that are not counted do not change a vector"
        require_close(law, pooling(masked, counted, owner, _N_DOCS), vectors, block)
        law = "a document's vector does not depend on its batch"
        for doc in range(_N_DOCS):
            rows = owner == doc
            alone = pooling(states[rows], counted[rows], torch.zeros(int(rows.sum()), dtype=torch.long), 1)
            require_close(law, alone, vectors[doc : doc + 1], block)
    _check_gradients(pooling, states, counted, owner, block)


def _check_half(pooling: nn.Module, states: Tensor, counted: Tensor, owner: Tensor, block: object) -> None:
    law = "states in half precision give vectors in fp32"
    try:
        found: object = pooling(states.bfloat16(), counted, owner, _N_DOCS).dtype
    except RuntimeError as error:
        found = error
    require(law, found == torch.float32, block, found)


def _check_gradients(pooling: nn.Module, states: Tensor, counted: Tensor, owner: Tensor, block: object) -> None:
    pooling.train()
    given = states.clone().requires_grad_()
    with seeded(), torch.enable_grad():
        vectors: Tensor = pooling(given, counted, owner, _N_DOCS)
        vectors.square().sum().backward()
    gradient = torch.full_like(states, torch.nan) if given.grad is None else given.grad
    require("a gradient reaches the states", bool(gradient.isfinite().all()), block)
    for row in range(len(states)):
        law = "a gradient reaches each window, and no state that is not counted"
        inside = counted[row].bool()
        require(law, bool(gradient[row][inside].any()) and not bool(gradient[row][~inside].any()), block, gradient[row])
    for name, weight in pooling.named_parameters():
        reached = weight.grad is not None and bool(weight.grad.isfinite().all())
        require("a gradient reaches each weight", reached, block, f"none for '{name}'")


def check_head_laws(block: _Head) -> None:
    """Check a head on made-up vectors or states.

    block (Head | LabelQueryHead): Of the config.
    RAISES (AssertionError): T501 for a law that does not hold.
    """
    with seeded():
        head = block.build(_WIDTH, 3)
        given = torch.randn(4, _N_PIECES, _WIDTH) if block.reads == "states" else torch.randn(4, _WIDTH)
    seen = torch.ones(4, _N_PIECES, dtype=torch.bool)
    seen[1, 2:] = False

    def logits_of(values: Tensor, inside: Tensor = seen) -> Tensor:
        """Call the head on what it reads: states, or vectors."""
        return head(values, inside) if block.reads == "states" else head(values)

    head.eval()
    with torch.no_grad():
        logits = logits_of(given)
        good = logits.shape == (4, 3) and logits.dtype == torch.float32 and bool(logits.isfinite().all())
        require("a head gives a finite fp32 logit for each document and label", good, block, tuple(logits.shape))
        require("evaluation is the same each time", torch.equal(logits, logits_of(given)), block)
        require("n_labels is the number of labels", bool(head.n_labels == 3), block, head.n_labels)
        law = "a document's logits do not depend on its batch"
        require_close(law, logits_of(given[1:2], seen[1:2]), logits[1:2], block)
        if block.reads == "states":
            masked = torch.where(seen[:, :, None], given, _GARBAGE)
            require_close("padding does not change a logit", logits_of(masked), logits, block)
    head.train()
    with seeded():
        logits_of(given).square().sum().backward()
    lacks = [name for name, weight in head.named_parameters() if weight.grad is None]
    require("a gradient reaches each weight", not lacks, block, lacks)
    with seeded():
        head.resize(5)  # type: ignore[operator]
    head.eval()
    with torch.no_grad():
        wider = logits_of(given)
    require("resize adds labels", wider.shape == (4, 5), block, tuple(wider.shape))
    require_close("old logits stay as they are when labels are added", wider[:, :3], logits, block)
