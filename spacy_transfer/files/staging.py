"""A private folder next to a target, where new files are written before they replace the old ones.

It has a random name, so that nothing planted under a name that could be guessed is written through. It is locked while
its process lives: what is not locked is left by a process that was killed, and the next command removes it, or, if it
holds a journal, finishes what that process had decided to do.
"""

import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import T374, T374_FAILED
from ..json_types import JsonObject
from ..log import logger
from .renames import put

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"\.spacy-transfer-[0-9a-f]{12}")
_LOCK_FILE = re.compile(r"\.spacy-transfer(-[0-9a-f]{12})?\.lock")
_PART = re.compile(r"\d{1,9}")
_JOURNAL = "journal.json"
_LONGEST_JOURNAL = 10_000_000
# A handle where the file system, or the operating system, has no locks: then what is left is never known to be left.
_NO_LOCKS = -1


class Staging:
    """A folder in which new files are made.

    parent (Path): Folder of the targets, which is there.
    """

    def __init__(self, parent: Path) -> None:
        repair(parent)
        while True:
            self.folder = parent / f".spacy-transfer-{secrets.token_hex(6)}"
            try:
                self.folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            self._handle = _lock(self.folder)
            # Somebody who repairs the folder may have come between the two calls.
            if self._handle is not None:
                break
        self._n_parts = 0

    def part(self) -> Path:
        """A free name in the folder."""
        self._n_parts += 1
        return self.folder / str(self._n_parts - 1)

    def close(self) -> None:
        """Remove the folder and what is left in it."""
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            _unlock(self._handle)
            self._handle = _NO_LOCKS

    # ---- the journal ---------------------------------------------------------------------------------------------

    def decide(
        self, moves: Sequence[tuple[Path, Path]], others: Sequence[Path] = (), first: Path | None = None
    ) -> None:
        """Write down which part takes which place: from here on a killed process is finished by the next command.

        moves (Sequence[tuple[Path, Path]]): Parts of this folder, and names in its parent.
        others (Sequence[Path]): Staging folders whose moves are to be made first.
        first (Path | None): The staging folder whose journal decides; None if it is this one.
        """
        data = {
            "moves": [[part.name, place.name] for part, place in moves],
            "others": [str(one.absolute()) for one in others],
            "first": None if first is None else str(first.absolute()),
        }
        beside = self.folder / "journal"
        with beside.open("x", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.folder / _JOURNAL)
        sync_folder(self.folder)

    def undecide(self) -> None:
        """Take the decision back, every step of it being taken back."""
        (self.folder / _JOURNAL).unlink(missing_ok=True)


def repair(folder: Path) -> list[str]:
    """Finish or remove what processes that were killed have left in a folder.

    RETURNS (list[str]): Names of what has taken its place.
    RAISES (OSError): T374 where that cannot be finished.
    """
    done: list[str] = []
    try:
        with os.scandir(folder) as entries:
            every = [Path(one.path) for one in entries if one.name.startswith(".spacy-transfer")]
    except OSError:
        return done
    found = [path for path in every if _NAME.fullmatch(path.name)]
    for path in every:
        if _LOCK_FILE.fullmatch(path.name):
            _remove_lock(path)
    for staging in found:
        done += _finish(staging, set())
    if done:
        logger.warning(T374.format(folder=folder, names=", ".join(sorted(done))))
    return done


def _remove_lock(path: Path) -> None:
    """Remove a lock that nobody holds."""
    if fcntl is None:
        return
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):
                path.unlink()
        finally:
            os.close(handle)


def _finish(staging: Path, seen: set[Path]) -> list[str]:
    """Of one staging folder, unless its process lives."""
    if staging in seen or not _is_ours(staging) or (handle := _lock(staging)) in (None, _NO_LOCKS):
        return []
    seen.add(staging)
    done: list[str] = []
    try:
        if (journal := _journal(staging)) is not None and (
            journal["first"] is None or (Path(journal["first"]) / _JOURNAL).is_file()
        ):
            for other in journal["others"]:
                if _NAME.fullmatch(Path(other).name):
                    done += _finish(Path(other), seen)
            aside = staging / "aside"
            for part, place in journal["moves"]:
                if os.path.lexists(staging / part):
                    shutil.rmtree(aside, ignore_errors=True)
                    put(staging / part, staging.parent / place, aside)
                    done.append(place)
        shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise OSError(T374_FAILED.format(folder=staging.parent, error=error.strerror or error)) from error
    finally:
        _unlock(handle)
    return done


def _journal(staging: Path) -> JsonObject | None:
    """What was decided; None where nothing was, or nothing that this package writes."""
    path = staging / _JOURNAL
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or path.lstat().st_size > _LONGEST_JOURNAL:
            return None
        data = json.loads(path.read_text("utf-8"))
        moves = [(str(part), str(place)) for part, place in data["moves"]]
        others = [str(one) for one in data["others"]]
        first = None if data["first"] is None else str(data["first"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    for part, place in moves:
        is_name = place not in ("", ".", "..") and not {"/", "\\", "\0"} & set(place)
        if not _PART.fullmatch(part) or not is_name or (staging / part).is_symlink():
            return None
    return {"moves": moves, "others": others, "first": first}


def _is_ours(staging: Path) -> bool:
    """A real folder of this user: others' are left alone."""
    with suppress(OSError):
        found = staging.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return False


def sync_folder(folder: Path) -> None:
    """Let the disk have the names in a folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock(folder: Path) -> int | None:
    """Lock a folder.

    RETURNS (int | None): A handle; None if another process has it, -1 if there are no locks here.
    """
    if fcntl is None:
        return _NO_LOCKS
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_free = os.path.samestat(os.fstat(handle), folder.stat())
    except (BlockingIOError, FileNotFoundError):
        is_free = False
    except OSError:
        os.close(handle)
        return _NO_LOCKS
    if not is_free:
        os.close(handle)
    return handle if is_free else None


def _unlock(handle: int | None) -> None:
    if handle is not None and handle != _NO_LOCKS:
        os.close(handle)
