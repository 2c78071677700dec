"""The table shown at the start of training."""

from collections.abc import Sequence
from typing import Protocol

from wasabi import table


class DepthRow(Protocol):
    """One depth, as the model describes it."""

    @property
    def depth(self) -> int:
        """0 for the embeddings, 1..L for the layers, L + 1 for pooling and head."""

    @property
    def name(self) -> str:
        """Of the depth."""

    @property
    def n_weights(self) -> int:
        """All weights."""

    @property
    def n_trainable(self) -> int:
        """Those that are trained."""

    @property
    def lr_factor(self) -> float:
        """Factor on the learning rate."""


def depth_table(component: str, rows: Sequence[DepthRow]) -> str:
    """Per depth: weights, trainable or frozen, rate factor; top first.

    RETURNS (str): Several lines.
    """
    factors = [f"{row.lr_factor:.3g}" if row.n_trainable else "-" for row in rows]
    body = [(row.name, f"{row.n_weights:,}", _state(row), factor) for row, factor in zip(rows, factors, strict=True)]
    trainable, total = sum(row.n_trainable for row in rows), sum(row.n_weights for row in rows)
    share = f"{trainable / total:.0%}" if total else "-"
    footer = ("all", f"{total:,}", f"{trainable:,} trainable ({share})", "")
    header = ("depth", "weights", "state", "lr factor")
    text: str = table(body, header=header, footer=footer, divider=True, aligns=("l", "r", "l", "r"))
    return f"Trainable weights of '{component}':\n{text}"


def _state(row: DepthRow) -> str:
    if not row.n_trainable:
        return "frozen" if row.n_weights else "no weights of its own"
    return "trainable" if row.n_trainable == row.n_weights else f"{row.n_trainable:,} trainable"
