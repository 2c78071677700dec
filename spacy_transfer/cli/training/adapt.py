"""`spacy transfer adapt`"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ...text_output import msg
from ...training.pretraining.plan import ADAPTING
from ..group import transfer_cli
from ..training_options import CheckpointEvery, Show, ShowProgress, to_go_on
from .raw_text_options import (
    Accumulate,
    EncoderFolder,
    Force,
    GpuId,
    NRanks,
    RawTexts,
    Resume,
    Rows,
    Seed,
    Steps,
    TextField,
    Work,
)


class Aim(StrEnum):
    """What an encoder learns."""

    auto = "auto"
    masked_lm = "masked_lm"
    tsdae = "tsdae"


@transfer_cli.command("adapt", no_args_is_help=True)
def adapt_cli(
    encoder: Annotated[str, Argument(help="Folder, pipeline or hub name of the encoder")],
    sources: RawTexts,
    target: EncoderFolder,
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
    text_field: TextField = "text",
    steps: Steps = ADAPTING.steps,
    rows: Rows = ADAPTING.rows,
    rate: Annotated[float, Option("--rate", help="Peak learning rate")] = ADAPTING.rate,
    share: Annotated[
        float | None,
        Option("--share", help="Share of words to hide or leave out. Default: 0.15 for masked_lm, 0.6 for tsdae"),
    ] = None,
    seed: Seed = ADAPTING.seed,
    accumulate: Accumulate = ADAPTING.accumulate,
    gpu_id: GpuId = -1,
    resume: Resume = False,
    force: Force = False,
    work: Work = None,
    ranks: NRanks = 1,
    checkpoint_every: CheckpointEvery = "auto",
    show: ShowProgress = Show.auto,
) -> None:
    """Adapt a pretrained encoder to a domain with raw texts, before a classifier is trained on it.

    A masked LM learns to predict hidden words, a sentence encoder to give vectors from which a text can be predicted.
    After a crash, a kill or Ctrl-C, the same command with --resume continues exactly.
    """
    from ...corpora.reading.raw_texts import read_raw_texts
    from ...files import refuse_same
    from ...training.pretraining.adapt import adapt

    refuse_same([target, *([work] if work else [])], [*sources, *(test or ())])
    done = adapt(
        encoder, read_raw_texts(sources, field=text_field), target, revision=revision,
        test=read_raw_texts(test or (), field=text_field), objective=objective.value, steps=steps, rows=rows,
        rate=rate, share=share, seed=seed, accumulate=accumulate, gpu_id=gpu_id, force=force, work=work,
        resume=resume, checkpoint_every=checkpoint_every, ranks=ranks, show=show.value,
        command=to_go_on(),
    )  # fmt: skip
    read = f"{done.n_texts:,} texts in {done.n_rows:,} rows, {done.n_weights:,} weights"
    msg.good(f"{done.folder}: held-out loss {done.loss_before:.3f} -> {done.loss_after:.3f}", read)
