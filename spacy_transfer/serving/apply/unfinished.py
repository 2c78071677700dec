"""A run that may be killed at any moment: what it has written so far, and a journal of whole blocks.

The folder OUTPUT.unfinished next to the output has `run.json`, which says which run it is, and `rows` and `bad`, which
grow block by block. A line of `journal.jsonl`, written when a block is on the disk, says how long they were then; a run
that continues cuts them to these lengths. The last line says that all is done; then they take their places.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from ...errors import T529, T530, T532, T535
from ...files import GrowingFile, new_file, new_folder, sync_tree, write_text
from ...files.fields import OBJECT, TEXT, take, whole
from ...files.renames import put
from ...files.staging import sync_folder
from ...files.strangers import parse_object
from ...json_types import JsonObject

SUFFIX = ".unfinished"
_RUN, _JOURNAL, _ROWS, _BAD = "run.json", "journal.jsonl", "rows", "bad"
_KIND = "apply"


@dataclass
class Position:
    """A block boundary.

    n_blocks (int): Blocks that are done.
    rows_size (int): Bytes of the output.
    bad_size (int): Bytes of the side file.
    n_docs (int): Documents that were classified.
    n_bad (int): Rows that could not be used.
    n_repeated (int): Documents whose text had come before.
    machine (dict): How the networks compute: threads, and what "auto" stands for.
    made (str): Name of the file that takes the place of the output; empty until all is done.
    """

    n_blocks: int = 0
    rows_size: int = 0
    bad_size: int = 0
    n_docs: int = 0
    n_bad: int = 0
    n_repeated: int = 0
    machine: JsonObject = field(default_factory=dict)
    made: str = ""


_KINDS = {
    **{name: whole() for name in ("n_blocks", "rows_size", "bad_size", "n_docs", "n_bad", "n_repeated")},
    "machine": OBJECT,
    "made": TEXT,
}


class Unfinished:
    """The folder of a run.

    folder (Path): Which one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.position = Position()
        self._files: dict[str, GrowingFile] = {}

    @property
    def rows(self) -> Path:
        """The output so far."""
        return self.folder / _ROWS

    @property
    def bad(self) -> Path:
        """The side file so far."""
        return self.folder / _BAD

    # ---- beginning -----------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Check whether there is a run.

        RAISES (FileExistsError): T535 for anything else of this name.
        """
        if not os.path.lexists(self.folder):
            return False
        with suppress(OSError):
            # Nothing but the last step of removing it was left.
            self.folder.rmdir()
            return False
        with suppress(OSError, ValueError, RecursionError, AttributeError):
            if json.loads((self.folder / _RUN).read_text("utf-8")).get("kind") == _KIND:
                if (self.folder / _JOURNAL).exists():
                    return True
                self.remove()
                return False
        raise FileExistsError(T535.format(folder=self.folder))

    def begin(self) -> None:
        """Make the folder, whole or not at all."""
        with new_folder(self.folder, sync=True) as part:
            (part / _RUN).write_text(json.dumps({"kind": _KIND}), "utf-8")
            for name in (_JOURNAL, _ROWS, _BAD):
                (part / name).touch()

    def remove(self) -> None:
        """Remove the folder: first the journal, without which nobody goes on, last what says that it is ours."""
        (self.folder / _JOURNAL).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.name != _RUN:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(self.folder)

    def identify(self, identity: JsonObject) -> None:
        """Write down which run it is, or compare.

        identity (dict): Pipeline, sources and options, JSON-able.
        RAISES (ValueError): T530 for another run, T532 for a damaged folder.
        """
        identity = json.loads(json.dumps({**identity, "spacy-transfer": version("spacy-transfer")}))
        try:
            stored = json.loads((self.folder / _RUN).read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(T532.format(folder=self.folder, reason=error)) from error
        if "identity" not in stored:
            write_text(self.folder / _RUN, json.dumps({"kind": _KIND, "identity": identity}), sync=True)
            return
        changed = [key for key in identity if stored["identity"].get(key) != identity[key]]
        if changed:
            raise ValueError(T530.format(folder=self.folder, what=" and ".join(f"the {key}" for key in changed)))

    def restore(self) -> Position:
        """Go back to the last block boundary.

        RETURNS (Position): Where that is.
        RAISES (ValueError): T532 for files that are shorter than the journal says.
        """
        content = (self.folder / _JOURNAL).read_bytes()
        size = 0
        for line in content.splitlines(keepends=True):
            # The last line may be cut short.
            if not line.endswith(b"\n"):
                break
            try:
                found = take(self.folder / _JOURNAL, parse_object(line, self.folder / _JOURNAL), _KINDS)
            except ValueError as error:
                raise ValueError(T532.format(folder=self.folder, reason=error)) from error
            self.position = Position(**found)
            size += len(line)
        if not self.position.made:
            self._cut(_ROWS, self.position.rows_size)
            self._cut(_BAD, self.position.bad_size)
        self._cut(_JOURNAL, size)
        return self.position

    def _cut(self, name: str, size: int) -> None:
        path = self.folder / name
        there = path.stat().st_size if path.exists() else 0
        if there < size:
            reason = f"'{name}' has {there} bytes, and had {size}"
            raise ValueError(T532.format(folder=self.folder, reason=reason))
        if there > size:
            os.truncate(path, size)

    # ---- blocks --------------------------------------------------------------------------------------------------

    def append(self, rows: bytes, bad: bytes) -> None:
        """Write a block; it does not count yet.

        rows (bytes): For the output.
        bad (bytes): For the side file.
        """
        for name, data in ((_ROWS, rows), (_BAD, bad)):
            # Most blocks have no bad row, and each write waits for the disk.
            if data:
                self._write(name, data)
        self.position.rows_size += len(rows)
        self.position.bad_size += len(bad)

    def commit(self) -> None:
        """Let the position count, all that it speaks of being on the disk."""
        self._write(_JOURNAL, json.dumps(asdict(self.position)).encode("ascii") + b"\n")

    @property
    def has_blocks(self) -> bool:
        """Whether anything counts that a run could continue from."""
        journal = self.folder / _JOURNAL
        return not journal.exists() or journal.stat().st_size > 0

    def _write(self, name: str, data: bytes) -> None:
        self._files.setdefault(name, GrowingFile(self.folder / name)).append(data)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    # ---- the end -------------------------------------------------------------------------------------------------

    def done(self, made: str = _ROWS) -> None:
        """Say that output and side file are complete, whatever happens from here on.

        made (str): Name of the file in the folder that takes the place of the output.
        """
        self.close()
        sync_tree(self.folder)
        self.position.made = made
        self.commit()
        self.close()

    def publish(self, output: Path, bad_file: Path) -> None:
        """Let output and side file take their places, and remove the folder. May be done again after a kill.

        output (Path): The output.
        bad_file (Path): The side file; an older one goes where no row was bad.
        """
        made = self.folder / self.position.made
        if self.position.n_bad:
            # A copy, since it may lie on another disk.
            with new_file(bad_file, sync=True, needs=self.bad.stat().st_size) as part:
                shutil.copyfile(self.bad, part)
        elif made.exists():
            bad_file.unlink(missing_ok=True)
        if made.exists():
            put(made, output, self.folder / "aside")
        sync_folder(output.parent)
        self.remove()


def refuse_unfinished(folder: Path) -> FileExistsError:
    """Make the error for a run that nobody asked to continue.

    folder (Path): Its folder.
    RETURNS (FileExistsError): T529.
    """
    return FileExistsError(T529.format(folder=folder))
