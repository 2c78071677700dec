"""The head of a classifier that another library trained: weights, labels, and what its scores are.

Sequence classifiers of transformers have it among the weights of the encoder. SetFit, and a folder that was exported
from here, have it in a file next to a sentence-transformers model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor

from ...errors import (
    T562,
    T562_ARCHITECTURE,
    T562_LABELS,
    T562_ONE_LOGIT,
    T562_ONE_NAME,
    T562_PROBLEM,
    T562_REGRESSION,
    T562_TWICE,
    T563,
    T567,
    T567_NOTE,
)
from ...files.fields import FLAG, NAME, Kind, dict_of, list_of, maybe, shown, take
from ...files.strangers import UnusableFile, check_inside, parse, read_object
from ...json_types import JsonMapping, JsonObject
from ...nn.heads.head_weights import HEAD_FILE, HeadWeights
from ...nn.heads.sequence_classifiers import classifier_of_family
from ...repository.encoder_folder import weight_paths
from ...repository.resolve import EncoderFolder
from ...repository.weight_files import open_weights

Problem = Literal["single-label", "multi-label"]
PROBLEMS: tuple[Problem, ...] = ("single-label", "multi-label")
_TYPES: dict[str, Problem] = {
    "single_label_classification": "single-label",
    "multi_label_classification": "multi-label",
}
_SETFIT_FILE, _TOKENIZER_FILE = "config_setfit.json", "tokenizer_config.json"
_PICKLES = ("model_head.pkl", "model_head.joblib", "model_head.pt", "model_head.pth", "model_head.skops")
_NAMES = Kind("a label for each number from 0", lambda value: isinstance(value, dict) and _in_order(value) is not None)
_CONFIG = {"id2label": maybe(dict_of(NAME)), "problem_type": maybe(NAME), "architectures": maybe(list_of(NAME))}
_SETFIT = {"labels": maybe(list_of(NAME)), "normalize_embeddings": maybe(FLAG)}
# Where a tokenizer has no longest text, transformers writes 1e30.
_ENDLESS = 10**6


@dataclass(frozen=True)
class TrainedHead:
    """A head and what belongs to it.

    weights (HeadWeights): Its weights.
    labels (list[str]): In the order of the logits.
    problem (Problem | None): Whether a text has exactly one label, or any number; None where nothing says it.
    pooling (str): What makes the vector that it reads: "cls", "mean", "lasttoken", "attention", or "folder", as
        modules.json says.
    max_length (int | None): Longest text in pieces, special pieces included, where the head was trained with one.
    normalize (bool): Vectors are scaled to length 1 before the head.
    pooling_weights (dict[str, Tensor]): Of the pooling, by their names in its module.
    """

    weights: HeadWeights
    labels: list[str]
    problem: Problem | None
    pooling: Literal["cls", "mean", "lasttoken", "attention", "folder"]
    max_length: int | None = None
    normalize: bool = False
    pooling_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def exclusive(self) -> bool:
        """Exactly one label a text."""
        return self.problem == "single-label"

    def settled(self, name: str, labels: Sequence[str] | None, problem: Problem | None) -> "TrainedHead":
        """Decide on labels and problem, and make two logits of one that chooses between two labels.

        name (str): What the user calls the model.
        labels (Sequence[str] | None): What the user calls the labels.
        problem (Problem | None): What the user says.
        RETURNS (TrainedHead): With as many labels as logits, and a problem.
        RAISES (ValueError): T562 where that is unclear, or labels do not fit.
        """
        problem, names = problem or self.problem, list(labels or self.labels)
        weights = self.weights
        if weights.n_labels == 1:
            if problem is None:
                raise ValueError(T562.format(name=name, problem=T562_ONE_LOGIT))
            if problem == "single-label":
                if len(names) != 2:
                    raise ValueError(T562.format(name=name, problem=T562_ONE_NAME))
                # softmax([0, z]) is sigmoid(z).
                weight = torch.cat([torch.zeros_like(weights.weight), weights.weight])
                weights = replace(weights, weight=weight, bias=torch.cat([torch.zeros(1), weights.bias]))
        names = names or [f"LABEL_{i}" for i in range(weights.n_labels)]
        if len(names) != weights.n_labels:
            told = T562_LABELS.format(n_labels=weights.n_labels, n_names=len(names), names=", ".join(names[:10]))
            raise ValueError(T562.format(name=name, problem=told))
        if twice := [label for label in names if names.count(label) > 1][:1]:
            raise ValueError(T562.format(name=name, problem=T562_TWICE.format(label=twice[0])))
        return replace(self, weights=weights, labels=names, problem=problem or "single-label")


def read_head(found: EncoderFolder) -> TrainedHead:
    """Read the head of a folder; nothing is unpickled.

    found (EncoderFolder): A folder that holds a whole encoder.
    RETURNS (TrainedHead): As the folder says.
    RAISES (ValueError): T562 for what is no classifier, T563 for a head in a pickle, T566 for one that cannot be kept.
    RAISES (OSError): T450 to T452, T567 for a file that is damaged.
    """
    folder = found.folder
    check_inside(folder, [HEAD_FILE, _SETFIT_FILE, _TOKENIZER_FILE])
    file = folder / "config.json"
    config = read_object(file)
    said = take(file, config, {}, _CONFIG)
    architectures = said.get("architectures") or []
    if (folder / HEAD_FILE).exists():
        return _from_file(folder, config)
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return _from_classifier(found, config)
    if pickles := [name for name in _PICKLES if (folder / name).exists()]:
        path, target = folder / pickles[0], folder / HEAD_FILE
        raise ValueError(T563.format(name=found.name, file=pickles[0], path=path, target=target))
    named = ", ".join(architectures)[:200] or "no class"
    raise ValueError(
        T562.format(name=found.name, problem=T562_ARCHITECTURE.format(architectures=named, file=HEAD_FILE))
    )


def _from_classifier(found: EncoderFolder, config: JsonMapping) -> TrainedHead:
    """Of transformers."""
    problem_type = config.get("problem_type")
    if problem_type == "regression":
        raise ValueError(T562.format(name=found.name, problem=T562_REGRESSION))
    if problem_type is not None and problem_type not in _TYPES:
        raise ValueError(T562.format(name=found.name, problem=T562_PROBLEM.format(problem=repr(problem_type)[:80])))
    kind = classifier_of_family(str(config["model_type"]), found.name)
    with open_weights(weight_paths(found.folder)) as weights:
        head, pooling = kind.read(weights, config, found.name)
    problem = _TYPES.get(str(problem_type))
    if problem is None and head.n_labels > 1:
        # What transformers itself takes it for.
        problem = "single-label"
    return TrainedHead(head, _labels_of(found.folder, config), problem, pooling, _max_length(found.folder))


def _from_file(folder: Path, config: JsonMapping) -> TrainedHead:
    """Of SetFit, or of our own export."""
    file = folder / HEAD_FILE
    with open_weights([file]) as weights:
        head, notes = HeadWeights.read(weights, file), weights.notes
        pooling = {
            name.removeprefix("pooling."): weights.floats(name)
            for name in weights.stored if name.startswith("pooling.")
        }  # fmt: skip
    problem = notes.get("problem")
    if problem is not None and problem not in PROBLEMS:
        told = T567_NOTE.format(note="problem", value=shown(problem), want=" or ".join(PROBLEMS))
        raise UnusableFile(T567.format(file=file, problem=told))
    setfit: JsonObject = {}
    if (folder / _SETFIT_FILE).exists():
        setfit = take(folder / _SETFIT_FILE, read_object(folder / _SETFIT_FILE), {}, _SETFIT)
    classes = _classes(notes["classes"], file) if "classes" in notes else []
    names: list[str] = setfit.get("labels") or []
    if classes and names and all(one.isascii() and one.isdigit() and int(one) < len(names) for one in classes):
        names = [names[int(one)] for one in classes]
    elif classes and len(set(classes)) == len(classes):
        names = classes
    names = names or _labels_of(folder, config)
    if problem is None and (head.n_labels > 1 or len(names) == 2):
        # What SetFit trains unless it is told otherwise.
        problem = "single-label"
    return TrainedHead(
        head, names, cast(Problem | None, problem), "attention" if pooling else "folder",
        normalize=setfit.get("normalize_embeddings") is True, pooling_weights=pooling,
    )  # fmt: skip


def _classes(text: str, file: Path) -> list[str]:
    found = parse(text, file)
    if not list_of(NAME).holds(found):
        told = T567_NOTE.format(note="classes", value=shown(found), want="a list of labels, as JSON")
        raise UnusableFile(T567.format(file=file, problem=told))
    return cast(list[str], found)


def _labels_of(folder: Path, config: JsonMapping) -> list[str]:
    names = config.get("id2label")
    if names is None:
        return []
    take(folder / "config.json", config, {"id2label": _NAMES})
    return cast(list[str], _in_order(names))


def _in_order(names: JsonMapping) -> list[str] | None:
    """The values of 0, 1, 2 and so on; None where one is missing."""
    found = [names.get(str(i)) for i in range(len(names))]
    return cast(list[str], found) if all(isinstance(one, str) and one for one in found) else None


def _max_length(folder: Path) -> int | None:
    file = folder / _TOKENIZER_FILE
    longest = read_object(file).get("model_max_length") if file.exists() else None
    is_length = isinstance(longest, int) and not isinstance(longest, bool) and 0 < longest < _ENDLESS
    return cast(int, longest) if is_length else None
