"""`spacy transfer pretrain`"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from ...text_output import msg
from ...training.pretraining.plan import Pretraining
from ..configs import CodeWithoutLetter, use_code, values_of
from ..group import transfer_cli
from ..training_options import CheckpointEvery, Show, ShowProgress, to_go_on


@transfer_cli.command("pretrain", no_args_is_help=True)
def pretrain_cli(
    config: Annotated[
        Path, Argument(help="Config of a pipeline with a spacy-transfer component, whose encoder block is used")
    ],
    sources: Annotated[
        list[Path],
        Argument(help="Raw texts: .txt (one per line), tables, .jsonl, .parquet, .spacy or folders of .spacy files"),
    ],
    target: Annotated[Path, Argument(help="Folder for the encoder; set encoder.name to it to train a classifier")],
    component: Annotated[
        str | None,
        Option(
            "--component", "-c", help="Name of the component, if the config has more than one spacy-transfer component"
        ),
    ] = None,
    text_field: Annotated[str, Option("--text-field", help="Field or column of the text")] = "text",
    steps: Annotated[int, Option("--steps", "-n", help="Optimizer steps")] = Pretraining.steps,
    rows: Annotated[int, Option("--rows", help="Rows (windows of texts) per step")] = Pretraining.rows,
    rate: Annotated[
        float, Option("--rate", help="Peak learning rate; 1e-3 from scratch, 5e-5 for a pretrained encoder")
    ] = Pretraining.rate,
    share: Annotated[float, Option("--share", help="Share of pieces to mask")] = Pretraining.share,
    seed: Annotated[int, Option("--seed", help="Random seed")] = Pretraining.seed,
    accumulate: Annotated[
        int, Option("--accumulate", help="Split the rows of a step into this many parts: less memory, the same result")
    ] = Pretraining.accumulate,
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
    from ...corpora.raw_texts import read_raw_texts
    from ...files import refuse_same
    from ...training.pretraining.blocks import model_of
    from ...training.pretraining.pretrain import Interrupted, pretrain

    use_code(code)
    refuse_same([target, *([work] if work else [])], [config, *sources])
    loaded = read_config(config, values_of([]))
    # Said before the texts are read, which may take a while.
    model_of(loaded, component, path=config)
    plan = Pretraining(steps=steps, rows=rows, rate=rate, share=share, seed=seed, accumulate=accumulate)
    try:
        done = pretrain(
            loaded, read_raw_texts(sources, field=text_field), target, component=component, plan=plan,
            device=torch.device("cuda", gpu_id) if gpu_id >= 0 else None, force=force, work=work, resume=resume,
            checkpoint_every=checkpoint_every, ranks=ranks, show=show.value, command=to_go_on(),
        )  # fmt: skip
    except Interrupted as stopped:
        raise Exit(128 + stopped.signal) from stopped
    read = f"{done.n_texts:,} texts in {done.n_rows:,} rows, {done.n_weights:,} weights"
    msg.good(f"{done.folder}: held-out loss {done.loss_before:.3f} -> {done.loss_after:.3f}", read)
