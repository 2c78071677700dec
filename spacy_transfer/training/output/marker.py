"""Marks a folder as belonging to a run, a search or a pretraining."""

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

from ...errors import T371
from ...files import write_text

Kind = Literal["run", "study", "pretraining"]

MARKER_FILE = ".spacy-transfer.json"
# Names in the folder of a run that are ours where a marker says so.
RUN_NAMES = ("checkpoints", "log.jsonl", "result.json", DIR_MODEL_LAST, DIR_MODEL_BEST)


@dataclass(frozen=True)
class Marker:
    """What is in a folder.

    kind (str): "run", "study" or "pretraining".
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


def refuse_strange(folder: Path, names: Iterable[str]) -> None:
    """Refuse to write where something stands that nothing says is ours.

    folder (Path): Where the run will write.
    names (Iterable[str]): In the folder.
    RAISES (FileExistsError): T371 for those that are there, without a marker.
    """
    if Marker.read(folder) is None and (there := [name for name in names if _holds_something(folder / name)]):
        raise FileExistsError(T371.format(folder=folder, names=", ".join(there)))


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


def _holds_something(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        return any(path.iterdir())
    return path.exists() or path.is_symlink()
