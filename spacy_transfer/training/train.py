"""Train a pipeline as `spacy train` does, and resume exactly after any interruption."""

import math
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import IO

import torch
from spacy.language import Language
from spacy.training.initialize import init_nlp
from thinc.api import Config
from thinc.util import has_cupy_gpu

from ..config.reading import read_config
from ..corpora.reading.config_corpora import check_corpora, naming_damaged_corpora
from ..errors import T166, T186, T436
from ..files import DiskFull, hold_folder, repair
from ..json_types import ConfigMapping
from ..nn.devices.precision import recorded
from ..pipeline.length import counted_elsewhere
from .device import use_deterministic_kernels, use_device
from .distributed.ranks import Ranks
from .loop.checkpoint_interval import Cadence
from .loop.loop import OnNan, Update
from .output.inputs import refuse_inputs_that_go
from .output.marker import RUN_NAMES, refuse_strange
from .output.progress import Show
from .session import Session, Stopped, Trained
from .state.checkpoint import Checkpoint, Checkpoints


def train(
    config: Path | Config,
    output: Path,
    *,
    overrides: ConfigMapping | None = None,
    gpu_id: int = -1,
    resume: bool = False,
    force: bool = False,
    checkpoint_every: str = "auto",
    on_nan: OnNan = "stop",
    show: Show = "auto",
    command: str = "",
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
    make_update: Callable[[Language], Update] | None = None,
    stop_at: int = 0,
    deterministic: bool = False,
    max_seconds: float = 0.0,
) -> Trained:
    """Train, with the same weights after each update as `spacy train` on the same config.

    `[training] max_steps = N` makes N updates (spaCy's own loop makes one more), and the last step is evaluated too.

    config (Path | Config): As for `spacy train`.
    output (Path): Gets model-best, model-last, checkpoints and log.jsonl.
    overrides (Mapping): Values of the config to replace, by dotted key.
    gpu_id (int): -1 for the CPU.
    resume (bool): Go on from the last checkpoint in `output`.
    force (bool): Go on although config, data, seed or precision are others; without `resume` throw checkpoints away.
    checkpoint_every (str): "100" steps, "30s", "5m", or "auto": 100 steps, 30 s or 30 times what the last one took,
        whichever is later.
    on_nan (str): What to do when a loss is no finite number: "stop" or "skip".
    show (str): "auto", "bar", "lines" or "none".
    command (str): How to go on, for the message after a signal.
    stdout (IO[str] | None): Where the logger of the config prints; None for standard output.
    stderr (IO[str] | None): Where progress goes; None for standard error.
    make_update (Callable | None): Gives for the pipeline another step function in place of `nlp.update`.
    stop_at (int): Pause after so many steps with a checkpoint, for a later call with `resume`; 0 goes on to the end.
    deterministic (bool): Only kernels that add in a fixed order, for the rest of the process; a CPU has no others.
    max_seconds (float): End at the first step after so many seconds of training, parts before an interruption included;
        in the last fifth of them a rate of `spacy-transfer.WarmupLinear.v1` falls to 0 (see `TimeLimit`). 0: no limit.
    RETURNS (Trained): Steps, scores and how the run ended.
    RAISES (ValueError): T436 for such a limit that is below 0 or not finite.
    RAISES (ValueError): T165 without a checkpoint to resume, T166 where one would be lost, T167 where it is another
        run's, T170 for a loss that is no finite number, T171 without training data, T391 for a table in the place of
        .spacy files, T172 for `checkpoint_every`, T186 in the folder of a study, T327 without dev data, T330 to T334
        for settings that nothing reads or that are out of range, T373 for data or an encoder that lie where the run
        writes.
    RAISES (Stopped): A KeyboardInterrupt, after Ctrl-C and a checkpoint; SIGTERM gives the status "interrupted".
    RAISES (FileExistsError): T371 for what no run of ours has left in `output`, T380 for what another command has.
    RAISES (OSError): T370 while another process trains there, T372 for a full disk.
    """
    cadence = Cadence.parse(checkpoint_every)
    if not 0 <= max_seconds < math.inf:
        raise ValueError(T436.format(value=max_seconds))
    config = read_config(config, overrides or {})
    check_corpora(config)
    ranks = Ranks(gpu=gpu_id >= 0) if Ranks.are_asked_for() else None
    is_first = ranks is None or ranks.is_first
    checkpoints = Checkpoints(output / "checkpoints")
    with hold_folder(output) if is_first else nullcontext():
        if is_first:
            repair(output)
        if ranks is not None:
            # Nobody looks while another still repairs.
            ranks.agree("--resume", str(resume))
        checkpoint = _look(output, checkpoints, resume=resume, force=force)
        if ranks is not None:
            # Nobody writes while another still looks.
            ranks.agree("what is in the folder", str(checkpoint is None))
        if checkpoint is not None and ranks is None:
            # Sums over threads depend on how many there are.
            torch.set_num_threads(checkpoint.state["threads"])
        refuse_inputs_that_go(config, [output / name for name in RUN_NAMES])
        if deterministic:
            use_deterministic_kernels()
        use_device(gpu_id if ranks is None or gpu_id < 0 else ranks.local_rank)
        known = checkpoint.state["precision"] if checkpoint is not None else None
        with recorded(known, None if ranks is None else ranks.from_first), naming_damaged_corpora(config):
            with counted_elsewhere():
                nlp = init_nlp(config, use_gpu=gpu_id if has_cupy_gpu else -1)
            session = Session(
                nlp, output, checkpoints, cadence, gpu_id, checkpoint, on_nan, make_update, ranks, max_seconds
            )
            if checkpoint is not None:
                session.resume(checkpoint, force=force)
            try:
                trained = session.go(
                    show if is_first else "none", command, stdout or sys.stdout, stderr or sys.stderr, stop_at
                )
            except DiskFull as error:
                if checkpoints.are_there and command:
                    raise error.going_on(command) from error
                raise
    if trained.signal == signal.SIGINT:
        raise Stopped(trained)
    return trained


def refuse_other_runs(output: Path) -> None:
    """Refuse a folder with something that a new run would replace.

    output (Path): Where it will write.
    RAISES (ValueError): T166 for the checkpoints of a run, T186 for the folder of a study.
    RAISES (FileExistsError): T371 for what no run of ours has left, T380 for what another command has.
    """
    checkpoints = Checkpoints(output / "checkpoints")
    if checkpoints.are_there:
        raise ValueError(T166.format(folder=checkpoints.folder))
    if (output / "study.json").exists():
        raise ValueError(T186.format(folder=output))
    refuse_strange(output, RUN_NAMES)


def _look(output: Path, checkpoints: Checkpoints, *, resume: bool, force: bool) -> Checkpoint | None:
    """What a run goes on from.

    RAISES: What refuses it; nothing in `output` is changed.
    """
    if resume:
        return checkpoints.read()
    if not force:
        refuse_other_runs(output)
    return None
