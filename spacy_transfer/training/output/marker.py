"""Marks a folder as that of a run, a search, a pretraining, an update or a self-training."""

import json
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from spacy.training.loop import DIR_MODEL_BEST, DIR_MODEL_LAST

from ...errors import T371, T380
from ...files import write_text

Kind = Literal["run", "study", "pretraining", "update", "self-training"]

MARKER_FILE = ".spacy-transfer.json"
# Names in the folder of a run that are ours where a marker says so.
RUN_NAMES = ("checkpoints", "log.jsonl", "result.json", DIR_MODEL_LAST, DIR_MODEL_BEST)
# What else a search and a self-training have in their folder.
STUDY_NAMES = ("study.json", "results.csv", "statistics.csv")
SELF_TRAINING_RECORD = "self-train.json"
# Kinds whose own folder is that of their training, too.
_TRAINS_WITHIN = ("pretraining", "update")
_COMMANDS = {
    "run": "train or distill", "study": "train with --seeds or --sweep", "pretraining": "pretrain or adapt",
    "update": "update", "self-training": "self-train",
}  # fmt: skip


@dataclass(frozen=True)
class Marker:
    """What is in a folder.

    kind (str): "run", "study", "pretraining", "update" or "self-training".
    token (str): Another one for each that begins.
    """

    kind: str
    token: str

    @classmethod
    def read(cls, folder: Path) -> "Marker | None":
        """The marker of a folder; None where there is none that can be read."""
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            data = json.loads((folder / MARKER_FILE).read_text("utf-8"))
            return cls(str(data["kind"]), str(data["token"]))
        return None

    @classmethod
    def write(cls, folder: Path, kind: Kind) -> "Marker":
        """Say that a folder is ours.

        RAISES (OSError): What the file system says.
        """
        marker = cls(kind, secrets.token_hex(8))
        data = {"kind": kind, "token": marker.token, "spacy-transfer": version("spacy-transfer")}
        write_text(folder / MARKER_FILE, json.dumps(data) + "\n")
        return marker

    @classmethod
    def write_run(cls, folder: Path) -> None:
        """Say that a run has begun in a folder; that of a pretraining or an update stays theirs.

        RAISES (OSError): What the file system says.
        """
        if (marker := cls.read(folder)) is None or marker.kind not in _TRAINS_WITHIN:
            cls.write(folder, "run")


def refuse_strange(folder: Path, names: Iterable[str], kind: Kind = "run") -> None:
    """Refuse to write where something stands that nothing says is that of an earlier run of the same command.

    folder (Path): Where the run will write.
    names (Iterable[str]): In the folder.
    kind (str): What the folder is to be.
    RAISES (FileExistsError): For those that are there: T371 without a marker, T380 with that of another kind.
    """
    marker = Marker.read(folder)
    if marker is not None and marker.kind == kind:
        return
    if there := ", ".join(name for name in names if holds_something(folder / name)):
        if marker is None:
            raise FileExistsError(T371.format(folder=folder, names=there))
        command = _COMMANDS.get(marker.kind, repr(marker.kind))
        raise FileExistsError(T380.format(folder=folder, names=there, command=command))


def remove_ours(folder: Path, names: Iterable[str]) -> None:
    """Remove what is ours, and the folder if nothing else is in it.

    folder (Path): Where a run wrote; need not be there.
    names (Iterable[str]): In the folder; first what says that a run is there. Last of all goes the marker.
    """
    for name in (*names, MARKER_FILE):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def holds_something(path: Path) -> bool:
    """Say whether something would be lost with a file or a folder.

    path (Path): Need not be there.
    RETURNS (bool): False also for an empty folder.
    """
    if path.is_dir() and not path.is_symlink():
        return any(path.iterdir())
    return path.exists() or path.is_symlink()
