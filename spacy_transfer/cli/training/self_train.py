"""`spacy transfer self-train`"""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ...text_output import msg
from ..configs import CodeWithoutLetter, use_code, values_of
from ..group import transfer_cli
from ..training_options import CheckpointEvery, Show, ShowProgress, to_go_on


@transfer_cli.command(
    "self-train", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, no_args_is_help=True
)
def self_train_cli(
    ctx: typer.Context,
    config: Annotated[Path, Argument(help="Config file, as for spacy transfer train")],
    texts: Annotated[
        list[Path],
        Argument(help="Texts without labels: .txt (one per line), tables, .jsonl, .spacy files or folders of them"),
    ],
    output: Annotated[Path, Option("--output", "-o", help="Folder for every round, and the best as model-best")],
    rounds: Annotated[
        int, Option("--rounds", min=1, help="Trainings with such texts, at most; one that is not better ends it")
    ] = 2,
    share: Annotated[
        float,
        Option(
            "--share",
            help="Of the texts that get a label, this share with the highest scores joins in; twice as many in round 2",
        ),
    ] = 0.3,
    least_score: Annotated[float, Option("--least-score", help="No text joins in with a lower score")] = 0.6,
    component: Annotated[
        str | None, Option("--component", help="Classifier of the pipeline. Default: the only one")
    ] = None,
    text_field: Annotated[str, Option("--text-field", help="Field or column of the text")] = "text",
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    resume: Annotated[
        bool, Option("--resume", "-R", help="Resume where it was interrupted, from the last checkpoint")
    ] = False,
    force: Annotated[
        bool,
        Option(
            "--force", "-F", help="With --resume: continue even if something changed. Without: discard what is there"
        ),
    ] = False,
    checkpoint_every: CheckpointEvery = "auto",
    show: ShowProgress = Show.auto,
    code: CodeWithoutLetter = None,
) -> None:
    """Train a classifier, let it label texts, and train it again with those that it is sure of.

    Each label has a threshold of its own, so that rare and difficult labels get texts too. A round begins with the
    encoder and counts only if it is better on dev than all before; otherwise the best pipeline so far is kept. Override
    config values as in spacy train: --training.max_steps 500.
    """
    from ...training.updating.self_train import SelfTraining, self_train

    use_code(code)
    done = self_train(
        config, texts, output, plan=SelfTraining(rounds, share, least_score), component=component,
        text_field=text_field, overrides=values_of(ctx.args), gpu_id=gpu_id, resume=resume, force=force,
        checkpoint_every=checkpoint_every, show=show.value, command=to_go_on(),
    )  # fmt: skip
    rows = [
        [str(one.number), f"{one.n_joined:,}", f"{one.score:.4f}", "kept" if one.is_kept else "not better"]
        for one in done.rounds
    ]
    header = ["round", "texts joined", done.rounds[0].measure or "score", ""]
    msg.table(rows, header=header, divider=True, aligns=("r", "r", "r", "l"))
    best = [one for one in done.rounds if one.is_kept][-1]
    if best.number:
        counts = ", ".join(f"{label} {n:,}" for label, n in sorted(best.joined.items(), key=lambda one: -one[1])[:10])
        msg.info(f"Texts that joined in: {counts}")
    msg.good(f"{done.folder}: round {best.number}, of {done.n_texts:,} texts {best.n_joined:,} joined in")
