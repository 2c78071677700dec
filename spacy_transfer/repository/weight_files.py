"""Untrusted safetensors files: reads headers first, then one tensor at a time, and checks types and values."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import T015, T452, T452_DTYPE, T452_FINITE, T452_TWICE
from ..files import open_regular
from ..files.strangers import UnusableFile

# As safetensors names them; quantized ones are not among them.
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NAMES = {
    **{dtype: name for name, dtype in FLOATS.items()},
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_LEGACY = {
    "LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta",
    # Of wav2vec2's convolution over positions.
    "parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v",
}  # fmt: skip
_IN_LIST = re.compile(r"(.*?)\.(\d+)\.")


@dataclass(frozen=True)
class Stored:
    """What the header says of a tensor.

    file (Path): That holds it.
    dtype (str): As safetensors names it.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]


class _Slice(Protocol):
    def get_dtype(self) -> str:
        """As safetensors names it."""

    def get_shape(self) -> list[int]:
        """Of the whole tensor."""


class _OpenFile(Protocol):
    """What is used of `safe_open`."""

    def keys(self) -> list[str]:
        """Names of the tensors."""

    def metadata(self) -> dict[str, str] | None:
        """What the header says besides."""

    def get_slice(self, name: str, /) -> _Slice:
        """What the header says of a tensor."""

    def get_tensor(self, name: str, /) -> Tensor:
        """Read a tensor."""


class WeightFiles:
    """Open files of weights; names and shapes at no cost, tensors when they are asked for.

    stored (dict[str, Stored]): What the headers say, by name.
    """

    def __init__(self, files: Mapping[Path, _OpenFile]) -> None:
        self._files = files
        self.stored: dict[str, Stored] = {}
        for path, file in files.items():
            for name in file.keys():  # noqa: SIM118 - it is not a dict
                if name in self.stored:
                    problem = T452_TWICE.format(other=self.stored[name].file.name)
                    raise UnusableFile(T452.format(file=path, name=name, problem=problem))
                part = file.get_slice(name)
                self.stored[name] = Stored(path, part.get_dtype(), tuple(part.get_shape()))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of all tensors."""
        return [one.shape for one in self.stored.values()]

    @property
    def notes(self) -> dict[str, str]:
        """What the writers of the files have put beside the tensors, by name."""
        found: dict[str, str] = {}
        for file in self._files.values():
            found |= file.metadata() or {}
        return found

    def floats(self, name: str) -> Tensor:
        """Read a tensor of floating-point numbers, all of them finite.

        RAISES (UnusableFile): T452 for another type, NaN or infinity.
        """
        return self._read(name, tuple(FLOATS))

    def values(self, name: str, dtype: torch.dtype) -> Tensor:
        """Read a tensor of one type, of floating-point numbers all of them finite.

        RAISES (UnusableFile): T452 for another type, NaN or infinity.
        """
        return self._read(name, (_NAMES[dtype],))

    def any_type(self, name: str) -> Tensor:
        """Read a tensor; numbers of floating point are all finite.

        RAISES (UnusableFile): T452 for NaN or infinity.
        """
        return self._read(name, (self.stored[name].dtype,))

    def _read(self, name: str, dtypes: tuple[str, ...]) -> Tensor:
        found = self.stored[name]
        if found.dtype not in dtypes:
            problem = T452_DTYPE.format(dtype=found.dtype, want=" or ".join(dtypes))
            raise UnusableFile(T452.format(file=found.file, name=name, problem=problem))
        value = self._files[found.file].get_tensor(name)
        if found.dtype == "F64" and len(dtypes) > 1:
            value = value.float()
        if not is_finite(value):
            raise UnusableFile(T452.format(file=found.file, name=name, problem=T452_FINITE))
        return value

    def beyond(self, lists: Mapping[str, int]) -> tuple[str, int] | None:
        """Find stored layers for which a network has no place.

        lists (Mapping): Names of lists of modules, lengths.

        RETURNS (tuple | None): Name of the first list that is too short, and how many layers are stored for it.
        """
        n_stored: dict[str, int] = {}
        for name in self.stored:
            for found in _IN_LIST.finditer(name):
                path = name[: found.end(1)]
                n_stored[path] = max(n_stored.get(path, 0), int(found.group(2)) + 1)
        for path, length in lists.items():
            if n_stored.get(path, 0) > length:
                return path, n_stored[path]
        return None


@contextmanager
def open_weights(paths: Iterable[Path]) -> Iterator[WeightFiles]:
    """Open files of weights and read their headers.

    RAISES (UnusableFile): T015 for what is not a whole, regular safetensors file, T452 for a name that two files have.
    """
    with ExitStack() as stack:
        files: dict[Path, _OpenFile] = {}
        for path in paths:
            try:
                # A pipe or a device would never end.
                open_regular(path).close()
                files[path] = stack.enter_context(safe_open(path, framework="pt"))
            except (SafetensorError, OSError) as error:
                raise UnusableFile(T015.format(file=path, error=error)) from error
        try:
            yield WeightFiles(files)
        except SafetensorError as error:
            raise UnusableFile(T015.format(file=next(iter(files), ""), error=error)) from error


def is_finite(value: Tensor) -> bool:
    """Whether all numbers are finite. A sum, which NaN and infinity do not leave finite, reads each of them once and
    keeps none; only where it is not finite itself they are looked at one by one."""
    if not value.is_floating_point() or not value.numel():
        return True
    total = value.sum(dtype=torch.float32 if value.dtype != torch.float64 else torch.float64)
    return bool(total.isfinite()) or bool(value.isfinite().all())


def names_for(name: str, prefix: str) -> list[str]:
    """Under which a weight may be stored: with or without the prefix of a task's model, and as older versions said.

    name (str): In the model without a task.
    prefix (str): Such as "bert".
    """
    names = [f"{prefix}.{name}", name] if prefix else [name]
    for new, old in _LEGACY.items():
        if name.endswith(new):
            names += [one.removesuffix(new) + old for one in names]
    return names
