"""Finds what is wrong with the `.spacy` files that a config names, and says which file it is."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard

from thinc.api import Config

from ... import errors
from ...docbins import find_docbins, read_docs
from ...json_types import ConfigMapping

# Those of .spacy files, whose `path` is all that they read.
READERS = ("spacy.Corpus.v1", "spacy-transfer.Corpus.v1")


def reads_docbins(block: object) -> TypeGuard[ConfigMapping]:
    """Say whether a corpus of a config is read from .spacy files alone.

    block (object): Of the config.
    RETURNS (bool): False also for what is no block.
    """
    return isinstance(block, Mapping) and block.get("@readers") in READERS


def check_path_of(reader: object) -> None:
    """Say why a reader of a config gave no documents, if it is its path.

    reader (object): A reader such as `spacy.Corpus.v1`, with a `path`; others are not looked at.
    RAISES (FileNotFoundError, ValueError): As find_docbins.
    """
    path = getattr(reader, "path", None)
    if isinstance(path, str | Path):
        find_docbins(Path(path))


@contextmanager
def naming_damaged_corpora(config: Config) -> Iterator[None]:
    """Within: an error that comes of a damaged .spacy file of a config says which one.

    spaCy's reader raises whatever its parts do. The files are read once more for it, after an error only.

    config (Config): Of a training.
    RAISES (ValueError): T047, T397.
    """
    try:
        yield
    except (OSError, ImportError):
        raise
    except Exception as error:
        if str(error).startswith("[T"):
            raise
        for path in _paths(config):
            for file in find_docbins(path):
                for _ in read_docs(file):
                    pass
        for path in _label_files(config):
            try:
                json.loads(path.read_text("utf-8"))
            except (ValueError, RecursionError) as reason:
                raise ValueError(errors.T047.format(path=path, format="a list of labels", reason=reason)) from error
        raise


def check_corpora(config: Config) -> None:
    """Say before a run which corpus of a config is no .spacy file; what is missing is left to who reads it.

    config (Config): Of a training.
    RAISES (ValueError): T391.
    """
    for path in _paths(config):
        find_docbins(path)


def _label_files(config: Config) -> Iterator[Path]:
    """What `spacy.read_labels.v1` reads for the components of a config, as far as it is there."""
    waiting: list[object] = [config.interpolate().get("initialize")]
    while waiting:
        block = waiting.pop()
        if isinstance(block, Mapping):
            waiting.extend(block.values())
            path = block.get("path") if block.get("@readers") == "spacy.read_labels.v1" else None
            if isinstance(path, str) and Path(path).is_file():
                yield Path(path)


def _paths(config: Config) -> Iterator[Path]:
    """What the readers of .spacy files read, as far as it is there."""
    try:
        corpora = config.interpolate().get("corpora", {})
    except (ValueError, KeyError):
        # A variable without a value: spaCy says it better.
        return
    for block in corpora.values() if isinstance(corpora, Mapping) else ():
        path = block.get("path") if reads_docbins(block) else None
        if isinstance(path, str) and path and Path(path).expanduser().exists():
            yield Path(path).expanduser()
