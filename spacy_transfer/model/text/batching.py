"""Micro-batches under a piece budget, and their arrays. Knows no torch: exported pipelines run without it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...nn.devices.freed_memory import FREED_MEMORY
from ...nn.devices.shape_sizes import MOST_PIECES, ROWS, few_pieces, few_rows
from .windows import Row

# A micro-batch is closed when the next document would fill less than this share of its row ...
_LEAST_FILLED = 0.8
# ... and it is large enough to keep the device busy, in pieces: matrix products reach their peak from there on.
_BUSY = {"cpu": 512, "cuda": 16_384}
# What a micro-batch costs beside its pieces, in pieces: calls, and products that are too short to be fast.
_COST = 64
_ALIGNED = 8


def micro_batches(
    documents: Sequence[Sequence[Row]], budget: int, device: str = "cpu", *, few_shapes: bool = False
) -> Iterator[list[int]]:
    """Group documents of like length so that little is padding.

    documents (Sequence[Sequence[Row]]): Rows of each document.
    budget (int): Most pieces in a micro-batch, padding included. A document above it runs alone.
    device (str): Kind of device, which decides how many pieces a micro-batch should have at least.
    few_shapes (bool): Put them together so that little is added where the network fills them up to few shapes.
    YIELDS (list[int]): Indices of documents.
    """
    for group in _groups(documents, budget, device, few_shapes=few_shapes):
        if device == "cpu":
            FREED_MEMORY.give_back()
        yield group


def _groups(documents: Sequence[Sequence[Row]], budget: int, device: str, *, few_shapes: bool) -> Iterator[list[int]]:
    lengths = [max(len(row.ids) for row in rows) for rows in documents]
    # Longest first: the largest micro-batch runs first, so running out of memory shows in the first second.
    order = sorted(range(len(documents)), key=lambda i: (-lengths[i], i))
    if few_shapes:
        yield from _in_few_shapes([lengths[i] for i in order], [len(documents[i]) for i in order], order, budget)
        return
    group: list[int] = []
    n_rows = longest = 0
    busy = _BUSY.get(device, 4096)
    for i in order:
        # Descending: the first document of a group sets its length.
        full = (n_rows + len(documents[i])) * longest > budget
        uneven = lengths[i] < _LEAST_FILLED * longest and n_rows * longest >= busy
        if group and (full or uneven):
            yield group
            group, n_rows = [], 0
        if not group:
            # As `collate` fills them up: counted without it, a full micro-batch would lie above the budget and run in
            # parts, each of them twice.
            longest = _aligned(lengths[i], device)
        group.append(i)
        n_rows += len(documents[i])
    if group:
        yield group


def padded_pieces(documents: Sequence[Sequence[Row]]) -> int:
    """Count the pieces of a micro-batch.

    documents (Sequence[Sequence[Row]]): Rows of each document.
    RETURNS (int): Pieces, padding included.
    """
    longest = max((len(row.ids) for rows in documents for row in rows), default=0)
    return longest * sum(len(rows) for rows in documents)


def _aligned(n_pieces: int, device: str) -> int:
    return -(-n_pieces // _ALIGNED) * _ALIGNED if device == "cuda" else n_pieces


def _in_few_shapes(
    lengths: Sequence[int], n_rows: Sequence[int], order: Sequence[int], budget: int
) -> Iterator[list[int]]:
    """Micro-batches of neighbors that cost least in all, what they are filled up with included.

    lengths (Sequence[int]): Of each document, longest first.
    n_rows (Sequence[int]): Of each document, longest first.
    order (Sequence[int]): Their indices.
    """
    n_docs, most = len(order), min(budget, MOST_PIECES)
    rows_before = np.concatenate([[0], np.cumsum(n_rows)])
    # From the last document to the first: the least cost from here on, and where the next micro-batch begins.
    costs, ends = [0] * (n_docs + 1), [n_docs] * (n_docs + 1)
    for i in reversed(range(n_docs)):
        width = few_pieces(lengths[i])
        # Alone, whatever it takes.
        costs[i], ends[i] = _COST + few_rows(n_rows[i], width) * width + costs[i + 1], i + 1
        fitting = [rows for rows in ROWS if rows * width <= most and rows >= n_rows[i]]
        # As many as the rows hold, without those that would make more of them.
        reached = np.searchsorted(rows_before, rows_before[i] + np.asarray(fitting, dtype=np.int64), side="right") - 1
        for rows, end in zip(fitting, reached.tolist(), strict=True):
            if (cost := _COST + rows * width + costs[end]) < costs[i]:
                costs[i], ends[i] = cost, end
            if end == n_docs:
                break
    i = 0
    while i < n_docs:
        yield list(order[i : ends[i]])
        i = ends[i]


class RowArrays(NamedTuple):
    """Rows of some documents, filled up to the same length.

    ids (NDArray[np.int64]): Piece ids, padded on the right, (n_rows, n_pieces).
    inside (NDArray[np.bool_]): True for a piece, false for padding, (n_rows, n_pieces).
    counted (NDArray[np.bool_]): True where pooling counts the piece, (n_rows, n_pieces).
    owner (NDArray[np.int64]): Document of each row, (n_rows,), ascending from 0.
    """

    ids: NDArray[np.int64]
    inside: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    owner: NDArray[np.int64]


def row_arrays(
    documents: Sequence[Sequence[Row]], pad_id: int, *, most: int | None = 0, device: str = "cpu"
) -> RowArrays:
    """Put the rows of some documents into arrays.

    documents (Sequence[Sequence[Row]]): Rows of each document.
    pad_id (int): Id of padding.
    most (int | None): Longest row that the encoder can read, None where there is no limit: for CUDA rows are padded to
        multiples of 8 up to there, since attention kernels otherwise copy the mask in each layer, or are not taken.
    device (str): Kind of device that the rows are for.
    RETURNS (RowArrays): In the order of the documents.
    """
    rows = [row for document in documents for row in document]
    lengths = np.fromiter((len(row.ids) for row in rows), dtype=np.int64, count=len(rows))
    longest = int(lengths.max())
    aligned = _aligned(longest, device)
    longest = aligned if most is None or aligned <= most else longest
    positions = np.arange(longest)
    inside = positions < lengths[:, None]
    ids = np.full(inside.shape, pad_id, dtype=np.int64)
    ids[inside] = np.concatenate([row.ids for row in rows])
    begins = np.fromiter((row.counted[0] for row in rows), dtype=np.int64, count=len(rows))
    ends = np.fromiter((row.counted[1] for row in rows), dtype=np.int64, count=len(rows))
    counted = (positions >= begins[:, None]) & (positions < ends[:, None])
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    return RowArrays(ids, inside, counted, owner)
