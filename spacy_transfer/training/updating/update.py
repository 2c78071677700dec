"""Teaches a trained pipeline new texts and labels and keeps what it knows; see `spacy transfer update --help`."""

import io
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training.loop import DIR_MODEL_LAST
from thinc.api import fix_random_seed

from ...corpora.tables.column_choice import Columns
from ...errors import T005, T137, T725, T726, T733, T736
from ...files import hold_folder, hold_place, new_folder, refuse_same, repair
from ...json_types import ConfigMapping, JsonObject
from ...log import logger
from ...nn.tuning import Tuning
from ...pipeline.components import (
    classifier_meant,
    sources_read_by,
)
from ...pipeline.interface import SharedEncoderInterface, interface_of
from ...pipeline.loading import load_pipeline
from ...pipeline.sources import WHOLE_TEXT
from ...pipeline.textcat import TransferTextCategorizer
from ..device import use_device
from ..interrupted import to_its_end
from ..loop.checkpoint_interval import Cadence
from ..output.progress import Show
from ..state.fingerprint import docs_digest
from ..state.pipeline_state import network_shims
from ..train import train
from .given import Given, Sources, positives, read_given
from .measured import LabelChange, Measured, changes_by_label, measure
from .new_rows import probe_new_rows
from .targets import annotate, gold_of, scores_of
from .work import Work

# Scores may fall by so much on old texts, where there are some to measure on.
_MAX_FORGETTING = 0.01
_BATCH = 16
# Old texts, with labels or with scores, hold old labels in place at a rate that would lose them with new texts alone.
_RATE_WITH_OLD, _RATE = 2e-4, 1e-4
# Texts that the loop shows scores of where none are held out; the last weights are taken, so they choose nothing.
_MOST_SHOWN = 200


@dataclass(frozen=True)
class Updating:
    """How a pipeline is taught.

    epochs (int): Passes over the texts.
    rate (float | None): Peak of the learning rate. None: 2e-4 with old texts or texts without labels, else 1e-4.
    frozen_depth (int | None): Layers that keep their weights, as in the block `tuning`. None: the lower half, or more
        where the pipeline freezes more.
    keep (float): Without old texts that have labels, share of the pipeline's own scores in what a new text teaches,
        where labels exclude each other.
    keep_old (float): Share of the pipeline's own scores in what an old text with a label teaches, where labels exclude
        each other.
    most_repeats (int): How often an old text is seen in a pass at most, where there are fewer of an old label than of
        a new one.
    held_share (float): Share of the texts to measure on, where no test file is given.
    seed (int): Of the training.
    RAISES (ValueError): T005 for values out of range.
    """

    epochs: int = 2
    rate: float | None = None
    frozen_depth: int | None = None
    keep: float = 0.1
    keep_old: float = 0.5
    most_repeats: int = 4
    held_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for field, good, want in (
            ("epochs", self.epochs >= 1, "epochs >= 1"),
            ("rate", self.rate is None or 0.0 < self.rate < math.inf, "rate > 0, or None"),
            ("frozen_depth", self.frozen_depth is None or self.frozen_depth >= -1, "frozen_depth >= -1, or None"),
            ("keep", 0.0 <= self.keep <= 1.0, "0 to 1"),
            ("keep_old", 0.0 <= self.keep_old <= 1.0, "0 to 1"),
            ("most_repeats", self.most_repeats >= 1, "most_repeats >= 1"),
            ("held_share", 0.0 <= self.held_share < 1.0, "0 <= held_share < 1"),
            ("seed", 0 <= self.seed < 2**32, "0 <= seed < 2 ** 32"),
        ):
            if not good:
                raise ValueError(T005.format(block="update", field=field, value=getattr(self, field), want=want))


@dataclass(frozen=True)
class Updated:
    """What came of an update.

    folder (Path): The updated pipeline.
    labels (list[str]): The new labels.
    before (list[Measured]): On old and on new texts.
    after (list[Measured]): On the same.
    by_label (list[LabelChange]): New labels first; then the largest loss first.
    notes (list[str]): How the files were read.
    """

    folder: Path
    labels: list[str]
    before: list[Measured]
    after: list[Measured]
    by_label: list[LabelChange]
    notes: list[str]


class ForgotTooMuch(ValueError):
    """An updated pipeline is worse on old texts than allowed, and was not saved.

    updated (Updated): What came of it.
    """

    def __init__(self, message: str, updated: Updated) -> None:
        super().__init__(message)
        self.updated = updated


