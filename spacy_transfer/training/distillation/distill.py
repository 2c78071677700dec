"""Distill: a small classifier learns the scores of a large one; see `spacy transfer distill --help`."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import DocBin
from thinc.api import Config

from ...config.reading import read_config
from ...config.values import put_values
from ...errors import T165, T708, T714, T716
from ...files import hold_folder, repair, write_data, write_text
from ...json_types import ConfigMapping
from ...log import announce
from ...pipeline.gold import read_gold
from ..interrupted import to_its_end
from ..loop.checkpoint_interval import Cadence
from ..output.progress import Show
from ..session import Trained
from ..state.checkpoint import Checkpoints
from ..train import refuse_other_runs, train
from .material import Material
from .plan import Distillation
from .state_matching import check_matching, match_states
from .student import Student
from .target_docs import stored_targets
from .targets import (
    LabelMap,
    Matrix,
    TeacherScores,
    agree_on_labels,
    averaged,
    distributions,
    softened,
    tidied,
    whole,
)
from .teachers import teacher_of

__all__ = ["Distillation", "Distilled", "distill"]


@dataclass(frozen=True)
class Distilled:
    """What came of it.

    folder (Path): The run, with model-best and model-last.
    labels (list[str]): Of the student.
    n_texts (int): Texts it learned from, copies included.
    n_labeled (int): Of them labeled.
    n_left_out (int): Texts to which the teacher gave no label.
    temperature (float): Of targets and logits.
    trained (Trained): The run.
    """

    folder: Path
    labels: list[str]
    n_texts: int
    n_labeled: int
    n_left_out: int
    temperature: float
    trained: Trained


def distill(
    teacher: object,
    config: Path | Config,
    texts: Sequence[str],
    output: Path,
    *,
    labeled: Path | None = None,
    dev: Path | None = None,
    labels: LabelMap | None = None,
    plan: Distillation | None = None,
    component: str | None = None,
    overrides: ConfigMapping | None = None,
    cache: Path | None = None,
    gpu_id: int = -1,
    resume: bool = False,
    force: bool = False,
    checkpoint_every: str = "auto",
    show: Show = "none",
    command: str = "",
) -> Distilled:
    """Train a student on the scores that a teacher gives to texts, on the loop of `train`.

    teacher (object): Folder or package of a pipeline that fills `doc.cats`, a loaded pipeline, a function of a list of
        texts that gives for each a dict of scores by label, or a list of these, whose scores are averaged.
    config (Path | Config): Of the student: any pipeline with a spacy-transfer classifier, or a `textcat` or
        `textcat_multilabel` of spaCy. Its corpora and labels are replaced.
    texts (Sequence[str]): Unlabeled texts.
    output (Path): Folder of the run, as for `train`; its folder distillation has scores, targets and the whole config.
    labeled (Path | None): A .spacy file or a folder of them: more texts, with labels to learn from as well.
    dev (Path | None): The same, to choose the best step by. None keeps texts apart, with the teacher's best labels.
    labels (LabelMap | None): Teacher's label to student's, None to drop one; others keep their names.
    plan (Distillation | None): Temperature, weight of annotations, copies, state matching.
    component (str | None): Name of the classifier; None means the only one.
    overrides (Mapping | None): Values in place of the config's, by dotted key.
    cache (Path | None): Folder of the teacher's scores, to share between runs. None is that in the output.
    gpu_id (int): -1 for the CPU.
    resume (bool): Go on from the last checkpoint, with exactly the same result. Scores are kept in any case.
    force (bool): As for `train`.
    checkpoint_every (str): As for `train`.
    show (str): Progress, as for `train`.
    command (str): How to go on, for the message after a signal.
    RETURNS (Distilled): What was learned from, and the run.
    RAISES (ValueError): T701, T702 for a teacher without scores, T703 for labels that differ, T704 for a teacher whose
        labels are not exclusive and a student whose labels are, T705 unless it is clear which component learns, T706
        for a temperature that spaCy's own do not know, T707 without texts, T714 where the teacher has no label for any,
        T716 for any of those that are kept apart, T715 where vectors cannot be learned, T165 without a checkpoint to
        resume; what `train` raises. What refuses the folder (T166, T186, T370, T371, T380) is raised before the teacher
        is asked and anything is written.
    RAISES (Interrupted): After SIGTERM or Ctrl-C and a checkpoint.
    """
    # Before a teacher is asked, which may take hours.
    Cadence.parse(checkpoint_every)
    plan, renamed = plan or Distillation(), labels or {}
    loaded = read_config(config, overrides)
    student = Student.of(loaded, component, config if isinstance(config, Path) else "the config")
    temperature = student.temperature(plan)
    teachers = [teacher_of(one) for one in (teacher if isinstance(teacher, list | tuple) else [teacher])]
    if plan.match_epochs:
        check_matching(loaded, student, teachers, texts)
    folder = output / "distillation"
    stages = [folder / "states", output] if plan.match_epochs else [output]
    begun = {stage for stage in stages if Checkpoints(stage / "checkpoints").are_there}
    if resume and not begun:
        raise ValueError(T165.format(folder=output / "checkpoints"))
    if not resume:
        begun = set()

    def learn(run: Config, stage: Path) -> Trained:
        """Train; of two stages the second may not have begun when a run is resumed."""
        return to_its_end(lambda: train(
            run, stage, gpu_id=gpu_id, resume=stage in begun, force=force,
            checkpoint_every=checkpoint_every, show=show, command=command,
        ))  # fmt: skip

    with hold_folder(output):
        repair(output)
        for stage in stages if not force else ():
            if stage not in begun:
                refuse_other_runs(stage)
        material = Material.collect(texts, labeled, dev, plan)
        asked = [*material.texts, *material.held]
        answers = [TeacherScores(one.name, one.score(asked, cache or folder, plan.batch_size)) for one in teachers]
        wanted = {label for doc in (*material.gold, *material.dev) for label in doc.cats}
        names = agree_on_labels(answers, renamed, wanted)
        scores = averaged(answers, names, renamed, exclusive=student.exclusive)
        given = np.ones(len(asked), dtype=bool)
        if student.exclusive:
            scores, given = distributions(scores, asked, are_dropped=None in renamed.values())
        n_left_out = int((~given).sum())
        if n_left_out:
            announce(T708.format(n=n_left_out, total=len(asked)))
        n_learned = len(material.texts)
        targets, is_learned = _targets(
            scores[:n_learned], given[:n_learned], material, names, student, plan, temperature
        )
        if not is_learned.any():
            raise ValueError(T714.format(n=n_learned))
        train_file, dev_file = folder / "train.spacy", folder / "dev.spacy"
        learned = list(compress(material.texts, is_learned))
        write_data(train_file, stored_targets(student.lang, learned, targets[is_learned], names))
        if material.dev:
            write_data(dev_file, DocBin(docs=material.dev).to_bytes())
        else:
            is_held = given[n_learned:]
            if not is_held.any():
                raise ValueError(T716.format(n=len(is_held)))
            best = whole(scores[n_learned:], exclusive=student.exclusive)[is_held]
            held = list(compress(material.held, is_held))
            write_data(dev_file, stored_targets(student.lang, held, best, names))
        run = put_values(loaded, student.values(train_file, dev_file, names, temperature))
        if plan.match_epochs:
            vectors = teachers[0].vectors(material.texts, cache or folder, plan.batch_size)
            run = put_values(run, match_states(loaded, student, material.texts, vectors, stages[0], plan, learn))
        write_text(folder / "config.cfg", run.to_str())
        trained = learn(run, output)
        return Distilled(output, names, int(is_learned.sum()), len(material.gold), n_left_out, temperature, trained)


def _targets(
    scores: Matrix,
    given: NDArray[np.bool_],
    material: Material,
    names: Sequence[str],
    student: Student,
    plan: Distillation,
    temperature: float,
) -> tuple[Matrix, NDArray[np.bool_]]:
    """What is learned of each text, and of which texts anything is."""
    targets, is_learned = softened(scores, temperature, exclusive=student.exclusive), given.copy()
    if n_gold := len(material.gold):
        gold = read_gold(material.gold, names, exclusive=student.exclusive, name=student.name)
        # Where either says nothing, the other is all there is.
        weight = np.where(given[:n_gold, None], plan.gold_weight, 1.0) * gold.known
        targets[:n_gold] = (1.0 - weight) * targets[:n_gold] + weight * gold.targets
        is_learned[:n_gold] |= gold.known.any(axis=1)
    return tidied(targets, is_learned, exclusive=student.exclusive), is_learned
