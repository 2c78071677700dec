"""Several files appear together, or none of them does."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def all_or_none() -> Iterator[Callable[[Path], Path]]:
    """Write files under temporary names; they get their own ones together when the block ends well.

    YIELDS (Callable[[Path], Path]): Gives for a path, whose folder is made, the temporary path beside it to write to.
    RAISES (OSError): What the file system says; the files that stood there before are back then.
    """
    staged: dict[Path, Path] = {}
    folders: list[Path] = []

    def stage(path: Path) -> Path:
        missing = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        folders.extend(missing)
        staged[path] = path.with_name(f".{path.name}.{os.getpid()}.part")
        return staged[path]

    done = False
    try:
        yield stage
        _move(staged)
        done = True
    finally:
        if not done:
            for part in staged.values():
                part.unlink(missing_ok=True)
            for folder in folders:
                # not empty when somebody else wrote there meanwhile
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def _move(staged: dict[Path, Path]) -> None:
    """Give all files their names; on the way out of an error every step is taken back, the last one first."""
    asides: list[Path] = []
    with ExitStack() as undo:
        for path, part in staged.items():
            aside = path.with_name(f".{path.name}.{os.getpid()}.old")
            if path.exists():
                path.replace(aside)
                undo.callback(aside.replace, path)
                asides.append(aside)
            part.replace(path)
            undo.callback(path.unlink, missing_ok=True)
        undo.pop_all()
    for aside in asides:
        aside.unlink()
