"""Chooses among configs by cross-validation on the training texts; see `spacy transfer choose --help`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spacy.tokens import Doc
from thinc.api import Config

from ...config.reading import read_config
from ...corpora.inspection.near_duplicates import group_near_duplicates
from ...docbins import read_all_docs
from ...errors import T665, T666
from ...files import write_text
from ...training.search.compare import Compared, compare_recipes
from ..budget import parse_seconds
from ..dividing import can_be_held_out, deal
from .candidates import clearly_best

_FOLDS = 3
# How long a config trains, which the budget of `init` shortens: with another length it is the same recipe.
_LENGTH = ("max_epochs", "max_steps", "eval_frequency")


@dataclass(frozen=True)
class Chosen:
    """What came of a comparison.

    config (Path): The config that was chosen.
    name (str): Its name among those that were compared.
    default (str): Name of the config that is kept unless another one is better by more than the standard error.
    compared (list[Compared]): What was compared, the best first.
    """

    config: Path
    name: str
    default: str
    compared: list[Compared]


def choose(
    configs: Path | Sequence[Path],
    texts: Path,
    output: Path,
    *,
    budget: str | float | None = None,
    n_folds: int = _FOLDS,
    seed: int = 0,
    gpu_id: int = -1,
) -> Chosen:
    """Train each of some configs on a part of the texts, score it on the rest, and keep the best one.

    Every config sees the same folds; nearly equal texts are in one. Dev and test texts are not looked at. As in `init`,
    one config is the default, and another one must be better by more than the standard error to be chosen: with few
    texts chance alone moves a score by several points. The default is the config that `output` holds, whatever its
    length, or else the first one.

    configs (Path | Sequence[Path]): Configs, or a folder with them, in the order of their names.
    texts (Path): Training texts, a .spacy file or a folder of them.
    output (Path): Becomes a copy of the config that is chosen; left as it is if it holds this one.
    budget (str | float | None): "90s", "10m", or seconds, after which nothing more is begun; the default is always
        tried. None: no limit.
    n_folds (int): Into how many parts the texts are dealt; 2 or more.
    seed (int): Of the folds.
    gpu_id (int): -1 for the CPU.
    RETURNS (Chosen): The config, and what was compared.
    RAISES (FileNotFoundError): T440 for a file that is not there.
    RAISES (ValueError): T617 for a budget that is no time, T665 for fewer than two configs, T666 for too few texts,
        T667 for a config that cannot be scored, or not with the others; and as `spacy_transfer.train`.
    """
    seconds = parse_seconds(budget)
    paths = sorted(configs.glob("*.cfg")) if isinstance(configs, Path) and configs.is_dir() else configs
    paths = [paths] if isinstance(paths, Path) else list(paths)
    if len(paths) < 2:
        raise ValueError(T665.format(path=", ".join(map(str, paths)) or configs))
    # Named by what differs: the files may have one name in several folders.
    names = [path.stem for path in paths]
    names = names if len(set(names)) == len(names) else [str(path) for path in paths]
    read = {name: read_config(path) for name, path in zip(names, paths, strict=True)}
    docs = list(read_all_docs(texts))
    strata = _strata(docs)
    groups = group_near_duplicates([doc.text for doc in docs])
    folds = deal(strata, groups, n_folds, seed=seed)
    if not can_be_held_out(strata):
        raise ValueError(T666.format(n_texts=len(docs), n_labels=len({label for label in strata if label})))
    current = _held_by(output, read)
    default = current or names[0]
    ordered = {default: read[default], **read}
    compared = compare_recipes(ordered, docs, folds, gpu_id=gpu_id, max_seconds=seconds)
    name = clearly_best(compared, default).name
    path = paths[names.index(name)]
    if name != current:
        write_text(output, path.read_text("utf-8"))
    return Chosen(path, name, default, compared)


def _held_by(output: Path, configs: Mapping[str, Config]) -> str | None:
    """Which of some configs a file holds; if none, of which it has all but the length."""
    try:
        there = read_config(output)
    except (OSError, ValueError):
        # It is not there yet, or is no config.
        return None
    equal = [name for name, config in configs.items() if config == there]
    alike = [name for name, config in configs.items() if _without_length(config) == _without_length(there)]
    return next(iter(equal or alike), None)


def _without_length(config: Config) -> Config:
    copied = config.copy()
    for key in _LENGTH:
        copied.get("training", {}).pop(key, None)
    return copied


def _strata(docs: Sequence[Doc]) -> list[str]:
    """The rarest label of each text."""
    holding = [[label for label, value in doc.cats.items() if value >= 0.5] for doc in docs]
    counts = Counter(label for labels in holding for label in labels)
    return [min(labels, key=lambda label: (counts[label], label), default="") for labels in holding]
