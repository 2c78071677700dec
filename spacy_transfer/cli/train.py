"""`spacy transfer train`"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ..text_output import msg
from .configs import Code, use_code, values_of
from .group import transfer_cli
from .studies import Runs, Wish, train_several
from .training_options import CheckpointEvery, Show, ShowProgress, to_go_on, without_option


class _OnNan(StrEnum):
    stop = "stop"
    skip = "skip"


class Keep(StrEnum):
    """Pipelines of a study that stay."""

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
    resume: Annotated[bool, Option("--resume", "-R", help="Go on from the last checkpoint in --output")] = False,
    force: Annotated[
        bool,
        Option(
            "--force", "-F", help="With --resume: go on although the run is another. Without: throw checkpoints away"
        ),
    ] = False,
    ranks: Annotated[
        int, Option("--ranks", min=1, help="Processes that train as one, a GPU each, or a part of the CPU's cores")
    ] = 1,
    checkpoint_every: CheckpointEvery = "auto",
    on_nan: Annotated[
        _OnNan, Option("--on-nan", help="A loss that is no finite number: stop, or skip the step")
    ] = _OnNan.stop,
    show: ShowProgress = Show.auto,
    seeds: Annotated[
        str | None,
        Option("--seeds", help="Several runs, say 0,1,2: mean and standard deviation; the best becomes model-best"),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        Option(
            "--sweep",
            help="Values to try of a key, say training.dropout=0.1,0.2, or blocks as JSON; KEY,KEY=[V,V],[V,V]: values "
            "that belong together; one.cfg,other.cfg: config files in place of CONFIG. Several --sweep: each with each",
        ),
    ] = None,
    trials: Annotated[
        int | None, Option("--trials", min=1, help="Of all combinations of --sweep draw only so many")
    ] = None,
    keep_one_in: Annotated[
        int | None,
        Option(
            "--keep-one-in",
            min=1,
            help="Of so many trials of --sweep one trains on after each rung; 1 keeps all; 2 if not given",
        ),
    ] = None,
    soup: Annotated[
        bool, Option("--soup", help="Average the weights of several runs where that is better on the dev data")
    ] = False,
    by: Annotated[
        str,
        Option(
            "--by",
            help="Score on the dev data that decides which pipeline and which trial is the best, say accuracy. "
            "Default: that of [training.score_weights], macro F for a classifier",
        ),
    ] = "",
    test: Annotated[
        Path | None, Option("--test", help="Test data, to measure the runs of --seeds and --sweep on; decides nothing")
    ] = None,
    keep: Annotated[
        Keep | None,
        Option("--keep", help="Pipelines of --seeds and --sweep that stay: all (default), the best alone, or none"),
    ] = None,
    stop_at: Annotated[int, Option("--stop-at", min=0, help="Pause after so many steps; go on by --resume")] = 0,
    max_seconds: Annotated[
        float,
        Option(
            "--max-seconds",
            help="End at the first step after so many seconds of training, those before --resume included; in the last "
            "fifth the rate falls to 0. 0: no limit",
        ),
    ] = 0.0,
    deterministic: Annotated[
        bool,
        Option("--deterministic", help="On a GPU: only kernels that add in a fixed order, the same bits at every run"),
    ] = False,
) -> None:
    """Train as spacy train does, update for update, with checkpoints that a later call goes on from exactly.

    Values of the config are replaced as in spacy train: --training.max_steps 500. So are blocks, whole as JSON
    (--components.NAME.model.loss '{"@losses": "spacy-transfer.Focal.v1", "exclusive": true}') or by the name of another
    function (--components.NAME.model.pooling.@layers spacy-transfer.MaxPooling.v1).
    """
    from ..config.judging import judged_by
    from ..config.reading import read_config
    from ..training.distributed.launch import end_of_rank, launch, told_to_launcher
    from ..training.search.study import Interrupted

    overrides = values_of(ctx.args)
    wish = Wish(seeds, sweep or [], trials, keep_one_in, soup, by, test, None if keep is None else keep.value, stop_at)
    if ranks > 1 and not wish.is_there:
        try:
            launch(ranks, ["-m", "spacy", *without_option("--ranks")], gpu=gpu_id >= 0)
        except Interrupted as interrupted:
            raise typer.Exit(128 + interrupted.signal) from interrupted
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
        msg.info(f"Paused after {trained.n_steps} steps; go on with:\n{to_go_on()}")
    status = 128 + trained.signal if trained.status == "interrupted" else 0
    end_of_rank(status)
    if status:
        raise typer.Exit(status)