def update_pipeline(
    pipeline: str | Path,
    new: Path,
    target: Path,
    *,
    replay: Path | None = None,
    texts: Sequence[Path] = (),
    old_test: Path | None = None,
    new_test: Path | None = None,
    component: str | None = None,
    columns: Columns | None = None,
    merge_labels: bool = False,
    max_forgetting: float | None = None,
    plan: Updating | None = None,
    overrides: ConfigMapping | None = None,
    gpu_id: int = -1,
    force: bool = False,
    work: Path | None = None,
    resume: bool = False,
    checkpoint_every: str = "auto",
    show: Show = "none",
    command: str = "",
) -> Updated:
    """Teach a trained pipeline new texts, new labels among them, and keep what it knows.

    New labels get rows in the head that are probed from the vectors of their texts; then the head and the upper layers
    are trained by the loop of `train`. What holds old labels in their place: old texts, where there are some; else the
    pipeline's own scores of texts without labels. With new labels and new texts alone nothing but the new rows is
    fitted, and where labels exclude each other they are held back, so that they take few old texts. New texts alone
    that bring no new label, or a `LabelQueryHead`, which has no such rows, are trained on all the same.

    pipeline (str | Path): Folder or package name of a trained pipeline; it is not changed.
    new (Path): New texts and their labels: a .spacy file, a folder of them, or a file of rows (CSV, JSONL, ...).
    target (Path): Folder for the updated pipeline; it appears complete or not at all.
    replay (Path | None): Old texts with labels of the pipeline.
    texts (Sequence[Path]): Texts without labels, like those that the pipeline sees.
    old_test (Path | None): Old texts to measure on. None: a tenth of the replayed ones is held out.
    new_test (Path | None): New texts to measure on. None: a tenth of the new ones is held out.
    component (str | None): The classifier, where the pipeline has more than one.
    columns (Columns | None): Columns of files of rows, as far as they are not to be found out.
    merge_labels (bool): Make new labels that look like one of the pipeline that one.
    max_forgetting (float | None): How far accuracy (micro F where labels are independent) may fall on old texts. None:
        0.01 where there are old texts to measure on.
    plan (Updating | None): Epochs, rate, frozen layers.
    overrides (Mapping | None): Values of the config of the loop to replace, by dotted key.
    gpu_id (int): -1 for the CPU.
    force (bool): Replace what is in target, and throw away what is in the work folder; with `resume`, go on although
        something has changed.
    work (Path | None): Folder for config, texts and checkpoints; kept if it is named here. None is TARGET.work, removed
        at the end.
    resume (bool): Go on from the last checkpoint in the work folder.
    checkpoint_every (str): As for `train`.
    show (str): Progress, as for `train`.
    command (str): How to go on, for the message after a signal.
    RETURNS (Updated): Scores before and after.
    RAISES (FileExistsError): T137 for a target that is there already, T371 and T380 for a work folder that holds
        something else.
    RAISES (ForgotTooMuch): T726 where scores fell too far on old texts: nothing is saved.
    RAISES (ValueError): T642 unless it is clear which classifier is meant, T720 to T724, T727 and T732 for texts and
        labels that cannot be learned from, T725 for a shared encoder, T728, T729 and T167 for an unfinished update in
        the work folder, T733 for max_forgetting without old texts, T540 for an exported pipeline, T791 for classifiers
        of sentences or spans; what `train` raises.
    RAISES (Interrupted): After SIGTERM or Ctrl-C.
    """
    Cadence.parse(checkpoint_every)
    plan = plan or Updating()
    if target.exists() and not (force and target.is_dir()):
        raise FileExistsError(T137.format(path=target))
    sources = Sources(new, replay, texts, old_test, new_test, columns or Columns(), merge_labels)
    place = Work(target.with_name(f"{target.name}.work") if work is None else work)
    refuse_same([target, place.folder], [*sources.files(), Path(pipeline)])
    if max_forgetting is not None and old_test is None and replay is None:
        raise ValueError(T733)
    use_device(gpu_id)
    with hold_place(target), hold_folder(place.folder):
        repair(place.folder)
        name = _prepare(place, pipeline, sources, component, plan, resume=resume, force=force)
        has_begun = resume and place.has_checkpoint
        trained = to_its_end(lambda: train(
            place.config, place.folder, overrides=overrides, gpu_id=gpu_id, resume=has_begun,
            force=force or not has_begun, checkpoint_every=checkpoint_every, show=show, command=command,
            stdout=io.StringIO(),
        ))  # fmt: skip
        updated = _measured(place, target, trained.nlp, name)
        old_before, old_after = place.before[0].score, updated.after[0].score
        allowed = _MAX_FORGETTING if max_forgetting is None else max_forgetting
        if old_before is not None and old_after is not None and old_before - old_after > allowed + 1e-9:
            message = T726.format(
                n_texts=updated.after[0].n_texts, measure=updated.after[0].measure, before=old_before, after=old_after,
                allowed=allowed, work=place.folder,
            )  # fmt: skip
            raise ForgotTooMuch(message, updated)
        with new_folder(target, sync=True) as part:
            _joined(place, pipeline, trained.nlp, name).to_disk(part)
        if work is None:
            place.clear()
    if work is None:
        with suppress(OSError):
            place.folder.rmdir()
    return updated


