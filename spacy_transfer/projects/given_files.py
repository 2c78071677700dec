"""Finds out which of the given files is for training, which for dev and which for test."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..corpora.dev_part import Part
from ..corpora.tables.row_files import FORMATS, READERS
from ..corpora.text_folder import holds_texts_by_label
from ..errors import T612, T612_NONE, T612_SEVERAL, T612_UNNAMED, T880
from ..files import no_such_file

PARTS: tuple[Part, ...] = ("train", "dev", "test")
_WORDS: dict[str, Part] = {
    "train": "train", "training": "train", "dev": "dev", "devel": "dev", "development": "dev", "val": "dev",
    "valid": "dev", "validation": "dev", "test": "test", "testing": "test",
}  # fmt: skip
# Parts of one table, as `datasets` writes them.
_SHARD = re.compile(r"-\d+-of-\d+$")


def find_files(given: Sequence[Path]) -> tuple[dict[Part, list[Path]], list[Path]]:
    """Find the files of each part.

    given (Sequence[Path]): A file, several, or a folder of files. A single file is all there is; of several the names
        tell: train.csv, dev.csv or valid.csv, test.csv, also as a part of the name. A folder of text files whose
        names are the labels counts as a file, and so do such folders called train, dev or test in a folder.
    RETURNS (tuple[dict[Part, list[Path]], list[Path]]): Files by part, train first, and files of a folder that are left
        out since their names say nothing.
    RAISES (FileNotFoundError): T440 for a path that is not there, T880 for a folder without such files.
    RAISES (ValueError): T612 where the names do not tell.
    """
    files: list[Path] = []
    of_folder: set[Path] = set()
    for path in given:
        if path.is_dir():
            found = _in_folder(path)
            of_folder |= set(found)
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise no_such_file(path, FORMATS)
    if len(files) == 1:
        return {"train": files}, []
    named: dict[Path, Part | None] = {path: _part_of(path) for path in files}
    unnamed = [path for path, part in named.items() if part is None]
    if len(unnamed) == len(files) or any(path not in of_folder for path in unnamed):
        raise ValueError(T612.format(problem=T612_UNNAMED.format(files=_shown(unnamed))))
    found_parts = {part: [path for path in files if named[path] == part] for part in PARTS}
    if not found_parts["train"]:
        raise ValueError(T612.format(problem=T612_NONE.format(files=_shown(files))))
    for part, paths in found_parts.items():
        if len(paths) > 1 and len({(_SHARD.sub("", path.stem), path.suffix, path.parent) for path in paths}) > 1:
            raise ValueError(T612.format(problem=T612_SEVERAL.format(part=part, files=_shown(paths))))
    return {part: paths for part, paths in found_parts.items() if paths}, unnamed


def _in_folder(folder: Path) -> list[Path]:
    """Its tables; those of its folders where it has none itself; else itself or its splits as folders of text files."""
    for pattern in ("*", "*/*"):
        found = sorted(
            path for path in folder.glob(pattern)
            if path.is_file() and path.suffix.lower() in READERS and not path.name.startswith(".")
        )  # fmt: skip
        if found:
            return found
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and _part_of(path) is not None]
    if splits := [path for path in folders if holds_texts_by_label(path)]:
        return splits
    if holds_texts_by_label(folder) and not any(_part_of(path) == "train" for path in folder.iterdir()):
        return [folder]
    raise FileNotFoundError(T880.format(path=folder, formats=FORMATS))


def _part_of(path: Path) -> Part | None:
    words = [word for word in re.split(r"[\W_\d]+", path.stem.casefold()) if word]
    found = {_WORDS[word] for word in words if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def _shown(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths[:6]) + (", ..." if len(paths) > 6 else "")
