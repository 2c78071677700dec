"""An encoder without layers: a vector per piece, and one per pair of neighbors."""

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

    config (dict): vocab_size, hidden_size, n_bigrams (rows of the table of pairs, 0 for none), word_dropout.
    """

    supports_gradient_checkpointing = False

    def __init__(self, config: JsonObject) -> None:
        super().__init__()
        self.config = SimpleNamespace(**config, _attn_implementation="none")
        self.embeddings = _Embeddings(self.config)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """Look up the states.

        input_ids (Tensor): (n_rows, n_pieces).
        attention_mask (Tensor): 0 at padding, (n_rows, n_pieces); not needed, since no state depends on another piece
            but the one before it.
        RETURNS (SimpleNamespace): With `last_hidden_state`, (n_rows, n_pieces, width).
        """
        return SimpleNamespace(last_hidden_state=self.embeddings(input_ids))

    def means(self, ids: Tensor, starts: Tensor) -> Tensor:
        """Average the states of documents of one row each, without making them.

        ids (Tensor): Pieces of one document after the other, (n_pieces,).
        starts (Tensor): Where each document begins, (n_docs,); none is empty.
        RETURNS (Tensor): (n_docs, width).
        """
        return self.embeddings.means(ids, starts)

    def get_input_embeddings(self) -> nn.Embedding:
        """The vectors of the pieces, as encoders of transformers give theirs."""
        return self.embeddings.pieces


class _Embeddings(nn.Module):
    """ids (n_rows, n_pieces) -> states (n_rows, n_pieces, width)."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.pieces = nn.Embedding(config.vocab_size, config.hidden_size)
        self.bigrams = nn.Embedding(config.n_bigrams, config.hidden_size) if config.n_bigrams else None
        self.word_dropout: float = config.word_dropout

    def forward(self, ids: Tensor) -> Tensor:
        """See the class."""
        states: Tensor = self.pieces(ids)
        if self.bigrams is not None:
            states = states + self.bigrams(bigram_rows(ids, self.pieces.num_embeddings, self.bigrams.num_embeddings))
        if self.training and self.word_dropout > 0.0:
            # Not scaled up: the mean of the pieces that are left is smaller, as that of a text with unknown words.
            kept = torch.rand(ids.shape, device=ids.device) >= self.word_dropout
            states = states * kept.unsqueeze(2)
        return states

    def means(self, ids: Tensor, starts: Tensor) -> Tensor:
        """See `StaticBody.means`."""
        found = F.embedding_bag(ids, self.pieces.weight, starts, mode="mean")
        if self.bigrams is not None:
            before = F.pad(ids[:-1], (1, 0))
            before[starts] = self.pieces.num_embeddings
            rows = pair_rows(before, ids, self.bigrams.num_embeddings)
            found = found + F.embedding_bag(rows, self.bigrams.weight, starts, mode="mean")
        return found


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
