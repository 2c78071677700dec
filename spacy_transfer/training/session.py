"""A run from its first step, or from a checkpoint, to its end or the next interruption."""

import json
import math
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import IO, Literal

import torch
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training.loop import create_before_to_disk_callback, update_meta
from spacy.util import registry, resolve_dot_names
from thinc.api import fix_random_seed, set_gpu_allocator
from thinc.util import has_cupy_gpu

from ..errors import T173, T177, T378, T379
from ..json_types import JsonObject
from ..log import logger
from ..nn.devices.precision import current_record
from ..pipeline.dev_data import compare_labels, require_dev
from ..pipeline.length import Length, measure, warn
from ..pipeline.textcat import TransferTextCategorizer
from .distributed.ranks import Ranks
from .loop.batch_order import Order
from .loop.checkpoint_interval import Cadence
from .loop.evaluation import Evaluation
from .loop.loop import EndWanted, OnNan, Run, Update
from .loop.rates import set_length
from .loop.schedules import counted_batcher
from .loop.time_limit import TimeLimit
from .machine import machine_lines, note_machine
from .output.config_logger import EvaluationFile, LogStep, takes_place_of_ours
from .output.log_file import LogFile
from .output.marker import SELF_TRAINING_RECORD, STUDY_NAMES, Marker
from .output.models import Outcome
from .output.progress import Progress, Show
from .output.result import Result
from .peak_memory import forget_peak, peak_memory
from .signals import ending_on_signals
from .state.checkpoint import Checkpoint, Checkpoints
from .state.fingerprint import differences, flat, parts_of, refuse_others
from .state.pipeline_state import all_weights, fill_all_weights, network_shims
from .state.random_state import RandomState
from .state.run_state import precisions, restore_run, run_state, versions

Status = Literal["finished", "paused", "interrupted"]


@dataclass(frozen=True)
class Trained:
    """What came of a run.

    nlp (Language): Of a finished run as `model-last` is: with the last weights, or with their averages where the
        optimizer keeps those. Else with the weights of its last step.
    status (str): "finished", "paused" at `stop_at`, or "interrupted" by a signal.
    n_steps (int): Steps made, earlier runs' included.
    n_skipped (int): Of them left out.
    score (float): Main score of the best evaluation.
    best_step (int): Its step.
    data (str): Fingerprint of the training data, "streamed" where they are never held as a whole.
    signal (int): Number of the signal, 0 where there was none.
    measure (str): What the score is.
    """

    nlp: Language
    status: Status
    n_steps: int
    n_skipped: int
    score: float
    best_step: int
    data: str
    signal: int = 0
    measure: str = ""


