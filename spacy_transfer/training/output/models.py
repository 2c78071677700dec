"""The folders model-last and model-best: written completely or left unchanged."""

import shutil
from collections.abc import Callable
from pathlib import Path

from spacy.language import Language
from spacy.training.loop import DIR_MODEL_BEST, DIR_MODEL_LAST

from ...files import new_folder, size_of, sync_tree


class Outcome:
    """Writes pipelines into an output folder.

    folder (Path): Of the run.
    before_to_disk (Callable): Of the config.
    """

    def __init__(self, folder: Path, before_to_disk: Callable[[Language], Language]) -> None:
        self.last, self.best = folder / DIR_MODEL_LAST, folder / DIR_MODEL_BEST
        self._before_to_disk = before_to_disk

    @property
    def has_best(self) -> bool:
        """Whether there is a model-best."""
        return (self.best / "meta.json").is_file() and (self.best / "config.cfg").is_file()

    def save(self, nlp: Language, averages: dict[object, object] | None, *, is_best: bool) -> None:
        """Write model-last, and copy it to model-best; what is there is replaced once the new one is whole.

        nlp (Language): The pipeline.
        averages (dict | None): Weights to save in place of those that train.
        is_best (bool): Whether it is the best so far.
        RAISES (OSError): T372 for a full disk; what the file system says otherwise.
        """
        with nlp.use_params(averages), new_folder(self.last, needs=size_of(self.last)) as folder:
            self._before_to_disk(nlp).to_disk(folder)
        if is_best:
            copy_folder(self.last, self.best)

    def sync(self) -> None:
        """Let the disk have both."""
        for folder in (self.last, self.best):
            if folder.is_dir():
                sync_tree(folder)


def copy_folder(source: Path, target: Path) -> None:
    """Put a copy of a folder in the place of another.

    RAISES (OSError): T372 for a full disk.
    """
    with new_folder(target, needs=size_of(source)) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
