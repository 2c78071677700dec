"""Masked-LM prediction: mask pieces of a row, predict them from the rest."""

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .devices import few_shapes
from .devices.cpu_kernels import CpuKernels
from .devices.shape_sizes import few_values
from .encoders.encoder import Encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Of the chosen pieces: hidden behind the mask piece, replaced by any piece; the rest stays as it is.
_HIDDEN, _REPLACED = 0.8, 0.1
# Of SplitMix64, as signed numbers of 64 bits.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def draw_key(seed: int, count: int) -> int:
    """What `hide` draws from, of a seed and of how often was drawn before; another one for every such pair."""
    return int(_mixed(_mixed(torch.tensor(seed)) + count))


def hide(
    ids: Tensor, eligible: Tensor, *, mask_id: int, ordinary: Tensor, share: float, key: int, at_least_one: bool = False
) -> tuple[Tensor, Tensor]:
    """Choose pieces and hide them.

    ids (Tensor): Piece ids, (n_rows, n_pieces), on the CPU.
    eligible (Tensor): Boolean, where a piece may be chosen.
    mask_id (int): Id of the mask piece.
    ordinary (Tensor): Ids that may replace a piece.
    share (float): Of the eligible pieces that is chosen.
    key (int): With the row's own pieces all that decides: neither padding nor the other rows of a micro-batch, a
        sub-batch or a rank change what is hidden.
    at_least_one (bool): Choose one piece of a row where chance chose none.
    RETURNS (tuple[Tensor, Tensor]): The ids to read, and where pieces were chosen (boolean), each (n_rows, n_pieces).
    SOURCE: Devlin et al. 2019, arXiv:1810.04805: of the chosen pieces 80 % are hidden, 10 % replaced, 10 % kept. Random
        numbers from counters: Steele et al. 2014 (SplitMix64), doi:10.1145/2660193.2660195.
    """
    places = torch.arange(ids.shape[1]) * _GOLDEN
    rows = (_mixed(ids + places) * eligible).sum(dim=1, keepdim=True)
    chance, how, other = (_mixed(_mixed(rows + (key + n)) + places) for n in range(3))
    chosen = (_uniform(chance) < share) & eligible
    if at_least_one:
        least = torch.where(eligible, _uniform(chance), 2.0).argmin(dim=1, keepdim=True)
        chosen |= eligible & ~chosen.any(dim=1, keepdim=True) & (torch.arange(ids.shape[1]) == least)
    replaced = ordinary[(_uniform(other) * len(ordinary)).long()]
    how = _uniform(how)
    read = torch.where(chosen & (how < _HIDDEN), mask_id, ids)
    return torch.where(chosen & (how >= _HIDDEN) & (how < _HIDDEN + _REPLACED), replaced, read), chosen


def _mixed(numbers: Tensor) -> Tensor:
    """The finalizer of SplitMix64: whole numbers of 64 bits in which no pattern is left. torch's products wrap."""
    numbers = (numbers ^ _shifted(numbers, 30)) * _FIRST
    numbers = (numbers ^ _shifted(numbers, 27)) * _SECOND
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: Tensor, by: int) -> Tensor:
    """To the right, zeros coming in; torch's own shift brings the sign in."""
    return (numbers >> by) & ((1 << (64 - by)) - 1)


def _uniform(numbers: Tensor) -> Tensor:
    """0 <= number < 1, of the upper 53 bits."""
    return _shifted(numbers, 11).double() * 2.0**-53


class MaskedLMNetwork(nn.Module):
    """An encoder and a head whose output weights are the vectors of the pieces themselves.

    encoder (Encoder): Learns.
    precision (torch.dtype): Of its arithmetic.
    """

    def __init__(self, encoder: Encoder, precision: torch.dtype) -> None:
        super().__init__()
        self.encoder = encoder
        self.precision = precision
        self._max_pieces = encoder.max_pieces
        table = self._table
        # ALBERT and ELECTRA have vectors of pieces that are narrower than the states.
        narrow = table.shape[1]
        self.transform = nn.Sequential(nn.Linear(encoder.width, narrow), nn.GELU(), nn.LayerNorm(narrow))
        self.bias = nn.Parameter(torch.zeros(table.shape[0]))

    @property
    def _table(self) -> nn.Parameter:
        body: PreTrainedModel = self.encoder.body
        return body.get_input_embeddings().weight

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.bias.device

    def forward(self, ids: Tensor, mask: Tensor, chosen: Tensor, is_full: bool | None = None) -> Tensor:
        """Predict chosen pieces.

        ids (Tensor): (n_rows, n_pieces).
        mask (Tensor): (n_rows, n_pieces).
        chosen (Tensor): Places of the chosen pieces, all rows seen as one, (n_chosen,). By their numbers, since of a
            mask only the device knows how many they are.
        is_full (bool | None): As for `Encoder.forward`.
        RETURNS (Tensor): Logits, (n_chosen, n_vocabulary), fp32.
        """
        half = self.precision != torch.float32
        kernels = CpuKernels() if ids.device.type == "cpu" else nullcontext()
        few, n_rows, n_pieces = few_shapes.are_wanted(ids.device, self.precision), *ids.shape
        if few:
            ids, mask = few_shapes.filled_up(ids, mask, self.encoder.pad_id, self._max_pieces)
        with torch.autocast(ids.device.type, self.precision if half else torch.bfloat16, enabled=half), kernels:
            states = self.encoder(ids, mask, is_full)[:n_rows, :n_pieces].flatten(0, 1).index_select(0, chosen)
            n_chosen = len(states)
            if few:
                states = F.pad(states, (0, 0, 0, few_values(n_chosen) - n_chosen))
            logits = F.linear(self.transform(states), self._table)[:n_chosen]
        return logits.float() + self.bias
