"""Chooses among configs by cross-validation on the training texts; see `spacy transfer choose --help`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from spacy.tokens import Doc

from ...config.reading import read_config
from ...corpora.inspection.near_duplicates import group_near_duplicates
from ...docbins import read_all_docs
from ...errors import T665, T666
from ...files import write_text
from ...training.search.compare import Compared, compare_recipes
from ..budget import parse_seconds
from ..dividing import can_be_held_out, deal

_FOLDS = 3


def choose(
    configs: Path | Sequence[Path],
    texts: Path,
    output: Path,
    *,
    budget: str | float | None = None,
    n_folds: int = _FOLDS,
    seed: int = 0,
    gpu_id: int = -1,
) -> list[Compared]:
    """Train each of some configs on a part of the texts, score it on the rest, and keep the best one.

    Every config sees the same folds; nearly equal texts are in one. Dev and test texts are not looked at.

    configs (Path | Sequence[Path]): Configs, or a folder with them; of equally good ones the first is taken.
    texts (Path): Training texts, a .spacy file or a folder of them.
    output (Path): Becomes a copy of the best config.
    budget (str | float | None): "90s", "10m", or seconds, after which nothing more is begun; the first config is always
        tried. None: no limit.
    n_folds (int): Into how many parts the texts are dealt; 2 or more.
    seed (int): Of the folds.
    gpu_id (int): -1 for the CPU.
    RETURNS (list[Compared]): What was compared, the best first.
    RAISES (FileNotFoundError): T440 for a file that is not there.
    RAISES (ValueError): T617 for a budget that is no time, T665 for fewer than two configs, T666 for too few texts, and
        as `spacy_transfer.train`.
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
    compared = compare_recipes(read, docs, folds, gpu_id=gpu_id, max_seconds=seconds)
    best = paths[names.index(compared[0].name)]
    write_text(output, best.read_text("utf-8"))
    return compared


def _strata(docs: Sequence[Doc]) -> list[str]:
    """The rarest label of each text."""
    holding = [[label for label, value in doc.cats.items() if value >= 0.5] for doc in docs]
    counts = Counter(label for labels in holding for label in labels)
    return [min(labels, key=lambda label: (counts[label], label), default="") for labels in holding]
