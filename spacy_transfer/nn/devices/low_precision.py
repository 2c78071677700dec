"""Low-precision copies of an encoder's weights that follow the original weights."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...locks import CACHE, ForkLock
from ..encoders.encoder import Encoder

# Threads that predict at once, right after a load, would make one each: as much memory again for each of them.
_one_copy = ForkLock(CACHE)


class LowPrecisionCopy:
    """One copy, made when first needed and again when a weight has changed: by `load_state_dict`, an edit in place,
    another tensor in its place. Edits of `.data` and torch's fused optimizers leave no trace: after them call
    `forget`, as a network does when it begins to train and after each step.

    Hooks belong to both: what is registered on a module of the encoder later runs in the copy too.

    make (Callable): Makes the copy of an encoder for a boundary: the copy, and the modules whose own weights it holds
        in another form.
    """

    def __init__(self, make: Callable[[Encoder, int, torch.dtype], tuple[Encoder, list[nn.Module]]]) -> None:
        self._make = make
        # In a tuple, so that torch does not take it for a part of the network.
        self._made: tuple[object, Encoder, list[_Seen]] | None = None

    def of(self, encoder: Encoder, boundary: int, dtype: torch.dtype) -> Encoder:
        """The copy as the weights are now."""
        key = (boundary, dtype)
        if (found := self._still_right(key)) is not None:
            return found
        with _one_copy:
            # Another thread may have made it meanwhile.
            if (found := self._still_right(key)) is not None:
                return found
            return self._make_anew(encoder, boundary, dtype)

    def _still_right(self, key: tuple[int, torch.dtype]) -> Encoder | None:
        # Looked at once: another thread may put another one in its place.
        if (made := self._made) is None or made[0] != key or not all(one.is_as_it_was() for one in made[2]):
            return None
        return made[1]

    def _make_anew(self, encoder: Encoder, boundary: int, dtype: torch.dtype) -> Encoder:
        # Before the new one is made: two of them may be too much.
        self.forget()
        made, modules = self._make(encoder, boundary, dtype)
        seen = [
            _Seen(module, name)
            for module in modules
            for name, weight in module._parameters.items()
            if weight is not None
        ]
        self._made = ((boundary, dtype), made, seen)
        return made

    def forget(self) -> None:
        """Make another one next time."""
        self._made = None


class _Seen:
    """A weight of a module as it was."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self._module, self._name = module, name
        self._weight = module._parameters[name]
        # Keeps the memory, so that nothing else comes to lie where it is.
        self._alias: Tensor = self._weight.detach()  # type: ignore[union-attr]
        self._version, self._place = self._alias._version, _place(self._alias)

    def is_as_it_was(self) -> bool:
        """Decide whether the weight is the tensor that was copied, in its place and unchanged.

        RETURNS (bool): False if the copy must be made again.
        """
        weight = self._module._parameters.get(self._name)
        return (
            weight is self._weight
            and weight is not None
            and weight._version == self._version
            and _place(weight) == self._place
        )


def _place(weight: Tensor) -> int:
    try:
        return weight.data_ptr()
    except RuntimeError:
        # A tensor that only wraps others has no memory of its own.
        return 0


def frozen_depths(encoder: Encoder, boundary: int, dtype: torch.dtype) -> tuple[Encoder, list[nn.Module]]:
    """A copy that computes the depths up to a boundary in low precision throughout, a third faster than autocast on a
    CPU."""
    low = copy.deepcopy(encoder, _shared_hooks(encoder)).requires_grad_(False).eval()
    for name, weight in low.named_parameters():
        # Buffers keep their precision: rotary frequencies need it. Weights above the boundary are never run.
        weight.data = weight.data.new_empty(0) if low.depth_of(name) > boundary else weight.data.to(dtype)
    return low, _holding(encoder, lambda name: encoder.depth_of(name) <= boundary)


def linear_weights(encoder: Encoder, boundary: int, dtype: torch.dtype) -> tuple[Encoder, list[nn.Module]]:
    """A copy for autocast, which otherwise casts the weights of linear layers anew at every call: those above a
    boundary are low already, all other weights are the encoder's own. Bit for bit the same states."""
    memo = _shared_hooks(encoder)
    memo.update((id(value), value) for value in [*encoder.parameters(), *encoder.buffers()])
    low = copy.deepcopy(encoder, memo).eval()
    modules: list[nn.Module] = []
    for (name, module), part in zip(encoder.named_modules(), low.modules(), strict=True):
        if isinstance(module, nn.Linear) and encoder.depth_of(f"{name}.weight") > boundary:
            modules.append(module)
            for which, weight in list(part._parameters.items()):
                if weight is not None:
                    part._parameters[which] = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    return low, modules


def _holding(encoder: Encoder, concerns: Callable[[str], bool]) -> list[nn.Module]:
    """Modules with weights of their own that matter."""
    return [
        module for name, module in encoder.named_modules()
        if any(concerns(f"{name}.{which}") for which, weight in module._parameters.items() if weight is not None)
    ]  # fmt: skip


def _shared_hooks(encoder: Encoder) -> dict[int, object]:
    """For `deepcopy`: dictionaries of hooks are not copied."""
    return {
        id(value): value for module in encoder.modules() for name, value in vars(module).items()
        if name.startswith("_") and "_hooks" in name and isinstance(value, dict)
    }  # fmt: skip
