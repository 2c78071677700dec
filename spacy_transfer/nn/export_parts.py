"""The two parts that a network is exported as: piece ids to states, and states to vectors and scores."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .encoders.encoder import Encoder
from .heads.label_query import LabelQueryDecoder
from .heads.linear import LabelHead
from .pooling import Pooling


class EncoderPart(nn.Module):
    """Piece ids to states.

    forward: ids (n_rows, n_pieces), mask (n_rows, n_pieces) 0/1 -> states (n_rows, n_pieces, width).

    encoder (Encoder): On a body of transformers, or ours, that returns `last_hidden_state`.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        encoder = self.encoder
        states: Tensor = encoder.body(input_ids=ids, attention_mask=encoder.attention_mask(mask)).last_hidden_state
        return states


class TopPart(nn.Module):
    """States to vectors and scores.

    forward: states (n_rows, n_pieces, width), counted (n_rows, n_pieces) 0/1, owner (n_rows,) the document of each row,
        n_rows (n_docs,) how many rows each document has, and more: `places` (n_docs, longest), where the head reads
        states, of each document the numbers of its pieces in all rows seen as one, -1 where there are none left;
        `joined` (n_docs, n_features), where there are features -> scores (n_docs, n_labels), vectors (n_docs, width).

    pooling (Pooling): States to vectors.
    head (LabelHead | LabelQueryDecoder): Vectors, or states, to logits. Its `awaited` are looked at here.
    activate (Callable): Logits to scores.
    awaited (Sequence[int]): Labels that were added and not yet trained: they score 0, and the others as if they were
        not there.
    """

    def __init__(
        self, pooling: Pooling, head: LabelHead | LabelQueryDecoder, activate: Callable[[Tensor], Tensor],
        awaited: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.pooling, self.head = pooling, head
        self.activate = activate
        self.scored = [i for i in range(head.n_labels) if i not in set(awaited)]

    def forward(
        self, states: Tensor, counted: Tensor, owner: Tensor, n_rows: Tensor, more: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See the class."""
        # A trace follows the shape.
        vectors: Tensor = self.pooling(states, counted, owner, n_rows.shape[0])
        if self.head.reads == "states" and more is not None:
            pieces = states.flatten(0, 1)[more.clamp(min=0)]
            logits = self.head(pieces, more >= 0)
        else:
            logits = self.head(vectors if more is None else torch.cat([vectors, more], dim=1))
        if len(self.scored) == self.head.n_labels:
            return self.activate(logits), vectors
        chosen = torch.tensor(self.scored, device=logits.device)
        scores = self.activate(logits.index_select(1, chosen))
        # One column of zeros more, from which those that wait take theirs.
        scores = torch.cat([scores, torch.zeros_like(scores[:, :1])], dim=1)
        order = torch.full((self.head.n_labels,), len(self.scored), dtype=torch.int64, device=logits.device)
        order[chosen] = torch.arange(len(self.scored), device=logits.device)
        return scores.index_select(1, order), vectors
