"""Masked-piece prediction: hide pieces of a row, predict them from the rest."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .encoder import Encoder
from .kernels import CpuKernels

# Of the chosen pieces: hidden behind the mask piece, replaced by any piece; the rest stays as it is.
_HIDDEN, _REPLACED = 0.8, 0.1


def hide(
    ids: Tensor, eligible: Tensor, *, mask_id: int, ordinary: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Choose pieces and hide them.

    ids (Tensor): Piece ids, (n_rows, n_pieces), on the CPU. eligible (Tensor): Boolean, where a piece may be chosen.
    mask_id (int): Id of the mask piece. ordinary (Tensor): Ids that may replace a piece.
    share (float): Of the eligible pieces that is chosen. generator (torch.Generator): Draws.
    RETURNS (tuple[Tensor, Tensor]): The ids to read, and where pieces were chosen (boolean), each (n_rows, n_pieces).
    SOURCE: Devlin et al. 2019, arXiv:1810.04805: of the chosen pieces 80 % are hidden, 10 % replaced, 10 % kept.
    """
    chosen = (torch.rand(ids.shape, generator=generator) < share) & eligible
    how = torch.rand(ids.shape, generator=generator)
    others = ordinary[torch.randint(len(ordinary), ids.shape, generator=generator)]
    read = torch.where(chosen & (how < _HIDDEN), mask_id, ids)
    return torch.where(chosen & (how >= _HIDDEN) & (how < _HIDDEN + _REPLACED), others, read), chosen


class MaskedPieceNetwork(nn.Module):
    """An encoder and a head whose output weights are the vectors of the pieces themselves.

    encoder (Encoder): Learns. precision (torch.dtype): Of its arithmetic.
    """

    def __init__(self, encoder: Encoder, precision: torch.dtype) -> None:
        super().__init__()
        self.encoder = encoder
        self.precision = precision
        table = self._table
        # ALBERT and ELECTRA have vectors of pieces that are narrower than the states.
        narrow = table.shape[1]
        self.transform = nn.Sequential(nn.Linear(encoder.width, narrow), nn.GELU(), nn.LayerNorm(narrow))
        self.bias = nn.Parameter(torch.zeros(table.shape[0]))

    @property
    def _table(self) -> nn.Parameter:
        return cast(Any, self.encoder.body).get_input_embeddings().weight

    def forward(self, ids: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
        """ids, mask, chosen (n_rows, n_pieces) -> logits of the chosen pieces, (n_chosen, n_vocabulary), fp32."""
        half = self.precision != torch.float32
        kernels = CpuKernels() if ids.device.type == "cpu" else nullcontext()
        with torch.autocast(ids.device.type, self.precision if half else torch.bfloat16, enabled=half), kernels:
            found = self.transform(self.encoder(ids, mask)[chosen])
            logits = F.linear(found, self._table)
        return logits.float() + self.bias

    def decaying(self) -> Sequence[dict[str, Any]]:
        """The weights for an optimizer: biases and norms (one dimension) do not decay."""
        weights = list(self.parameters())
        return [
            {"params": [w for w in weights if w.ndim > 1]},
            {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
        ]
