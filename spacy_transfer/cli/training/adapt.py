"""`spacy transfer adapt`"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from ...text_output import msg
from ...training.pretraining.plan import ADAPTING
from ..group import transfer_cli
from ..training_options import CheckpointEvery, Show, ShowProgress, to_go_on


class Aim(StrEnum):
    """What an encoder learns."""

    auto = "auto"
    masked_lm = "masked_lm"
    tsdae = "tsdae"


@transfer_cli.command("adapt", no_args_is_help=True)
def adapt_cli(
    encoder: Annotated[str, Argument(help="Folder, pipeline or hub name of the encoder")],
    sources: Annotated[
        list[Path],
        Argument(help="Raw texts: .txt (one per line), tables, .jsonl, .parquet, .spacy or folders of .spacy files"),
    ],
    target: Annotated[Path, Argument(help="Folder for the encoder; set encoder.name to it to train a classifier")],
    objective: Annotated[
        Aim,
        Option(
            "--objective",
            help="masked_lm: predict hidden words. tsdae: predict a text from its vector. auto: tsdae for a sentence "
            "encoder, otherwise masked_lm",
        ),
    ] = Aim.auto,
    test: Annotated[
        list[Path] | None, Option("--test", help="Test data: an error if one of its texts is among the raw ones")
    ] = None,
    revision: Annotated[str | None, Option("--revision", help="Branch, tag or commit of a hub name")] = None,
    text_field: Annotated[str, Option("--text-field", help="Field or column of the text")] = "text",
    steps: Annotated[int, Option("--steps", "-n", help="Optimizer steps")] = ADAPTING.steps,
    rows: Annotated[int, Option("--rows", help="Rows (windows of texts) per step")] = ADAPTING.rows,
    rate: Annotated[float, Option("--rate", help="Peak learning rate")] = ADAPTING.rate,
    share: Annotated[
        float | None,
        Option("--share", help="Share of words to hide or leave out. Default: 0.15 for masked_lm, 0.6 for tsdae"),
    ] = None,
    seed: Annotated[int, Option("--seed", help="Random seed")] = ADAPTING.seed,
    accumulate: Annotated[
        int, Option("--accumulate", help="Split the rows of a step into this many parts: less memory, the same result")
    ] = ADAPTING.accumulate,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    resume: Annotated[
        bool, Option("--resume", "-R", help="Resume from the last checkpoint in --work, with exactly the same result")
    ] = False,
    force: Annotated[
        bool,
        Option(
            "--force",
            "-F",
            help="Replace the folder and discard an unfinished run. With --resume: continue even if the run changed",
        ),
    ] = False,
    work: Annotated[
        Path | None,
        Option("--work", help="Folder for checkpoints, kept at the end. Default: FOLDER.work, removed at the end"),
    ] = None,
    ranks: Annotated[
        int,
        Option("--ranks", min=1, help="Processes that train together, each on its own GPU or share of the CPU cores"),
    ] = 1,
    checkpoint_every: CheckpointEvery = "auto",
    show: ShowProgress = Show.auto,
) -> None:
    """Adapt a pretrained encoder to a domain with raw texts, before a classifier is trained on it.

    A masked LM learns to predict hidden words, a sentence encoder to give vectors from which a text can be predicted.
    After a crash, a kill or Ctrl-C, the same command with --resume continues exactly.
    """
    from ...corpora.raw_texts import read_raw_texts
    from ...files import refuse_same
    from ...training.pretraining.adapt import adapt
    from ...training.pretraining.pretrain import Interrupted

    refuse_same([target, *([work] if work else [])], [*sources, *(test or ())])
    try:
        done = adapt(
            encoder, read_raw_texts(sources, field=text_field), target, revision=revision,
            test=read_raw_texts(test or (), field=text_field), objective=objective.value, steps=steps, rows=rows,
            rate=rate, share=share, seed=seed, accumulate=accumulate, gpu_id=gpu_id, force=force, work=work,
            resume=resume, checkpoint_every=checkpoint_every, ranks=ranks, show=show.value,
            command=to_go_on(),
        )  # fmt: skip
    except Interrupted as stopped:
        raise Exit(128 + stopped.signal) from stopped
    read = f"{done.n_texts:,} texts in {done.n_rows:,} rows, {done.n_weights:,} weights"
    msg.good(f"{done.folder}: held-out loss {done.loss_before:.3f} -> {done.loss_after:.3f}", read)
