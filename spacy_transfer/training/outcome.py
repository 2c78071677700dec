"""The folders model-last and model-best: complete or as they were."""

import shutil
from collections.abc import Callable
from pathlib import Path

from spacy.language import Language
from spacy.training.loop import DIR_MODEL_BEST, DIR_MODEL_LAST


class Outcome:
    """Writes pipelines into an output folder.

    folder (Path): Of the run. before_to_disk (Callable): Of the config.
    """

    def __init__(self, folder: Path, before_to_disk: Callable[[Language], Language]) -> None:
        self.last, self.best = folder / DIR_MODEL_LAST, folder / DIR_MODEL_BEST
        self._before_to_disk = before_to_disk

    def repair(self) -> None:
        """A run that was killed between two renames left the old pipeline aside."""
        for path in (self.last, self.best):
            aside, beside = _aside(path), _beside(path)
            if aside.exists() and not path.exists():
                aside.rename(path)
            shutil.rmtree(aside, ignore_errors=True)
            shutil.rmtree(beside, ignore_errors=True)

    def clear(self) -> None:
        """Throw away what an earlier run left."""
        for path in (self.last, self.best):
            for one in (path, _aside(path), _beside(path)):
                if one.exists():
                    shutil.rmtree(one)

    def save(self, nlp: Language, averages: dict[object, object] | None, *, is_best: bool) -> None:
        """Write model-last, and copy it to model-best.

        averages (dict | None): Weights to save in place of those that train.
        """
        with nlp.use_params(averages):
            replace_folder(self.last, lambda path: self._before_to_disk(nlp).to_disk(path))
        if is_best:
            replace_folder(self.best, lambda path: shutil.copytree(self.last, path))


def replace_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Put a folder in the place of another, complete. write (Callable): Makes it under a name beside."""
    beside, aside = _beside(path), _aside(path)
    shutil.rmtree(beside, ignore_errors=True)
    write(beside)
    # A folder that is not empty cannot be replaced at once.
    if path.exists():
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    beside.rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")
