"""The log of a run: all numbers as JSON lines."""

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from io import BufferedRandom, BufferedWriter
from pathlib import Path
from typing import SupportsFloat

import torch
from torch import Tensor

from ...errors import T377
from ...files import RunningSha256, put_aside, saying_when_full, sha256_of_data, write_data
from ...json_types import JsonObject

# Kept together: on a GPU fetching a number makes everybody wait for the device.
_MOST_WAITING = 50
_PLAIN = {float, int, str, bool, type(None)}


class LogFile:
    """Appends lines to a file; on a GPU the numbers are fetched some steps later, many at once.

    Nothing is written before `begin` or `go_on`.

    path (Path | None): The file; None writes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._waiting: list[JsonObject] = []
        # Lines with their numbers, while an earlier run's log is still in its place.
        self._held = b""
        self._is_open = False
        self._digest = RunningSha256()
        self._size = 0

    def begin(self) -> None:
        """Begin a new log in the place of an old one.

        RAISES (OSError): What the file system says.
        """
        if self.path is not None and not self._is_open:
            write_data(self.path, self._held)
            self._is_open, self._held = True, b""

    def go_on(self, size: int, sha256: str) -> bool:
        """Go on where a checkpoint was.

        size (int): Bytes of the log at that time.
        sha256 (str): Of these.
        RETURNS (bool): Whether they are there; if not, what is there steps aside and the log begins anew.
        RAISES (OSError): T377 for a link; what the file system says otherwise.
        """
        if self.path is None:
            return True
        if not os.path.lexists(self.path):
            self.begin()
            return size == 0
        with self._open(os.O_RDWR) as file:
            data = file.read(size)
            is_same = len(data) == size and sha256_of_data(data) == sha256
            if is_same:
                file.truncate(size)
        if is_same:
            self._digest, self._size, self._is_open = RunningSha256(data), size, True
        else:
            put_aside(self.path)
            self.begin()
        return is_same

    def add(self, line: JsonObject) -> list[JsonObject]:
        """Add a line.

        RETURNS (list[dict]): Lines that were written now, numbers fetched.
        """
        self._waiting.append(line)
        return self.flush() if len(self._waiting) >= _MOST_WAITING else []

    def flush(self) -> list[JsonObject]:
        """Write what waits.

        RETURNS (list[dict]): The lines written now.

        RAISES (OSError): T372 for a full disk, T377 for a link; what the file system says otherwise.
        """
        numbers = _fetched(self._waiting)
        lines = [{str(key): _plain(part, numbers) for key, part in line.items()} for line in self._waiting]
        self._waiting.clear()
        if self.path is not None and lines:
            data = "".join(_text(line) + "\n" for line in lines).encode("utf-8")
            if self._is_open:
                with saying_when_full(self.path, None, len(data)), self._open(os.O_WRONLY | os.O_APPEND) as file:
                    file.write(data)
            else:
                self._held += data
            self._digest.update(data)
            self._size += len(data)
        return lines

    @property
    def size(self) -> int:
        """Bytes written, with nothing waiting."""
        self.flush()
        return self._size

    @property
    def sha256(self) -> str:
        """Of what is written."""
        return self._digest.hexdigest()

    def _open(self, flags: int) -> BufferedRandom | BufferedWriter:
        """The file itself, never what a link in its place names."""
        assert self.path is not None
        try:
            handle = os.open(self.path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OSError(T377.format(path=self.path)) from error
            raise
        return os.fdopen(handle, "r+b" if flags & os.O_RDWR else "ab")  # type: ignore[return-value]


def read_lines(path: Path) -> Iterator[JsonObject]:
    """Lines of a log. They end at line feeds alone: what ends lines elsewhere may stand in labels."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _text(line: JsonObject) -> str:
    try:
        return json.dumps(line, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(strict(line), ensure_ascii=False)


def _fetched(value: object) -> dict[int, float]:
    """Numbers of all tensors without dimensions in a value, by the tensors' ids; one transfer for all of a device."""
    found: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    rest = [value]
    while rest:
        part = rest.pop()
        if isinstance(part, Tensor) and part.ndim == 0:
            found.setdefault((part.device, part.dtype), []).append(part)
        elif isinstance(part, dict):
            rest.extend(part.values())
        elif isinstance(part, list | tuple):
            rest.extend(part)
    return {
        id(tensor): number
        for tensors in found.values()
        for tensor, number in zip(tensors, torch.stack(tensors).detach().cpu().tolist(), strict=True)
    }


def _plain(value: object, numbers: Mapping[int, float]) -> object:
    """Tensors and numpy's numbers as numbers.

    numbers (Mapping): Those of tensors, by id.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        return {str(key): _plain(part, numbers) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, numbers) for part in value]
    if id(value) in numbers:
        return float(numbers[id(value)])
    if isinstance(value, str | int):
        return value
    try:
        return float(value) if isinstance(value, SupportsFloat) else str(value)
    except (TypeError, ValueError):
        return str(value)


def strict(value: object) -> object:
    """JSON has neither NaN nor infinity: they are written as text."""
    if isinstance(value, dict):
        return {key: strict(part) for key, part in value.items()}
    if isinstance(value, list):
        return [strict(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
