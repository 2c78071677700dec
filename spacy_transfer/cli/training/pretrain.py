"""`spacy transfer pretrain`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ...text_output import msg
from ...training.pretraining.plan import Pretraining
from ..configs import CodeWithoutLetter, use_code, values_of
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


@transfer_cli.command("pretrain", no_args_is_help=True)
def pretrain_cli(
    config: Annotated[
        Path,
        Argument(
            help="Config of a pipeline with a spacy-transfer component, whose encoder, windows, text normalization, "
            "piece budget, precision and device are used"
        ),
    ],
    sources: RawTexts,
    target: EncoderFolder,
    component: Annotated[
        str | None,
        Option(
            "--component", "-c", help="Name of the component, if the config has more than one spacy-transfer component"
        ),
    ] = None,
    text_field: TextField = "text",
    steps: Steps = Pretraining.steps,
    rows: Rows = Pretraining.rows,
    rate: Annotated[
        float, Option("--rate", help="Peak learning rate; 1e-3 from scratch, 5e-5 for a pretrained encoder")
    ] = Pretraining.rate,
    share: Annotated[float, Option("--share", help="Share of pieces to mask")] = Pretraining.share,
    seed: Seed = Pretraining.seed,
    accumulate: Accumulate = Pretraining.accumulate,
    gpu_id: GpuId = -1,
    resume: Resume = False,
    force: Force = False,
    work: Work = None,
    ranks: NRanks = 1,
    checkpoint_every: CheckpointEvery = "auto",
    show: ShowProgress = Show.auto,
    code: CodeWithoutLetter = None,
) -> None:
    """Pretrain an encoder on raw texts: it learns to predict masked pieces.

    An encoder from scratch gets its pieces from these texts; a pretrained one is adapted to them. Uses the loop of
    spacy transfer train: after a crash, a kill or Ctrl-C, the same command with --resume continues exactly from the
    checkpoints in FOLDER.work or --work. Writes the encoder and the log of the run, log.jsonl, to the folder. Override
    config values with the environment variable SPACY_CONFIG_OVERRIDES, as in spacy train.
    """
    import torch

    from ...config.reading import read_config
    from ...corpora.reading.raw_texts import read_raw_texts
    from ...files import refuse_same
    from ...training.pretraining.blocks import model_of
    from ...training.pretraining.pretrain import pretrain

    use_code(code)
    refuse_same([target, *([work] if work else [])], [config, *sources])
    loaded = read_config(config, values_of([]))
    # Said before the texts are read, which may take a while.
    model_of(loaded, component, path=config)
    plan = Pretraining(steps=steps, rows=rows, rate=rate, share=share, seed=seed, accumulate=accumulate)
    done = pretrain(
        loaded, read_raw_texts(sources, field=text_field), target, component=component, plan=plan,
        device=torch.device("cuda", gpu_id) if gpu_id >= 0 else None, force=force, work=work, resume=resume,
        checkpoint_every=checkpoint_every, ranks=ranks, show=show.value, command=to_go_on(),
    )  # fmt: skip
    read = f"{done.n_texts:,} texts in {done.n_rows:,} rows, {done.n_weights:,} weights"
    msg.good(f"{done.folder}: held-out loss {done.loss_before:.3f} -> {done.loss_after:.3f}", read)
