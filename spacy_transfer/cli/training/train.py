"""`spacy transfer train`"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ...text_output import msg
from ..configs import Code, use_code, values_of
from ..group import transfer_cli
from ..training_options import CheckpointEvery, Show, ShowProgress, to_go_on, without_option
from .studies import Runs, Wish, train_several


class _OnNan(StrEnum):
    stop = "stop"
    skip = "skip"


class Keep(StrEnum):
    """Which pipelines of a search are kept."""

    all = "all"
    best = "best"
    none = "none"


@transfer_cli.command(
    "train", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, no_args_is_help=True
)
def train_cli(
    ctx: typer.Context,
    config: Annotated[Path, Argument(help="Config file, as for spacy train")],
    output: Annotated[Path, Option("--output", "-o", help="Folder for pipelines, checkpoints and log.jsonl")],
    code: Code = None,
    gpu_id: Annotated[int, Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    resume: Annotated[bool, Option("--resume", "-R", help="Resume from the last checkpoint in --output")] = False,
    force: Annotated[
        bool,
        Option(
            "--force",
            "-F",
            help="With --resume: continue even if the run changed. Without: discard old checkpoints",
        ),
    ] = False,
    ranks: Annotated[
        int,
        Option("--ranks", min=1, help="Processes that train together, each on its own GPU or share of the CPU cores"),
    ] = 1,
    checkpoint_every: CheckpointEvery = "auto",
    on_nan: Annotated[
        _OnNan, Option("--on-nan", help="For a non-finite loss (NaN or infinity): stop, or skip the step")
    ] = _OnNan.stop,
    show: ShowProgress = Show.auto,
    seeds: Annotated[
        str | None,
        Option(
            "--seeds",
            help="Train once per seed, such as 0,1,2; report mean and standard deviation; the best becomes model-best",
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        Option(
            "--sweep",
            help="Values to try for a key: training.dropout=0.1,0.2, or blocks as JSON. KEY,KEY=[V,V],[V,V]: values "
            "that belong together. one.cfg,other.cfg: config files instead of CONFIG. Repeat to try all combinations",
        ),
    ] = None,
    trials: Annotated[
        int | None, Option("--trials", min=1, help="Try only this many random combinations of --sweep")
    ] = None,
    keep_one_in: Annotated[
        int | None,
        Option(
            "--keep-one-in",
            min=1,
            help="After each rung of --sweep, one in this many trials continues; 1 keeps all. Default: 2",
        ),
    ] = None,
    soup: Annotated[
        bool, Option("--soup", help="Average the weights of several runs if that scores better on dev")
    ] = False,
    by: Annotated[
        str,
        Option(
            "--by",
            help="Dev score that decides which pipeline and which trial is best, such as accuracy. Default: the one in "
            "[training.score_weights], macro F for a classifier",
        ),
    ] = "",
    test: Annotated[
        Path | None, Option("--test", help="Test data to report scores of --seeds and --sweep on; never used to choose")
    ] = None,
    keep: Annotated[
        Keep | None,
        Option("--keep", help="Pipelines of --seeds and --sweep to keep: all (default), only the best, or none"),
    ] = None,
    stop_at: Annotated[int, Option("--stop-at", min=0, help="Pause after this many steps; continue with --resume")] = 0,
    max_seconds: Annotated[
        float,
        Option(
            "--max-seconds",
            help="Stop at the first step after this many seconds of training, including those before --resume; the "
            "learning rate falls to 0 in the last fifth. 0: no limit",
        ),
    ] = 0.0,
    deterministic: Annotated[
        bool,
        Option("--deterministic", help="On a GPU: use only deterministic kernels, for identical results in every run"),
    ] = False,
) -> None:
    """Train like spacy train, update for update, with checkpoints to resume from exactly.

    Override config values as in spacy train: --training.max_steps 500. Override a block as JSON
    (--components.NAME.model.loss '{"@losses": "spacy-transfer.Focal.v1", "exclusive": true}') or by the name of another
    function (--components.NAME.model.pooling.@layers spacy-transfer.MaxPooling.v1).
    """
    from ...config.judging import judged_by
    from ...config.reading import read_config
    from ...training.distributed.launch import end_of_rank, launch, told_to_launcher

    overrides = values_of(ctx.args)
    wish = Wish(seeds, sweep or [], trials, keep_one_in, soup, by, test, None if keep is None else keep.value, stop_at)
    if ranks > 1 and not wish.is_there:
        launch(ranks, ["-m", "spacy", *without_option("--ranks")], gpu=gpu_id >= 0)
        return
    use_code(code)
    runs = Runs(
        config, code, gpu_id, ranks, force, checkpoint_every, on_nan.value, show.value, command=to_go_on(),
        deterministic=deterministic, max_seconds=max_seconds,
    )  # fmt: skip
    if wish.is_there:
        train_several(runs, output, wish.plan(), overrides, resume=resume, force=force)
        return
    # Read once: with --by the values are in it already.
    loaded = read_config(config, overrides) if by else None
    values = overrides if loaded is None else judged_by(loaded, by)
    trained = told_to_launcher(lambda: runs.train(output, values, stop_at, resume=resume, force=force, loaded=loaded))
    if trained.status == "finished":
        measure = trained.measure or "score"
        msg.good(f"{trained.n_steps} steps, best {measure} {trained.score:.4f} at step {trained.best_step}: {output}")
    if trained.status == "paused":
        msg.info(f"Paused after {trained.n_steps} steps. Resume with:\n{to_go_on()}")
    status = 128 + trained.signal if trained.status == "interrupted" else 0
    end_of_rank(status)
    if status:
        raise typer.Exit(status)
