"""Arrays on disk that several processes share, intact even if one of them is killed.

A folder holds segments, one pair of files per process that wrote: `NAME.data`, arrays one after the other, and
`NAME.index`, records of fixed size. A record is appended after its array is written, so an unfinished array has none;
a torn record fails its checksum; an array is compared with its checksum when it is first read, and with the sum of its
words, 20 times as fast, each time after that. Nothing is ever changed in place, so readers need no lock between
processes.

Files are read at a position and never mapped: a mapped file that somebody else cuts ends the process with SIGBUS.
"""

import contextlib
import os
import shutil
import struct
import uuid
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import T074, T075, T076, T360
from ...locks import FILES, ForkLock
from ...log import logger

KEY_BYTES = 16
_RECORD = np.dtype(
    [("key", f"V{KEY_BYTES}"), ("offset", "<u8"), ("n_rows", "<u4"), ("crc", "<u4"), ("record_crc", "<u4")]
)
# Of one record, without its own checksum.
_PACKED = struct.Struct(f"<{KEY_BYTES}sQII")
# Segments that are open for reading at a time: a folder that many runs have used has hundreds.
_MOST_OPEN = 16
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Segments:
    """Arrays (n_rows, width) by key.

    folder (Path): Made if it is not there. One folder holds arrays of one width and dtype.
    seen (Mapping[str, int] | None): Records of each index file that count, as `seen` told earlier; None for all.
    reserve (int): Bytes of the disk that are left for others.
    RAISES (OSError): T074 if the folder cannot be written to.
    """

    def __init__(
        self, folder: Path, width: int, dtype: np.dtype, seen: Mapping[str, int] | None = None, reserve: int = 0
    ) -> None:
        self.folder, self.width, self.dtype, self.reserve = folder, width, dtype, reserve
        self.writable = True
        self.seen: dict[str, int] = {}
        self._lock = ForkLock(FILES)
        self._told_damage = self._told_room = False
        # Number of its segment, offset, rows and checksum of each array.
        self._places: dict[bytes, tuple[int, int, int, int]] = {}
        # Sum of the words of each array that was compared with its checksum.
        self._sums: dict[bytes, int] = {}
        self._segments: list[str] = []
        self._open: OrderedDict[int, int] = OrderedDict()
        self._output: _Output | None = None
        weakref.finalize(self, _close_all, self._open)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f"{_new_name()}.probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise OSError(T074.format(folder=folder, error=error.strerror or error)) from error
        for index in sorted(folder.glob("*.index")):
            if seen is None or index.name in seen:
                self._read_index(index, None if seen is None else seen[index.name])

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        """Whether there is a record of it; its array may still turn out to be damaged."""
        return key in self._places

    def get(self, key: bytes) -> NDArray[np.generic] | None:
        """The array of a key, a copy, or None. Damage is reported once and counts as absent."""
        with self._lock:
            place = self._places.get(key)
            if place is None:
                return None
            segment, offset, n_rows, crc = place
            known = self._sums.get(key)
            raw = self._read(segment, offset, n_rows * self.width * self.dtype.itemsize, is_known=known is not None)
            if raw is None or (zlib.crc32(raw.data) != crc if known is None else _sum(raw) != known):
                self._drop(key)
                return None
            if known is None:
                self._sums[key] = _sum(raw)
        return raw.view(self.dtype).reshape(n_rows, self.width)

    def put(self, arrays: Mapping[bytes, NDArray[np.generic]]) -> None:
        """Append arrays. A full disk is reported once; from then on nothing is written and training goes on without."""
        with self._lock:
            new = {key: array for key, array in arrays.items() if key not in self._places}
            if not new or not self.writable:
                return
            size = sum(array.nbytes for array in new.values())
            try:
                if not self._has_room(size):
                    return
                if self._output is None or self._output.pid != os.getpid():
                    # A forked child begins a segment of its own: in its parent's it would write over others' arrays.
                    self._output = _Output(self.folder)
                    self._segments.append(self._output.name)
                self._append(self._output, new)
            except OSError as error:
                self.writable = False
                logger.warning(T075.format(folder=self.folder, error=error.strerror or error))

    def _append(self, output: "_Output", new: Mapping[bytes, NDArray[np.generic]]) -> None:
        records, places, offset = [], {}, output.data_size
        for key, array in new.items():
            raw = np.ascontiguousarray(array).tobytes()
            _write_at(output.data, raw, offset)
            crc = zlib.crc32(raw)
            record = _PACKED.pack(key, offset, len(array), crc)
            records += [record, zlib.crc32(record).to_bytes(4, "little")]
            places[key] = (len(self._segments) - 1, offset, len(array), crc)
            offset += len(raw)
        _write_at(output.index, b"".join(records), output.n_records * _RECORD.itemsize)
        output.data_size = offset
        output.n_records += len(places)
        self.seen[f"{output.name}.index"] = output.n_records
        self._places.update(places)

    def _has_room(self, size: int) -> bool:
        """Whether the disk has room beyond what is left for others; asked each time, since it may be made."""
        free = shutil.disk_usage(self.folder).free
        if free >= self.reserve + size:
            return True
        if not self._told_room:
            self._told_room = True
            logger.warning(T360.format(folder=self.folder, free=free // 10**6, reserve=self.reserve // 10**6))
        return False

    def _read_index(self, index: Path, most: int | None) -> None:
        try:
            raw = index.read_bytes()
        except OSError:
            # Removed by somebody else since the folder was listed.
            return
        records = np.frombuffer(raw[: len(raw) // _RECORD.itemsize * _RECORD.itemsize], dtype=_RECORD)[:most]
        self.seen[index.name] = len(records)
        segment = len(self._segments)
        self._segments.append(index.stem)
        for record in records:
            if zlib.crc32(record.tobytes()[:-4]) == record["record_crc"]:
                place = (segment, int(record["offset"]), int(record["n_rows"]), int(record["crc"]))
                self._places[record["key"].tobytes()] = place

    def _read(self, segment: int, offset: int, size: int, *, is_known: bool) -> NDArray[np.uint8] | None:
        """Bytes of a segment; None where it has gone or has become too short.

        is_known (bool): They were there.
        """
        try:
            handle = self._open.get(segment)
            if handle is None:
                path = self.folder / f"{self._segments[segment]}.data"
                handle = os.open(path, os.O_RDONLY | _FLAGS)
                self._open[segment] = handle
                if len(self._open) > _MOST_OPEN:
                    os.close(self._open.popitem(last=False)[1])
            else:
                self._open.move_to_end(segment)
            # A record says the size, and memory is taken for it.
            if not is_known and offset + size > os.fstat(handle).st_size:
                return None
            raw = np.empty(size, dtype=np.uint8)
            return raw if _read_at(handle, raw.data, offset) == size else None
        except OSError:
            return None

    def _drop(self, key: bytes) -> None:
        del self._places[key]
        self._sums.pop(key, None)
        if not self._told_damage:
            self._told_damage = True
            logger.warning(T076.format(folder=self.folder))


class _Output:
    """The segment that this process writes.

    folder (Path): Where.
    RAISES (OSError): What the file system says.
    """

    def __init__(self, folder: Path) -> None:
        self.pid, self.name = os.getpid(), _new_name()
        self.data_size = self.n_records = 0
        handles: OrderedDict[int, int] = OrderedDict()
        weakref.finalize(self, _close_all, handles)
        # New, whatever lies there: nothing is written through a link.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
        for i, suffix in enumerate((".data", ".index")):
            handles[i] = os.open(folder / f"{self.name}{suffix}", flags, 0o666)
        self.data, self.index = handles[0], handles[1]


def _sum(raw: NDArray[np.uint8]) -> int:
    rest = len(raw) % 8
    if not rest:
        return int(raw.view(np.uint64).sum())
    return int(raw[:-rest].view(np.uint64).sum()) + int(raw[-rest:].sum())


def _new_name() -> str:
    return f"{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _close_all(handles: OrderedDict[int, int]) -> None:
    for handle in handles.values():
        with contextlib.suppress(OSError):
            os.close(handle)
    handles.clear()


def _read_at(handle: int, into: memoryview, offset: int) -> int:
    """Fill `into` from a position.

    RETURNS (int): Bytes that were there.
    """
    n_read = 0
    while n_read < len(into):
        if hasattr(os, "preadv"):
            n = os.preadv(handle, [into[n_read:]], offset + n_read)
        else:  # pragma: no cover - Windows, where no process shares the position of a handle
            os.lseek(handle, offset + n_read, os.SEEK_SET)
            part = os.read(handle, len(into) - n_read)
            n = len(part)
            into[n_read : n_read + n] = part
        if not n:
            break
        n_read += n
    return n_read


def _write_at(handle: int, raw: bytes, offset: int) -> None:
    """Write at a position: what is cut by others does not move what comes after it."""
    n_written, view = 0, memoryview(raw)
    while n_written < len(raw):
        if hasattr(os, "pwrite"):
            n_written += os.pwrite(handle, view[n_written:], offset + n_written)
        else:  # pragma: no cover - Windows
            os.lseek(handle, offset + n_written, os.SEEK_SET)
            n_written += os.write(handle, view[n_written:])