class Stopped(KeyboardInterrupt):
    """Ctrl-C has ended a run in good order, after a checkpoint.

    trained (Trained): What came of it.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__(f"stopped after {trained.n_steps} steps; continue with resume=True")
        self.trained = trained


class Session:
    """One process's part of a run, in the order of `spacy.training.loop.train`; `train` says what the parameters are.

    max_seconds (float): Time to train, 0 for no limit.
    checkpoint (Checkpoint | None): What the run goes on from.
    ranks (Ranks | None): The others it trains with.
    """

    def __init__(
        self,
        nlp: Language,
        output: Path,
        checkpoints: Checkpoints,
        cadence: Cadence,
        gpu_id: int,
        checkpoint: Checkpoint | None,
        on_nan: OnNan,
        make_update: Callable[[Language], Update] | None,
        ranks: Ranks | None,
        max_seconds: float = 0.0,
    ) -> None:
        self.ranks = ranks
        self.nlp, self.output, self.checkpoints, self.cadence = nlp, output, checkpoints, cadence
        self.config = nlp.config.interpolate()
        block = self.config["training"]
        if block["seed"] is not None:
            fix_random_seed(block["seed"])
        if gpu_id >= 0 and has_cupy_gpu and block["gpu_allocator"]:
            set_gpu_allocator(block["gpu_allocator"])
        self.settings = registry.resolve(block, schema=ConfigSchemaTraining)
        train_corpus, dev_corpus = resolve_dot_names(
            self.config, [self.settings["train_corpus"], self.settings["dev_corpus"]]
        )
        batching = counted_batcher(block["batcher"], self.settings["batcher"])
        order = Order(nlp, train_corpus, batching, self.settings["max_epochs"], apart=ranks is not None)
        for shim in network_shims(nlp).values():
            shim.is_streamed = order.is_streamed
        share = None if ranks is None else ranks.share_evaluation
        evaluation = Evaluation(nlp, dev_corpus, self.settings["score_weights"], share)
        self.writes = ranks is None or ranks.is_first
        log = LogFile(output / "log.jsonl" if self.writes else None)
        update = make_update(nlp) if make_update is not None else None
        self.machine = note_machine(nlp)
        self.run = Run(
            nlp, self.settings, order, evaluation, log, on_nan=on_nan, update=update, together=ranks,
            limit=TimeLimit(max_seconds),
        )  # fmt: skip
        if ranks is not None:
            ranks.join(nlp, [name for name, _ in self.run.trainable])
        self.outcome = Outcome(output, create_before_to_disk_callback(self.settings["before_to_disk"]))
        # As they were made: training changes none of them.
        self._parts = parts_of(nlp)
        self._start = ""
        self._data = ""
        self._resumed = self._is_settled = checkpoint is not None
        self.length = Length(0, 0, 0.0, 0, 0, 0)

    def _know_data(self) -> None:
        """The training data are read: look at the dev data, and say the schedules how long the training is.

        RAISES (ValueError): T327 if there are no dev data.
        """
        run, block = self.run, self.config["training"]
        self.length = measure(block, [] if run.order.is_streamed else run.order.examples)
        run.n_steps = self.length.n_steps
        set_length(run.optimizer, self.length.n_steps, has_limit=run.limit.seconds > 0)
        before = RandomState.now()
        dev = run.evaluation.read()
        before.restore()
        require_dev(dev, block["dev_corpus"])
        if self._resumed or not self.writes:
            return
        warn(self.length, block)
        if not run.order.is_streamed:
            for name, proc in run.trainable:
                if isinstance(proc, TransferTextCategorizer):
                    train_docs, held_out = (
                        [part.reference for part in proc.annotated(some)] for some in (run.order.examples, dev)
                    )
                    compare_labels(name, proc.labels, train_docs, held_out)

    # ---- resuming ------------------------------------------------------------------------------------------------

    def identity(self) -> JsonObject:
        """What a checkpoint must share with the run that goes on from it."""
        limit = self.run.limit.seconds
        return {
            "config": {**flat(self.config), **({"max_seconds": limit} if limit else {})},
            "data": {"training data": self._data},
            "precision": precisions(self.run),
            "parts": self._parts,
        }

    def resume(self, checkpoint: Checkpoint, *, force: bool) -> None:
        """Take the place of the run that wrote a checkpoint.

        RAISES (ValueError): T167 if it is another's.
        """
        run, then = self.run, checkpoint.state["identity"]
        streamed = run.order.is_streamed
        run.order.reread(checkpoint.state["order"])
        self._data = "streamed" if streamed else run.order.fingerprint()
        self._know_data()
        now = self.identity()
        found = [
            line for part in ("config", "data", "precision", "parts") for line in differences(then[part], now[part])
        ]
        if then["dev"] is not None:
            found += differences({"dev data": then["dev"]}, {"dev data": run.evaluation.fingerprint})
        refuse_others(self.output, found, force=force)
        if other := differences(checkpoint.state["versions"], versions()):
            logger.warning(T177.format(differences="; ".join(other)))
        same_batches = not any(
            line.startswith(("training data", "training.batcher", "corpora.train")) for line in found
        )
        restore_run(run, checkpoint, same_run=not found, same_batches=same_batches)
        if self.ranks is not None:
            self.ranks.agree("the training data", self._data)
            self._take_random(checkpoint.state.get("ranks"))
        if streamed and run.order.fingerprint() != then["streamed"]:
            told = "training data: what was read from the stream in this epoch has changed"
            refuse_others(self.output, [told], force=force)
        self._start = checkpoint.state["start"]
        if self.writes:
            self._take_up(checkpoint, force=force)
        self.cadence.done(run.at.n_done)

    def _take_up(self, checkpoint: Checkpoint, *, force: bool) -> None:
        """What lies beside checkpoints.

        RAISES (ValueError): T379 without a model-best, unless forced.
        """
        at, step = self.run.at, self.run.at.n_done - 1
        if at.results and not self.outcome.has_best:
            message = T379.format(path=self.outcome.best, step=at.best[1])
            if not force:
                raise ValueError(message)
            logger.warning(message)
            at.results = []
        if not self.run.log.go_on(checkpoint.state["log_size"], checkpoint.state["log_sha256"]):
            logger.warning(T378.format(path=self.run.log.path, step=step))
        if Marker.read(self.output) is None:
            Marker.write(self.output, "run")

    def _settle(self) -> None:
        """From here on the folder is that of this run: what another has left in its places goes."""
        if self.writes and not self._is_settled:
            self._is_settled = True
            Marker.write_run(self.output)
            self.checkpoints.settle()
            self.run.log.begin()
            for name in ("result.json", *STUDY_NAMES, SELF_TRAINING_RECORD):
                (self.output / name).unlink(missing_ok=True)

    def checkpoint(self) -> None:
        """Write one."""
        run, start = self.run, perf_counter()
        run.check_now()
        random = [] if self.ranks is None else self.ranks.gather_random(json.dumps(RandomState.now().to_json()))
        if not self.writes:
            return
        state, tensors = run_state(run)
        if self.ranks is not None:
            # The texts that a rank has cached are its own; several ranks promise the same numbers but for rounding.
            state["ranks"] = [json.loads(one) for one in random]
        streamed = run.order.fingerprint() if run.order.is_streamed else None
        identity = {**self.identity(), "dev": run.evaluation.fingerprint, "streamed": streamed}
        state.update(
            identity=identity, versions=versions(), threads=torch.get_num_threads(), start=self._start,
            log_size=run.log.size, log_sha256=run.log.sha256, precision=current_record(),
        )  # fmt: skip
        self.checkpoints.write(run.at.n_done, state, tensors)
        self.cadence.done(run.at.n_done, perf_counter() - start)

    def _take_random(self, states: list[JsonObject] | None) -> None:
        """Random numbers of this rank; a rank that was not there before has its own from the seed."""
        assert self.ranks is not None
        if states is not None and self.ranks.rank < len(states):
            RandomState.from_json(states[self.ranks.rank]).restore()
        elif self.ranks.rank > 0:
            torch.manual_seed(torch.initial_seed() + 1_000_003 * self.ranks.rank + self.run.at.n_done)

    # ---- training ------------------------------------------------------------------------------------------------

    def go(self, show: Show, command: str, stdout: IO[str], stderr: IO[str], stop_at: int) -> Trained:
        """Train to the end, to a step or to a signal."""
        forget_peak()
        run, settings, nlp = self.run, self.settings, self.nlp
        numbers: list[int] = []

        def end(number: int) -> None:
            """Ask the run to end after this step."""
            numbers.append(number)
            run.is_wanted_to_end = True

        if not self._resumed:
            with ending_on_signals(end):
                run.order.read()
                self._data = "streamed" if run.order.is_streamed else run.order.fingerprint()
                if self.ranks is not None:
                    self.ranks.agree("the training data", self._data)
                self._know_data()
        limit = run.limit.seconds
        seconds = max(0.0, limit - run.at.seconds) if limit else math.inf
        progress = Progress(
            show, self.length, run.at.n_done, settings["eval_frequency"], stderr, seconds=seconds
        )  # fmt: skip
        length = f"{self.length}, or until {limit:g} seconds have passed" if limit else str(self.length)
        progress.say(f"Resuming after step {run.at.n_done - 1}: {length}." if self._resumed else f"{length}.")
        if self.writes:
            for line in machine_lines(self.machine):
                progress.say(line)
        run.show_evaluations(progress.evaluating)
        log_step, finalize_logger = _silent_logger()
        if self.writes:
            with nlp.select_pipes(disable=settings["frozen_components"]):
                log_step, finalize_logger = self._logger(stdout, stderr)
        is_paused = False
        try:
            with ending_on_signals(end):
                if not self._resumed:
                    run.log.add({"kind": "run", "machine": self.machine})
                    if self.writes:
                        if not self.checkpoints.folder.exists():
                            Marker.write_run(self.output)
                        self._start = self.checkpoints.begin(all_weights(nlp, only_trainable=False))
                        if not self.checkpoints.is_replacing:
                            self._settle()
                    self.checkpoint()
                is_paused = self._train(progress, log_step, stop_at)
        except EndWanted:
            self._settle()
            self.checkpoint()
        finally:
            self.checkpoints.abandon()
            progress.close()
            finalize_logger()
        if run.is_wanted_to_end:
            progress.say(
                T173.format(step=run.at.n_done - 1, folder=self.checkpoints.folder, command=command or "resume=True")
            )
            return self._trained("interrupted", numbers[0] if numbers else signal.SIGINT)
        if self.writes and not is_paused:
            self.outcome.save(nlp, run.optimizer.averages, is_best=False)
            self.outcome.sync()
        self.checkpoint()
        if not is_paused and run.optimizer.averages:
            with nlp.use_params(run.optimizer.averages):
                averages = {name: weight.clone() for name, weight in all_weights(nlp, only_trainable=False).items()}
            fill_all_weights(nlp, averages)
        return self._trained("paused" if is_paused else "finished")

    def _peak_memory(self) -> float | None:
        devices = [shim.network.device for shim in network_shims(self.nlp).values()]
        return peak_memory(devices[0]) if devices else None

    def _trained(self, status: Status, number: int = 0) -> Trained:
        at = self.run.at
        score, best_step = at.best if at.results else (0.0, -1)
        if self.writes:
            result = Result(
                status, at.n_done, at.n_skipped, score, best_step, at.best_scores, self._data, at.seconds,
                machine=self.machine, precision=current_record(), measure=at.measure,
                seed=self.config["training"]["seed"], peak_memory=self._peak_memory(),
            )  # fmt: skip
            result.write(self.output)
        for shim in network_shims(self.nlp).values():
            shim.forget_texts()
        return Trained(self.nlp, status, at.n_done, at.n_skipped, score, best_step, self._data, number, at.measure)

    def _train(self, progress: Progress, log_step: LogStep, stop_at: int) -> bool:
        """RETURNS (bool): Whether `stop_at` came before the end."""
        run, nlp = self.run, self.nlp
        if self._is_at(stop_at):
            return True
        had_landed = bool(run.at.landing)
        for event in run.events():
            self._settle()
            if run.at.landing and not had_landed:
                had_landed = True
                begin, end = run.at.landing
                progress.say(
                    f"Last fifth of the time: the learning rate falls to 0 in {end - begin} steps, {end} in all."
                )
            if event.is_best is not None:
                with nlp.select_pipes(disable=self.settings["frozen_components"]):
                    update_meta(self.settings, nlp, event.info)
                if self.writes:
                    self.outcome.save(nlp, run.optimizer.averages, is_best=event.is_best)
                event.info["output_path"] = str(self.outcome.last)
                progress.evaluated(run.line)
            log_step(event.info if event.is_best is not None else None)
            progress.step(run.figures)
            # What one rank is told or decides, all of them do at the same step.
            if run.together.any(run.is_wanted_to_end):
                run.is_wanted_to_end = True
                raise EndWanted
            if self._is_at(stop_at):
                return True
            if run.together.any(self.writes and self.cadence.is_due(run.at.n_done)):
                self.checkpoint()
        if run.limit.seconds and (run.is_time_up or (run.at.landing and run.at.n_done >= run.at.landing[1])):
            progress.say(
                f"The time is up: {run.at.n_done} steps in {run.at.seconds:.0f} of {run.limit.seconds:g} seconds."
            )
        return False

    def _is_at(self, stop_at: int) -> bool:
        """Whether the run is to pause here: not where it has ended anyway, nor before an evaluation that is due."""
        run = self.run
        return 0 < stop_at <= run.at.n_done and not run.is_over and not run.at.pending

    def _logger(self, stdout: IO[str], stderr: IO[str]) -> tuple[LogStep, Callable[[], None]]:
        """The config's logger. Of spaCy's console logger only the file: its table would repeat what `Progress` says."""
        block = self.config["training"]["logger"]
        if not takes_place_of_ours(block):
            log_step, finalize = self.settings["logger"](self.nlp, stdout, stderr)
            return log_step, finalize
        if not block.get("output_file"):
            return _silent_logger()
        at = self.run.at
        file = EvaluationFile(
            Path(block["output_file"]), self.output, n_done=at.n_done, is_resumed=self._resumed, is_pending=at.pending
        )
        return file, lambda: None


def _silent_logger() -> tuple[LogStep, Callable[[], None]]:
    return lambda info: None, lambda: None
