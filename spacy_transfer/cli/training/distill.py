"""`spacy transfer distill`"""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ...errors import T710
from ...text_output import msg
from ...training.distillation.plan import Distillation
from ..configs import CodeWithoutLetter, use_code, values_of
from ..group import transfer_cli
from ..training_options import CheckpointEvery, Show, ShowProgress, to_go_on


@transfer_cli.command(
    "distill", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, no_args_is_help=True
)
def distill_cli(
    ctx: typer.Context,
    teacher: Annotated[str, Argument(help="Folder or package of a pipeline that fills doc.cats")],
    to: Annotated[Path, Option("--to", help="Config of the student")],
    output: Annotated[
        Path, Option("--output", "-o", help="Folder for the student, checkpoints and the teacher's scores")
    ],
    texts: Annotated[
        list[Path] | None,
        Option("--texts", help="Raw texts: .txt (one per line), tables, .jsonl, .parquet, .spacy or folders of them"),
    ] = None,
    also: Annotated[
        list[str] | None, Option("--also", help="Another teacher; scores are averaged. Repeat for more")
    ] = None,
    train: Annotated[
        Path | None, Option("--train", help="Labeled texts to learn from too: .spacy, or a folder of such files")
    ] = None,
    dev: Annotated[
        Path | None,
        Option(
            "--dev",
            help="Labeled texts to choose the best step by. Default: some raw texts with the teacher's labels",
        ),
    ] = None,
    label_map: Annotated[
        Path | None,
        Option("--label-map", help="JSON object: teacher's label to student's label, or null to drop it"),
    ] = None,
    temperature: Annotated[
        float | None,
        Option("--temperature", help="Softens scores. Default: 2, and 1 for a component of spaCy"),
    ] = None,
    gold_weight: Annotated[
        float, Option("--gold-weight", help="Share of the label in what is learned from a labeled text")
    ] = Distillation.gold_weight,
    match_epochs: Annotated[
        int,
        Option("--match-epochs", help="Passes in which the student's encoder first learns the teacher's vectors"),
    ] = Distillation.match_epochs,
    variants: Annotated[
        int, Option("--variants", help="Changed copies of each text that the teacher scores too")
    ] = Distillation.variants,
    text_field: Annotated[str, Option("--text-field", help="Field or column of the text")] = "text",
    component: Annotated[
        str | None, Option("--component", help="Name of the student's classifier, if its config has more than one")
    ] = None,
    cache: Annotated[
        Path | None, Option("--cache", help="Folder of the teacher's scores. Default: in --output")
    ] = None,
    batch_size: Annotated[
        int, Option("--batch-size", help="Texts that the teacher scores before they are saved")
    ] = Distillation.batch_size,
    seed: Annotated[int, Option("--seed", help="Seed of the changed copies")] = Distillation.seed,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    resume: Annotated[
        bool, Option("--resume", "-R", help="Resume from the last checkpoint in --output, with exactly the same result")
    ] = False,
    force: Annotated[
        bool,
        Option("--force", "-F", help="With --resume: continue even if the run changed. Without: discard checkpoints"),
    ] = False,
    checkpoint_every: CheckpointEvery = "auto",
    show: ShowProgress = Show.auto,
    code: CodeWithoutLetter = None,
) -> None:
    """Train a small classifier on the scores that a large one gives to raw texts.

    The student is any config: a smaller encoder, one from scratch, a static one (configs/static.cfg), or a text
    categorizer of spaCy. The teacher is asked once for each text, even if the command is killed: its scores are kept in
    the folder distillation of --output. Training uses the loop of spacy transfer train. Override values of the
    student's config as in spacy train: --training.max_epochs 5.
    """
    from ...corpora.reading.raw_texts import read_raw_texts
    from ...files import refuse_same
    from ...files.strangers import read_object
    from ...training.distillation.distill import distill

    use_code(code)
    overrides = values_of(ctx.args)
    plan = Distillation(
        temperature=temperature, gold_weight=gold_weight, match_epochs=match_epochs, variants=variants, seed=seed,
        batch_size=batch_size,
    )  # fmt: skip
    refuse_same([output], [to, *(texts or ())])
    labels = None if label_map is None else read_object(label_map)
    if labels is not None and (wrong := [value for value in labels.values() if not isinstance(value, str | None)]):
        raise ValueError(T710.format(path=label_map, value=wrong[0]))
    done = distill(
        [teacher, *(also or ())], to, read_raw_texts(texts or (), field=text_field), output, labeled=train, dev=dev,
        labels=labels, plan=plan, component=component, overrides=overrides, cache=cache, gpu_id=gpu_id, resume=resume,
        force=force, checkpoint_every=checkpoint_every, show=show.value, command=to_go_on(),
    )  # fmt: skip
    trained = done.trained
    learned = f"{done.n_texts:,} texts, {done.n_labeled:,} of them labeled, {len(done.labels)} labels"
    msg.good(f"{trained.n_steps} steps, best {trained.measure or 'score'} {trained.score:.4f}: {output}", learned)
