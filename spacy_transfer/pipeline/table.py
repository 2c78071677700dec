"""The table shown at the start of training."""

from collections.abc import Sequence
from typing import Protocol

from wasabi import table


class DepthRow(Protocol):
    """One depth, as the model describes it."""

    @property
    def name(self) -> str:
        """Of the depth."""

    @property
    def n_weights(self) -> int:
        """All weights."""

    @property
    def n_moving(self) -> int:
        """Weights that move."""

    @property
    def rate(self) -> float:
        """Factor on the learning rate."""


def depth_table(component: str, rows: Sequence[DepthRow]) -> str:
    """Per depth: weights, moving or frozen, rate factor; top first.

    RETURNS (str): Several lines.
    """
    body = [(row.name, f"{row.n_weights:,}", _state(row), f"{row.rate:.3g}" if row.n_moving else "-") for row in rows]
    moving, total = sum(row.n_moving for row in rows), sum(row.n_weights for row in rows)
    share = f"{moving / total:.0%}" if total else "-"
    footer = ("all", f"{total:,}", f"{moving:,} move ({share})", "")
    header = ("depth", "weights", "state", "rate")
    text: str = table(body, header=header, footer=footer, divider=True, aligns=("l", "r", "l", "r"))
    return f"What moves in '{component}':\n{text}"


def _state(row: DepthRow) -> str:
    if not row.n_moving:
        return "frozen" if row.n_weights else "no weights of its own"
    return "moving" if row.n_moving == row.n_weights else f"{row.n_moving:,} move"
