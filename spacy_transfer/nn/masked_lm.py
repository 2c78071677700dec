"""What an encoder learns from raw texts: to predict masked pieces from the rest, or a text from the vector of what is
left of it."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .devices import few_shapes
from .devices.cpu_kernels import CpuKernels
from .devices.shape_sizes import few_values
from .encoders.encoder import Encoder
from .scratch.transformer import waves

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Pooled = Literal["mean", "cls"]
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
    ids: Tensor, eligible: Tensor, *, mask_id: int, ordinary: Tensor, share: float, key: int,
    at_least_one: bool = False, begins: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Choose pieces and hide them.

    ids (Tensor): Piece ids, (n_rows, n_pieces), on the CPU.
    eligible (Tensor): Boolean, where a piece may be chosen.
    mask_id (int): Id of the mask piece.
    ordinary (Tensor): Ids that may replace a piece.
    share (float): Of the eligible pieces that is chosen.
    key (int): With the row's own pieces all that decides: neither padding nor the other rows of a micro-batch, a
        sub-batch or a rank change what is hidden.
    at_least_one (bool): Choose one piece of a row, or one word, where chance chose none.
    begins (Tensor | None): Boolean, where a word begins: its pieces are chosen together. None chooses each for itself.
    RETURNS (tuple[Tensor, Tensor]): The ids to read, and where pieces were chosen (boolean), each (n_rows, n_pieces).
    SOURCE: Devlin et al. 2019, arXiv:1810.04805: of the chosen pieces 80 % are hidden, 10 % replaced, 10 % kept; whole
        words: Cui et al. 2021, arXiv:1906.08101. Random
        numbers from counters: Steele et al. 2014 (SplitMix64), doi:10.1145/2660193.2660195.
    """
    chance, how, other = _numbers(ids, eligible, key)
    words = _words(ids, begins)
    chances = _uniform(chance).gather(1, words)
    chosen = (chances < share) & eligible
    if at_least_one:
        least = torch.where(eligible, chances, 2.0).argmin(dim=1, keepdim=True)
        chosen |= eligible & ~chosen.any(dim=1, keepdim=True) & (words == words.gather(1, least))
    replaced = ordinary[(_uniform(other) * len(ordinary)).long()]
    how = _uniform(how)
    read = torch.where(chosen & (how < _HIDDEN), mask_id, ids)
    return torch.where(chosen & (how >= _HIDDEN) & (how < _HIDDEN + _REPLACED), replaced, read), chosen


def leave_out(
    ids: Tensor, eligible: Tensor, mask: Tensor, *, pad_id: int, share: float, key: int, begins: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Delete pieces; what is left moves together.

    ids (Tensor): Piece ids, (n_rows, n_pieces), on the CPU.
    eligible (Tensor): Boolean, where a piece may be deleted; of each row at least one of them stays.
    mask (Tensor): 0 at padding, (n_rows, n_pieces).
    pad_id (int): Id of padding.
    share (float): Of the eligible pieces that is deleted.
    key (int): As for `hide`.
    begins (Tensor | None): As for `hide`.
    RETURNS (tuple[Tensor, Tensor]): The ids to read and their mask, each (n_rows, n_pieces).
    SOURCE: Wang et al. 2021 (TSDAE), arXiv:2104.06979.
    """
    chance = _numbers(ids, eligible, key)[0]
    words = _words(ids, begins)
    chances = torch.where(eligible, _uniform(chance).gather(1, words), -1.0)
    highest = chances.argmax(dim=1, keepdim=True)
    stays = (chances >= share) | (words == words.gather(1, highest)) | ~eligible
    kept = stays & mask.bool()
    order = torch.argsort(~kept, dim=1, stable=True)
    there = kept.gather(1, order)
    return ids.gather(1, order).masked_fill(~there, pad_id), there.to(mask.dtype)


def _numbers(ids: Tensor, eligible: Tensor, key: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three random numbers of 64 bits for each place, of key, row and place alone."""
    places = torch.arange(ids.shape[1]) * _GOLDEN
    rows = (_mixed(ids + places) * eligible).sum(dim=1, keepdim=True)
    chance, how, other = (_mixed(_mixed(rows + (key + n)) + places) for n in range(3))
    return chance, how, other


def _words(ids: Tensor, begins: Tensor | None) -> Tensor:
    """Of each piece the place where its word begins, (n_rows, n_pieces)."""
    places = torch.arange(ids.shape[1]).expand(ids.shape)
    return places if begins is None else torch.where(begins, places, 0).cummax(dim=1).values


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


class VectorDecoder(nn.Module):
    """Predicts a text piece by piece from a vector and the pieces so far.

    Attention to a single vector adds the same to every place, so it is added at once; one layer of causal
    self-attention follows. A weak decoder leaves the work to the vector.

    forward: vectors (n_rows, width), pieces (n_rows, n_pieces, narrow) -> states (n_rows, n_pieces, width) from which
        the piece at each place is predicted.

    narrow (int): Width of the pieces' vectors.
    width (int): Of the encoder's states.
    """

    def __init__(self, narrow: int, width: int) -> None:
        super().__init__()
        self.pieces, self.memory = nn.Linear(narrow, width), nn.Linear(width, width)
        heads = next(n for n in (12, 8, 6, 4, 3, 2, 1) if width % n == 0)
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, 0.1, activation="gelu", batch_first=True, norm_first=True
        )

    def forward(self, vectors: Tensor, pieces: Tensor) -> Tensor:
        """See the class."""
        n_pieces, width = pieces.shape[1], vectors.shape[1]
        before = F.pad(self.pieces(pieces[:, :-1]), (0, 0, 1, 0))
        states = before + self.memory(vectors).unsqueeze(1) + waves(n_pieces, width, vectors.device)
        later = torch.ones((n_pieces, n_pieces), dtype=torch.bool, device=vectors.device).triu(1)
        decoded: Tensor = self.layer(states, src_mask=later)
        return decoded


