"""A pretrained encoder that can stop at any depth and continue from there."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...json_types import JsonObject
from ...locks import CACHE, ForkLock
from ..devices.cpu_kernels import CpuKernels
from ..devices.host_ahead import HostAhead
from .config import BIDIRECTIONAL, is_causal
from .depths import depth_of, find_layers, is_after_first
from .layer_gate import Forward, LayerGate, Passages

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..scratch.transformer import ScratchBody

# Finding out how a layer gives its states sets the mode of the whole encoder for a moment.
_one_probe = ForkLock(CACHE)


class Encoder(nn.Module):
    """Piece ids to states, with the depth scale 0 = embeddings, 1..L = layers.

    One technique resumes every family without a copy of its forward pass: the model runs as it is, while the layers
    that are already known hand their input through and the last of them gives the stored states. Masks, rotary and
    relative positions are made by the model itself; the price is one embedding look-up.

    body (nn.Module): A transformers encoder that returns `last_hidden_state`.
    config (dict): Its configuration, from which it can be rebuilt.
    """

    def __init__(self, body: nn.Module, config: JsonObject) -> None:
        super().__init__()
        self.body = body
        self.family: str = config["model_type"]
        self.width: int = _width(body)
        self._layers: list[nn.Module] = find_layers(body)
        self.n_layers: int = _n_layers(body, len(self._layers))
        self.pad_id: int = config.get("pad_token_id") or 0
        # What the length of a row must be a multiple of.
        self.row_multiple = _row_multiple(body)
        self.is_causal: bool = is_causal(config)
        self._both_ways = config.get(BIDIRECTIONAL) is True
        self._layer_output: object = None
        self._passages = Passages()

    def depth_of(self, name: str) -> int:
        """Depth of a weight; one that several depths use belongs to the lowest.

        name (str): Name of a parameter as `named_parameters()` of this module gives it.
        RETURNS (int): 0 to n_layers.
        """
        return depth_of(name.removeprefix("body."), self.n_layers, len(self._layers))

    @property
    def attention(self) -> str:
        """Implementation of attention that is in use: "sdpa", "eager", ..."""
        return str(getattr(self.body.config, "_attn_implementation", "eager"))

    @property
    def piece_table(self) -> nn.Embedding:
        """The vectors of the pieces."""
        body: PreTrainedModel = self.body
        # LED's encoder does not say which of its embeddings is the table.
        table: nn.Embedding = body.embed_tokens if hasattr(body, "embed_tokens") else body.get_input_embeddings()
        return table

    @property
    def n_pieces(self) -> int:
        """Rows of the table of pieces: ids are below it."""
        return int(self.piece_table.weight.shape[0])

    @property
    def max_pieces(self) -> int | None:
        """Longest row the positions allow, special pieces included; None where positions are relative (T5)."""
        config = self.body.config
        # LED names those of its two halves apart.
        limit = getattr(config, "max_position_embeddings", getattr(config, "max_encoder_position_embeddings", None))
        if self._both_ways and limit is not None:
            # Some layers look no further than this, and the mask for both directions knows nothing of it.
            limit = min(limit, getattr(config, "sliding_window", None) or limit)
        for name, module in self.body.named_modules():
            if (
                name.endswith("position_embeddings")
                and isinstance(module, nn.Embedding)
                and module.padding_idx is not None
            ):
                # RoBERTa and its kin count positions from padding_idx + 1.
                return module.num_embeddings - module.padding_idx - 1
        return limit

    def checkpoint_gradients(self) -> None:
        """Compute the states inside the layers again in the backward pass instead of keeping them."""

        def contexts() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
            """Give the contexts of the first computation and of the second."""
            # The second computation must draw the same dropout, so it takes the same kernels as the first.
            again = CpuKernels() if next(self.body.parameters()).device.type == "cpu" else nullcontext()
            return nullcontext(), again

        body: PreTrainedModel | ScratchBody = self.body
        body.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": contexts})

    def modules_up_to(self, depth: int) -> Iterator[nn.Module]:
        """The modules that lie wholly at depths 0..depth; at n_layers the whole encoder."""
        if depth >= self.n_layers:
            yield from self.modules()
            return
        if isinstance(getattr(self.body, "dropout", None), float):
            # BART and its kin drop out embeddings in the forward pass that holds the layers, by a number.
            yield self.body
        inside = {id(part) for layer in self._layers for part in layer.modules()}
        for name, module in self.body.named_modules():
            holds_layers = id(module) not in inside and any(id(part) in inside for part in module.modules())
            if not holds_layers and self.depth_of(name + ".") <= depth:
                yield module

    def forward(self, ids: Tensor, mask: Tensor, is_full: bool | None = None) -> Tensor:
        """All depths.

        ids (Tensor): (n_rows, n_pieces).
        mask (Tensor): (n_rows, n_pieces).
        is_full (bool | None): Whether the mask is all ones, where the host knows.
        RETURNS (Tensor): States, (n_rows, n_pieces, width).
        """
        n_pieces = ids.shape[1]
        ids, mask, is_full = self._whole_windows(ids, mask, is_full)
        with self._ahead(mask, is_full):
            states: Tensor = self.body(input_ids=ids, attention_mask=self.attention_mask(mask)).last_hidden_state
        return states[:, :n_pieces]

    def attention_mask(self, mask: Tensor) -> Tensor:
        """The mask in the form that the body wants.

        mask (Tensor): (n_rows, n_pieces).
        RETURNS (Tensor): As it is; for a decoder that reads in both directions, which piece sees which, (n_rows, 1,
            n_pieces, n_pieces): its own would hide what is to the right.
        """
        if not self._both_ways:
            return mask
        seen = mask.bool()[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
        if self.attention == "sdpa":
            return seen
        return torch.zeros_like(seen, dtype=torch.float32).masked_fill(~seen, torch.finfo(torch.float32).min)

    def _whole_windows(self, ids: Tensor, mask: Tensor, is_full: bool | None) -> tuple[Tensor, Tensor, bool | None]:
        """Rows filled up to whole windows of attention, where the layers ask for them (Longformer, LED): their models
        would do it themselves, and then states that are stored had the length of neither."""
        more = -ids.shape[1] % self.row_multiple
        if not more:
            return ids, mask, is_full
        return F.pad(ids, (0, more), value=self.pad_id), F.pad(mask, (0, more)), False if is_full else is_full

    def _ahead(self, mask: Tensor, is_full: bool | None) -> AbstractContextManager[object]:
        """A CPU waits for nobody."""
        cuda = mask.device.type == "cuda" and bool(self._layers)
        return HostAhead(mask, is_full, self._layers[0]) if cuda else nullcontext()

    def prefix(self, ids: Tensor, mask: Tensor, depth: int, is_full: bool | None = None) -> Tensor:
        """Run the depths 0..depth only.

        ids (Tensor): (n_rows, n_pieces).
        mask (Tensor): (n_rows, n_pieces).
        depth (int): 0 to n_layers.
        is_full (bool | None): As for `forward`.
        RETURNS (Tensor): States after that depth, (n_rows, n_pieces, width), bit-identical to those of a full run.
        """
        if depth >= self.n_layers:
            return self(ids, mask, is_full)
        n_pieces = ids.shape[1]
        ids, mask, is_full = self._whole_windows(ids, mask, is_full)
        with self._before_layer(depth, _stop), self._ahead(mask, is_full):
            try:
                self.body(input_ids=ids, attention_mask=self.attention_mask(mask))
            except _Stop as stop:
                return stop.states[:, :n_pieces]
        raise RuntimeError(f"{self.family} never called its layer {depth + 1}")  # pragma: no cover

    def resume(
        self, ids: Tensor, mask: Tensor, states: Tensor, depth: int, is_full: bool | None = None
    ) -> Tensor:  # fmt: skip
        """Go on from the states that `prefix` gave.

        ids (Tensor): (n_rows, n_pieces), as for `prefix`.
        mask (Tensor): (n_rows, n_pieces), as for `prefix`.
        states (Tensor): (n_rows, n_pieces, width), after `depth`.
        depth (int): 0 to n_layers.
        is_full (bool | None): As for `forward`.
        RETURNS (Tensor): States after the last depth, (n_rows, n_pieces, width).
        """
        if depth >= self.n_layers:
            return states
        n_pieces = ids.shape[1]
        ids, mask, is_full = self._whole_windows(ids, mask, is_full)
        if ids.shape[1] > n_pieces:
            states = F.pad(states, (0, 0, 0, ids.shape[1] - n_pieces))
        if depth == 0:
            with self._before_layer(0, lambda _: states):
                return self(ids, mask, is_full)[:, :n_pieces]
        # Otherwise the last known layer hands the states on. Gradient checkpointing computes a layer again in the
        # backward pass from what was handed to it, when the run is over and each layer is itself again.
        with self._handed_through(states, depth, self._recorded_output()):
            return self(ids, mask, is_full)[:, :n_pieces]

    def _before_layer(self, index: int, change: Callable[[object], Tensor]) -> AbstractContextManager[None]:
        """Within: `change` replaces what the layer with this index (from 0) receives."""
        calls = 0

        def passage(gate: LayerGate, own: Forward, *args: object, **kwargs: object) -> object:
            """Call a layer, or pass it by."""
            nonlocal calls
            if gate.number < 0:
                return own(*args, **kwargs)
            calls += 1
            if calls - 1 == index and args:
                args = (change(args[0]), *args[1:])
            elif calls - 1 == index:
                kwargs = {**kwargs, "hidden_states": change(kwargs["hidden_states"])}
            return own(*args, **kwargs)

        self._put_gates()
        return self._passages.taking(passage)

    def _handed_through(self, states: Tensor, depth: int, form: object) -> AbstractContextManager[None]:
        """Within: the first `depth` layers hand their input through, the last of them `states`, in the form of a
        layer's output."""
        calls = 0
        tail: Tensor | tuple[object, ...] | None = form[1:] if isinstance(form, tuple) else None

        def passage(gate: LayerGate, own: Forward, *args: object, **kwargs: object) -> object:
            """Call a layer, or pass it by."""
            nonlocal calls, tail
            if gate.number < 0:
                return args[1]
            calls += 1
            if calls > depth:
                return own(*args, **kwargs)
            if gate.number == 0 and self.family in ("t5", "mt5", "umt5", "longt5"):
                # T5's first block makes the position bias of all others: its tail is needed, its states are not.
                with torch.no_grad():
                    tail = own(*args, **kwargs)[1:]
            received = args[0] if args else kwargs["hidden_states"]
            given = states if calls == depth else received
            return given if tail is None else (given, *tail)

        self._put_gates()
        return self._passages.taking(passage)

    def _put_gates(self) -> None:
        """At the first run that needs them. Each layer has one: ALBERT calls the same layer several times, so calls
        are counted, not modules."""
        numbers: dict[int, int] = {}
        for layer in self._layers:
            numbers.setdefault(id(layer), len(numbers))
        if all("forward" in vars(layer) for layer in self._layers):
            return
        modules = [(module, numbers[id(module)]) for module in self._layers]
        modules += [(module, -1) for name, module in self.body.named_modules() if is_after_first(name)]
        # The layers last: where they have one, all have one.
        for module, number in reversed(modules):
            module.forward = LayerGate(module, self._passages, number)

    def _recorded_output(self) -> object:
        """What a layer returns besides its states: a tuple's tail in transformers 4, a bare tensor mostly in 5."""
        with _one_probe:
            if self._layer_output is None and self._layers:
                self._layer_output = self._probe()
            return self._layer_output

    def _probe(self) -> object:
        seen: list[object] = []
        hook = self._layers[0].register_forward_hook(lambda module, args, output: seen.append(output))
        device = next(self.body.parameters()).device
        row = torch.zeros((1, self.row_multiple), dtype=torch.long, device=device)
        try:
            with torch.no_grad(), in_evaluation(self.body):
                self.body(input_ids=row, attention_mask=self.attention_mask(torch.ones_like(row)))
        finally:
            hook.remove()
        output = seen[0]
        return (None, *output[1:]) if isinstance(output, tuple) else "tensor"


@contextmanager
def in_evaluation(module: nn.Module) -> Iterator[None]:
    """Within: evaluation mode, for a module and all in it; afterwards each has the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


class _Stop(Exception):
    """Leaves a model's forward pass with the states reached so far."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


def _stop(states: object) -> Tensor:
    assert isinstance(states, Tensor)
    raise _Stop(states)


def _width(body: "PreTrainedModel | ScratchBody") -> int:
    return int(body.config.hidden_size)


def _n_layers(body: "PreTrainedModel | ScratchBody", n_modules: int) -> int:
    if body.config.model_type == "albert":
        return int(body.config.num_hidden_layers)
    return n_modules


def _row_multiple(body: "PreTrainedModel | ScratchBody") -> int:
    """What the length of a row must be a multiple of."""
    windows = getattr(body.config, "attention_window", None)
    if windows is None:
        return 1
    # One number for each layer. In 4.53 a body keeps them as a list, its config may still have one for all.
    return math.lcm(*([windows] if isinstance(windows, int) else windows))
