"""The feature cache: what lies at or below the frozen boundary never changes, so it is computed once."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import T005, T077
from ..locks import CACHE, ForkLock
from ..log import logger
from ..nn.network import Network
from .segments import KEY_BYTES, Segments
from .windows import Row


@dataclass(frozen=True)
class FeatureCache:
    """Keeps the states at the frozen boundary, or with the whole encoder frozen one vector per document.

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


class Features:
    """Features of one encoder at one boundary.

    brick (FeatureCache): The block of the config.
    width (int): Of a state. dtype (torch.dtype): Of what is computed.
    namespace (str): Names everything that a feature depends on besides its piece ids; see `namespace_of`.
    seen (Mapping[str, int] | None): Of `Segments`: what a resumed run may see of the files.
    reserve (int): Bytes of the disk that are left for others.
    """

    def __init__(
        self,
        brick: FeatureCache,
        width: int,
        dtype: torch.dtype,
        namespace: str,
        seen: Mapping[str, int] | None = None,
        reserve: int = 0,
    ) -> None:
        self._lock = ForkLock(CACHE)
        # Keys whose room is taken already, though their features are still to be computed again.
        self.reserved: set[bytes] = set()
        self.namespace = namespace
        self.dtype = dtype
        self._budget = brick.memory
        self._memory: dict[bytes, Tensor] = {}
        self._used = 0
        self._told_full = False
        self._disk_dtype = torch.float16 if brick.disk_precision == "half" and dtype == torch.float32 else dtype
        self._disk: Segments | None = None
        if brick.cache_dir is not None:
            folder = Path(brick.cache_dir).expanduser() / f"{namespace}-{str(self._disk_dtype).removeprefix('torch.')}"
            # numpy has no bf16: its bits travel as integers.
            stored = np.dtype(np.int16) if self._disk_dtype.itemsize == 2 else np.dtype(np.int32)
            self._disk = Segments(folder, width, stored, seen, reserve)
        self.hits = self.misses = 0

    def get(self, key: bytes) -> Tensor | None:
        """The feature of a key, (n_pieces or 1, width) on the CPU, or None."""
        with self._lock:
            value = self._memory.get(key)
            if value is None and self._disk is not None and (raw := self._disk.get(key)) is not None:
                value = torch.from_numpy(raw).view(self._disk_dtype).to(self.dtype)
                self._keep(key, value)
            self.hits += value is not None
            self.misses += value is None
        return value

    def __contains__(self, key: bytes) -> bool:
        """Whether it is there; what is damaged on disk turns out when it is asked for, and is computed again."""
        return key in self._memory or (self._disk is not None and key in self._disk)

    def put(self, entries: dict[bytes, Tensor]) -> list[bytes]:
        """Keep features, (n_pieces or 1, width) each; what does not fit is computed anew whenever it is needed.

        RETURNS (list[bytes]): Keys that memory holds from now on and did not before.
        """
        new = []
        with self._lock:
            for key, value in entries.items():
                before = key in self._memory
                kept = self._keep(key, value)
                if kept and not before:
                    new.append(key)
                if not kept and self._disk is None and not self._told_full:
                    self._told_full = True
                    logger.info(T077.format(megabytes=self._budget // 10**6, n_kept=len(self._memory)))
            if self._disk is not None:
                integer = torch.int16 if self._disk_dtype.itemsize == 2 else torch.int32
                stored = {k: v.to(self._disk_dtype).contiguous().view(integer).numpy() for k, v in entries.items()}
                self._disk.put(stored)
        return new

    def state(self) -> tuple[dict[str, Any], list[bytes]]:
        """What `restore` needs. RETURNS: JSON, and the keys of the features in memory."""
        seen = None if self._disk is None else dict(self._disk.seen)
        return {"used": self._used, "told_full": self._told_full, "seen": seen}, [*self._memory, *self.reserved]

    def restore(self, data: Mapping[str, Any], keys: Iterable[bytes]) -> None:
        """Take the room that an earlier run's features had; they come later."""
        self._used, self._told_full = data["used"], data["told_full"]
        self.reserved = set(keys)

    @property
    def is_full(self) -> bool:
        """Whether further features would be dropped."""
        return self._told_full

    def _keep(self, key: bytes, value: Tensor) -> bool:
        size = value.numel() * value.element_size()
        if key in self._memory:
            return True
        if key in self.reserved:
            self.reserved.discard(key)
            self._memory[key] = value.clone()
            return True
        if self._used + size > self._budget:
            return False
        self._memory[key] = value.clone()
        self._used += size
        return True


def row_key(row: Row, purpose: bytes = b"") -> bytes:
    """Key of the states of one row: its piece ids, special ones included. purpose (bytes): As below."""
    return hashlib.blake2b(row.ids.tobytes(), digest_size=KEY_BYTES, person=purpose).digest()


def document_key(rows: Sequence[Row], purpose: bytes = b"") -> bytes:
    """Key of the vector of one document: the piece ids of its rows, and what pooling counts of each.

    purpose (bytes): Keeps apart what was computed for something else, 16 at most.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES, person=purpose)
    for row in rows:
        digest.update(np.asarray([len(row.ids), *row.counted], dtype=np.int64).tobytes())
        digest.update(row.ids.tobytes())
    return digest.digest()


def namespace_of(network: Network, kind: str, extra: Iterable[str]) -> str:
    """Name of everything that features depend on besides piece ids.

    kind (str): "states" or "vectors". extra (Iterable[str]): Attention implementation, pooling, versions.
    RETURNS (str): Changes with the frozen weights, the boundary, the precision and everything in `extra`.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in network.encoder.named_parameters():
        if network.encoder.depth_of(name) <= network.boundary:
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    what = [kind, str(network.boundary), str(network.precision), network.device.type, *extra]
    digest.update("\0".join(what).encode())
    return f"{network.encoder.family}-{kind}-{network.boundary}-{digest.hexdigest()[:20]}"
