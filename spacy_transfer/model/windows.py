"""Long documents: overlapping windows of pieces, or head and tail."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import T005, T021, T022, T023
from .pieces import PieceTokenizer


class Row(NamedTuple):
    """One row of pieces.

    ids: Piece ids, special pieces included, (n_pieces,) int32.
    counted: First and one past the last position that pooling counts; windows that overlap share a middle, which is
        split between them, so that each piece counts in the window where it has more context.
    """

    ids: NDArray[np.int32]
    counted: tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """How a document becomes rows of at most `length` pieces.

    length (int): Longest row, in pieces, special pieces included.
    stride (int): Distance between the starts of two windows, in pieces; 1 <= stride <= length - special pieces.
    keep (str): "all" reads everything in overlapping windows; "head_tail" keeps one row, the first quarter and the
        last three quarters of it, and drops the middle.
    SOURCE: head and tail: Sun et al. 2019, arXiv:1905.05583.
    """

    length: int = 256
    stride: int = 192
    keep: Literal["all", "head_tail"] = "all"

    def __post_init__(self) -> None:
        for field in ("length", "stride"):
            if getattr(self, field) < 1:
                want = f"{field} >= 1"
                raise ValueError(T005.format(block="windows", field=field, value=getattr(self, field), want=want))

    def check(self, tokenizer: PieceTokenizer, max_pieces: int | None) -> None:
        """Compare with what the encoder can read.

        max_pieces (int | None): Longest row the encoder's positions allow.
        RAISES (ValueError): T021 if the stride leaves pieces unread, T022 if the length is above the limit, T023 if
            nothing fits beside the special pieces.
        """
        room = self.length - tokenizer.n_special
        if max_pieces is not None and self.length > max_pieces:
            raise ValueError(T022.format(length=self.length, limit=max_pieces))
        if room < 1:
            raise ValueError(T023.format(length=self.length, n_special=tokenizer.n_special))
        if self.keep == "all" and self.stride > room:
            raise ValueError(T021.format(stride=self.stride, room=room, length=self.length))

    def cut(self, pieces: Sequence[int], tokenizer: PieceTokenizer) -> list[Row]:
        """Rows of one document.

        pieces (Sequence[int]): Its piece ids, special pieces not included; may be empty.
        RETURNS (list[Row]): At least one row.
        """
        room = self.length - tokenizer.n_special
        if len(pieces) <= room:
            return [_row(pieces, tokenizer)]
        if self.keep == "head_tail":
            head = room // 4
            return [_row([*pieces[:head], *pieces[len(pieces) - (room - head) :]], tokenizer)]
        last = len(pieces) - room
        starts = [*range(0, last, self.stride), last]
        rows = []
        for i, start in enumerate(starts):
            row = _row(pieces[start : start + room], tokenizer)
            begin, end = row.counted
            if i > 0:
                # The overlap with the window before: its second half is ours.
                begin = len(tokenizer.prefix) + _split(starts[i - 1], start, room) - start
            if i < len(starts) - 1:
                end = len(tokenizer.prefix) + _split(start, starts[i + 1], room) - start
            rows.append(Row(row.ids, (begin, end)))
        return rows

    def cuts(self, pieces: Sequence[int], tokenizer: PieceTokenizer) -> bool:
        """Whether a document of these pieces loses its middle."""
        return self.keep == "head_tail" and len(pieces) > self.length - tokenizer.n_special


def _row(pieces: Sequence[int], tokenizer: PieceTokenizer) -> Row:
    # A tokenizer without special pieces makes nothing of an empty text; piece 0 stands in, so that a row has a state.
    ids = [*tokenizer.prefix, *pieces, *tokenizer.suffix] or [0]
    return Row(np.asarray(ids, dtype=np.int32), (0, len(ids)))


def _split(start: int, following: int, room: int) -> int:
    """Middle of the overlap of two windows, as a position in the document."""
    return (following + start + room) // 2
