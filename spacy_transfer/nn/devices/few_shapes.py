"""Limits the number of shapes of low-precision products on a CPU.

oneDNN keeps memory for every new shape of a bf16 product, and makes a kernel for it: of 50,000 distinct short texts a
pipeline grew by 1 GB. So rows of pieces are filled up to few lengths and few numbers of rows; in fp32, whose products
keep nothing, they stay as they are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .shape_sizes import few_pieces, few_rows


def are_wanted(device: torch.device, precision: torch.dtype) -> bool:
    """Whether shapes should be few where something is computed."""
    return device.type == "cpu" and precision != torch.float32


def filled_up(ids: Tensor, mask: Tensor, pad_id: int, most: int | None) -> tuple[Tensor, Tensor]:
    """Bring ids and mask into one of few shapes: padding on the right, and the last row again.

    Nobody reads the states of that row; one without any piece would give NaN in some encoders.

    ids (Tensor): (n_rows, n_pieces).
    mask (Tensor): (n_rows, n_pieces).
    pad_id (int): Id of the padding.
    most (int | None): Longest row that the encoder can read.
    RETURNS (tuple[Tensor, Tensor]): Ids and mask.
    """
    n_rows, n_pieces = ids.shape
    width = few_pieces(n_pieces, most)
    if width > n_pieces:
        ids, mask = F.pad(ids, (0, width - n_pieces), value=pad_id), F.pad(mask, (0, width - n_pieces))
    more = few_rows(n_rows, width) - n_rows
    if more:
        ids, mask = (torch.cat([part, part[-1:].expand(more, -1)]) for part in (ids, mask))
    return ids, mask
