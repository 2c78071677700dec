"""The training loop: the same updates as `spacy train`, in the same order."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from timeit import default_timer
from typing import Literal, Protocol

import torch
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.training import Example
from spacy.training.loop import subdivide_batch

from ...errors import T170, T170_IN_A_ROW, T170_SCORES, T176
from ...json_types import ConfigBlock, JsonObject, Scores
from ...log import logger
from ...model.shims.evaluating import evaluating
from ...pipeline.interface import ClassifierInterface, interface_of
from ...pipeline.textcat import NonFiniteLoss
from ..output.log_file import LogFile
from ..output.result import numbers_of
from ..state.pipeline_state import network_shims
from ..state.random_state import RandomState
from .batch_order import Order
from .evaluation import Evaluation, Tick
from .gradients import are_finite, drop_gradients
from .position import Position
from .rates import set_landing
from .single_step import Alone, Losses, Together
from .time_limit import TimeLimit

# Steps without a loss in a row after which nothing good can come any more: weights that are NaN stay so.
_MOST_IN_A_ROW = 20

OnNan = Literal["stop", "skip"]


class EndWanted(Exception):
    """Somebody wants the run to end here: SIGTERM or Ctrl-C."""


class Update(Protocol):
    """How a batch makes gradients; `nlp.update` for a pipeline, something else for pretraining or distillation."""

    def __call__(self, batch: list[Example], *, drop: float, losses: dict[str, float]) -> None:
        """Add the gradients of a sub-batch.

        batch (list[Example]): Of one sub-batch.
        losses (dict): The sum of losses is added by component.
        """


@dataclass
class Event:
    """A step is done.

    info (dict): As spaCy's loggers expect it.
    is_best (bool | None): None where there was no evaluation.
    """

    info: JsonObject
    is_best: bool | None


class Run:
    """Trains until patience, steps or epochs end.

    nlp (Language): Initialized.
    settings (dict): The resolved block [training].
    order (Order): The data.
    evaluation (Evaluation): Of the dev data.
    log (LogFile): Takes every figure.
    on_nan (str): What to do when a loss is no finite number.
    update (Update | None): In place of `nlp.update`.
    limit (TimeLimit | None): How long it may train.
    """

    def __init__(
        self,
        nlp: Language,
        settings: ConfigBlock,
        order: Order,
        evaluation: Evaluation,
        log: LogFile,
        *,
        on_nan: OnNan = "stop",
        together: Together | None = None,
        update: Update | None = None,
        limit: TimeLimit | None = None,
    ) -> None:
        self.nlp, self.settings, self.order, self.evaluation, self.log = nlp, settings, order, evaluation, log
        self.optimizer = settings["optimizer"]
        self.at = Position()
        self.on_nan, self.together = on_nan, together or Alone()
        # Our own optimizer looks at the gradients of our networks itself, and leaves the weights as they were.
        self._looks_at_gradients = not hasattr(self.optimizer, "grad_norm") or any(
            node.param_names
            for _, proc in self.trainable if hasattr(proc.model, "walk") for node in proc.model.walk()
        )  # fmt: skip
        # Before the evaluation that is under way: what an interruption takes down.
        self.random: RandomState | None = None
        self.is_wanted_to_end = False
        self.limit, self.is_time_up = limit or TimeLimit(), False
        # Of the whole training, as far as its config and data say; 0 where they do not.
        self.n_steps = 0
        self.figures: dict[str, str] = {}
        dropout = settings["dropout"]
        self._dropouts: Iterator[float] | None = None if isinstance(dropout, float | int) else iter(dropout)
        self._update = update or self._update_pipeline
        self._recent: deque[tuple[int, list[Example], float]] = deque()
        self._window_start = default_timer()
        self._start = default_timer()
        self._tick: Callable[[], Tick] = lambda: lambda done, total: None

    def skip_to(self, position: Position) -> None:
        """Take the place of an earlier run: dropout and the optimizer's schedules go on from there."""
        self.at = position
        for _ in range(position.n_done):
            if self._dropouts is not None:
                next(self._dropouts)
            self.optimizer.step_schedules()
        if position.landing:
            set_landing(self.optimizer, *position.landing)
        self._start = default_timer() - position.seconds
        self.is_time_up = self.limit.is_up(position.seconds)

    def show_evaluations(self, begin: Callable[[], Tick]) -> None:
        """Show how far evaluations are.

        begin (Callable): Called when an evaluation begins; gives what is told after each document.
        """
        self._tick = begin

    @property
    def trainable(self) -> list[tuple[str, TrainablePipe]]:
        """Components that learn, and their names."""
        exclude = self.settings["frozen_components"]
        return [
            (name, proc)
            for name, proc in self.nlp.pipeline
            if name not in exclude
            and getattr(proc, "is_trainable", False)
            and getattr(proc, "model", None) not in (True, False, None)
        ]

    def events(self) -> Iterator[Event]:
        """Go on to the end.

        YIELDS (Event): After each step, its evaluation in.

        RAISES (ValueError): T170 where a loss is no finite number.
        RAISES (EndWanted): Within an evaluation.
        """
        shims = network_shims(self.nlp).values()
        try:
            for shim in shims:
                shim.keeps_losses_on_gpu = True
            yield from self._events()
        finally:
            # Whoever trains on by `nlp.update` gets floats again.
            for shim in shims:
                shim.keeps_losses_on_gpu = False

    def _events(self) -> Iterator[Event]:
        if self.at.pending:
            yield self._evaluate()
        while not self.is_over:
            try:
                self.at.epoch, batch = next(self.order)
            except StopIteration:
                # The epochs have ended, which nobody knows before the next batch is asked for.
                if self.at.results and self.at.results[-1][1] < self.at.n_done - 1:
                    yield self._evaluate()
                break
            step = self.at.n_done
            self._step(step, batch)
            self.at.n_done += 1
            self.at.n_words += sum(len(example) for example in batch)
            self.at.n_docs += len(batch)
            self._watch_time()
            # The last step too, or what training ends with would never be looked at.
            if step % self.settings["eval_frequency"] == 0 or self._is_at_max_steps:
                yield self._evaluate()
            else:
                yield Event(self._info(None, None), None)
        self._check(self.log.flush())

    @property
    def is_over(self) -> bool:
        """Whether patience or steps have ended."""
        step = self.at.n_done - 1
        if step < 0:
            return False
        patience = self.settings["patience"]
        out_of_patience = bool(patience and self.at.results and step - self.at.best[1] >= patience)
        return out_of_patience or self._is_at_max_steps

    @property
    def _is_at_max_steps(self) -> bool:
        """spaCy's own loop makes one step more than `max_steps`."""
        limits = [self.settings["max_steps"], *self.at.landing[1:]]
        return self.is_time_up or any(0 < n_steps <= self.at.n_done for n_steps in limits)

    def _watch_time(self) -> None:
        """After a step: all ranks decide alike."""
        at, limit = self.at, self.limit
        at.seconds = elapsed = self._elapsed()
        if not limit.seconds:
            return
        self.is_time_up = self.together.any(limit.is_up(elapsed))
        if not at.measured and limit.is_measuring(elapsed):
            at.measured = [elapsed, at.n_done]
        if not at.landing and not self.is_time_up and self.together.any(limit.is_landing(elapsed)):
            since = (at.measured[0], int(at.measured[1])) if at.measured else (0.0, 0)
            n_left = int(self.together.from_first(lambda: str(limit.n_left(elapsed, at.n_done, since))))
            # A training that ends by itself before that has a rate which falls in time anyway.
            if not self.n_steps or at.n_done + n_left < self.n_steps:
                at.landing = [at.n_done, at.n_done + n_left]
                set_landing(self.optimizer, *at.landing)

    def _elapsed(self) -> float:
        """Seconds spent in training, those before an interruption included."""
        return default_timer() - self._start

    # ---- a step --------------------------------------------------------------------------------------------------

    def _update_pipeline(self, batch: list[Example], *, drop: float, losses: dict[str, float]) -> None:
        self.nlp.update(
            batch, drop=drop, losses=losses, sgd=False, exclude=self.settings["frozen_components"],
            annotates=self.settings["annotating_components"],
        )  # fmt: skip

    def _step(self, step: int, batch: list[Example]) -> None:
        settings, optimizer = self.settings, self.optimizer
        if settings["before_update"]:
            settings["before_update"](self.nlp, {"step": step, "epoch": self.at.epoch})
        dropout = settings["dropout"] if self._dropouts is None else next(self._dropouts)
        losses: Losses = {}
        for part in subdivide_batch(self.together.share(batch), settings["accumulate_gradient"]):
            # The loss stands in losses, for all ranks to see.
            with suppress(NonFiniteLoss):
                self._update(part, drop=dropout, losses=losses)
        losses = self.together.total(losses)
        rate = self.at.rate = float(optimizer.learn_rate)
        line: JsonObject = {
            "kind": "step", "step": step, "epoch": self.at.epoch, "n_docs": len(batch), "learn_rate": rate,
            "loss": {name: value / len(batch) for name, value in losses.items()},
        }  # fmt: skip
        self._recent.append((step, batch, rate))
        # On a GPU asking would make every step wait for the device: unless a step is to be left out, it is seen later.
        waits = any(isinstance(value, torch.Tensor) for value in losses.values()) and self.on_nan == "stop"
        # Summed over the ranks, so all of them see the same.
        is_bad = not waits and not all(math.isfinite(float(value)) for value in losses.values())
        if not waits and not is_bad and self._looks_at_gradients:
            is_bad = self.together.any(not are_finite(proc.model for _, proc in self.trainable))
        # Every component stands in the losses, also where all steps since the last evaluation are left out.
        for name in (name for name, _ in self.trainable):
            self.at.losses.setdefault(name, 0.0)
        if is_bad:
            self._bad(line)
            line["skipped"] = True
            drop_gradients(proc.model for _, proc in self.trainable)
        else:
            for name, value in losses.items():
                self.at.losses[name] = self.at.losses.get(name, 0.0) + value
            line["grad_norm"] = self.at.norms = self._finish_update()
            norms = line["grad_norm"].values()
            if all(isinstance(norm, float) or norm.device.type == "cpu" for norm in norms) and not all(
                math.isfinite(float(norm)) for norm in norms
            ):
                # The optimizer has left the weights as they were.
                self._bad(line)
                line["skipped"] = True
        if not line.get("skipped"):
            self.at.n_skipped_in_a_row = 0
        optimizer.step_schedules()
        self._check(self.log.add(line))
        if not waits:
            self.figures = {
                "loss": f"{sum(float(value) for value in line['loss'].values()):.4f}",
                "rate": f"{rate:.2g}",
            }

    def _finish_update(self) -> dict[str, float | torch.Tensor]:
        """Let the optimizer move the weights.

        RETURNS (dict): Gradient norm of each component that knows it.
        """
        norms = {}
        for name, proc in self.trainable:
            if hasattr(self.optimizer, "grad_norm"):
                self.optimizer.grad_norm = None
            proc.finish_update(self.optimizer)
            if (norm := getattr(self.optimizer, "grad_norm", None)) is not None:
                norms[name] = norm
        return norms

    def _bad(self, line: JsonObject) -> None:
        """A loss or a gradient norm is no finite number.

        RAISES (ValueError): T170, unless the step is left out.
        """
        step, batch, rate = next(one for one in self._recent if one[0] == line["step"])
        values = {name: float(value) for name, value in line["loss"].items()}
        facts = {
            "step": step,
            "epoch": line["epoch"],
            "losses": values,
            "rate": rate,
            "lines": _few(self.order.lines(batch)),
        }
        if self.on_nan == "stop":
            raise ValueError(T170.format(**facts))
        self.at.n_skipped += 1
        self.at.n_skipped_in_a_row += 1
        if (n := self.at.n_skipped_in_a_row) >= _MOST_IN_A_ROW:
            raise ValueError(T170_IN_A_ROW.format(n=n, step=step, rate=rate))
        logger.warning(T176.format(**facts, n_skipped=self.at.n_skipped))

    def _check(self, lines: list[JsonObject]) -> None:
        """Look through figures that were fetched late."""
        for line in lines:
            if line["kind"] != "step":
                continue
            numbers = [*line["loss"].values(), *line.get("grad_norm", {}).values()]
            if not line.get("skipped") and not all(math.isfinite(number) for number in numbers):
                self._bad(line)
            while self._recent and self._recent[0][0] <= line["step"]:
                self._recent.popleft()

    def check_now(self) -> None:
        """Before a checkpoint: no step that waits to be looked at may have gone wrong.

        RAISES (ValueError): T170.
        """
        self._check(self.log.flush())

    # ---- an evaluation -------------------------------------------------------------------------------------------

    def _evaluate(self) -> Event:
        self.check_now()
        self.at.pending, self.random = True, RandomState.now()
        tick = self._tick()

        def heed(done: int, total: int) -> None:
            """Tell how far the evaluation is, and end it after a signal."""
            # Several ranks evaluate to the end: one that left would leave the others waiting.
            if self.is_wanted_to_end and isinstance(self.together, Alone):
                raise EndWanted
            tick(done, total)

        interrupted, score, scores = False, 0.0, JsonObject()
        with self.nlp.use_params(self.optimizer.averages) if self.optimizer.averages else nullcontext():
            # Caught inside: spaCy puts the weights back only where no exception passes.
            try:
                with evaluating():
                    score, scores = self.evaluation(heed)
            except EndWanted:
                interrupted = True
        if interrupted:
            raise EndWanted
        if self.evaluation.not_finite:
            first, n = self.evaluation.not_finite[0], len(self.evaluation.not_finite)
            raise ValueError(T170_SCORES.format(step=self.at.n_done - 1, n=n, first=first))
        at, step = self.at, self.at.n_done - 1
        is_best = not at.results or score > at.best[0]
        at.pending, self.random = False, None
        at.results.append((score, step))
        at.measure = self.evaluation.measure(scores)
        if is_best:
            at.best_scores = numbers_of(scores)
        at.seconds = self._elapsed()
        # Mean of a text everywhere; of a component whose steps were all left out, 0.
        losses = {name: float(at.losses.get(name, 0.0)) / max(1, at.n_docs) for name, _ in self.trainable}
        losses |= {name: float(value) / max(1, at.n_docs) for name, value in at.losses.items()}
        info = self._info(score, scores)
        info["losses"] = losses
        window = default_timer() - self._window_start
        found = ((name, _depths(proc, at.rate)) for name, proc in self.trainable)
        depths = {name: depth for name, depth in found if depth}
        self.line = {
            "kind": "evaluation", "step": step, "epoch": at.epoch, "score": score, "measure": at.measure,
            "best": is_best, "scores": scores,
            "loss": losses, "learn_rate": at.rate,
            "grad_norm": {name: float(norm) for name, norm in at.norms.items()},
            "n_words": at.n_words, "n_skipped": at.n_skipped,
            "components": depths,
            "docs_per_second": at.n_docs / max(window, 1e-9), "seconds": at.seconds,
        }  # fmt: skip
        self.log.add(self.line)
        self.log.flush()
        at.losses, at.n_docs = {}, 0
        self._window_start = default_timer()
        return Event(info, is_best)

    def _info(self, score: float | None, scores: Scores | None) -> JsonObject:
        at = self.at
        return {
            "epoch": at.epoch, "step": at.n_done - 1, "score": score, "other_scores": scores, "losses": at.losses,
            "checkpoints": at.results, "seconds": int(at.seconds), "words": at.n_words,
        }  # fmt: skip


def _few(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:20]))
    return f"{shown} and {len(lines) - 20} more" if len(lines) > 20 else shown


def _depths(proc: TrainablePipe, rate: float) -> dict[str, object]:
    """Frozen depth, and the rate of each depth that moves; nothing for a component that is not ours."""
    net = interface_of(proc.model)
    if not isinstance(net, ClassifierInterface):
        return {}
    rows = net.describe()
    trainable = [row for row in rows if row.n_trainable]
    frozen = [row.depth for row in rows if not row.n_trainable and row.n_weights]
    return {"frozen_depth": max(frozen, default=-1), "rates": {row.name: rate * row.lr_factor for row in trainable}}
