"""Pretrains an encoder on raw texts by masked-LM prediction; see `spacy transfer pretrain --help`."""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from spacy.language import Language
from spacy.training import Example
from thinc.api import Config

from ...config.reading import read_config
from ...errors import T137, T244
from ...files import held, hold_folder, hold_place, refuse_same, repair
from ...json_types import ConfigMapping
from ...model.architectures.masked_lm import MaskedLM
from ..distributed.launch import launch
from ..distributed.ranks import Ranks
from ..interrupted import to_its_end
from ..loop.checkpoint_interval import Cadence
from ..loop.loop import Update
from ..output.progress import Show
from ..train import train
from .blocks import blocks_of, model_of
from .plan import Pretraining
from .work import NAME, Work

__all__ = ["Pretrained", "Pretraining", "pretrain"]

Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Pretrained:
    """What came of it.

    folder (Path): The encoder.
    n_texts (int): What it read.
    n_rows (int): What it read.
    n_weights (int): Of the encoder.
    loss_before (float): Mean loss of a hidden piece in texts kept apart, in nats.
    loss_after (float): Mean loss of a hidden piece in texts kept apart, in nats.
    """

    folder: Path
    n_texts: int
    n_rows: int
    n_weights: int
    loss_before: float
    loss_after: float


def pretrain(
    config: Path | Config,
    texts: Sequence[str],
    target: Path,
    *,
    component: str | None = None,
    overrides: ConfigMapping | None = None,
    plan: Pretraining | None = None,
    device: torch.device | None = None,
    report: Report | None = None,
    force: bool = False,
    work: Path | None = None,
    resume: bool = False,
    checkpoint_every: str = "auto",
    ranks: int = 1,
    show: Show = "none",
    command: str = "",
) -> Pretrained:
    """Warm an encoder up on raw texts and write it into a folder that a classifier's `encoder.name` takes.

    It is the loop of `train`, on a pipeline of one component that predicts hidden pieces.

    config (Path | Config): Config of a pipeline with a classifier: its encoder starts, its normalization cleans the
        texts and its windows cut them, its piece budget, device and precision compute. A scratch encoder's pieces are
        made of the texts.
    texts (Sequence[str]): Raw texts.
    target (Path): The folder; it appears complete or not at all, with the run's log.jsonl.
    component (str | None): Name of the classifier; None means the only one.
    overrides (Mapping | None): Values in place of the config's, by dotted key.
    plan (Pretraining): Steps, rows, rate.
    device (torch.device | None): What "auto" means.
    report (Callable): Called now and then with the number of steps done and the mean loss since the last call; by one
        rank only, where there are several it stays silent.
    force (bool): Replace what is in target, and throw away what is in the work folder; with `resume`, go on although
        it is another run.
    work (Path | None): Folder for checkpoints; kept if it is named here. None is TARGET.work, removed at the end.
    resume (bool): Go on from the last checkpoint in the work folder, as if nothing had happened.
    checkpoint_every (str): As for `train`.
    ranks (int): Processes that learn as one.
    show (str): Progress, as for `train`.
    command (str): How to go on, for the message after a signal.
    RETURNS (Pretrained): Texts read, loss before and after.
    RAISES (FileExistsError): T137 for a target that is there already, T371 and T380 for a work folder that holds
        something else.
    RAISES (ValueError): T138 unless it is clear which classifier is meant, T134 without texts, T135 for an encoder
        without a mask piece, T172 for `checkpoint_every`, T240 for an unfinished run in the work folder, T165, T167,
        T243 where there is none to resume or it is another, T244 in a process of torchrun, what the config's blocks
        find wrong, and what `train` raises.
    RAISES (ChildProcessError): T178 for a rank that fails.
    RAISES (Interrupted): After SIGTERM or Ctrl-C.
    """
    if Ranks.are_asked_for():
        raise ValueError(T244)
    # Before anything is written.
    Cadence.parse(checkpoint_every)
    plan = plan or Pretraining()
    path = config if isinstance(config, Path) else "the config"
    model = model_of(read_config(config, overrides), component, path=path)
    settings = blocks_of(model, plan)
    if target.exists() and not (force and target.is_dir()):
        raise FileExistsError(T137.format(path=target))
    place = Work(target.with_name(f"{target.name}.work") if work is None else work)
    refuse_same([target, place.folder], [Path(name)] if (name := str(model["encoder"].get("name", ""))) else [])
    with hold_place(target), hold_folder(place.folder):
        repair(place.folder)
        (place.take_up if resume else place.prepare)(settings, texts, plan, force=force)
        gpu_id = (device.index or 0) if device is not None and device.type == "cuda" else -1
        where = model["device"]
        if where == "auto" and device is not None and device.type not in ("cpu", "cuda"):
            where = str(device)
        run = place.config(model, plan, where)
        if ranks > 1:
            config_file = str(place.folder / "config.cfg")
            arguments = ["-m", "spacy", "transfer", "train", config_file, "--output", str(place.folder)]
            arguments += ["--checkpoint-every", checkpoint_every, "--show", show, "--gpu-id", str(gpu_id)]
            with held(place.folder):
                launch(ranks, [*arguments, *["--resume"] * resume, *["--force"] * (resume and force)], gpu=gpu_id >= 0)
        else:
            to_its_end(lambda: train(
                run, place.folder, gpu_id=gpu_id, resume=resume, force=resume and force,
                checkpoint_every=checkpoint_every, show=show, command=command, stdout=io.StringIO(),
                make_update=lambda nlp: _step(nlp, plan, report),
            ))  # fmt: skip
        facts = place.facts
        place.put_encoder(target, {"n_texts": facts["n_texts"], "steps": plan.steps})
        before, after = place.losses()
        if work is None:
            place.clear()
    if work is None:
        with suppress(OSError):
            place.folder.rmdir()
    return Pretrained(target, facts["n_texts"], facts["n_rows"], facts["n_weights"], before, after)


def _step(nlp: Language, plan: Pretraining, report: Report | None) -> Update:
    """The step function of the loop. Unlike `nlp.update` it copies no documents: they are made for one step anyway."""
    component = nlp.get_pipe(NAME)
    shim, every, seen = MaskedLM(component.model).shim, max(1, plan.steps // 20), list[float]()
    n_seen = 0

    def update(batch: list[Example], *, drop: float, losses: dict[str, float]) -> None:
        """Update the component and report the mean loss now and then."""
        nonlocal n_seen
        before = losses.get(NAME, 0.0)
        component.update(batch, drop=drop, losses=losses)
        if report is None or shim.n_draws == 0:
            return
        seen.append(losses[NAME] - before)
        n_seen += len(batch)
        step = shim.n_draws
        if step % every == 0 or step == plan.steps:
            report(step, float(sum(seen)) / n_seen)
            seen.clear()
            n_seen = 0

    return update
