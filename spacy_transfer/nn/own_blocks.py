"""Tries custom blocks on made-up numbers when the network is built, before training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import T352, T353, T354
from .block_kinds import BlockKind, missing
from .losses.loss import Loss

_LOSS = BlockKind[Loss]("loss", "a loss", ("couples", "n_passes", "activation", "of_batch"))


class _LossBlock(Protocol):
    @property
    def exclusive(self) -> bool:
        """See `LossBuilder`."""

    def activate(self, logits: Tensor) -> Tensor:
        """See `LossBuilder`."""


def check_loss(block: _LossBlock, loss: nn.Module, n_labels: int) -> Loss:
    """Try a loss, and its block's activation, on a few documents.

    block (LossBuilder): Of the config.
    loss (nn.Module): What it built, on the CPU.
    n_labels (int): Labels.
    RETURNS (Loss): The same.
    RAISES (ValueError): T352 for a module that lacks what a loss needs, T353 for anything but one finite loss for each
        document, with a gradient; or for scores that are not one number for each document and label.
    """
    name = type(block).__name__
    if not _LOSS.fits(loss):
        raise ValueError(T352.format(name=name, lacks=", ".join(missing(loss, _LOSS.parts))))
    # As many documents as no other number here, so that no shape fits by chance.
    n_docs = n_labels + 3
    logits = torch.linspace(-1.0, 1.0, loss.n_passes * n_docs * n_labels).view(loss.n_passes, n_docs, n_labels)
    logits = logits.clone().requires_grad_()
    targets = torch.zeros(n_docs, n_labels)
    targets[torch.arange(n_docs), torch.arange(n_docs) % n_labels] = 1.0
    with _own_draws(), torch.enable_grad():
        try:
            values, _ = loss.of_batch(logits, lambda given: given, targets, torch.ones_like(targets))
            shape = tuple(getattr(values, "shape", ())) if isinstance(values, Tensor) else type(values).__name__
            gradient = torch.autograd.grad(values.sum(), logits, allow_unused=True)[0] if shape == (n_docs,) else None
            scores = block.activate(logits[0].detach())
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
            raise ValueError(
                T353.format(name=name, n_docs=n_docs, problem=f"{type(error).__name__}: {error}")
            ) from error
    if shape != (n_docs,):
        problem = f"values of shape {shape}"
    elif gradient is None:
        problem = "values without a gradient for the logits"
    elif not (values.isfinite().all() and gradient.isfinite().all()):
        problem = "a value or gradient of NaN or infinity"
    elif tuple(getattr(scores, "shape", ())) != (n_docs, n_labels):
        problem = f"scores of shape {tuple(getattr(scores, 'shape', ()))} from `activate`"
    else:
        return loss
    raise ValueError(T353.format(name=name, n_docs=n_docs, problem=problem))


def check_pooling(block: object, pooling: nn.Module, width: int) -> int:
    """Try a pooling on two documents, one of them in two windows.

    block (PoolingBuilder): Of the config.
    pooling (nn.Module): What it built, on the CPU.
    width (int): Of the states.
    RETURNS (int): Width of the vectors it gives.
    RAISES (ValueError): T354 for anything but one vector of finite numbers for each document.
    """
    states = torch.linspace(-1.0, 1.0, 3 * 4 * width).view(3, 4, width)
    counted = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 0, 0]])
    owner = torch.tensor([0, 0, 1])
    name, mode = type(block).__name__, pooling.training
    with _own_draws(), torch.no_grad():
        try:
            vectors = pooling.eval()(states, counted, owner, 2)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
            raise ValueError(T354.format(name=name, width=width, problem=f"{type(error).__name__}: {error}")) from error
        finally:
            pooling.train(mode)
    if not isinstance(vectors, Tensor):
        problem = type(vectors).__name__
    elif vectors.ndim != 2 or len(vectors) != 2 or not vectors.shape[1]:
        problem = f"shape {tuple(vectors.shape)}"
    elif vectors.dtype != torch.float32:
        problem = f"numbers of type {vectors.dtype}"
    elif not vectors.isfinite().all():
        problem = "a value of NaN or infinity"
    else:
        return int(vectors.shape[1])
    raise ValueError(T354.format(name=name, width=width, problem=problem))


@contextmanager
def _own_draws() -> Iterator[None]:
    """Within: random numbers that training does not miss afterwards."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)
