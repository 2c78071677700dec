"""Every figure of a run as JSON lines."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Kept together: on a GPU fetching a number makes everybody wait for the device.
_MOST_WAITING = 50
_PLAIN = {float, int, str, bool, type(None)}


class LogFile:
    """Appends lines to a file; on a GPU the numbers are fetched some steps later, many at once.

    path (Path | None): The file; None writes nothing.
    size (int): Bytes to keep of what is there: a resumed run goes on where its checkpoint was.
    """

    def __init__(self, path: Path | None, size: int = 0) -> None:
        self.path = path
        self._waiting: list[dict[str, Any]] = []
        if path is not None:
            path.touch()
            with path.open("r+b") as file:
                file.truncate(min(size, path.stat().st_size))

    def add(self, line: dict[str, Any]) -> list[dict[str, Any]]:
        """Add a line. RETURNS (list[dict]): Lines that were written now, numbers fetched."""
        self._waiting.append(line)
        return self.flush() if len(self._waiting) >= _MOST_WAITING else []

    def flush(self) -> list[dict[str, Any]]:
        """Write what waits. RETURNS (list[dict]): The lines written now."""
        numbers = _fetched(self._waiting)
        lines = [_plain(line, numbers) for line in self._waiting]
        self._waiting.clear()
        if self.path is not None and lines:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(_text(line) + "\n" for line in lines)
        return lines

    @property
    def size(self) -> int:
        """Bytes written, with nothing waiting."""
        self.flush()
        return self.path.stat().st_size if self.path is not None else 0

    def sync(self) -> None:
        """Let the disk have it."""
        if self.path is not None:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())


def _text(line: dict[str, Any]) -> str:
    try:
        return json.dumps(line, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(strict(line), ensure_ascii=False)


def _fetched(value: Any) -> dict[int, float]:
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


def _plain(value: Any, numbers: Mapping[int, float]) -> Any:
    """Tensors and numpy's numbers as numbers. numbers (Mapping): Those of tensors, by id."""
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
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def strict(value: Any) -> Any:
    """JSON has neither NaN nor infinity: they are written as text."""
    if isinstance(value, dict):
        return {key: strict(part) for key, part in value.items()}
    if isinstance(value, list):
        return [strict(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
