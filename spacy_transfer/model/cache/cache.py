"""The cache: states at or below the frozen boundary never change, so they are computed once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...errors import T005, T077
from ...files import Fingerprint, fingerprint_of_data
from ...json_types import JsonMapping, JsonObject
from ...locks import CACHE, ForkLock
from ...log import announce
from ...nn.devices.pinned import to_device
from ...nn.network import Network
from ..shared.state_memory import StateMemory
from ..text.windows import Row
from .segments import KEY_BYTES, Segments


@dataclass(frozen=True)
class EncoderCache:
    """Keeps the states at the frozen boundary, or with the whole encoder frozen one vector per document.

    On CUDA states stay on the GPU, in at most half of what is free there when the cache is made; what finds no room is
    computed again, which there takes less time than a copy from the host. Vectors stay on the host.

    memory (int): Bytes of memory to use at most; 0 keeps nothing in memory.
    cache_dir (str | None): Folder for files, "~" is the home folder; reused by the next run with the same encoder and
        shared by runs side by side. None keeps nothing on disk. With memory = 0 and no folder nothing is cached.
    disk_precision (str): "same" stores on disk what was computed, bit for bit; "half" stores 16 bits a value.
    """

    memory: int = 2_000_000_000
    cache_dir: str | None = None
    disk_precision: Literal["same", "half"] = "same"

    def __post_init__(self) -> None:
        if self.memory < 0:
            raise ValueError(T005.format(block="cache", field="memory", value=self.memory, want="memory >= 0"))

    @property
    def is_off(self) -> bool:
        """Whether nothing is cached."""
        return self.memory == 0 and self.cache_dir is None


class CachedStates:
    """States of one encoder at one boundary, or vectors of whole documents, in memory and on disk.

    builder (EncoderCache): The block of the config.
    width (int): Of a state.
    dtype (torch.dtype): Of what is computed.
    namespace (str): Names everything that a state depends on besides its piece ids; see `namespace_of`.
    seen (Mapping[str, int] | None): Of `Segments`: what a resumed run may see of the files.
    reserve (int): Bytes of the disk that are left for others.
    device (torch.device | None): A CUDA device on which they stay; None for the host.
    """

    def __init__(
        self,
        builder: EncoderCache,
        width: int,
        dtype: torch.dtype,
        namespace: str,
        seen: Mapping[str, int] | None = None,
        reserve: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self._lock = ForkLock(CACHE)
        # Keys whose room is taken already, though their states are still to be computed again.
        self.reserved: set[bytes] = set()
        self.namespace = namespace
        self.dtype = dtype
        self._budget = builder.memory
        self._memory: HostMemory | StateMemory = HostMemory()
        if device is not None:
            self._budget = min(builder.memory, StateMemory.room_on(device))
            self._memory = StateMemory(width, dtype, device, self._budget)
        self._used = 0
        self._told_full = False
        self._disk_dtype = torch.float16 if builder.disk_precision == "half" and dtype == torch.float32 else dtype
        self._disk: Segments | None = None
        if builder.cache_dir is not None:
            kind = str(self._disk_dtype).removeprefix("torch.")
            folder = Path(builder.cache_dir).expanduser() / f"{namespace}-{kind}"
            # numpy has no bf16: its bits travel as integers.
            stored = np.dtype(np.int16) if self._disk_dtype.itemsize == 2 else np.dtype(np.int32)
            self._disk = Segments(folder, width, stored, seen, reserve)
        self.hits = self.misses = 0

    def get(self, key: bytes) -> Tensor | None:
        """The state of a key, (n_pieces or 1, width) where memory is or from disk, or None."""
        with self._lock:
            value = self._memory.get(key)
            if value is None and self._disk is not None and (raw := self._disk.get(key)) is not None:
                value = torch.from_numpy(raw).view(self._disk_dtype).to(self.dtype)
                self._keep({key: value})
            self.hits += value is not None
            self.misses += value is None
        return value

    def __contains__(self, key: bytes) -> bool:
        """Whether it is there; what is damaged on disk turns out when it is asked for, and is computed again."""
        return key in self._memory or (self._disk is not None and key in self._disk)

    def put(self, entries: dict[bytes, Tensor]) -> list[bytes]:
        """Keep states, (n_pieces or 1, width) each; what does not fit is computed again whenever it is needed.

        RETURNS (list[bytes]): Keys that memory holds from now on and did not before.
        """
        with self._lock:
            new = self._keep(entries)
            dropped = any(key not in self._memory for key in entries)
            if dropped and self._disk is None and not self._told_full:
                self._told_full = True
                announce(T077.format(megabytes=self._budget // 10**6, n_kept=len(self._memory)))
            if self._disk is not None:
                integer = torch.int16 if self._disk_dtype.itemsize == 2 else torch.int32
                host = _on_host(entries)
                stored = {k: v.to(self._disk_dtype).contiguous().view(integer).numpy() for k, v in host.items()}
                self._disk.put(stored)
        return new

    @property
    def stay_on_gpu(self) -> bool:
        """Whether memory is that of a GPU."""
        return isinstance(self._memory, StateMemory)

    def padded(self, keys: Sequence[bytes], n_pieces: int, device: torch.device) -> Tensor | None:
        """Give the states of rows, filled up with zeros.

        keys (Sequence[bytes]): Of the rows.
        n_pieces (int): Of the longest row at least.
        device (torch.device): Where they are wanted.
        RETURNS (Tensor | None): (n_rows, n_pieces, width); None where a row is missing.
        """
        memory = self._memory
        values: list[Tensor] = []
        if not isinstance(memory, StateMemory) or any(key not in memory for key in keys):
            # Those on disk come into memory, where there is room.
            values = [value for key in keys if (value := self.get(key)) is not None]
            if len(values) < len(keys):
                return None
        if not isinstance(memory, StateMemory):
            return to_device(_filled_up(values, n_pieces, device), device)
        there = [i for i, key in enumerate(keys) if key in memory]
        self.hits += 0 if values else len(there)
        if len(there) == len(keys):
            return memory.padded(keys, n_pieces)
        found = torch.zeros((len(keys), n_pieces, memory.width), dtype=self.dtype, device=device)
        if there:
            found[to_device(there, device)] = memory.padded([keys[i] for i in there], n_pieces)
        rest = sorted(set(range(len(keys))) - set(there))
        host = _filled_up([values[i] for i in rest], n_pieces, device)
        found[to_device(rest, device)] = to_device(host, device)
        return found

    def state(self) -> tuple[JsonObject, list[bytes]]:
        """What `restore` needs.

        RETURNS: JSON, and the keys of the states in memory.
        """
        seen = None if self._disk is None else dict(self._disk.seen)
        return {"used": self._used, "told_full": self._told_full, "seen": seen}, [*self._memory, *self.reserved]

    def restore(self, data: JsonMapping, keys: Iterable[bytes]) -> None:
        """Take the room that an earlier run's states had; they come later."""
        self._used, self._told_full = data["used"], data["told_full"]
        self.reserved = set(keys)

    @property
    def is_full(self) -> bool:
        """Whether further states would be dropped."""
        return self._told_full

    def _keep(self, entries: Mapping[bytes, Tensor]) -> list[bytes]:
        """RETURNS (list[bytes]): Keys that memory holds from now on and did not before."""
        taken: dict[bytes, Tensor] = {}
        used = self._used
        for key, value in entries.items():
            if key in self._memory:
                continue
            size = 0 if key in self.reserved else value.numel() * value.element_size()
            if used + size <= self._budget or not size:
                used += size
                taken[key] = value
        if not self._memory.add(taken):
            # The GPU is full of other things: nothing more is asked of it.
            self._budget = self._used
            return []
        self._used = used
        self.reserved.difference_update(taken)
        return list(taken)


