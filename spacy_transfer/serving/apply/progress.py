"""What a person sees while files are classified."""

import sys
from collections.abc import Sequence
from time import perf_counter
from typing import IO, Literal

from tqdm import tqdm

from .reading.rows import Bad, Head, Row

Show = Literal["auto", "bar", "lines", "none"]
# Between two lines where the output is no terminal.
_SECONDS = 30.0


class Progress:
    """A bar with documents per second and the time left; plain lines where there is no terminal.

    How many documents there are is reckoned from the lines read so far.

    show (str): "bar", "lines", "none", or "auto": a bar on a terminal, else lines.
    heads (Sequence[Head]): Of the sources.
    done (int): Documents classified before.
    out (IO | None): Where to write; None for standard error.
    """

    def __init__(self, show: Show, heads: Sequence[Head], done: int, out: IO[str] | None = None) -> None:
        self._out = out or sys.stderr
        self._show = ("bar" if self._out.isatty() else "lines") if show == "auto" else show
        self._lines = [head.n_lines for head in heads]
        self._done_before, self._begin = done, perf_counter()
        self._told = self._begin
        self._bar = None
        if self._show == "bar":
            self._bar = tqdm(initial=done, unit="doc", file=self._out, leave=False, smoothing=0.1)

    def update(self, n_docs: int, last: Row | Bad) -> None:
        """A block is done.

        n_docs (int): Documents classified, from the beginning.
        last (Row | Bad): Where it ended.
        """
        total = self._total(n_docs, last)
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(n_docs - self._bar.n)
        elif self._show == "lines" and (now := perf_counter()) - self._told >= _SECONDS:
            self._told = now
            speed = (n_docs - self._done_before) / (now - self._begin)
            parts = [f"{n_docs:,} documents", f"{speed:,.0f} a second"]
            if total and speed:
                parts.append(f"about {max(0, total - n_docs) / speed / 60:.1f} min left")
            print(", ".join(parts), file=self._out, flush=True)

    def _total(self, n_docs: int, last: Row | Bad) -> int | None:
        if not all(self._lines):
            return None
        read = sum(self._lines[: last.source]) + min(last.last_line, self._lines[last.source])
        return max(n_docs, round(n_docs * sum(self._lines) / max(1, read)))

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
