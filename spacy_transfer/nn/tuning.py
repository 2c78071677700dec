"""Which weights are trained, when, and how fast."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from ..errors import T001, T005, T061, T062, T156, T159
from .encoders.adapters import is_adapter_weight
from .network import Network


@dataclass(frozen=True)
class Tuning:
    """Freezing by depth, BitFit, unfreezing from the top down, and a rate for each depth.

    frozen_depth (int | "all"): Everything at depth <= frozen_depth keeps its weights: -1 freezes nothing, 0 the
        embeddings, 1..L also the lowest layers, "all" the whole encoder.
    trainable (str): "all", or "bias_and_norm" to train only the biases and norms of what is not frozen (BitFit); the
        head is always trained.
    lr_decay (float): The top layer learns at the full rate, each depth below at `lr_decay` times the rate of the one
        above; 0 < lr_decay <= 1.
    head_lr_factor (float): Factor on the learning rate of pooling and head.
    embeddings_lr_factor (float): Factor on the learning rate of the embeddings, with that of `lr_decay`. Above 1 for an
        encoder from scratch, whose rare words occur in few texts; 0 < embeddings_lr_factor.
    unfreeze_every (int): Every so many steps or epochs the frozen depth drops by one, from the top down; 0 never.
    unfreeze_unit (str): "steps" counts optimizer steps and is stored with the model. "epochs" needs to be told the
        epoch: [training.before_update] @callbacks = "spacy-transfer.set_epoch.v1".
    unfreeze_down_to (int): Frozen depth at which unfreezing ends.
    adapter (block | None): `spacy-transfer.LoRA.v1` or `IA3`: of the encoder only the adapter's weights are trained,
        those above the frozen depth; they sit in all layers that unfreezing ever reaches. None tunes the encoder.
    SOURCE: gradual unfreezing and rates per layer: Howard & Ruder 2018 (ULMFiT), arXiv:1801.06146; BitFit: Ben Zaken
        et al. 2022, arXiv:2106.10199.
    """

    frozen_depth: int | Literal["all"] = -1
    trainable: Literal["all", "bias_and_norm"] = "all"
    lr_decay: float = 1.0
    head_lr_factor: float = 1.0
    embeddings_lr_factor: float = 1.0
    unfreeze_every: int = 0
    unfreeze_unit: Literal["steps", "epochs"] = "steps"
    unfreeze_down_to: int = -1
    # An `Adapter`; the config system cannot check a protocol.
    adapter: Any = None

    def __post_init__(self) -> None:
        for field, low, high, want in (
            ("lr_decay", 0.0, 1.0, "0 < lr_decay <= 1"),
            ("head_lr_factor", 0.0, float("inf"), "head_lr_factor > 0"),
            ("embeddings_lr_factor", 0.0, float("inf"), "embeddings_lr_factor > 0"),
        ):
            value = float(getattr(self, field))
            if not low < value <= high:
                raise ValueError(T005.format(block="tuning", field=field, value=value, want=want))
            object.__setattr__(self, field, value)
        for field, lowest in (("unfreeze_every", 0), ("unfreeze_down_to", -1)):
            if (number := getattr(self, field)) < lowest:
                raise ValueError(T005.format(block="tuning", field=field, value=number, want=f"{field} >= {lowest}"))
        if self.frozen_depth != "all" and self.frozen_depth < -1:
            want = '-1, a depth, or "all"'
            raise ValueError(T005.format(block="tuning", field="frozen_depth", value=self.frozen_depth, want=want))
        if self.adapter is not None and not hasattr(self.adapter, "peft_config"):
            arch, got = "spacy-transfer.Tuning.v1", type(self.adapter).__name__
            raise ValueError(T001.format(field="adapter", arch=arch, want="an adapter", got=got))
        if self.adapter is not None and self.trainable != "all":
            raise ValueError(T159.format(trainable=self.trainable))

    def check(self, n_layers: int, name: str) -> None:
        """Compare with an encoder's depth.

        n_layers (int): Its layers.
        name (str): What to call it.

        RAISES (ValueError): T061 for more layers than there are, T062 for an unfreezing that ends above its start.
        """
        if self.frozen_depth != "all" and self.frozen_depth > n_layers:
            raise ValueError(T061.format(frozen=self.frozen_depth, name=name, n_layers=n_layers))
        start = self.depth_at(0, n_layers)
        if self.unfreeze_every and self.unfreeze_down_to > start:
            raise ValueError(T062.format(end=self.unfreeze_down_to, start=start))
        if self.adapter is not None and self.lowest_depth(n_layers) >= n_layers:
            raise ValueError(T156.format(depth=self.lowest_depth(n_layers), family=name, n_layers=n_layers))

    def within(self, n_layers: int) -> "Tuning":
        """The same for an encoder with fewer layers.

        n_layers (int): Its layers.
        RETURNS (Tuning): Depths above them are the highest layer.
        """
        frozen = self.frozen_depth if self.frozen_depth == "all" else min(self.frozen_depth, n_layers)
        return replace(self, frozen_depth=frozen, unfreeze_down_to=min(self.unfreeze_down_to, n_layers))

    def lowest_depth(self, n_layers: int) -> int:
        """The frozen depth when unfreezing has ended.

        RETURNS (int): -1 to n_layers.
        """
        start = self.depth_at(0, n_layers)
        return min(start, self.unfreeze_down_to) if self.unfreeze_every else start

    def depth_at(self, count: int, n_layers: int) -> int:
        """Frozen depth after `count` steps or epochs.

        RETURNS (int): -1 to n_layers.
        """
        start = n_layers if self.frozen_depth == "all" else self.frozen_depth
        if not self.unfreeze_every:
            return start
        return max(start - count // self.unfreeze_every, min(start, self.unfreeze_down_to))

    def lr_factor(self, depth: int, n_layers: int) -> float:
        """Factor on the learning rate at a depth, 0 = embeddings to n_layers + 1 = pooling and head."""
        if depth > n_layers:
            return self.head_lr_factor
        factor = 1.0 if self.adapter is None else float(self.adapter.lr_factor)
        if depth == 0:
            factor *= self.embeddings_lr_factor
        return factor * self.lr_decay ** (n_layers - depth)

    def trains(self, name: str, weight: nn.Parameter, depth: int, frozen_depth: int, n_layers: int) -> bool:
        """Whether a weight at this depth is trained. Biases and norms are the weights with one dimension."""
        if depth <= frozen_depth:
            return False
        if self.adapter is not None and depth <= n_layers:
            return is_adapter_weight(name)
        return self.trainable == "all" or depth > n_layers or weight.ndim <= 1

    def apply(self, network: Network, frozen_depth: int) -> int:
        """Freeze a network up to a depth: no gradients, and evaluation mode while the rest trains.

        network (Network): Changed in place.
        frozen_depth (int): -1 to n_layers.
        RETURNS (int): The boundary: the depth below the lowest trainable weight of the encoder, -1 to n_layers. Nothing
            is computed backward at or below it.
        """
        n_layers = network.n_layers
        boundary = n_layers
        for name, weight in network.named_parameters():
            depth = network.depth_of(name)
            trainable = self.trains(name, weight, depth, frozen_depth, n_layers)
            weight.requires_grad_(trainable)
            if not trainable:
                weight.grad = None
            elif depth <= n_layers:
                boundary = min(boundary, depth - 1)
        if boundary != network.boundary:
            network.boundary = boundary
            # What is frozen from now on may have moved since a copy was made of it.
            network.forget_copies()
        return boundary


@dataclass(frozen=True)
class DepthRow:
    """One line of the table shown at the start of training."""

    depth: int
    name: str
    n_weights: int
    n_trainable: int
    lr_factor: float


def describe(network: Network, tuning: Tuning) -> list[DepthRow]:
    """Weights, trainable weights and rate factor of each depth, top first."""
    n_layers = network.n_layers
    rows = []
    for depth in range(n_layers + 1, -1, -1):
        here = [w for name, w in network.named_parameters() if network.depth_of(name) == depth]
        name = "pooling, head" if depth > n_layers else f"layer {depth}" if depth else "embeddings"
        n_trainable = sum(w.numel() for w in here if w.requires_grad)
        rows.append(DepthRow(depth, name, sum(w.numel() for w in here), n_trainable, tuning.lr_factor(depth, n_layers)))
    return rows
