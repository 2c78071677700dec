"""The weights of a linear head by name, as a file of their own holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast, get_args

import safetensors.torch
import torch
from torch import Tensor, nn

from ...errors import T567, T567_ACTIVATION, T567_LACKS, T567_SHAPE
from ...files import new_file
from ...files.strangers import UnusableFile
from ...repository.weight_files import WeightFiles
from ..building import without_draws
from .linear import Activation, Head, LabelHead

# SetFit calls its own "model_head", with the suffix of a pickle.
HEAD_FILE = "model_head.safetensors"
# A logit so low that its score is 0 after a softmax and after a sigmoid; in fp16 too it is a number.
_NEVER = -1e4


class Norm(NamedTuple):
    """Of a `torch.nn.LayerNorm`.

    weight (Tensor): What it multiplies by, (width,).
    bias (Tensor): What it adds, (width,).
    """

    weight: Tensor
    bias: Tensor


class HiddenLayer(NamedTuple):
    """A hidden layer.

    weight (Tensor): (n_out, n_in).
    bias (Tensor): (n_out,).
    norm (Norm | None): After the activation.
    """

    weight: Tensor
    bias: Tensor
    norm: Norm | None = None


@dataclass(frozen=True)
class HeadWeights:
    """All weights of a `LabelHead`.

    weight (Tensor): Of the last layer, (n_labels, width).
    bias (Tensor): Of the last layer, (n_labels,).
    hidden (Sequence[HiddenLayer]): Below it, the lowest first.
    activation (Activation): After each hidden layer.
    norm (Norm | None): Of the document vector, before all of it.
    """

    weight: Tensor
    bias: Tensor
    hidden: Sequence[HiddenLayer] = ()
    activation: Activation = "gelu"
    norm: Norm | None = None

    @property
    def n_labels(self) -> int:
        """Rows of the last layer."""
        return len(self.weight)

    @property
    def width(self) -> int:
        """Of the vectors that the head reads."""
        return int((self.hidden[0].weight if self.hidden else self.weight).shape[1])

    @classmethod
    def of(cls, head: LabelHead, activation: Activation) -> "HeadWeights":
        """Copy the weights of a head. Labels that are not yet trained get a logit whose score is 0.

        head (LabelHead): On any device.
        activation (Activation): As its block says.
        RETURNS (HeadWeights): On the CPU.
        """
        norm: Norm | None = None
        hidden: list[HiddenLayer] = []
        for module in head.hidden:
            if isinstance(module, nn.Linear):
                hidden.append(HiddenLayer(_copy(module.weight), _copy(module.bias)))
            elif isinstance(module, nn.LayerNorm):
                found = Norm(_copy(module.weight), _copy(module.bias))
                if hidden:
                    hidden[-1] = hidden[-1]._replace(norm=found)
                else:
                    norm = found
        weight, bias = _copy(head.output.weight), _copy(head.output.bias)
        weight[list(head.awaited)] = 0.0
        bias[list(head.awaited)] = _NEVER
        return cls(weight, bias, tuple(hidden), activation, norm)

    def block(self) -> Head:
        """The block of the config that builds such a head."""
        widths = [len(layer.weight) for layer in self.hidden] or None
        has_norm = any(layer.norm is not None for layer in self.hidden)
        return Head(hidden=widths, activation=self.activation, norm=self.norm is not None, hidden_norm=has_norm)

    def state(self) -> dict[str, Tensor]:
        """The weights under the names that a `LabelHead` has for them."""
        with without_draws():
            head = self.block().build(self.width, self.n_labels)
        layers = [part for layer in self.hidden for part in ((layer.weight, layer.bias), layer.norm)]
        given = [part for part in (self.norm, *layers, (self.weight, self.bias)) if part is not None]
        modules = [module for module in (*head.hidden, head.output) if isinstance(module, nn.Linear | nn.LayerNorm)]
        with torch.no_grad():
            for module, (weight, bias) in zip(modules, given, strict=True):
                module.weight.copy_(weight)
                module.bias.copy_(bias)
        return {name: value.detach() for name, value in head.state_dict().items()}

    # ---- a file of its own ---------------------------------------------------------------------------------------

    def write(self, path: Path, more: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
        """Write a file of weights.

        path (Path): The file.
        more (Mapping[str, Tensor]): Other weights that go into it, by name.
        notes (Mapping[str, str]): What is noted beside the activation.
        RAISES (OSError): T372 for a full disk.
        """
        found = {"weight": self.weight, "bias": self.bias, **more}
        if self.norm is not None:
            found |= {"norm.weight": self.norm.weight, "norm.bias": self.norm.bias}
        for i, layer in enumerate(self.hidden):
            found |= {f"hidden.{i}.weight": layer.weight, f"hidden.{i}.bias": layer.bias}
            if layer.norm is not None:
                found |= {f"hidden.{i}.norm.weight": layer.norm.weight, f"hidden.{i}.norm.bias": layer.norm.bias}
        with new_file(path) as part:
            safetensors.torch.save_file(found, part, {"format": "pt", "activation": self.activation, **notes})

    @classmethod
    def read(cls, weights: WeightFiles, file: Path) -> "HeadWeights":
        """Read what `write` wrote, or a file with `weight` and `bias` that somebody else did.

        weights (WeightFiles): Of the file, open.
        file (Path): For messages.
        RAISES (UnusableFile): T567 for weights that make no head, T452 for values or types that are wrong.
        """
        activation = weights.notes.get("activation", "gelu")
        if activation not in get_args(Activation):
            raise UnusableFile(T567.format(file=file, problem=T567_ACTIVATION.format(activation=activation[:80])))
        n_hidden = 0
        while f"hidden.{n_hidden}.weight" in weights.stored:
            n_hidden += 1
        for place in ("", *(f"hidden.{i}." for i in range(n_hidden))):
            shape = weights.stored[f"{place}weight"].shape if f"{place}weight" in weights.stored else (1, 1)
            if len(shape) != 2 or 0 in shape:
                told = T567_SHAPE.format(name=f"{place}weight", found=list(shape), wanted="(rows, columns)")
                raise UnusableFile(T567.format(file=file, problem=told))
        weight, bias = _read(weights, "", file)
        norm = _norm(weights, "", file)
        hidden = []
        for i in range(n_hidden):
            hidden.append(HiddenLayer(*_read(weights, f"hidden.{i}.", file), _norm(weights, f"hidden.{i}.", file)))
        made = cls(weight, bias, tuple(hidden), cast(Activation, activation), norm)
        made.check(file)
        return made

    def check(self, file: Path) -> None:
        """Compare the shapes of the layers.

        file (Path): Where they come from.
        RAISES (UnusableFile): T567 for layers that do not fit on each other.
        """
        width = self.width
        if len({layer.norm is None for layer in self.hidden}) > 1:
            raise UnusableFile(T567.format(file=file, problem=T567_LACKS.format(names="the norm of a hidden layer")))
        if self.norm is not None:
            _check(file, "norm", self.norm, (width,), (width,))
        for i, layer in enumerate(self.hidden):
            n_out = len(layer.weight)
            _check(file, f"hidden.{i}", layer[:2], (n_out, width), (n_out,))
            if layer.norm is not None:
                _check(file, f"hidden.{i}.norm", layer.norm, (n_out,), (n_out,))
            width = n_out
        _check(file, "the last layer", (self.weight, self.bias), (self.n_labels, width), (self.n_labels,))


def _copy(weight: Tensor) -> Tensor:
    return weight.detach().float().cpu().clone()


def _read(weights: WeightFiles, place: str, file: Path) -> tuple[Tensor, Tensor]:
    names = [f"{place}weight", f"{place}bias"]
    if lacking := [name for name in names if name not in weights.stored]:
        raise UnusableFile(T567.format(file=file, problem=T567_LACKS.format(names=", ".join(lacking))))
    weight, bias = (weights.floats(name).float() for name in names)
    return weight, bias


def _norm(weights: WeightFiles, place: str, file: Path) -> Norm | None:
    return Norm(*_read(weights, f"{place}norm.", file)) if f"{place}norm.weight" in weights.stored else None


def _check(file: Path, name: str, found: Sequence[Tensor], *wanted: tuple[int, ...]) -> None:
    shapes = [tuple(one.shape) for one in found]
    if shapes != list(wanted):
        problem = T567_SHAPE.format(name=name, found=shapes, wanted=list(wanted))
        raise UnusableFile(T567.format(file=file, problem=problem))
