"""A run owns its folder while it lasts; a second one is refused at once and sees the owner."""

import json
import os
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from ..errors import T370
from .digests import sha256_of_data
from .parents import make_parents, remove_empty

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_NAME = ".spacy-transfer.lock"
# Names for the processes that this one starts the place that it holds, so that they may write there.
_VARIABLE = "SPACY_TRANSFER_HOLDS"
_LONGEST_COMMAND = 200
_held = threading.local()


class InUse(OSError):
    """Another process has the folder."""


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold a folder while the block lasts. It is made where it is not there, and removed again if it stays empty.

    folder (Path): The folder. A thread that holds it may hold it again; so may a process that this one starts within
        `held`.
    RAISES (InUse): T370 if another process, or another thread, holds it.
    """
    made = make_parents(folder)
    try:
        with _hold(folder / _NAME, folder):
            yield
    finally:
        remove_empty(made)


@contextmanager
def hold_place(path: Path) -> Iterator[None]:
    """Hold the name of a folder that is to be replaced as a whole.

    RAISES (InUse): T370 if another process holds it.
    """
    made = make_parents(path.parent)
    # The name itself may be as long as a name can be.
    name = f".spacy-transfer-{sha256_of_data(os.fsencode(path.name))[:12]}.lock"
    try:
        with _hold(path.parent / name, path):
            yield
    finally:
        remove_empty(made)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within: processes that this one starts may write to a folder that it holds."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = f"{os.getpid()}:{folder.resolve()}"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before


@contextmanager
def _hold(lock: Path, what: Path) -> Iterator[None]:
    mine: set[Path] = _held.__dict__.setdefault("locks", set())
    key = lock.resolve()
    if key in mine or fcntl is None:
        yield
        return
    handle = _acquire(lock, what)
    if handle is None:
        yield
        return
    mine.add(key)
    try:
        yield
    finally:
        mine.discard(key)
        try:
            # Removed while it is held: whoever has opened this very file looks for a new one.
            lock.unlink(missing_ok=True)
        finally:
            os.close(handle)


def _acquire(lock: Path, what: Path) -> int | None:
    """RETURNS (int | None): A handle; None where there are no locks, or where the process that started this one has
    it."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(handle)
            os.close(handle)
            if os.environ.get(_VARIABLE) == f"{holder.get('pid')}:{what.resolve()}":
                return None
            raise InUse(T370.format(path=what, holder=_described(holder))) from None
        except OSError:
            # A file system without locks.
            os.close(handle)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), lock.stat()):
                break
        os.close(handle)
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(_holder()).encode("utf-8"), 0)
    return handle


def _holder() -> dict[str, object]:
    """This process."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(" ", "seconds"),
        "command": shlex.join(sys.argv)[:_LONGEST_COMMAND],
    }


def _read(handle: int) -> dict[str, object]:
    """Who has written itself into a lock; empty where that cannot be read."""
    with suppress(OSError, ValueError, RecursionError):
        data = json.loads(os.pread(handle, 10_000, 0).decode("utf-8"))
        if isinstance(data, dict):
            return data
    return {}


def _described(holder: dict[str, object]) -> str:
    if not {"pid", "host", "since", "command"} <= set(holder):
        return "another process"
    text = "process {pid} on {host}, since {since}: {command}".format(**holder)
    return "".join(c if c.isprintable() else "?" for c in text)
