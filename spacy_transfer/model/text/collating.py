"""Micro-batches as tensors."""

from collections.abc import Sequence

import numpy as np
import torch

from ...nn.devices.host_rows import HostRows
from ...nn.devices.pinned import together_to_device
from ...nn.joined import NOTHING, Joined
from ...nn.network import RowBatch
from .batching import row_arrays
from .windows import Row


def collate(
    documents: Sequence[Sequence[Row]],
    pad_id: int,
    device: torch.device,
    most: int | None = 0,
    joined: Joined = NOTHING,
) -> RowBatch:
    """Rows of some documents as one batch of tensors.

    documents (Sequence[Sequence[Row]]): Rows of each document.
    pad_id (int): Id of padding.
    device (torch.device): Where the tensors go.
    most (int | None): As for `row_arrays`.
    joined (Joined): What is joined to the vectors of the documents.
    RETURNS (RowBatch): Ids, mask, and the document of each row.
    """
    ids, inside, counted, owner = row_arrays(documents, pad_id, most=most, device=device.type)
    arrays = (ids, inside.astype(np.int64), counted.astype(np.int64), owner)
    host = HostRows(counted, owner, bool(inside.all()))
    ids_there, mask, counts, owner_there = together_to_device(arrays, device)
    return RowBatch(ids_there, mask, counts, owner_there, len(documents), host, joined)