class HostMemory(dict[bytes, Tensor]):
    """States by key, each for itself."""

    def add(self, entries: Mapping[bytes, Tensor]) -> bool:
        """Keep states.

        RETURNS (bool): True: there is room.
        """
        self.update({key: value.clone() for key, value in entries.items()})
        return True


def _filled_up(values: list[Tensor], n_pieces: int, device: torch.device) -> Tensor:
    """States (n_pieces, width) of rows as (n_rows, n_pieces, width), on the host; for a GPU in pinned memory at once,
    which `pad_sequence` cannot do, and which would cost a second copy."""
    if device.type != "cuda":
        padded = pad_sequence(values, batch_first=True)
        return padded if padded.shape[1] == n_pieces else F.pad(padded, (0, 0, 0, n_pieces - padded.shape[1]))
    shape = (len(values), n_pieces, values[0].shape[1])
    found = torch.zeros(shape, dtype=values[0].dtype, pin_memory=True)
    for row, value in zip(found, values, strict=True):
        row[: len(value)] = value
    return found


def _on_host(entries: Mapping[bytes, Tensor]) -> dict[bytes, Tensor]:
    """In one copy, where they are on a GPU."""
    if not entries or next(iter(entries.values())).device.type == "cpu":
        return dict(entries)
    parts = torch.cat(list(entries.values())).cpu().split([len(value) for value in entries.values()])
    return dict(zip(entries, parts, strict=True))


def row_key(row: Row, purpose: bytes = b"") -> bytes:
    """Make the key of the states of one row: its piece ids, special ones included.

    row (Row): Any.
    purpose (bytes): Keeps apart what was computed for something else, 16 bytes at most.
    RETURNS (bytes): KEY_BYTES long.
    """
    return fingerprint_of_data(row.ids.tobytes(), size=KEY_BYTES, purpose=purpose)


def document_key(rows: Sequence[Row], purpose: bytes = b"") -> bytes:
    """Make the key of the vector of one document: the piece ids of its rows, and what pooling counts of each.

    rows (Sequence[Row]): All rows of the document.
    purpose (bytes): Keeps apart what was computed for something else, 16 bytes at most.
    RETURNS (bytes): KEY_BYTES long.
    """
    digest = Fingerprint(size=KEY_BYTES, purpose=purpose)
    for row in rows:
        digest.update(np.asarray([len(row.ids), *row.counted], dtype=np.int64).tobytes())
        digest.update(row.ids.tobytes())
    return digest.digest()


def namespace_of(network: Network, kind: str, extra: Iterable[str]) -> str:
    """Name everything that states depend on besides piece ids.

    network (Network): Computes them.
    kind (str): "states" or "vectors".
    extra (Iterable[str]): Attention implementation, pooling, versions.
    RETURNS (str): Changes with the frozen weights, the boundary, the precision and everything in `extra`.
    """
    digest = Fingerprint()
    for name, weight in network.encoder.named_parameters():
        if network.encoder.depth_of(name) <= network.boundary:
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    what = [kind, str(network.boundary), str(network.precision), _processor(network.device), *extra]
    digest.update("\0".join(what).encode())
    return f"{network.encoder.family}-{kind}-{network.boundary}-{digest.hexdigest()[:20]}"


def _processor(device: torch.device) -> str:
    """What computes, so far as its kernels round in their own way: the model of a GPU, the instructions of a CPU."""
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type
