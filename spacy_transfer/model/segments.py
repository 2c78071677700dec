"""Arrays on disk that several processes share and any of them may be killed beside.

A folder holds segments, one pair of files per process that wrote: `NAME.data`, arrays one after the other, and
`NAME.index`, records of fixed size. A record is appended after its array is written, so an unfinished array has none;
a torn record fails its checksum; an array is compared with its checksum when it is first read. Nothing is ever changed
in place, so readers need no lock.
"""

import os
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import T074, T075, T076
from ..log import logger

KEY_BYTES = 16
_RECORD = np.dtype(
    [("key", f"V{KEY_BYTES}"), ("offset", "<u8"), ("n_rows", "<u4"), ("crc", "<u4"), ("record_crc", "<u4")]
)


class Segments:
    """Arrays (n_rows, width) by key.

    folder (Path): Made if it is not there. One folder holds arrays of one width and dtype.
    seen (Mapping[str, int] | None): Records of each index file that count, as `seen` told earlier; None for all.
    RAISES (OSError): T074 if the folder cannot be written to.
    """

    def __init__(self, folder: Path, width: int, dtype: np.dtype, seen: Mapping[str, int] | None = None) -> None:
        self.folder, self.width, self.dtype = folder, width, dtype
        self._places: dict[bytes, tuple[int, int, int, int]] = {}
        self._maps: list[NDArray[np.uint8]] = []
        self._checked: set[bytes] = set()
        self._told_damage = False
        self.writable = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
            probe = folder / f"{self._name}.probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise OSError(T074.format(folder=folder, error=error.strerror or error)) from error
        self._data_size = 0
        self._unmapped: dict[bytes, tuple[int, int, int]] = {}
        self.seen: dict[str, int] = {}
        for index in sorted(folder.glob("*.index")):
            if seen is None or index.name in seen:
                self._read_index(index, None if seen is None else seen[index.name])

    def __len__(self) -> int:
        return len(self._places) + len(self._unmapped)

    def get(self, key: bytes) -> NDArray[np.uint8] | None:
        """The array of a key, read only, or None. Damage is told once and counts as absent."""
        if key in self._unmapped:
            self._map_own()
        place = self._places.get(key)
        if place is None:
            return None
        segment, offset, n_rows, crc = place
        size = n_rows * self.width * self.dtype.itemsize
        raw = self._maps[segment][offset : offset + size]
        if key not in self._checked:
            if len(raw) != size or zlib.crc32(raw.tobytes()) != crc:
                self._drop(key)
                return None
            self._checked.add(key)
        return raw.view(self.dtype).reshape(n_rows, self.width)

    def put(self, arrays: dict[bytes, NDArray[np.uint8]]) -> None:
        """Append arrays. A full disk is told once; from then on nothing is written and training goes on without."""
        new = {key: array for key, array in arrays.items() if key not in self._places and key not in self._unmapped}
        if not new or not self.writable:
            return
        records = np.zeros(len(new), dtype=_RECORD)
        offset = self._data_size
        try:
            with (self.folder / f"{self._name}.data").open("ab") as file:
                for record, (key, array) in zip(records, new.items(), strict=True):
                    raw = np.ascontiguousarray(array).tobytes()
                    file.write(raw)
                    record["key"], record["offset"], record["n_rows"] = np.void(key), offset, len(array)
                    record["crc"] = zlib.crc32(raw)
                    record["record_crc"] = zlib.crc32(record.tobytes()[:-4])
                    offset += len(raw)
            with (self.folder / f"{self._name}.index").open("ab") as file:
                file.write(records.tobytes())
        except OSError as error:
            self.writable = False
            logger.warning(T075.format(folder=self.folder, error=error.strerror or error))
            return
        self._data_size = offset
        self.seen[f"{self._name}.index"] = self.seen.get(f"{self._name}.index", 0) + len(records)
        for record in records:
            key = record["key"].tobytes()
            self._unmapped[key] = (int(record["offset"]), int(record["n_rows"]), int(record["crc"]))

    def _read_index(self, index: Path, most: int | None) -> None:
        data = index.with_suffix(".data")
        raw = index.read_bytes()
        records = np.frombuffer(raw[: len(raw) // _RECORD.itemsize * _RECORD.itemsize], dtype=_RECORD)[:most]
        self.seen[index.name] = len(records)
        if not len(records) or not data.is_file() or not data.stat().st_size:
            return
        self._maps.append(np.memmap(data, dtype=np.uint8, mode="r"))
        for record in records:
            if zlib.crc32(record.tobytes()[:-4]) == record["record_crc"]:
                place = (len(self._maps) - 1, int(record["offset"]), int(record["n_rows"]), int(record["crc"]))
                self._places[record["key"].tobytes()] = place

    def _map_own(self) -> None:
        """Map what this process has written since the last time."""
        self._maps.append(np.memmap(self.folder / f"{self._name}.data", dtype=np.uint8, mode="r"))
        for key, (offset, n_rows, crc) in self._unmapped.items():
            self._places[key] = (len(self._maps) - 1, offset, n_rows, crc)
        self._unmapped.clear()

    def _drop(self, key: bytes) -> None:
        del self._places[key]
        if not self._told_damage:
            self._told_damage = True
            logger.warning(T076.format(folder=self.folder))
