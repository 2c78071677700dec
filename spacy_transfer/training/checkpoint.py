"""Checkpoints on disk: complete or not there, two of them, safetensors and JSON.

checkpoints/start.safetensors    all weights as the run began; frozen ones are nowhere else
checkpoints/step-00000200/       what has changed since
checkpoints/latest               one line: the folder that counts
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from ..errors import T165, T168, T169, T174
from ..log import logger
from ..model.storage import write_file

_FOLDER = re.compile(r"step-(\d+)")
_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What was read. folder (Path): Where from. state (dict): JSON. tensors (dict): By file, then by name."""

    folder: Path
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


class Checkpoints:
    """The checkpoints of one run.

    folder (Path): Made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told = False

    @property
    def are_there(self) -> bool:
        """Whether a run has left any."""
        return bool(self._folders())

    def clear(self) -> None:
        """Throw all of them away."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    # ---- writing -------------------------------------------------------------------------------------------------

    def begin(self, weights: Mapping[str, Tensor]) -> str:
        """Write all weights once for the run. RETURNS (str): SHA-256 of the file.

        RAISES (OSError): What the file system says.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "start.safetensors"
        checksum = _write_tensors(path.with_suffix(".part"), weights)
        path.with_suffix(".part").replace(path)
        return checksum

    def write(self, n_done: int, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]) -> bool:
        """Write a checkpoint beside, then give it its name; the one before the last goes.

        n_done (int): Steps done. tensors (Mapping): By file name without suffix, then by name.
        RETURNS (bool): Whether it is there. A full disk or other trouble with it is told once, and the old ones stay.
        """
        folder = self.folder / f"step-{n_done:08d}"
        beside = folder.with_name(f"{folder.name}.part")
        before = self._folders()
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            checksums = {f"{name}.safetensors": _write_tensors(beside / f"{name}.safetensors", part)
                         for name, part in tensors.items()}  # fmt: skip
            text = json.dumps(state)
            (beside / "state.json").write_text(text, "utf-8")
            checksums["state.json"] = hashlib.sha256(text.encode("utf-8")).hexdigest()
            (beside / "sha256.json").write_text(json.dumps(checksums, indent=2), "utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            beside.rename(folder)
            write_file(self.folder / "latest", folder.name + "\n")
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)
            if not self._told:
                self._told = True
                logger.warning(T169.format(folder=self.folder, error=error.strerror or error))
            return False
        # The one before has lain long enough for the disk to have it: after this, one outlives even a power cut.
        others = [one for one in before if one != folder]
        if others:
            _sync(others[0])
        for old in others[_KEPT - 1 :]:
            shutil.rmtree(old, ignore_errors=True)
        return True

    # ---- reading -------------------------------------------------------------------------------------------------

    def read(self) -> Checkpoint:
        """The newest checkpoint that is whole; a damaged one is told and the one before is taken.

        RAISES (ValueError): T165 if there is none, T174 if none is whole.
        """
        folders = self._folders()
        if not folders:
            raise ValueError(T165.format(folder=self.folder))
        problems = []
        for i, folder in enumerate(folders):
            try:
                return _read(folder, self.folder / "start.safetensors")
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                problems.append(f"{folder.name}: {error}")
                if i + 1 < len(folders):
                    logger.warning(T168.format(folder=folder.name, error=error, other=folders[i + 1].name))
        raise ValueError(T174.format(folder=self.folder, problems="; ".join(problems)))

    def _folders(self) -> list[Path]:
        """All checkpoints, the one that counts first, then the newest."""
        if not self.folder.is_dir():
            return []
        found = sorted((one for one in self.folder.iterdir() if _FOLDER.fullmatch(one.name)), reverse=True)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            latest = self.folder / (self.folder / "latest").read_text("utf-8").strip()
            if latest in found:
                found.remove(latest)
                found.insert(0, latest)
        return found


def _read(folder: Path, start: Path) -> Checkpoint:
    checksums = json.loads((folder / "sha256.json").read_text("utf-8"))
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, checksum in checksums.items():
        _check(folder / name, checksum)
        if name.endswith(".safetensors"):
            tensors[name.removesuffix(".safetensors")] = safetensors.torch.load_file(folder / name)
    state = json.loads((folder / "state.json").read_text("utf-8"))
    _check(start, state["start"])
    tensors["start"] = safetensors.torch.load_file(start)
    return Checkpoint(folder, state, tensors)


def _check(path: Path, checksum: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != checksum:
        raise OSError(f"{path.name}: SHA-256 {found[:12]}, not {checksum[:12]}")  # pragma: no cover - said within T168


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """RETURNS (str): SHA-256 of the file."""
    # Thinc's arrays may be views of one buffer, which safetensors refuses.
    host = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    seen: set[int] = set()
    for name, value in host.items():
        if value.untyped_storage().data_ptr() in seen or value.untyped_storage().nbytes() != value.nbytes:
            host[name] = value.clone()
        seen.add(host[name].untyped_storage().data_ptr())
    try:
        safetensors.torch.save_file(host, path)
    except SafetensorError as error:
        # Its way to say that the disk is full.
        raise OSError(str(error)) from error
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
