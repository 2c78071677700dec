"""Builds networks without drawing weights, and never larger than their stored weights."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

# What a network may hold beyond its stored weights: tables of positions, small buffers.
_SLACK = 16_000_000
_MORE_TENSORS = 2000
_DRAWS = ("normal_", "uniform_", "random_", "trunc_normal_", "erfinv_")
_MAKES = (
    "empty",
    "zeros",
    "ones",
    "full",
    "arange",
    "rand",
    "randn",
    "empty_strided",
    "new_empty",
    "new_zeros",
    "tril",
)


class TooLarge(ValueError):
    """A network asks for more than the weights that are there for it.

    shape (tuple[int, ...]): Of the tensor that was one too many.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(f"a weight of shape {shape}")
        self.shape = shape


class _NoDraws(TorchDispatchMode):
    """Within: new weights are left as they are, not drawn: BERT-base takes 0.04 s instead of 0.9, and torch's random
    state does not move. All weights must be loaded afterwards."""

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        name = func.overloadpacket.__name__
        if name in _DRAWS:
            return args[0]
        if name in ("lt", "gt") and isinstance(first := args[0], Tensor) and first.is_floating_point():
            # torch draws truncated normals again while any lies outside; what is not drawn might do so for ever.
            return first.new_zeros((), dtype=torch.bool)
        return func(*args, **(kwargs or {}))


class _Bounded(TorchDispatchMode):
    """Within: no tensor is made that is larger than the largest stored one, nor more of them, but for some slack."""

    def __init__(self, shapes: Iterable[tuple[int, ...]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        sizes = [prod(shape) for shape in shapes]
        self._largest = max(sizes, default=0) + _SLACK
        # The decoder's half of an encoder-decoder is built too, and dropped.
        self._sum = 4 * (sum(sizes) + _SLACK)
        self._n_left = 4 * (len(sizes) + _MORE_TENSORS)

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        name = func.overloadpacket.__name__
        if name in _MAKES:
            shape = next((tuple(one) for one in args if isinstance(one, list | tuple | torch.Size)), ())
            if name == "arange":
                shape = (_length(args),)
            size = prod(shape)
            self._sum -= size
            self._n_left -= 1
            if size > self._largest or self._sum < 0 or self._n_left < 0:
                raise TooLarge(shape)
        return func(*args, **(kwargs or {}))


def _length(args: tuple[object, ...]) -> int:
    numbers = [one for one in args if isinstance(one, int | float)]
    return int(numbers[0] if len(numbers) == 1 else numbers[1] - numbers[0]) if numbers else 0


@contextmanager
def without_draws() -> Iterator[None]:
    """Within: networks get weights of any value, which costs nothing; all must be loaded afterwards."""
    with _NoDraws():  # type: ignore[no-untyped-call]
        yield


@contextmanager
def no_larger_than(shapes: Iterable[tuple[int, ...]]) -> Iterator[None]:
    """Within: what is built has no more room than the weights that will fill it; nothing is allocated for a size that
    a stranger made up.

    shapes (Iterable[tuple[int, ...]]): Of the weights that are there.
    RAISES (TooLarge): Instead of making a tensor beyond that.
    """
    with _Bounded(shapes):
        yield
