"""Micro-batches under a piece budget, and their tensors."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..nn.network import RowBatch
from .windows import Row


def micro_batches(documents: Sequence[Sequence[Row]], budget: int) -> Iterator[list[int]]:
    """Group documents of like length so that little is padding.

    documents (Sequence[Sequence[Row]]): Rows of each document.
    budget (int): Most pieces in a micro-batch, padding included. A document above it runs alone.
    YIELDS (list[int]): Indices of documents.
    """
    lengths = [max(len(row.ids) for row in rows) for rows in documents]
    # Longest first: the largest micro-batch runs first, so running out of memory shows in the first second.
    order = sorted(range(len(documents)), key=lambda i: (-lengths[i], i))
    group: list[int] = []
    n_rows = longest = 0
    for i in order:
        # Descending: the first document of a group sets its length.
        if group and (n_rows + len(documents[i])) * longest > budget:
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

    def tensor(array: np.ndarray) -> torch.Tensor:
        host = torch.from_numpy(array)
        return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)

    return RowBatch(
        tensor(ids), tensor(inside.astype(np.int64)), tensor(counted.astype(np.int64)), tensor(owner), len(documents)
    )
