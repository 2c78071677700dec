"""One torch network from piece ids to logits, in three stages: encode, pool, classify."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .devices import few_shapes
from .devices.cpu_kernels import CpuKernels
from .devices.host_rows import HostRows
from .devices.low_precision import LowPrecisionCopy, frozen_depths, linear_weights
from .encoders.encoder import Encoder
from .heads.confidence import Confidence, is_judging
from .heads.label_query import LabelQueryDecoder, document_states
from .heads.linear import LabelHead
from .joined import NOTHING, Joined
from .pooling import Pooling


@dataclass
class RowBatch:
    """Rows of pieces as tensors.

    ids (Tensor): Piece ids, (n_rows, n_pieces), padded on the right.
    mask (Tensor): 1 for a piece, 0 for padding, (n_rows, n_pieces).
    counted (Tensor): 1 where pooling counts the piece, (n_rows, n_pieces): each piece of a document once.
    owner (Tensor): Document of each row, (n_rows,), ascending from 0.
    n_docs (int): Documents.
    host (HostRows | None): What the host knows of them.
    joined (Joined): What is joined to the vectors of the documents.
    """

    ids: Tensor
    mask: Tensor
    counted: Tensor
    owner: Tensor
    n_docs: int
    host: HostRows | None = None
    joined: Joined = NOTHING

    @property
    def is_full(self) -> bool | None:
        """Whether nothing is padding, where the host knows."""
        return None if self.host is None else self.host.is_full


class Network(nn.Module):
    """Encoder, pooling and head.

    head (LabelHead | LabelQueryDecoder): reads vectors, or the states themselves; pooling is then not used.
    precision (torch.dtype): dtype of the encoder's arithmetic (fp32 weights are kept); pooling and head always run in
        fp32.
    max_pieces: longest row that the encoder can read; None where there is no limit.
    vector_width (int | None): of what the pooling gives; by default that of the states.
    boundary: what lies at or below this depth is frozen; set by tuning.
    """

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling,
        head: LabelHead | LabelQueryDecoder,
        precision: torch.dtype,
        vector_width: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.head = head
        self.vector_width = encoder.width if vector_width is None else vector_width
        # How sure it is that a document has one of the labels, where that was fitted.
        self.confidence: Confidence | None = None
        self.precision = precision
        self.boundary = -1
        self._is_headless = False
        self._frozen: tuple[int, list[nn.Module]] | None = None
        self._frozen_copy = LowPrecisionCopy(frozen_depths)
        self._prediction_copy = LowPrecisionCopy(linear_weights)
        self.max_pieces = encoder.max_pieces

    def forget_copies(self) -> None:
        """To be called when weights were changed through `.data`, which leaves no trace, or modules were replaced."""
        self._frozen_copy.forget()
        self._prediction_copy.forget()

    def weights_moved(self) -> None:
        """To be called after a step: torch's fused optimizers leave no trace either."""
        self._prediction_copy.forget()

    @property
    def few_shapes(self) -> bool:
        """Whether micro-batches should come in few shapes; see `few_shapes`."""
        return few_shapes.are_wanted(self.device, self.precision)

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
        if mode:
            self.weights_moved()
        if mode and self.boundary >= 0:
            for module in self._frozen_modules():
                module.training = False
        return self

    def encode(self, batch: RowBatch) -> Tensor:
        """Run the encoder.

        batch (RowBatch): Rows of pieces.
        RETURNS (Tensor): States, (n_rows, n_pieces, width).
        """
        # Without a graph all depths run at once, to the same bits; in bf16 the frozen ones have weights of their own.
        if self.boundary >= 1 and (torch.is_grad_enabled() or self.frozen_dtype != torch.float32):
            return self.resume(self.prefix(batch), batch)
        ids, mask = self._rows(batch)
        with self._autocast(), self._kernels():
            states: Tensor = self._mobile()(ids, mask, batch.is_full)
        return _read(states, batch)

    def prefix(self, batch: RowBatch) -> Tensor:
        """What is frozen, without a graph.

        RETURNS (Tensor): States at the boundary, (n_rows, n_pieces, width).
        """
        ids, mask = self._rows(batch)
        with torch.no_grad():
            if self.frozen_dtype == torch.float32:
                with self._autocast():
                    return _read(self.encoder.prefix(ids, mask, self.boundary, batch.is_full), batch)
            with self._kernels():
                low = self._frozen_copy.of(self.encoder, self.boundary, self.frozen_dtype)
                return _read(low.prefix(ids, mask, self.boundary, batch.is_full), batch)

    def resume(self, states: Tensor, batch: RowBatch) -> Tensor:
        """What moves, from the states at the boundary.

        RETURNS (Tensor): Last states, (n_rows, n_pieces, width).
        """
        ids, mask = self._rows(batch)
        if ids.shape != states.shape[:2]:
            more = (0, 0, 0, ids.shape[1] - states.shape[1], 0, ids.shape[0] - states.shape[0])
            states = F.pad(states, more)
        with self._autocast(), self._kernels():
            # In fp32, so that the residual stream of what moves is summed in fp32, as without a boundary.
            return _read(self._mobile().resume(ids, mask, states.float(), self.boundary, batch.is_full), batch)

    def from_states(self, states: Tensor, batch: RowBatch) -> Tensor:
        """From the states at the boundary on.

        RETURNS (Tensor): Logits, (n_docs, n_labels).
        """
        return self.head_from_states(self.resume(states, batch), batch)

    @property
    def frozen_dtype(self) -> torch.dtype:
        """dtype of the states at the boundary. Frozen depths run with bf16 weights, a third faster than autocast on a
        CPU; fp16 has too small a range for that (T5 overflows)."""
        return self.precision if self.precision == torch.bfloat16 else torch.float32

    def _mobile(self) -> Encoder:
        """The encoder that runs what is not frozen. Without a gradient it is a copy whose linear weights need not be
        cast at every call: half of their memory again."""
        if self.precision == torch.float32 or torch.is_grad_enabled() or self.encoder.training:
            return self.encoder
        return self._prediction_copy.of(self.encoder, max(self.boundary, 0), self.precision)

    def _rows(self, batch: RowBatch) -> tuple[Tensor, Tensor]:
        """Ids and mask as the encoder runs over them."""
        if not self.few_shapes or not len(batch.ids):
            return batch.ids, batch.mask
        return few_shapes.filled_up(batch.ids, batch.mask, self.encoder.pad_id, self.max_pieces)

    def pool(self, states: Tensor, batch: RowBatch) -> Tensor:
        """Pool states into vectors.

        states (Tensor): (n_rows, n_pieces, width).
        batch (RowBatch): The rows that they are of.
        RETURNS (Tensor): One vector per document, (n_docs, width), fp32.
        """
        vectors: Tensor = self.pooling(states, batch.counted, batch.owner, batch.n_docs)
        return vectors

    def classify(self, vectors: Tensor) -> Tensor:
        """Compute logits from vectors.

        vectors (Tensor): With what is joined to them, (n_docs, width).
        RETURNS (Tensor): Logits, (n_docs, n_labels), fp32; with one more column, see `judging`, the confidence.
        """
        logits: Tensor = vectors if self._is_headless else self.head(vectors)
        return self._judged(logits, lambda: vectors[:, : self.vector_width])

    def _judged(self, logits: Tensor, vectors: Callable[[], Tensor]) -> Tensor:
        if self.confidence is None or not is_judging():
            return logits
        return torch.cat([logits, self.confidence(vectors(), logits)[:, None]], dim=1)

    @contextmanager
    def headless(self) -> Iterator[None]:
        """Within: vectors come where logits would, by whatever way; for losses that look at all vectors of a batch."""
        self._is_headless = True
        try:
            yield
        finally:
            self._is_headless = False

    def head_from_states(self, states: Tensor, batch: RowBatch) -> Tensor:
        """What follows the last states, pooled or not.

        RETURNS (Tensor): Logits, (n_docs, n_labels), fp32; see `classify`.
        """
        if self.head.reads == "vectors":
            return self.classify(batch.joined.join(self.pool(states, batch)))
        with self._kernels():
            logits: Tensor = self.head(*document_states(states, batch.counted, batch.owner, batch.n_docs, batch.host))
        return self._judged(logits, lambda: self.pool(states, batch))

    def forward(self, batch: RowBatch) -> Tensor:
        """All three stages.

        RETURNS (Tensor): Logits, (n_docs, n_labels).
        """
        return self.head_from_states(self.encode(batch), batch)

    def _kernels(self) -> AbstractContextManager[object]:
        return CpuKernels() if self.device.type == "cpu" else nullcontext()

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


def _read(states: Tensor, batch: RowBatch) -> Tensor:
    """States of the rows themselves, without what they were filled up with."""
    n_rows, n_pieces = batch.ids.shape
    return states if states.shape[:2] == batch.ids.shape else states[:n_rows, :n_pieces]
