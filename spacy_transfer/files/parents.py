"""Parent folders created for a file, and removed if the file is not written."""

from contextlib import suppress
from pathlib import Path


def make_parents(folder: Path) -> list[Path]:
    """Make a folder and those above it.

    RETURNS (list[Path]): Which were made, the innermost first.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: list[Path]) -> None:
    """Remove those that hold nothing, the innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
