"""Progress bars and lines during a run."""

import math
import sys
from collections.abc import Callable
from time import perf_counter
from typing import IO, Literal

from tqdm import tqdm

from ...json_types import JsonObject
from ...pipeline.length import Length

Show = Literal["auto", "bar", "lines", "none"]

# Steps after which the time that a run takes is said, and how long it must be to be worth a line.
_STEPS_MEASURED, _SECONDS_TOLD = 5, 60.0


class Progress:
    """A bar over the steps and one over each evaluation; plain lines where the output is no terminal.

    show (str): "bar", "lines", "none", or "auto": a bar on a terminal, else lines.
    length (Length): Of the whole run.
    done (int): Steps done before.
    every (int): Steps from evaluation to evaluation.
    out (IO): Where to write.
    seconds (float): Left of a limit of time; infinite without one.
    """

    def __init__(
        self,
        show: Show,
        length: Length,
        done: int = 0,
        every: int = 0,
        out: IO[str] | None = None,
        *,
        seconds: float = math.inf,
    ) -> None:
        self._end = perf_counter() + seconds
        self.out = out or sys.stderr
        self.show = ("bar" if self.out.isatty() else "lines") if show == "auto" else show
        self.length, self._done_before, self._done, self._every = length, done, done, every
        self._clock = Clock()
        self._bar = None
        self._inner: tqdm | None = None
        if self.show == "bar":
            self._bar = tqdm(total=length.n_steps or None, initial=done, unit="step", file=self.out, leave=False)

    def step(self, figures: JsonObject) -> None:
        """A step is done.

        figures (dict): Loss per document and rate, as numbers.
        """
        self._done += 1
        self._clock.step()
        if self._bar is not None:
            if figures:
                self._bar.set_postfix_str("  ".join(f"{key} {value}" for key, value in figures.items()), refresh=False)
            self._bar.update(1)
        elif self._done - self._done_before == _STEPS_MEASURED and self._seconds_left() >= _SECONDS_TOLD:
            self.say(f"About {_duration(self._seconds_left())} left.")

    def evaluating(self) -> Callable[[int, int], None]:
        """An evaluation begins.

        RETURNS (Callable): Takes documents done, and all.
        """
        self._clock.evaluation_begins()
        if self.show != "bar":
            return lambda done, total: None
        bar = self._inner = tqdm(unit="doc", desc="evaluation", file=self.out, leave=False)

        def tick(done: int, total: int) -> None:
            """Move the bar of the evaluation on."""
            bar.total = total
            bar.update(done - bar.n)

        return tick

    def evaluated(self, line: JsonObject) -> None:
        """An evaluation is done.

        line (dict): Its figures, as they go into the log.
        """
        self._clock.evaluation_ends()
        if self._inner is not None:
            self._inner.close()
            self._inner = None
        # `step` is called after this.
        self.say(self._sentence(line, self._seconds_left(line["step"] + 1)))

    def say(self, text: str) -> None:
        """Write a line; a bar stays below it."""
        if self.show == "none":
            return
        if self._bar is not None:
            tqdm.write(text, file=self.out)
        else:
            print(text, file=self.out, flush=True)

    def close(self) -> None:
        """Take the bars away."""
        for bar in (self._inner, self._bar):
            if bar is not None:
                bar.close()
        self._inner = self._bar = None

    def _seconds_left(self, done: int | None = None) -> float:
        """0 where nobody knows."""
        done = self._done if done is None else done
        n_left = max(0, self.length.n_steps - done)
        n_evaluations = -(-n_left // self._every) if self._every else 0
        found = self._clock.seconds_for(n_left, n_evaluations) if self.length.n_steps else 0.0
        if math.isinf(self._end):
            return found
        left = max(0.0, self._end - perf_counter())
        return min(found, left) if found else left

    def _sentence(self, line: JsonObject, seconds_left: float) -> str:
        length = self.length
        parts = [f"{_duration(seconds_left)} left"] if seconds_left else []
        step = f"step {line['step']}" + (f" of {length.n_steps}" if length.n_steps else "")
        if length.steps_per_epoch:
            step += f", epoch {(line['step'] + 1) / length.steps_per_epoch:.1f}"
            step += f" of {length.n_epochs:.3g}" if length.n_steps else ""
        else:
            step += f", epoch {line['epoch'] + 1}"
        parts.append(step)
        # A component that only hands gradients on, such as a transformer, has a loss of 0.
        losses = {name: value for name, value in line["loss"].items() if value} or line["loss"]
        parts += [
            f"mean loss of '{name}' {value:.4f}" if len(losses) > 1 else f"mean loss {value:.4f}"
            for name, value in losses.items()
        ]
        measure = f" ({line['measure']})" if line["measure"] else ""
        parts.append(f"score on dev {line['score']:.4f}{measure}{', the best so far' if line['best'] else ''}")
        return " | ".join(parts)


class Clock:
    """How long steps and evaluations take, so that what is left can be estimated."""

    def __init__(self) -> None:
        self._step_seconds: list[float] = []
        self._evaluation_seconds = 0.0
        self._evaluation_began = 0.0
        self._last = perf_counter()

    def step(self) -> None:
        """A step is done, and its evaluation if it had one."""
        self._add_step()
        self._last = perf_counter()

    def evaluation_begins(self) -> None:
        """The work of a step is done, its evaluation begins."""
        self._evaluation_began = perf_counter()

    def evaluation_ends(self) -> None:
        """An evaluation is done."""
        now = perf_counter()
        # The latest one: caches make later evaluations faster than the first.
        self._evaluation_seconds = now - self._evaluation_began
        # What it took is no part of its step.
        self._last += self._evaluation_seconds

    def _add_step(self) -> None:
        self._step_seconds.append(max(0.0, perf_counter() - self._last))
        # The latest tell most: the first ones fill caches and buffers.
        del self._step_seconds[:-200]

    def seconds_for(self, n_steps: int, n_evaluations: int) -> float:
        """Time for further steps and evaluations; 0 as long as no more than one step was measured."""
        # A first step takes far longer than the others.
        measured = self._step_seconds[1:] if len(self._step_seconds) < 200 else self._step_seconds
        if not measured:
            return 0.0
        return sum(measured) / len(measured) * n_steps + self._evaluation_seconds * n_evaluations


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
