"""Train a pipeline as `spacy train` does, and go on after any interruption as if nothing had happened."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from spacy import util
from spacy.language import Language
from spacy.training.initialize import init_nlp
from thinc.api import Config
from thinc.util import has_cupy_gpu

from ..errors import T166
from ..nn.precision import recorded
from .cadence import Cadence
from .checkpoint import Checkpoints
from .device import use_deterministic_kernels, use_device
from .progress import Show
from .ranks import Ranks
from .run import OnNan, Update
from .session import Session, Trained


def train(
    config: Path | Config,
    output: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
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
) -> Trained:
    """Train, with the same weights after each update as `spacy train` on the same config.

    config (Path | Config): As for `spacy train`. output (Path): Gets model-best, model-last, checkpoints and log.jsonl.
    overrides (Mapping): Values of the config to replace, by dotted key. gpu_id (int): -1 for the CPU.
    resume (bool): Go on from the last checkpoint in `output`.
    force (bool): Go on although config, data, seed or precision are others; without `resume` throw checkpoints away.
    checkpoint_every (str): "100" steps, "30s", "5m", or "auto": 100 steps, 30 s or 30 times what the last one took,
        whichever is later.
    on_nan (str): What to do when a loss is no finite number: "stop" or "skip".
    show (str): "auto", "bar", "lines" or "none". command (str): How to go on, for the message after a signal.
    make_update (Callable | None): Gives for the pipeline another step function in place of `nlp.update`.
    stop_at (int): Pause after so many steps with a checkpoint, for a later call with `resume`; 0 goes on to the end.
    deterministic (bool): Only kernels that add in a fixed order, for the rest of the process; a CPU has no others.
    RAISES (ValueError): T165 without a checkpoint to resume, T166 where one would be lost, T167 where it is another
        run's, T170 for a loss that is no finite number, T171 without data, T172 for `checkpoint_every`.
    """
    cadence = Cadence.parse(checkpoint_every)
    checkpoints = Checkpoints(output / "checkpoints")
    ranks = Ranks(gpu=gpu_id >= 0) if Ranks.are_asked_for() else None
    is_first = ranks is None or ranks.is_first
    checkpoint = checkpoints.read() if resume else None
    if checkpoint is None and checkpoints.are_there and not force:
        raise ValueError(T166.format(folder=checkpoints.folder))
    if ranks is not None:
        # Nobody clears or writes while another still looks.
        ranks.agree("--resume", str(resume))
    if checkpoint is None and is_first:
        checkpoints.clear()
    output.mkdir(parents=True, exist_ok=True)
    if checkpoint is not None and ranks is None:
        # Sums over threads depend on how many there are.
        torch.set_num_threads(checkpoint.state["threads"])
    config = read_config(config, overrides or {})
    if deterministic:
        use_deterministic_kernels()
    use_device(gpu_id if ranks is None or gpu_id < 0 else ranks.local_rank)
    known = checkpoint.state["precision"] if checkpoint is not None else None
    with recorded(known, None if ranks is None else ranks.from_first):
        nlp = init_nlp(config, use_gpu=gpu_id if has_cupy_gpu else -1)
        session = Session(nlp, output, checkpoints, cadence, gpu_id, checkpoint, on_nan, make_update, ranks)
        if checkpoint is not None:
            session.resume(checkpoint, force=force)
        return session.go(show if is_first else "none", command, stdout or sys.stdout, stderr or sys.stderr, stop_at)


def read_config(config: Path | Config, overrides: Mapping[str, Any]) -> Config:
    """A config, not interpolated. overrides (Mapping): Values to replace, by dotted key."""
    if isinstance(config, Path):
        return util.load_config(config, overrides=dict(overrides), interpolate=False)
    return Config().from_str(config.to_str(), overrides=dict(overrides), interpolate=False) if overrides else config
