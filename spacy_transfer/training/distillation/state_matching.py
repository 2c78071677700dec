"""State matching: before a student learns scores, its encoder learns the vectors that the teacher gives to texts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.util import registry
from thinc.api import Config

from ...config.blocks import filled, function_of
from ...config.values import put_values
from ...errors import T715, T715_FROZEN, T715_SEVERAL, T715_SHARED, T715_SPACY, T715_TEACHER
from ...files import write_data
from ...json_types import ConfigBlock
from ...log import announce
from ...model.shims.settings import ENCODER, TUNING
from ...nn.static.piece_vectors import principal_components
from ..session import Trained
from .answer_cache import Vector
from .plan import Distillation
from .student import Student
from .target_docs import stored_targets
from .teachers import Teacher

# Principal components that are learned, and standard deviations of the first that a target reaches to.
_MOST_COMPONENTS, _REACH = 128, 4.0
_FACTORY = "transfer_textcat_multilabel"
# Blocks of a model that are about the labels of the student.
_OF_LABELS = ("loss", "head", "head_init", "label_texts")
_SHARED = ("misc", "spacy-transfer.SharedEncoder.v1")
# Texts that the loop looks at once, at the end; nothing is chosen by them.
_MOST_LOOKED_AT = 64
_NEVER = 10**9


def check_matching(config: Config, student: Student, teachers: Sequence[Teacher], texts: Sequence[str]) -> None:
    """Refuse students and teachers whose vectors cannot be matched.

    config (Config): Of the student.
    student (Student): Who learns.
    teachers (Sequence[Teacher]): From whom.
    texts (Sequence[str]): Some texts, for an encoder that is made of them.
    RAISES (ValueError): T715; what the blocks of tuning and encoder find wrong.
    """
    model = student.model
    problem = ""
    if not student.is_ours:
        problem = T715_SPACY.format(name=student.name)
    elif function_of(model.get("encoder") or {}) == _SHARED:
        problem = T715_SHARED.format(name=student.name)
    elif (frozen := _frozen(config, student, texts)) is not None:
        problem = T715_FROZEN.format(name=student.name, n_layers=frozen)
    elif len(teachers) > 1:
        problem = T715_SEVERAL.format(n=len(teachers))
    elif teachers[0].see is None:
        problem = T715_TEACHER.format(name=teachers[0].name)
    if problem:
        raise ValueError(T715.format(problem=problem))


def _frozen(config: Config, student: Student, texts: Sequence[str]) -> int | None:
    """Layers of an encoder that learns nothing; None of one that learns."""
    model = filled(config).interpolate()["components"][student.name]["model"]
    if not {"encoder", "tuning"} <= set(model):
        # An architecture of somebody else's.
        return None
    blocks = registry.resolve({key: model[key] for key in ("encoder", "tuning")})
    tuning = TUNING.check(blocks["tuning"], student.name)
    if tuning.lowest_depth(0) < 0:
        return None
    n_layers = ENCODER.check(blocks["encoder"], student.name).load(lambda: texts[:_MOST_LOOKED_AT]).encoder.n_layers
    return n_layers if tuning.lowest_depth(n_layers) >= n_layers else None


def match_states(
    config: Config,
    student: Student,
    texts: Sequence[str],
    vectors: Sequence[Vector],
    folder: Path,
    plan: Distillation,
    learn: Callable[[Config, Path], Trained],
) -> ConfigBlock:
    """Train the student's encoder on the vectors of a teacher, by squared error behind a linear map.

    config (Config): Of the student.
    student (Student): Who learns.
    texts (Sequence[str]): The texts.
    vectors (Sequence[Vector]): The teacher's, of each text; their principal components are learned, so widths may
        differ.
    folder (Path): Of this run.
    plan (Distillation): How many passes.
    learn (Callable): Trains a config in a folder to its end, or goes on if that was begun.
    RETURNS (ConfigBlock): What to change in the config, so that the student begins with this encoder.
    RAISES (Interrupted): After SIGTERM or Ctrl-C.
    SOURCE: in two stages, states before scores: Jiao et al. 2020 (TinyBERT), arXiv:1909.10351; for static encoders
        van Dongen & Tulkens 2024 (Tokenlearn).
    """
    targets = vector_targets(vectors)
    names = [f"{place:03}" for place in range(targets.shape[1])]
    file, looked_at = folder.with_name("states.spacy"), folder.with_name("states-end.spacy")
    write_data(file, stored_targets(student.lang, texts, targets, names))
    write_data(looked_at, stored_targets(student.lang, texts[:_MOST_LOOKED_AT], targets[:_MOST_LOOKED_AT], names))
    announce(f"'{student.name}' learns the vectors first: {len(texts):,} texts, {targets.shape[1]} components.")
    run = _for_vectors(config, student)
    run = put_values(run, {
        **student.data_values(file, looked_at, names), "training.max_epochs": plan.match_epochs,
        "training.max_steps": 0, "training.patience": 0, "training.eval_frequency": _NEVER,
    })  # fmt: skip
    learn(run, folder)
    name = str(folder / "model-last" / student.name)
    return {f"components.{student.name}.model.encoder": {"@misc": "spacy-transfer.PretrainedEncoder.v1", "name": name}}


def vector_targets(vectors: Sequence[Vector]) -> NDArray[np.float32]:
    """Turn vectors into what the student learns: principal components, moved and shrunk into 0 to 1 together, so that
    distances keep their proportions.

    vectors (Sequence[Vector]): (width,) each.
    RETURNS (NDArray): (n_texts, n_components).
    """
    stacked = torch.from_numpy(np.stack(vectors).astype(np.float32))
    n_components = min(_MOST_COMPONENTS, stacked.shape[1], max(1, len(stacked) - 1))
    found = principal_components(stacked, n_components)
    reach = (_REACH * found[:, 0].square().mean().sqrt()).clamp(min=1e-6)
    return (0.5 + 0.5 * found / reach).clamp(0.0, 1.0).numpy()


def _for_vectors(config: Config, student: Student) -> Config:
    """The config of the student, with a linear head and a loss for any number of values a text."""
    changed = config.copy()
    block = changed["components"][student.name]
    kept = {key: value for key, value in (block.get("model") or {}).items() if key not in _OF_LABELS}
    loss = {"@losses": "spacy-transfer.SquaredError.v1", "targets": "scores"}
    own = {key: value for key, value in block.items() if key != "threshold"}
    changed["components"][student.name] = {**own, "factory": _FACTORY, "model": {**kept, "loss": loss}}
    return changed
