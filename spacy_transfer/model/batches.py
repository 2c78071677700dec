"""Micro-batches under a piece budget, and their tensors."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..nn.host_rows import HostRows
from ..nn.network import RowBatch
from ..nn.pinned import to_device
from .windows import Row

# A micro-batch is closed when the next document would fill less than this share of its row ...
_LEAST_FILLED = 0.8
# ... and it is large enough to keep the device busy, in pieces: matrix products reach their peak from there on.
_BUSY = {"cpu": 512, "cuda": 16_384}


def micro_batches(documents: Sequence[Sequence[Row]], budget: int, device: str = "cpu") -> Iterator[list[int]]:
    """Group documents of like length so that little is padding.

    documents (Sequence[Sequence[Row]]): Rows of each document.
    budget (int): Most pieces in a micro-batch, padding included. A document above it runs alone.
    device (str): Kind of device, which decides how many pieces a micro-batch should have at least.
    YIELDS (list[int]): Indices of documents.
    """
    lengths = [max(len(row.ids) for row in rows) for rows in documents]
    # Longest first: the largest micro-batch runs first, so running out of memory shows in the first second.
    order = sorted(range(len(documents)), key=lambda i: (-lengths[i], i))
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
            longest = lengths[i]
        group.append(i)
        n_rows += len(documents[i])
    if group:
        yield group


def collate(documents: Sequence[Sequence[Row]], pad_id: int, device: torch.device) -> RowBatch:
    """Rows of some documents as one batch of tensors.

    documents (Sequence[Sequence[Row]]): Rows of each document.
    pad_id (int): Id of padding.
    """
    rows = [row for document in documents for row in document]
    lengths = np.fromiter((len(row.ids) for row in rows), dtype=np.int64, count=len(rows))
    positions = np.arange(int(lengths.max()))
    inside = positions < lengths[:, None]
    ids = np.full(inside.shape, pad_id, dtype=np.int64)
    ids[inside] = np.concatenate([row.ids for row in rows])
    begins = np.fromiter((row.counted[0] for row in rows), dtype=np.int64, count=len(rows))
    ends = np.fromiter((row.counted[1] for row in rows), dtype=np.int64, count=len(rows))
    counted = (positions >= begins[:, None]) & (positions < ends[:, None])
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])

    arrays = (ids, inside.astype(np.int64), counted.astype(np.int64), owner)
    host = HostRows(counted, owner, bool(inside.all()))
    there = [to_device(array, device) for array in arrays]
    return RowBatch(there[0], there[1], there[2], there[3], len(documents), host)
