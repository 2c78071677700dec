"""What a person sees while a run goes on."""

import sys
from collections.abc import Callable
from time import perf_counter
from typing import IO, Any, Literal

from tqdm import tqdm

Show = Literal["auto", "bar", "lines", "none"]


class Progress:
    """A bar over the steps and one over each evaluation; plain lines where the output is no terminal.

    show (str): "bar", "lines", "none", or "auto": a bar on a terminal, else lines.
    n_steps (int): Steps of the whole run, 0 if nobody knows. done (int): Steps done before.
    out (IO): Where to write.
    """

    def __init__(self, show: Show, n_steps: int, done: int = 0, out: IO[str] | None = None) -> None:
        self.out = out or sys.stderr
        self.show = ("bar" if self.out.isatty() else "lines") if show == "auto" else show
        self.n_steps, self._done_before = n_steps, done
        self._start = perf_counter()
        self._bar = None
        self._inner: Any = None
        if self.show == "bar":
            self._bar = tqdm(total=n_steps or None, initial=done, unit="step", file=self.out, leave=False)

    def step(self, figures: dict[str, Any]) -> None:
        """A step is done. figures (dict): Loss per document and rate, as numbers."""
        if self._bar is not None:
            if figures:
                self._bar.set_postfix_str("  ".join(f"{key} {value}" for key, value in figures.items()), refresh=False)
            self._bar.update(1)

    def evaluating(self) -> Callable[[int, int], None]:
        """An evaluation begins. RETURNS (Callable): Takes documents done, and all."""
        if self.show != "bar":
            return lambda done, total: None
        bar = self._inner = tqdm(unit="doc", desc="evaluation", file=self.out, leave=False)

        def tick(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return tick

    def evaluated(self, line: dict[str, Any]) -> None:
        """An evaluation is done. line (dict): Its figures, as they go into the log."""
        if self._inner is not None:
            self._inner.close()
            self._inner = None
        self.say(_sentence(line, self._time_left(line["step"] + 1)))

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

    def _time_left(self, done: int) -> str:
        made = done - self._done_before
        if not self.n_steps or made < 2:
            return ""
        seconds = (perf_counter() - self._start) / made * max(0, self.n_steps - done)
        return f"{seconds:.0f} s left" if seconds < 100 else f"{seconds / 60:.0f} min left"


def _sentence(line: dict[str, Any], left: str) -> str:
    parts = [f"step {line['step']}", f"epoch {line['epoch']}"]
    parts += [f"loss {value:.4f}" if len(line["loss"]) == 1 else f"loss of {name} {value:.4f}"
              for name, value in line["loss"].items()]  # fmt: skip
    parts.append(f"score {line['score']:.4f}{' (best)' if line['best'] else ''}")
    if line["grad_norm"]:
        parts.append(f"gradient norm {', '.join(f'{norm:.3g}' for norm in line['grad_norm'].values())}")
    for name, part in line["components"].items():
        who = f"{name}: " if len(line["components"]) > 1 else ""
        depths = ", ".join(f"{depth} {rate:.2g}" for depth, rate in part["rates"].items())
        parts.append(f"{who}frozen depth {part['frozen_depth']}, rates {depths}")
    parts.append(f"{line['docs_per_second']:.0f} docs/s")
    if left:
        parts.append(left)
    return " | ".join(parts)
