"""Find the run, the search and the pipeline that a path stands for."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spacy.training.loop import DIR_MODEL_BEST, DIR_MODEL_LAST
from spacy.util import is_package

from ...errors import T643
from ...files import no_such_file
from ...files.strangers import UnusableFile, read_object

LOG, RESULT, STUDY = "log.jsonl", "result.json", "study.json"
# Folders above a run in which its search may be: STUDY/trial-001/seed-0.
_MOST_ABOVE = 2


@dataclass(frozen=True)
class Place:
    """Where things are.

    name (str): What the page calls it.
    pipeline (Path | str | None): A folder, or the name of a package; None where a run has not saved one yet.
    run (Path | None): The folder with the log, where the pipeline was trained by `spacy transfer train`.
    study (Path | None): The folder of the search that the run belongs to.
    """

    name: str
    pipeline: Path | str | None
    run: Path | None
    study: Path | None


def find_place(target: Path | str) -> Place:
    """Find what there is to report on.

    target (Path | str): The output folder of a run or a search, the folder of a pipeline, or an installed package.
    RETURNS (Place): Where things are.
    RAISES (FileNotFoundError): T440 for a path that does not exist.
    RAISES (ValueError): T643 for a folder with neither a pipeline nor a run.
    """
    path = Path(target)
    if not path.exists():
        if is_package(str(target)):
            return Place(str(target), str(target), None, None)
        raise no_such_file(path)
    if _is_pipeline(path):
        above = path.absolute().parent
        run = above if path.name in (DIR_MODEL_BEST, DIR_MODEL_LAST) and _is_run(above) else None
        return Place(str(target), path, run, _study_of(run or above))
    pipeline = next((path / name for name in (DIR_MODEL_BEST, DIR_MODEL_LAST) if _is_pipeline(path / name)), None)
    study = _study_of(path)
    run = path if _is_run(path) else _best_run(path) if (path / STUDY).is_file() else None
    if pipeline is None and run is None and study is None:
        raise ValueError(T643.format(path=path))
    return Place(str(target), pipeline, run, study)


def _is_pipeline(path: Path) -> bool:
    return (path / "meta.json").is_file() and (path / "config.cfg").is_file()


def _is_run(path: Path) -> bool:
    return (path / LOG).is_file() or (path / RESULT).is_file()


def _study_of(folder: Path) -> Path | None:
    folder = folder.absolute()
    candidates = [folder, *list(folder.parents)[:_MOST_ABOVE]]
    return next((one for one in candidates if (one / STUDY).is_file()), None)


def _best_run(study: Path) -> Path | None:
    """The best run of a search, if it is there and its name leads to no other folder."""
    with suppress(UnusableFile):
        name = read_object(study / STUDY, 100_000_000).get("best_run")
        if isinstance(name, str) and name and (run := study / name).resolve().is_relative_to(study.resolve()):
            return run if _is_run(run) else None
    return None
