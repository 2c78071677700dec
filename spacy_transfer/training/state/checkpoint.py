"""Checkpoints on disk: the last two, each written completely or not at all, as safetensors and JSON.

checkpoints/start.safetensors    all weights as the run began; frozen ones are nowhere else
checkpoints/step-00000200/       what has changed since
checkpoints/latest               one line: the folder that counts
"""

import contextlib
import json
import re
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...errors import T165, T168, T169, T174
from ...files import new_folder, sha256_of, sync_file, write_text
from ...files.fields import SHA256, take
from ...files.strangers import MEGABYTE, read_object
from ...json_types import JsonMapping, JsonObject
from ...log import logger
from ...model.storage.weights import read_weights, write_weights
from .checkpoint_fields import clean_state

_FOLDER = re.compile(r"step-(\d+)")
_KEPT = 2
_TENSORS = ("weights", "optimizer", "places")
_FILES = {"state.json", *(f"{name}.safetensors" for name in _TENSORS)}
# The order of some million texts, caches' places.
_MOST_BYTES = 2000 * MEGABYTE


@dataclass(frozen=True)
class Checkpoint:
    """What was read.

    folder (Path): Where from.
    state (dict): JSON.
    tensors (dict): By file, then by name.
    """

    folder: Path
    state: JsonObject
    tensors: dict[str, dict[str, Tensor]]


class Checkpoints:
    """The checkpoints of one run.

    folder (Path): Made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told = False
        # Where they are written; elsewhere until those of an earlier run may go.
        self._now = folder
        self._replacing = ExitStack()

    @property
    def are_there(self) -> bool:
        """Whether a run has left any."""
        return bool(self._folders())

    # ---- writing -------------------------------------------------------------------------------------------------

    def begin(self, weights: Mapping[str, Tensor]) -> str:
        """Write all weights once for the run.

        RETURNS (str): SHA-256 of the file.

        Where an earlier run has left a folder, that stays as it is until `settle`.

        RAISES (OSError): T372 for a full disk; what the file system says otherwise.
        """
        if self.folder.exists():
            self._now = self._replacing.enter_context(new_folder(self.folder))
        else:
            self.folder.mkdir(parents=True)
        path = self._now / "start.safetensors"
        checksum = write_weights(weights, path)
        _sync(path)
        return checksum

    @property
    def is_replacing(self) -> bool:
        """Whether those of an earlier run are still in their place."""
        return self._now != self.folder

    def settle(self) -> None:
        """Take the place of an earlier run's."""
        self._now = self.folder
        self._replacing.close()

    def abandon(self) -> None:
        """Leave those of an earlier run in their place, if they are there still."""
        if self.is_replacing:
            self._now = self.folder
            with contextlib.suppress(InterruptedError):
                self._replacing.__exit__(InterruptedError, InterruptedError(), None)

    def write(self, n_done: int, state: JsonMapping, tensors: Mapping[str, Mapping[str, Tensor]]) -> bool:
        """Write a checkpoint beside, then give it its name; the one before the last goes.

        n_done (int): Steps done.
        state (JsonMapping): JSON.
        tensors (Mapping): By file name without suffix, then by name.
        RETURNS (bool): Whether it is there. A full disk or other trouble with it is told once, and the old ones stay.
        """
        folder = self._now / f"step-{n_done:08d}"
        before = self._folders()
        try:
            with new_folder(folder, needs=sum(t.nbytes for part in tensors.values() for t in part.values())) as beside:
                checksums = {
                    f"{name}.safetensors": _write_tensors(beside / f"{name}.safetensors", part)
                    for name, part in tensors.items()
                }
                checksums["state.json"] = write_text(beside / "state.json", json.dumps(state))
                write_text(beside / "sha256.json", json.dumps(checksums, indent=2))
            write_text(self._now / "latest", folder.name + "\n")
        except OSError as error:
            if not self._told:
                self._told = True
                logger.warning(T169.format(folder=self.folder, error=error.strerror or error))
            return False
        # The one before has lain long enough for the disk to have it: after this, one outlives even a power cut.
        others = [one for one in before if one != folder]
        if others:
            for path in others[0].iterdir():
                _sync(path)
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
            except (OSError, ValueError) as error:
                problems.append(f"{folder.name}: {error}")
                if i + 1 < len(folders):
                    logger.warning(T168.format(folder=folder.name, error=error, other=folders[i + 1].name))
        raise ValueError(T174.format(folder=self.folder, problems="; ".join(problems)))

    def _folders(self) -> list[Path]:
        """All checkpoints, the one that counts first, then the newest."""
        if not self._now.is_dir():
            return []
        found = sorted((one for one in self._now.iterdir() if _FOLDER.fullmatch(one.name)), reverse=True)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            latest = self._now / (self._now / "latest").read_text("utf-8").strip()
            if latest in found:
                found.remove(latest)
                found.insert(0, latest)
        return found


def _read(folder: Path, start: Path) -> Checkpoint:
    signed = folder / "sha256.json"
    checksums = take(signed, read_object(signed), dict.fromkeys(sorted(_FILES), SHA256))
    for name in sorted(_FILES):
        _check(folder / name, checksums[name])
    file = folder / "state.json"
    state = clean_state(read_object(file, _MOST_BYTES), file, int(folder.name.removeprefix("step-")))
    _check(start, state["start"])
    # The optimizer's moments are as finite as the weights that they are of; places are whole numbers.
    tensors = {name: read_weights(folder / f"{name}.safetensors") for name in _TENSORS}
    tensors["start"] = read_weights(start)
    return Checkpoint(folder, state, tensors)


def _check(path: Path, checksum: object) -> None:
    found = sha256_of(path)
    if found != checksum:
        raise OSError(f"{path.name}: SHA-256 {found[:12]}, not {str(checksum)[:12]}")  # pragma: no cover - within T168


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """RETURNS (str): SHA-256 of the file."""
    return write_weights(tensors, path)


def _sync(path: Path) -> None:
    """As far as the file system can: a checkpoint counts without it, but for a power cut."""
    with contextlib.suppress(OSError):
        sync_file(path)