class MaskedLMNetwork(nn.Module):
    """An encoder and a head whose output weights are the vectors of the pieces themselves.

    encoder (Encoder): Learns.
    precision (torch.dtype): Of its arithmetic.
    pooled (str | None): None predicts pieces from their own states; "mean" or "cls" from the vector of the row, by a
        `VectorDecoder`.
    """

    def __init__(self, encoder: Encoder, precision: torch.dtype, pooled: Pooled | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.precision = precision
        self._max_pieces = encoder.max_pieces
        table = self._table
        # ALBERT and ELECTRA have vectors of pieces that are narrower than the states.
        narrow = table.shape[1]
        self.transform = nn.Sequential(nn.Linear(encoder.width, narrow), nn.GELU(), nn.LayerNorm(narrow))
        self.bias = nn.Parameter(torch.zeros(table.shape[0]))
        self._pooled = pooled
        self.decoder = None if pooled is None else VectorDecoder(narrow, encoder.width)

    @property
    def _table(self) -> nn.Parameter:
        body: PreTrainedModel = self.encoder.body
        return body.get_input_embeddings().weight

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.bias.device

    def forward(
        self, ids: Tensor, mask: Tensor, chosen: Tensor, is_full: bool | None = None, original: Tensor | None = None
    ) -> Tensor:
        """Predict chosen pieces.

        ids (Tensor): (n_rows, n_pieces).
        mask (Tensor): (n_rows, n_pieces).
        chosen (Tensor): Places of the chosen pieces, all rows seen as one, (n_chosen,). By their numbers, since of a
            mask only the device knows how many they are.
        is_full (bool | None): As for `Encoder.forward`.
        original (Tensor | None): The ids before any was left out, (n_rows, n_pieces), for a network with a decoder;
            `chosen` are places in them.
        RETURNS (Tensor): Logits, (n_chosen, n_vocabulary), fp32.
        """
        half = self.precision != torch.float32
        kernels = CpuKernels() if ids.device.type == "cpu" else nullcontext()
        few, n_rows, n_pieces = few_shapes.are_wanted(ids.device, self.precision), *ids.shape
        read = mask
        if few:
            ids, mask = few_shapes.filled_up(ids, mask, self.encoder.pad_id, self._max_pieces)
        with torch.autocast(ids.device.type, self.precision if half else torch.bfloat16, enabled=half), kernels:
            states = self.encoder(ids, mask, is_full)[:n_rows, :n_pieces]
            if self.decoder is not None and original is not None:
                states = self.decoder(self._pool(states, read), F.embedding(original, self._table))
            states = states.flatten(0, 1).index_select(0, chosen)
            n_chosen = len(states)
            if few:
                states = F.pad(states, (0, 0, 0, few_values(n_chosen) - n_chosen))
            logits = F.linear(self.transform(states), self._table)[:n_chosen]
        return logits.float() + self.bias

    def _pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """The vector of each row, (n_rows, width)."""
        if self._pooled == "cls":
            return states[:, 0]
        counted = mask.unsqueeze(2).to(states.dtype)
        return (states * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1.0)
