"""An encoder without layers: a vector per piece, one per pair of neighbors, and what three pieces in a row say."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...json_types import JsonObject

# Stands in a stored configuration where an encoder of transformers has its model type.
STATIC = "spacy-transfer-static"
# For the rows of pairs: a prime below 2**31, and two factors that keep every product below 2**63.
_PRIME = 2**31 - 1
_FIRST, _SECOND = 1_640_531_527, 2_246_822_519


class StaticBody(nn.Module):
    """Looks up vectors. All its weights are at depth 0.

    config (dict): vocab_size, hidden_size (of a state), n_bigrams (rows of the table of pairs, 0 for none), n_context
        (the last dimensions of a state, that come of a piece and its two neighbors; 0 for none), word_dropout.
    """

    supports_gradient_checkpointing = False

    def __init__(self, config: JsonObject) -> None:
        super().__init__()
        self.config = SimpleNamespace(**config, _attn_implementation="none")
        self.embeddings = _Embeddings(self.config)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """Look up the states.

        input_ids (Tensor): (n_rows, n_pieces).
        attention_mask (Tensor): 0 at padding, (n_rows, n_pieces).
        RETURNS (SimpleNamespace): With `last_hidden_state`, (n_rows, n_pieces, width).
        """
        return SimpleNamespace(last_hidden_state=self.embeddings(input_ids, attention_mask))

    @property
    def n_context(self) -> int:
        """Dimensions of a state that come of a piece and its neighbors."""
        return self.embeddings.n_context

    def pooled(self, ids: Tensor, starts: Tensor) -> Tensor:
        """Average the states of documents of one row each without making them, and take the largest of the context.

        ids (Tensor): Pieces of one document after the other, (n_pieces,).
        starts (Tensor): Where each document begins, (n_docs,); none is empty.
        RETURNS (Tensor): (n_docs, width).
        """
        return self.embeddings.pooled(ids, starts)

    def get_input_embeddings(self) -> nn.Embedding:
        """The vectors of the pieces, as encoders of transformers give theirs."""
        return self.embeddings.pieces


def tables_of(network: nn.Module) -> list[Tensor]:
    """Find the tables of static encoders: in a step most of their rows have no gradient.

    network (nn.Module): Any.
    RETURNS (list[Tensor]): Weights, (n_rows, width) each.
    """
    found = [module.embeddings for module in network.modules() if isinstance(module, StaticBody)]
    tables = [table for one in found for table in (one.pieces, one.bigrams) if table is not None]
    return [table.weight for table in tables]


class _Embeddings(nn.Module):
    """ids (n_rows, n_pieces), mask (n_rows, n_pieces) 0/1 -> states (n_rows, n_pieces, width)."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.n_context: int = config.n_context
        width = config.hidden_size - self.n_context
        self.pieces = nn.Embedding(config.vocab_size, width)
        self.bigrams = nn.Embedding(config.n_bigrams, width) if config.n_bigrams else None
        # Of the piece before, of itself and of the one after.
        self.context = nn.Conv1d(width, self.n_context, 3, padding=1) if self.n_context else None
        self.word_dropout: float = config.word_dropout

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        states: Tensor = self.pieces(ids)
        seen = mask.bool()
        if self.training and self.word_dropout > 0.0:
            # Not scaled up: the mean of the pieces that are left is smaller, as that of a text with unknown words.
            seen = seen & (torch.rand(ids.shape, device=ids.device) >= self.word_dropout)
        seen = seen.unsqueeze(2)
        near = None
        if self.context is not None:
            near = self.context((states * seen).transpose(1, 2)).transpose(1, 2).relu()
        if self.bigrams is not None:
            states = states + self.bigrams(bigram_rows(ids, self.pieces.num_embeddings, self.bigrams.num_embeddings))
        states = states * seen
        return states if near is None else torch.cat([states, near], dim=2)

    def pooled(self, ids: Tensor, starts: Tensor) -> Tensor:
        """See `StaticBody.pooled`."""
        found = F.embedding_bag(ids, self.pieces.weight, starts, mode="mean")
        if self.bigrams is not None:
            before = F.pad(ids[:-1], (1, 0))
            before[starts] = self.pieces.num_embeddings
            rows = pair_rows(before, ids, self.bigrams.num_embeddings)
            found = found + F.embedding_bag(rows, self.bigrams.weight, starts, mode="mean")
        if self.context is not None:
            found = torch.cat([found, self._largest_context(self.context, ids, starts)], dim=1)
        return found

    def _largest_context(self, context: nn.Conv1d, ids: Tensor, starts: Tensor) -> Tensor:
        """Of each document, (n_docs, n_context). A convolution is linear: a piece is multiplied once, however often it
        occurs."""
        known, place = ids.unique(return_inverse=True)
        # Three rows a piece: what it says of the one after it, of itself, of the one before. The last row says nothing.
        parts = self.pieces.weight[known] @ context.weight.permute(1, 2, 0).flatten(1)
        table = F.pad(parts.view(-1, self.n_context), (0, 0, 0, 1))
        nothing, place = len(table) - 1, 3 * place
        is_first = torch.zeros_like(ids, dtype=torch.bool)
        is_first[starts] = True
        before = F.pad(place[:-1], (1, 0)).masked_fill(is_first, nothing)
        after = F.pad(place[1:] + 2, (0, 1)).masked_fill(F.pad(is_first[1:], (0, 1), value=True), nothing)
        near = F.embedding_bag(torch.stack([before, place + 1, after], dim=1), table, mode="sum")
        near = near if context.bias is None else near + context.bias
        owner = is_first.long().cumsum(0) - 1
        largest = near.new_zeros((len(starts), near.shape[1]))
        # From 0 on, as the rectifier has it.
        return largest.scatter_reduce(0, owner[:, None].expand_as(near), near, reduce="amax")


def bigram_rows(ids: Tensor, n_pieces: int, n_rows: int) -> Tensor:
    """Rows of the pairs that each piece makes with the one before it; the first piece follows the beginning of the row.

    ids (Tensor): Piece ids, (n_rows, n_pieces).
    n_pieces (int): Size of the vocabulary; stands for the beginning.
    n_rows (int): Rows of the table.
    RETURNS (Tensor): 0 to n_rows - 1, (n_rows, n_pieces).
    """
    begin = torch.full_like(ids[:, :1], n_pieces)
    before = torch.cat([begin, ids[:, :-1]], dim=1)
    return pair_rows(before, ids, n_rows)


def pair_rows(before: Tensor, ids: Tensor, n_rows: int) -> Tensor:
    """Rows of pairs of pieces in a table; pairs may share one.

    before (Tensor): The first piece of each.
    ids (Tensor): The second, of the same shape.
    n_rows (int): Rows of the table.
    RETURNS (Tensor): 0 to n_rows - 1, of the same shape.
    SOURCE: hashed word pairs: Joulin et al. 2017 (fastText), arXiv:1607.01759.
    """
    # Without shifts, so that an ONNX graph can do it too.
    return torch.remainder(torch.remainder(before * _FIRST + ids * _SECOND, _PRIME), n_rows)
