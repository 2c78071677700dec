"""One torch network from piece ids to logits, in three stages: encode, pool, classify."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .encoder import Encoder
from .head import LabelHead
from .pooling import Pooling


@dataclass
class RowBatch:
    """Rows of pieces as tensors.

    ids (Tensor): Piece ids, (n_rows, n_pieces), padded on the right.
    mask (Tensor): 1 for a piece, 0 for padding, (n_rows, n_pieces).
    counted (Tensor): 1 where pooling counts the piece, (n_rows, n_pieces): each piece of a document once.
    owner (Tensor): Document of each row, (n_rows,), ascending from 0.
    n_docs (int): Documents.
    """

    ids: Tensor
    mask: Tensor
    counted: Tensor
    owner: Tensor
    n_docs: int


class Network(nn.Module):
    """Encoder, pooling and head.

    precision: dtype of the encoder's arithmetic (fp32 weights are kept); pooling and head always run in fp32.
    boundary: what lies at or below this depth is frozen; set by tuning.
    """

    def __init__(self, encoder: Encoder, pooling: Pooling, head: LabelHead, precision: torch.dtype) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.head = head
        self.precision = precision
        self.boundary = -1
        self._frozen: tuple[int, list[nn.Module]] | None = None

    @property
    def n_layers(self) -> int:
        """Encoder layers L; pooling and head are depth L + 1."""
        return self.encoder.n_layers

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.output.weight.device

    def depth_of(self, name: str) -> int:
        """Depth of a weight: 0 = embeddings, 1..L = layers, L + 1 = pooling and head.

        name (str): As `named_parameters()` gives it.
        """
        if name.startswith("encoder."):
            return self.encoder.depth_of(name.removeprefix("encoder."))
        return self.n_layers + 1

    def train(self, mode: bool = True) -> "Network":
        """Training mode for what moves; frozen depths stay in evaluation mode, so without dropout."""
        super().train(mode)
        if mode and self.boundary >= 0:
            for module in self._frozen_modules():
                module.training = False
        return self

    def encode(self, batch: RowBatch) -> Tensor:
        """RETURNS (Tensor): States, (n_rows, n_pieces, width)."""
        with self._autocast():
            states: Tensor = self.encoder(batch.ids, batch.mask)
        return states

    def pool(self, states: Tensor, batch: RowBatch) -> Tensor:
        """RETURNS (Tensor): One vector per document, (n_docs, width), fp32."""
        vectors: Tensor = self.pooling(states, batch.counted, batch.owner, batch.n_docs)
        return vectors

    def classify(self, vectors: Tensor) -> Tensor:
        """RETURNS (Tensor): Logits, (n_docs, n_labels), fp32."""
        logits: Tensor = self.head(vectors)
        return logits

    def forward(self, batch: RowBatch) -> Tensor:
        """All three stages. RETURNS (Tensor): Logits, (n_docs, n_labels)."""
        return self.classify(self.pool(self.encode(batch), batch))

    def _autocast(self) -> torch.autocast:
        enabled = self.precision != torch.float32
        dtype = self.precision if enabled else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled)

    def _frozen_modules(self) -> list[nn.Module]:
        """Modules that lie wholly at frozen depths. What holds the layers stays in training mode: gradient
        checkpointing asks it."""
        if self._frozen is None or self._frozen[0] != self.boundary:
            self._frozen = (self.boundary, list(self.encoder.modules_up_to(self.boundary)))
        return self._frozen[1]
