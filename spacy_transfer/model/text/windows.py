"""Long documents: overlapping windows of pieces, or head and tail."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import T005, T021, T022, T023
from .tokenizer import PieceTokenizer

# Attention beyond this costs more than it brings in most tasks; whoever wants it says so.
_LONGEST = 512


class Row(NamedTuple):
    """One row of pieces.

    ids (NDArray[np.int32]): Piece ids, special pieces included, (n_pieces,) int32.
    counted (tuple[int, int]): First and one past the last position that pooling counts; windows that overlap share a
        middle, which is split between them, so that each piece counts in the window where it has more context.
    """

    ids: NDArray[np.int32]
    counted: tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """How a document becomes rows of at most `length` pieces.

    length (int | "auto"): Longest row, in pieces, special pieces included. "auto" is what the encoder reads: the
        max_seq_length of a sentence-transformers folder, else as many as it has positions, at most 512.
    stride (int | "auto"): Distance between the starts of two windows, in pieces; 1 <= stride <= length - special
        pieces. "auto" is three quarters of that.
    keep (str): "all" reads everything in overlapping windows; "head_tail" keeps one row, the first quarter and the
        last three quarters of it, and drops the middle.
    SOURCE: head and tail: Sun et al. 2019, arXiv:1905.05583.
    """

    length: int | Literal["auto"] = 256
    stride: int | Literal["auto"] = 192
    keep: Literal["all", "head_tail"] = "all"

    def __post_init__(self) -> None:
        for field in ("length", "stride"):
            value = getattr(self, field)
            if value != "auto" and (isinstance(value, str) or value < 1):
                want = f'{field} >= 1, or "auto"'
                raise ValueError(T005.format(block="windows", field=field, value=getattr(self, field), want=want))

    def fitted(
        self, tokenizer: PieceTokenizer, max_pieces: int | None, max_length: int | None = None
    ) -> "FittedWindows":
        """Compare with what the encoder can read, and settle what is "auto".

        tokenizer (PieceTokenizer): Of the encoder.
        max_pieces (int | None): Longest row the encoder's positions allow.
        max_length (int | None): Longest text that it was trained on, as its folder says.
        RETURNS (FittedWindows): With numbers only.
        RAISES (ValueError): T021 if the stride leaves pieces unread, T022 if the length is above the limit, T023 if
            nothing fits beside the special pieces.
        """
        asked = self.length
        length = min(max_length or _LONGEST, max_pieces or _LONGEST) if asked == "auto" else asked
        room = length - tokenizer.n_special
        if max_pieces is not None and length > max_pieces:
            stride = _stride(max_pieces - tokenizer.n_special)
            raise ValueError(T022.format(length=length, limit=max_pieces, stride=stride))
        if room < 1:
            raise ValueError(T023.format(length=length, n_special=tokenizer.n_special))
        # With a length that nobody chose, a stride that does not fit is nobody's choice either.
        wanted = self.stride
        stride = _stride(room) if wanted == "auto" or (asked == "auto" and wanted > room) else wanted
        if self.keep == "all" and stride > room:
            raise ValueError(T021.format(stride=stride, room=room, length=length))
        return FittedWindows(length, stride, self.keep)


@dataclass(frozen=True)
class FittedWindows:
    """Windows as an encoder reads them.

    length, stride (int), keep (str): As in `Windows`.
    """

    length: int
    stride: int
    keep: Literal["all", "head_tail"]

    def cut(self, pieces: Sequence[int], tokenizer: PieceTokenizer) -> list[Row]:
        """Rows of one document.

        pieces (Sequence[int]): Its piece ids, special pieces not included; may be empty.
        tokenizer (PieceTokenizer): Gives the special pieces.
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


def _stride(room: int) -> int:
    return max(1, 3 * room // 4)


def _row(pieces: Sequence[int], tokenizer: PieceTokenizer) -> Row:
    # A tokenizer without special pieces makes nothing of an empty text; piece 0 stands in, so that a row has a state.
    ids = [*tokenizer.prefix, *pieces, *tokenizer.suffix] or [0]
    return Row(np.asarray(ids, dtype=np.int32), (0, len(ids)))


def _split(start: int, following: int, room: int) -> int:
    """Middle of the overlap of two windows, as a position in the document."""
    return (following + start + room) // 2
