"""`spacy transfer update`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from ...text_output import echo, msg
from ..configs import Code, use_code, values_of
from ..group import transfer_cli
from ..training_options import CheckpointEvery, Show, ShowProgress, to_go_on

if TYPE_CHECKING:
    from ...training.updating.update import Updated


@transfer_cli.command(
    "update", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, no_args_is_help=True
)
def update_cli(
    ctx: typer.Context,
    pipeline: Annotated[str, Argument(help="Folder or package name of a trained pipeline, which is not changed")],
    new: Annotated[
        Path, Argument(help="New texts with labels, old or new ones: a .spacy file, a folder of them, CSV, JSONL ...")
    ],
    output: Annotated[Path, Option("--output", "-o", help="Folder for the updated pipeline")],
    replay: Annotated[
        Path | None, Option("--replay", help="Old texts with their labels, or some of them, to learn from again")
    ] = None,
    texts: Annotated[
        list[Path] | None,
        Option("--texts", help="Texts without labels, like those the pipeline sees. Repeat for several files"),
    ] = None,
    old_test: Annotated[
        Path | None,
        Option("--old-test", help="Old texts to measure on. Default: a tenth of --replay is held out"),
    ] = None,
    new_test: Annotated[
        Path | None, Option("--new-test", help="New texts to measure on. Default: a tenth of NEW is held out")
    ] = None,
    max_forgetting: Annotated[
        float | None,
        Option(
            "--max-forgetting",
            min=0.0,
            max=1.0,
            help="Save nothing if accuracy (micro F for multilabel) falls by more on old texts. Default: 0.01",
        ),
    ] = None,
    component: Annotated[
        str | None, Option("--component", help="Classifier of the pipeline. Default: the only one")
    ] = None,
    epochs: Annotated[int, Option("--epochs", min=1, help="Passes over the texts")] = 2,
    rate: Annotated[
        float | None, Option("--rate", help="Peak learning rate. Default: 2e-4 with --replay or --texts, else 1e-4")
    ] = None,
    frozen_depth: Annotated[
        int | None,
        Option("--frozen-depth", min=-1, help="Layers that keep their weights. Default: the lower half, or more"),
    ] = None,
    text_field: Annotated[
        str | None, Option("--text-field", help="Field or column of the text, in all files. Default: detected in each")
    ] = None,
    label_field: Annotated[
        str | None, Option("--label-field", help="Field or column of the one label. Default: detected")
    ] = None,
    labels_field: Annotated[
        str | None, Option("--labels-field", help="Field or column of a list of labels. Default: detected")
    ] = None,
    merge_labels: Annotated[
        bool, Option("--merge-labels", help="Spell labels that look like one of the pipeline as the pipeline does")
    ] = False,
    seed: Annotated[int, Option("--seed", help="Random seed")] = 0,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    work: Annotated[
        Path | None,
        Option(
            "--work",
            help="Folder for the config of the training, its texts and checkpoints, kept at the end. "
            "Default: OUTPUT.work, removed at the end",
        ),
    ] = None,
    resume: Annotated[bool, Option("--resume", "-R", help="Resume from the last checkpoint in --work")] = False,
    force: Annotated[
        bool,
        Option(
            "--force",
            "-F",
            help="Replace the folder and discard what is in --work. With --resume: continue even if texts changed",
        ),
    ] = False,
    checkpoint_every: CheckpointEvery = "auto",
    show: ShowProgress = Show.auto,
    code: Code = None,
) -> None:
    """Teach a trained pipeline new texts and labels, and keep what it knows.

    New labels get rows in the head that are probed from their texts, then the head and the upper layers are trained.
    Old labels are kept by old texts (--replay), or by the scores of the pipeline itself on texts without labels
    (--texts); with neither, only the rows of new labels are fitted, where there are some. Scores before and after are
    shown by label; a pipeline that forgot more than --max-forgetting is not saved, and the exit status is 1. Override
    values of the training's config as in spacy train: --training.dropout 0.2.
    """
    from ...corpora.tables.column_choice import Columns
    from ...training.updating.update import ForgotTooMuch, Updating, update_pipeline

    use_code(code)
    plan = Updating(epochs=epochs, rate=rate, frozen_depth=frozen_depth, seed=seed)
    try:
        done = update_pipeline(
            pipeline, new, output, replay=replay, texts=texts or [], old_test=old_test, new_test=new_test,
            component=component, columns=Columns(text_field or "text", label_field, labels_field),
            merge_labels=merge_labels, max_forgetting=max_forgetting, plan=plan, overrides=values_of(ctx.args),
            gpu_id=gpu_id, force=force, work=work, resume=resume, checkpoint_every=checkpoint_every, show=show.value,
            command=to_go_on(),
        )  # fmt: skip
    except ForgotTooMuch as error:
        _print(error.updated)
        raise
    _print(done)
    msg.good(f"{done.folder}: {len(done.by_label):,} labels, {len(done.labels):,} of them new")
    if not done.after[0].n_texts:
        msg.warn("What was forgotten is not known: there were no old texts to measure on (--old-test)")


def _print(done: "Updated") -> None:
    for note in done.notes:
        msg.info(note)
    rows = [
        [one.label, "new" if one.is_new else "", f"{one.n_texts:,}", _percent(one.before), _percent(one.after)]
        for one in done.by_label
    ]
    msg.table(
        rows, header=["label", "", "texts", "F before", "F after"], divider=True, aligns=("l", "l", "r", "r", "r"),
        max_col=40,
    )  # fmt: skip
    for what, before, after in zip(("old texts", "new texts"), done.before, done.after, strict=True):
        if after.n_texts:
            echo(f"{after.n_texts:,} {what}: {after.measure} {_percent(before.score)} -> {_percent(after.score)}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
