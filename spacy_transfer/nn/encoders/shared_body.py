"""Freezing inside a shared encoder: the body of a `transformer` component."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

import torch
from torch import nn

from ...errors import T208
from ..tuning import DepthRow, Tuning
from .encoder import Encoder

if TYPE_CHECKING:
    from transformers import PretrainedConfig
    from transformers.utils import ModelOutput


class _Claims:
    """What the components that listen to one body want frozen in it."""

    def __init__(self) -> None:
        self.by_owner: WeakKeyDictionary[nn.Module, tuple[Tuning, int]] = WeakKeyDictionary()
        self.frozen: list[ref[nn.Module]] = []


# Beside the body, not in it: a copy of the body is nobody's yet, and weak references cannot be pickled.
_claims: WeakKeyDictionary[nn.Module, _Claims] = WeakKeyDictionary()


@dataclass(frozen=True)
class SharedBody:
    """A view of somebody else's encoder by the depth scale of ours: 0 = embeddings, 1..L = layers.

    body (nn.Module): An encoder of transformers, with or without a pooler.
    """

    body: nn.Module

    @property
    def _view(self) -> Encoder:
        config: PretrainedConfig = self.body.config
        if config.is_encoder_decoder:
            raise ValueError(T208.format(family=config.model_type))
        return Encoder(self.body, config.to_dict())

    @property
    def n_layers(self) -> int:
        """Layers L.

        RAISES (ValueError): T208 for an encoder-decoder, whose last states are the decoder's.
        """
        return self._view.n_layers

    def freeze(self, owner: nn.Module, tuning: Tuning, frozen_depth: int) -> None:
        """Freeze up to a depth: no gradients, and no dropout there while the rest trains.

        What one of several owners freezes is frozen for all; an owner that is gone freezes nothing.

        owner (nn.Module): Whoever wants it: the network of one component.
        tuning (Tuning): Its block.
        frozen_depth (int): -1 to L.
        """
        view = self._view
        claims = _claims.get(self.body)
        if claims is None:
            if frozen_depth < 0 and tuning.trainable == "all":
                # Nothing was frozen and nothing is to be: a body nobody asks anything of stays as it is.
                return
            claims = _claims[self.body] = _Claims()
            self.body.register_forward_pre_hook(_without_dropout)
            self.body.register_forward_hook(_with_gradient)
        claims.by_owner[owner] = (tuning, frozen_depth)
        wanted = list(claims.by_owner.values())
        for name, weight in self.body.named_parameters():
            depth = view.depth_of(name)
            trainable = all(one.trains(name, weight, depth, frozen, view.n_layers) for one, frozen in wanted)
            weight.requires_grad_(trainable)
            if not trainable:
                # Thinc fills gradients with zeros after a step; with a zero gradient moments and decay still move.
                weight.grad = None
        lowest = max(frozen for _, frozen in wanted)
        quiet: Iterable[nn.Module] = view.modules_up_to(lowest) if lowest >= 0 else ()
        claims.frozen = [ref(module) for module in quiet if module is not view]

    def describe(self, tuning: Tuning) -> list[DepthRow]:
        """Weights and trainable weights of each depth, top first; there is one rate for all of them."""
        view = self._view
        rows = []
        for depth in range(view.n_layers, -1, -1):
            here = [w for name, w in self.body.named_parameters() if view.depth_of(name) == depth]
            name = f"layer {depth}" if depth else "embeddings"
            n_trainable = sum(w.numel() for w in here if w.requires_grad)
            rows.append(DepthRow(depth, name, sum(w.numel() for w in here), n_trainable, 1.0))
        return rows


def _without_dropout(body: nn.Module, args: object) -> None:
    """Before each run: its owner has put all of it into training mode."""
    if (claims := _claims.get(body)) is not None:
        for one in claims.frozen:
            if (module := one()) is not None:
                module.training = False


def _with_gradient(body: nn.Module, args: object, output: "ModelOutput") -> None:
    """After each run: where all of the body is frozen, its owner's backward pass still wants something to arrive at."""
    states = output[0]
    if torch.is_grad_enabled() and isinstance(states, torch.Tensor) and not states.requires_grad:
        states.requires_grad_()
