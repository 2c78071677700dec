"""Records which texts were computed together, so that a resumed run can compute their states again bit for bit.

A row of a matrix product may differ in its last bits with the other rows of the batch. So the run takes down every
micro-batch that states came from, and a resumed run, whose cache is empty, computes a missing state in the very
micro-batch it came from at first.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...errors import T452, T452_PLACES
from ...files.strangers import UnusableFile
from ...json_types import JsonMapping, JsonObject
from .segments import KEY_BYTES

_DTYPES = {"keys": torch.uint8, "origin": torch.int32, "texts": torch.int32, "sizes": torch.int32}


class BatchRecord:
    """Micro-batches of one cache.

    groups (list[list[str]]): Texts of each micro-batch that the cache has something of, in its order: so there are no
        more of them than states.
    origin (dict[bytes, int]): Micro-batch that a kept state came from.
    recalled (dict[bytes, int]): Those of them that are not computed again yet.
    """

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.origin: dict[bytes, int] = {}
        self.recalled: dict[bytes, int] = {}

    def add(self, texts: list[str], kept: Sequence[bytes]) -> None:
        """Note a micro-batch that was computed.

        texts (list[str]): Its texts.
        kept (Sequence[bytes]): Keys of its states that the cache has taken.
        """
        if kept:
            self.origin.update(dict.fromkeys(kept, len(self.groups)))
            self.groups.append(texts)

    def state(self, kept: Sequence[bytes], numbers: Mapping[str, int]) -> tuple[JsonObject, dict[str, Tensor]]:
        """What `restore` needs.

        kept (Sequence[bytes]): Keys of all states in memory.
        numbers (Mapping): Place of each training text; others are written out.
        """
        others: dict[str, int] = {}
        flat: list[int] = []
        sizes: list[int] = []
        for group in self.groups:
            sizes.append(len(group))
            for text in group:
                number = numbers.get(text)
                flat.append(-1 - others.setdefault(text, len(others)) if number is None else number)
        tensors = {
            "keys": torch.from_numpy(np.frombuffer(b"".join(kept), dtype=np.uint8).copy().reshape(-1, KEY_BYTES)),
            "origin": torch.tensor([self.origin.get(key, -1) for key in kept], dtype=torch.int32),
            "texts": torch.tensor(flat, dtype=torch.int32),
            "sizes": torch.tensor(sizes, dtype=torch.int32),
        }
        return {"others": list(others)}, tensors

    def restore(self, data: JsonMapping, tensors: Mapping[str, Tensor], training_texts: Sequence[str]) -> list[bytes]:
        """Take the state of an earlier run.

        RETURNS (list[bytes]): Keys of the states it had.
        RAISES (UnusableFile): T452 for tensors that do not go together, or name texts that are not there.
        """
        _check(tensors, len(data["others"]), len(training_texts))
        raw = tensors["keys"].numpy().tobytes()
        keys = [raw[i : i + KEY_BYTES] for i in range(0, len(raw), KEY_BYTES)]
        others, flat, begin = data["others"], tensors["texts"].tolist(), 0
        for size in tensors["sizes"].tolist():
            chosen = flat[begin : begin + size]
            self.groups.append([others[-1 - number] if number < 0 else training_texts[number] for number in chosen])
            begin += size
        self.origin = {key: i for key, i in zip(keys, tensors["origin"].tolist(), strict=True) if i >= 0}
        self.recalled = dict(self.origin)
        return keys

    def wanted(self, keys: Sequence[bytes]) -> dict[int, list[str]]:
        """Micro-batches to compute again for some states: number and texts."""
        numbers = dict.fromkeys(self.recalled[key] for key in keys if key in self.recalled)
        return {number: self.groups[number] for number in numbers}

    def came_from(self, number: int, keys: Sequence[bytes]) -> list[bytes]:
        """Those of some keys that came from a micro-batch; they count as computed again from now on."""
        found = [key for key in keys if self.recalled.get(key) == number]
        for key in found:
            del self.recalled[key]
        return found


def _check(tensors: Mapping[str, Tensor], n_others: int, n_texts: int) -> None:
    """RAISES (UnusableFile): T452 for what `BatchRecord.state` cannot have given."""
    found = {name: tensors.get(name) for name in _DTYPES}
    wants = {
        "keys": f"rows of {KEY_BYTES} bytes", "origin": "a micro-batch for each key", "sizes": "the sizes of the texts",
        "texts": "places of texts",
    }  # fmt: skip
    for name, value in found.items():
        if value is None or value.dtype != _DTYPES[name] or value.dim() != 1 + (name == "keys"):
            _refuse(name, wants[name])
    keys, origin, sizes, texts = (tensors[name] for name in wants)
    if keys.shape[1] != KEY_BYTES:
        _refuse("keys", wants["keys"])
    if len(origin) != len(keys) or not _within(origin, -1, len(sizes)):
        _refuse("origin", wants["origin"])
    if not _within(sizes, 0, len(texts) + 1) or int(sizes.sum()) != len(texts):
        _refuse("sizes", wants["sizes"])
    if not _within(texts, -n_others, n_texts):
        _refuse("texts", wants["texts"])


def _within(values: Tensor, least: int, end: int) -> bool:
    return not len(values) or (int(values.min()) >= least and int(values.max()) < end)


def _refuse(name: str, want: str) -> None:
    raise UnusableFile(T452.format(file="places.safetensors", name=name, problem=T452_PLACES.format(want=want)))
