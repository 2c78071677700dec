"""Saves and restores the random state of Python, numpy and torch."""

import random
from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...json_types import JsonObject

# Taking numpy's down costs as much as all else in a short step: 33 of 45 microseconds.
# Version, numbers, and what is left of a pair of Gaussian ones.
PythonState = tuple[int, tuple[int, ...], float | None]
# Name, words, place in them, and what is left of a pair of Gaussian ones.
NumpyState = tuple[str, NDArray[np.uint32], int, int, float]
EVERY = frozenset(("python", "numpy", "torch"))


@dataclass(frozen=True)
class RandomState:
    """Where the global random numbers stand; None for what was not looked at.

    python (PythonState | None): As `random.getstate` gives it.
    numpy (NumpyState | None): As `numpy.random.get_state`.
    torch (Tensor): Of the CPU.
    cuda (tuple[Tensor, ...]): Of every CUDA device, none where CUDA is not in use.
    """

    python: PythonState | None
    numpy: NumpyState | None
    torch: Tensor | None
    cuda: tuple[Tensor, ...] = ()

    @classmethod
    def now(cls, parts: Set[str] = EVERY) -> "RandomState":
        """Take them down.

        parts (Set[str]): Of "python", "numpy" and "torch".
        """
        everything = parts == EVERY
        return cls(
            random.getstate() if "python" in parts else None,
            _numpy_now() if "numpy" in parts else None,
            torch.get_rng_state() if "torch" in parts else None,
            tuple(torch.cuda.get_rng_state_all()) if everything and torch.cuda.is_initialized() else (),
        )

    def restore(self) -> None:
        """Put them back."""
        if self.python is not None:
            random.setstate(self.python)
        if self.numpy is not None:
            np.random.set_state(self.numpy)
        if self.torch is not None:
            torch.set_rng_state(self.torch)
        # Another machine may have fewer devices; what it has goes on.
        for device, state in zip(range(torch.cuda.device_count()) if self.cuda else (), self.cuda, strict=False):
            torch.cuda.set_rng_state(state, device)

    def drawn_since(self, before: "RandomState") -> set[str]:
        """Which of python, numpy and torch have given numbers on the CPU, of those looked at both times."""
        drawn = set()
        if self.python is not None and before.python is not None and self.python != before.python:
            drawn.add("python")
        if self.numpy is not None and before.numpy is not None and not _same_numpy(self.numpy, before.numpy):
            drawn.add("numpy")
        if self.torch is not None and before.torch is not None and not torch.equal(self.torch, before.torch):
            drawn.add("torch")
        return drawn

    def to_json(self) -> JsonObject:
        """As numbers and text."""
        data: JsonObject = {"python": None, "numpy": None, "torch": None, "cuda": [_hex(one) for one in self.cuda]}
        if self.python is not None:
            version, numbers, gauss = self.python
            data["python"] = [version, list(numbers), gauss]
        if self.numpy is not None:
            name, words, place, has_gauss, cached = self.numpy
            data["numpy"] = [name, words.tolist(), place, has_gauss, cached]
        if self.torch is not None:
            data["torch"] = _hex(self.torch)
        return data

    @classmethod
    def from_json(cls, data: JsonObject) -> "RandomState":
        """The inverse of `to_json`."""
        python, numpy = data["python"], data["numpy"]
        return cls(
            python and (python[0], tuple(python[1]), python[2]),
            numpy and (numpy[0], np.asarray(numpy[1], dtype=np.uint32), *numpy[2:]),
            data["torch"] and _tensor(data["torch"]),
            tuple(_tensor(state) for state in data["cuda"]),
        )


def _numpy_now() -> NumpyState:
    state = np.random.get_state(legacy=True)
    assert isinstance(state, tuple)
    return state


def _same_numpy(one: NumpyState, other: NumpyState) -> bool:
    return bool(one[2] == other[2] and one[3:] == other[3:] and np.array_equal(one[1], other[1]))


def _hex(state: Tensor) -> str:
    return state.numpy().tobytes().hex()


def _tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8).clone()
