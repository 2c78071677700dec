"""Writes files and folders completely or not at all."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import T373, T373_OUTPUT
from .digests import sha256_of_data
from .parents import make_parents, remove_empty
from .renames import exchange, put
from .space import saying_when_full
from .staging import Staging, sync_folder


def write_text(path: Path, text: str, *, sync: bool = False) -> str:
    """Write a text file as UTF-8; whole or not there.

    RETURNS (str): SHA-256 of the file.
    RAISES (OSError): T372 for a full disk; what the file system says otherwise.
    """
    return write_data(path, text.encode("utf-8"), sync=sync)


def write_data(path: Path, data: bytes, *, sync: bool = False) -> str:
    """Write a file; whole or not there.

    path (Path): The file; its folder is made.
    data (bytes): What goes in.
    sync (bool): Wait until the disk has it.
    RETURNS (str): SHA-256 of the file.
    RAISES (OSError): T372 for a full disk; what the file system says otherwise.
    """
    with new_file(path, sync=sync, needs=len(data)) as part:
        part.write_bytes(data)
    return sha256_of_data(data)


@contextmanager
def new_file(path: Path, *, sync: bool = False, needs: int = 0) -> Iterator[Path]:
    """Make a file under another name; it takes its place when the block ends well. A link that stands there is
    replaced, not followed.

    path (Path): The file; its folder is made.
    sync (bool): Wait until the disk has it.
    needs (int): Bytes, where known.
    YIELDS (Path): Where to write it, by any library; its mode follows the umask, whatever that library does.
    RAISES (OSError): T372 for a full disk; what the file system says otherwise.
    """
    with all_or_none(sync=sync, needs=needs) as stage:
        yield stage(path)


@contextmanager
def new_folder(path: Path, *, sync: bool = False, needs: int = 0) -> Iterator[Path]:
    """Make a folder under another name; it takes the place of the old one, whole, when the block ends well.

    path (Path): The folder; its parent is made.
    sync (bool): Wait until the disk has all of it.
    needs (int): Bytes, where known.
    YIELDS (Path): An empty folder to write to.
    RAISES (OSError): T372 for a full disk; what the file system says otherwise. The old folder is as it was then.
    """
    if path.exists() and not path.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    made = make_parents(path.parent)
    staging = None
    try:
        with saying_when_full(path, None, needs):
            staging = Staging(path.parent)
        part = staging.part()
        with saying_when_full(path, staging.folder, needs):
            part.mkdir()
            yield part
            if sync:
                sync_tree(part)
            if not os.path.lexists(path):
                part.rename(path)
            elif not exchange(part, path):
                # A process that is killed between two renames is finished by the next command.
                staging.decide([(part, path)])
                put(part, path, staging.part())
        if sync:
            sync_folder(path.parent)
    finally:
        if staging is not None:
            staging.close()
        remove_empty(made)


@contextmanager
def all_or_none(*, sync: bool = True, needs: int = 0) -> Iterator[Callable[[Path], Path]]:
    """Make several files under other names; they take their places together when the block ends well.

    A process that is killed meanwhile leaves all of the old files or none of them: what it had decided to do is done by
    the next command that writes, or looks, into one of the folders.

    sync (bool): Wait until the disk has them.
    needs (int): Bytes, where known.
    YIELDS (Callable[[Path], Path]): Gives for a path, whose folder is made, the path to write to. It raises ValueError,
        T373, for the same path again.
    RAISES (OSError): T372 for a full disk; what the file system says otherwise. The old files are as they were then.
    """
    made: list[Path] = []
    stagings: dict[Path, Staging] = {}
    moves: dict[Path, list[tuple[Path, Path]]] = {}
    last = [Path()]

    def stage(path: Path) -> Path:
        """Give a place to write a file in, which is moved when all are complete."""
        parent = path.parent.absolute()
        made.extend(make_parents(parent))
        folder = parent.resolve()
        if any(place.name == path.name for _, place in moves.get(folder, ())):
            raise ValueError(T373.format(path=path, problem=T373_OUTPUT))
        if folder not in stagings:
            stagings[folder], moves[folder] = Staging(folder), []
        part = stagings[folder].part()
        moves[folder].append((part, folder / path.name))
        last[0] = path
        return part

    def where() -> Path | None:
        """Give the folder of the newest part, whose disk may be full."""
        return next(reversed(stagings.values())).folder if stagings else None

    try:
        try:
            yield stage
        except Exception as error:
            # The file that was being written is the last that was asked for.
            with saying_when_full(last[0], where(), needs):
                raise error
        with saying_when_full(last[0], where(), needs):
            for part, _ in (move for some in moves.values() for move in some):
                _follow_umask(part)
                if sync:
                    sync_file(part)
            _move(stagings, moves)
        if sync:
            for folder in stagings:
                sync_folder(folder)
    finally:
        with ExitStack() as closing:
            closing.callback(remove_empty, made)
            # The first one, which decides, goes first.
            for staging in reversed(stagings.values()):
                closing.callback(staging.close)


@contextmanager
def new_contents(folder: Path, *, last: str) -> Iterator[Path]:
    """Make files for a folder that may hold others too; they take their places together when the block ends well.

    folder (Path): The folder; it is made.
    last (str): The file without which the others count for nothing.
    YIELDS (Path): An empty folder to write to; all files in it go into the other one, under the same names.
    RAISES (OSError): T372 for a full disk; what the file system says otherwise. The old files are as they were then.
    """
    is_new = not (folder / last).exists()
    with all_or_none(sync=False) as stage:
        made = stage(folder / last)
        made.mkdir()
        yield made
        names = sorted((path.name for path in made.iterdir() if path.is_file()), key=lambda name: name == last)
        beside = made.with_name("contents")
        made.rename(beside)
        if is_new:
            # Nothing is lost, and nothing counts before the last one is there.
            for name in names[:-1]:
                _follow_umask(beside / name)
                (beside / name).replace(folder / name)
            names = [last]
        for name in names:
            (beside / name).rename(made if name == last else stage(folder / name))


def _move(stagings: dict[Path, Staging], moves: dict[Path, list[tuple[Path, Path]]]) -> None:
    """Let all files take their places; on the way out of an error every step is taken back."""
    every = [move for some in moves.values() for move in some]
    for _, place in every:
        if place.is_dir() and not place.is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
    if len(every) == 1:
        # One rename is all or none by itself.
        every[0][0].replace(every[0][1])
        return
    first, *others = stagings
    kept: list[tuple[Path, Path | None]] = []
    for folder, staging in stagings.items():
        for _, place in moves[folder]:
            old = None
            if os.path.lexists(place):
                old = staging.part()
                with suppress(OSError, NotImplementedError):
                    os.link(place, old, follow_symlinks=False)
            kept.append((place, old))
    for folder in others:
        stagings[folder].decide(moves[folder], first=stagings[first].folder)
    stagings[first].decide(moves[first], [stagings[folder].folder for folder in others])
    n_done = 0
    try:
        for part, place in every:
            part.replace(place)
            n_done += 1
    except OSError:
        stagings[first].undecide()
        for place, old in kept[:n_done]:
            if old is None:
                place.unlink()
            elif os.path.lexists(old):
                old.replace(place)
        raise


def sync_tree(folder: Path) -> None:
    """Let the disk have everything in a folder."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            sync_file(path)
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def sync_file(path: Path) -> None:
    """Let the disk have a file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _follow_umask(path: Path) -> None:
    """Give a file the mode that a new file gets; some libraries write with mode 0600."""
    probe = path.with_name("mode")
    handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        mode = os.fstat(handle).st_mode & 0o777
    finally:
        os.close(handle)
        probe.unlink()
    if path.stat().st_mode & 0o777 != mode:
        path.chmod(mode)
