"""A run from its first step, or from a checkpoint, to its end or the next interruption."""

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import IO, Any, Literal

import torch
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training.loop import create_before_to_disk_callback, update_meta
from spacy.util import registry, resolve_dot_names
from thinc.api import fix_random_seed, set_gpu_allocator
from thinc.util import has_cupy_gpu

from ..errors import T173, T177
from ..log import logger
from ..nn.precision import current_record
from .cadence import Cadence
from .checkpoint import Checkpoint, Checkpoints
from .evaluation import Evaluation
from .fingerprint import differences, flat, refuse_others
from .log_file import LogFile
from .machine import machine_lines, note_machine
from .order import Order
from .outcome import Outcome
from .pipeline_state import all_weights, network_shims
from .progress import Progress, Show
from .random_state import RandomState
from .ranks import Ranks
from .result import Result, best_scores
from .run import Interrupted, OnNan, Run, Update
from .run_state import precisions, restore_run, run_state, versions
from .schedules import counted_batcher
from .signals import ending_on_signals

Status = Literal["finished", "paused", "interrupted"]


@dataclass(frozen=True)
class Trained:
    """What came of a run.

    nlp (Language): With the last weights.
    status (str): "finished", "paused" at `stop_at`, or "interrupted" by a signal.
    n_steps (int): Steps made, earlier runs' included. n_skipped (int): Of them left out.
    score (float): Main score of the best evaluation. best_step (int): Its step.
    data (str): Fingerprint of the training data, "streamed" where they are never held as a whole.
    signal (int): Number of the signal, 0 where there was none.
    """

    nlp: Language
    status: Status
    n_steps: int
    n_skipped: int
    score: float
    best_step: int
    data: str
    signal: int = 0