def _classifier(nlp: Language, component: str | None) -> TransferTextCategorizer:
    name, pipe = classifier_meant(nlp, component)
    if isinstance(interface_of(pipe.model), SharedEncoderInterface):
        raise ValueError(T725.format(name=name))
    return pipe


# ---- before the training -------------------------------------------------------------------------------------------


def _prepare(
    place: Work, pipeline: str | Path, sources: Sources, component: str | None, plan: Updating, *, resume: bool,
    force: bool,
) -> str:  # fmt: skip
    """Make everything that the training needs, or find it there.

    RETURNS (str): Name of the classifier.
    """
    pipe = _classifier(load_pipeline(pipeline), component)
    model, frozen = f"components.{pipe.name}.model", _frozen_depth(pipe, plan)
    nlp = load_pipeline(pipeline, {f"{model}.tuning.frozen_depth": frozen, f"{model}.tuning.unfreeze_every": 0})
    pipe = _classifier(nlp, pipe.name)
    given = read_given(sources, nlp, pipe, plan.held_share)
    made_of = _identity(nlp, pipe.name, given, plan)
    if resume:
        place.take_up(made_of, force=force)
        return str(pipe.name)
    place.begin(force=force)
    place.write_texts({"old": given.old_test, "new": given.new_test})
    before = [measure(nlp, pipe.name, place.texts(part)) for part in ("old", "new")]
    fix_random_seed(plan.seed)
    learned, trains = _learned(nlp, pipe, given, plan)
    if not trains:
        _say_what_has_no_effect(plan)
    place.write_texts({"train": learned, "dev": given.dev or learned[:: 1 + len(learned) // _MOST_SHOWN]})
    pipe.clear_cache()
    nlp.to_disk(place.start)
    only_text = [source.name for source in sources_read_by([pipe])] == [WHOLE_TEXT]
    annotating = [] if only_text else nlp.pipe_names[: nlp.pipe_names.index(pipe.name)]
    place.write_config(
        nlp,
        str(pipeline),
        pipe.name,
        _training(len(learned), plan, trains=trains, has_old=bool(given.replay or given.raw)),
        annotating,
    )
    place.settle(made_of, before, given.labels, given.notes)
    return str(pipe.name)


def _learned(nlp: Language, pipe: TransferTextCategorizer, given: Given, plan: Updating) -> tuple[list[Doc], bool]:
    """Add the new labels.

    RETURNS (tuple[list[Doc], bool]): What is learned from, with all that is known of it, and whether the loop trains:
        with new texts alone, old labels are safe only where they are not touched.
    """
    old_labels, old = list(pipe.labels), [*given.replay, *given.raw]
    # Before scores are written into the texts.
    repeats = min(plan.most_repeats, _repeats(given.new, old, len(old_labels)))
    old_scores = scores_of(nlp, pipe, given.new) if not given.replay or not pipe.exclusive else None
    replay_scores = scores_of(nlp, pipe, given.replay) if pipe.exclusive else None
    annotate(given.raw, scores_of(nlp, pipe, given.raw), old_labels, exclusive=pipe.exclusive, keeps=1.0)
    for label in given.labels:
        pipe.add_label(label)
    docs, gold = gold_of(given, pipe)
    has_others = bool(given.replay or given.raw)
    is_probed = probe_new_rows(pipe, docs, gold, len(old_labels), holds_back=not has_others)
    if old_scores is not None:
        annotate(given.new, old_scores, old_labels, exclusive=pipe.exclusive, keeps=plan.keep)
    if replay_scores is not None:
        annotate(given.replay, replay_scores, old_labels, exclusive=True, keeps=plan.keep_old)
    else:
        annotate(given.replay, scores_of(nlp, pipe, given.replay), pipe.labels, exclusive=False, keeps=0.0)
    # A text without labels is an old one, whatever the probe gives new labels of it, unless that is more than a half.
    probed = scores_of(nlp, pipe, given.raw)
    seems_new = probed[:, len(old_labels) :].sum(axis=1) > 0.5
    chosen = [i for i in range(len(given.raw)) if seems_new[i] or not pipe.exclusive]
    annotate([given.raw[i] for i in chosen], probed[chosen], pipe.labels, exclusive=pipe.exclusive, keeps=1.0)
    return [*given.new, *old * repeats], has_others or not is_probed


def _say_what_has_no_effect(plan: Updating) -> None:
    """Warn of settings of a training where there is none."""
    names = ("epochs", "rate", "frozen_depth")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(plan, name) != getattr(Updating, name)]
    if given:
        logger.warning(T736.format(options=", ".join(given), verb="has" if len(given) == 1 else "have"))


def _repeats(new: Sequence[Doc], old: Sequence[Doc], n_old: int) -> int:
    """How often old texts are seen for each time that new ones are, so that an old label weighs as much as one of the
    new texts; 1 at least.

    new (Sequence[Doc]): New texts.
    old (Sequence[Doc]): Old texts, with labels or without.
    n_old (int): Labels of the pipeline.
    """
    if not old:
        return 1
    n_labels = len({label for doc in new for label in positives(doc.cats)})
    return max(1, round(len(new) / max(1, n_labels) / (len(old) / n_old)))


def _frozen_depth(pipe: TransferTextCategorizer, plan: Updating) -> int:
    shim = pipe.model.shims[0]
    n_layers: int = shim.network.n_layers
    tuning: Tuning = shim.settings.tuning
    if plan.frozen_depth is not None:
        return plan.frozen_depth
    return max(tuning.lowest_depth(n_layers), n_layers // 2)


def _training(n_texts: int, plan: Updating, *, trains: bool, has_old: bool) -> JsonObject:
    peak = (_RATE_WITH_OLD if has_old else _RATE) if plan.rate is None else plan.rate
    rate: object = {"@schedules": "spacy-transfer.WarmupLinear.v1", "peak": peak, "warmup": 0.1}
    return {
        "seed": plan.seed, "gpu_allocator": "pytorch", "max_epochs": plan.epochs if trains else 0,
        "max_steps": 0 if trains else 1, "patience": 0,
        "eval_frequency": max(1, -(-n_texts // _BATCH)), "dropout": 0.1,
        "batcher": {"@batchers": "spacy-transfer.batch_by_pieces.v1", "docs": _BATCH, "buffer": 16},
        "optimizer": {
            "@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": rate if trains else 0.0,
        },
    }  # fmt: skip


def _identity(nlp: Language, name: str, given: Given, plan: Updating) -> JsonObject:
    """What a training is made of."""
    weights = {name: shim.digest() for name, shim in network_shims(nlp).items()}
    parts = {"new": given.new, "replay": given.replay, "raw": given.raw, "old": given.old_test, "held": given.new_test}
    digests = {f"{part} texts": docs_digest(docs) for part, docs in parts.items()}
    return {"plan": repr(plan), "classifier": name, "pipeline": weights, **digests}


# ---- after the training --------------------------------------------------------------------------------------------


def _measured(place: Work, target: Path, nlp: Language, name: str) -> Updated:
    after = [measure(nlp, name, place.texts(part)) for part in ("old", "new")]
    labels = list(nlp.get_pipe(name).labels)
    changes = changes_by_label(labels, place.labels, place.before, after)
    return Updated(target, place.labels, place.before, after, changes, place.notes)


def _joined(place: Work, pipeline: str | Path, trained: Language, name: str) -> Language:
    """The old pipeline with the new weights and labels: its config, its other components and its vocabulary stay."""
    nlp = load_pipeline(pipeline)
    pipe = nlp.get_pipe(name).from_disk(place.folder / DIR_MODEL_LAST / name, exclude=["vocab"])
    for label in pipe.labels:
        nlp.vocab.strings.add(label)
    nlp.meta["performance"] = trained.meta.get("performance", {})
    return nlp