class Session:
    """One process's part of a run, in the order of `spacy.training.loop.train`; `train` says what the parameters are.

    checkpoint (Checkpoint | None): What the run goes on from. ranks (Ranks | None): The others it trains with.
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
        size = checkpoint.state["log_size"] if checkpoint is not None else 0
        log = LogFile(output / "log.jsonl" if self.writes else None, size)
        update = make_update(nlp) if make_update is not None else None
        self.machine = note_machine(nlp)
        self.run = Run(nlp, self.settings, order, evaluation, log, on_nan=on_nan, update=update, together=ranks)
        if ranks is not None:
            ranks.join(nlp, [name for name, _ in self.run.trainable])
        self.outcome = Outcome(output, create_before_to_disk_callback(self.settings["before_to_disk"]))
        self._start = ""
        self._data = ""
        self._resumed = checkpoint is not None

    # ---- resuming ------------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with the run that goes on from it."""
        return {
            "config": flat(self.config),
            "data": {"training data": self._data},
            "precision": precisions(self.run),
        }

    def resume(self, checkpoint: Checkpoint, *, force: bool) -> None:
        """Take the place of the run that wrote a checkpoint. RAISES (ValueError): T167 if it is another's."""
        run, then = self.run, checkpoint.state["identity"]
        streamed = run.order.is_streamed
        run.order.reread(checkpoint.state["order"])
        self._data = "streamed" if streamed else run.order.fingerprint()
        now = self.identity()
        found = [line for part in ("config", "data", "precision") for line in differences(then[part], now[part])]
        if then["dev"] is not None:
            before = RandomState.now()
            run.evaluation.read()
            before.restore()
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
            told = "training data: what was read of the stream in this epoch is other now"
            refuse_others(self.output, [told], force=force)
        self._start = checkpoint.state["start"]
        self.cadence.done(run.at.n_done)

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
            log_size=run.log.size, precision=current_record(),
        )  # fmt: skip
        self.checkpoints.write(run.at.n_done, state, tensors)
        self.cadence.done(run.at.n_done, perf_counter() - start)

    def _take_random(self, states: list[Any] | None) -> None:
        """Random numbers of this rank; a rank that was not there before has its own from the seed."""
        assert self.ranks is not None
        if states is not None and self.ranks.rank < len(states):
            RandomState.from_json(states[self.ranks.rank]).restore()
        elif self.ranks.rank > 0:
            torch.manual_seed(torch.initial_seed() + 1_000_003 * self.ranks.rank + self.run.at.n_done)

    # ---- training ------------------------------------------------------------------------------------------------

    def go(self, show: Show, command: str, stdout: IO[str], stderr: IO[str], stop_at: int) -> Trained:
        """Train to the end, to a step or to a signal."""
        run, settings, nlp = self.run, self.settings, self.nlp
        if self.writes:
            if self._resumed:
                self.outcome.repair()
            else:
                self.outcome.clear()
        n_steps = settings["max_steps"] + 1 if settings["max_steps"] else 0
        progress = Progress(show, n_steps, run.at.n_done, stderr)
        if self.writes:
            for line in machine_lines(self.machine):
                progress.say(line)
        run.show_evaluations(progress.evaluating)
        log_step, finalize_logger = _silent_logger()
        if self.writes:
            with nlp.select_pipes(disable=settings["frozen_components"]):
                log_step, finalize_logger = self._logger(progress)(nlp, stdout, stderr)
        numbers: list[int] = []
        is_paused = False

        def end(number: int) -> None:
            numbers.append(number)
            run.is_wanted_to_end = True

        try:
            with ending_on_signals(end):
                if not self._resumed:
                    run.log.add({"kind": "run", "machine": self.machine})
                    run.order.read()
                    self._data = "streamed" if run.order.is_streamed else run.order.fingerprint()
                    if self.ranks is not None:
                        self.ranks.agree("the training data", self._data)
                    if self.writes:
                        self._start = self.checkpoints.begin(all_weights(nlp, only_moving=False))
                    self.checkpoint()
                is_paused = self._train(progress, log_step, stop_at)
        except Interrupted:
            self.checkpoint()
        finally:
            progress.close()
            finalize_logger()
        if run.is_wanted_to_end:
            progress.say(
                T173.format(step=run.at.n_done - 1, folder=self.checkpoints.folder, command=command or "resume=True")
            )
            return self._trained("interrupted", numbers[0] if numbers else signal.SIGINT)
        if self.writes and not is_paused:
            self.outcome.save(nlp, run.optimizer.averages, is_best=False)
        self.checkpoint()
        return self._trained("paused" if is_paused else "finished")

    def _trained(self, status: Status, number: int = 0) -> Trained:
        at = self.run.at
        score, best_step = at.best if at.results else (0.0, -1)
        if self.writes:
            scores = best_scores(self.output / "log.jsonl", best_step)
            result = Result(
                status, at.n_done, at.n_skipped, score, best_step, scores, self._data, at.seconds,
                machine=self.machine, precision=current_record(),
            )  # fmt: skip
            result.write(self.output)
        for shim in network_shims(self.nlp).values():
            shim.forget_texts()
        return Trained(self.nlp, status, at.n_done, at.n_skipped, score, best_step, self._data, number)

    def _train(self, progress: Progress, log_step: Callable[[dict[str, Any] | None], None], stop_at: int) -> bool:
        """RETURNS (bool): Whether `stop_at` came before the end."""
        run, nlp = self.run, self.nlp
        if self._is_at(stop_at):
            return True
        for event in run.events():
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
                raise Interrupted
            if self._is_at(stop_at):
                return True
            if run.together.any(self.writes and self.cadence.is_due(run.at.n_done)):
                self.checkpoint()
        return False

    def _is_at(self, stop_at: int) -> bool:
        """Whether the run is to pause here: not where it has ended anyway, nor before an evaluation that is due."""
        run = self.run
        return 0 < stop_at <= run.at.n_done and not run.is_over and not run.at.pending

    def _logger(self, progress: Progress) -> Callable[..., Any]:
        """The config's logger; spaCy's console table without its bar where ours is."""
        block = self.config["training"]["logger"]
        if progress.show == "bar" and "ConsoleLogger" in block.get("@loggers", "") and block.get("progress_bar"):
            off = False if block["progress_bar"] is True else None
            return registry.resolve({"logger": {**block, "progress_bar": off}})["logger"]
        return self.settings["logger"]


def _silent_logger() -> tuple[Callable[[dict[str, Any] | None], None], Callable[[], None]]:
    return lambda info: None, lambda: None
