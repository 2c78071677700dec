"""The way from documents to logits with nothing cached."""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from ...json_types import JsonMapping, JsonObject
from ...nn.joined import NOTHING, Joined
from ...nn.network import Network, RowBatch
from ...nn.row_parts import last_states, logits_of
from ..learning.memory import PieceBudget
from ..text.batching import micro_batches
from ..text.collating import collate
from ..text.document_batch import DocumentBatch
from ..text.reader import Document, TextReader

# Texts that are read and remembered at a time.
MOST_READ = 4096


@final
class Direct:
    """Computes everything; see `Pathway`.

    network (Network): With its boundary set.
    room (PieceBudget): Most pieces in a micro-batch.
    reader (TextReader): Reads training texts.
    """

    def __init__(self, network: Network, room: PieceBudget, reader: TextReader) -> None:
        self.network, self.room, self.reader = network, room, reader

    @property
    def budget(self) -> int:
        """Most pieces in a micro-batch."""
        return self.room.on(self.network.device)

    def groups(self, documents: Sequence[Document], budget: int | None = None) -> Iterable[list[int]]:
        """See `Pathway`."""
        network = self.network
        return micro_batches(documents, budget or self.budget, network.device.type, few_shapes=network.few_shapes)

    def predicted_groups(self, documents: Sequence[Document]) -> Iterable[list[int]]:
        """See `Pathway`."""
        return self.groups(documents)

    def keeps(self, documents: Sequence[Document], clean: Sequence[bool]) -> list[bool]:
        """See `Pathway`."""
        return list(clean)

    def learn(self, batch: DocumentBatch, budget: int | None = None) -> Tensor:
        """See `Pathway`."""
        return logits_of(self.network, self.rows_of(batch.documents, batch.joined), budget or self.budget)

    def predict(self, batch: DocumentBatch) -> Tensor:
        """See `Pathway`."""
        return logits_of(self.network, self.rows_of(batch.documents, batch.joined), self.budget)

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """See `Pathway`."""
        vectors = torch.zeros((len(texts), self.network.vector_width))
        for begin in range(0, len(texts), MOST_READ):
            documents = self.reader.read(texts[begin : begin + MOST_READ], remember=True)
            with torch.no_grad():
                for group in self.groups(documents):
                    vectors[torch.tensor(group) + begin] = self.pooled([documents[i] for i in group]).cpu()
        return vectors.to(self.network.device)

    def state(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """See `Pathway`."""
        return {"n_predicted": 0}, {}

    def restore(self, data: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        """See `Pathway`: nothing is cached."""

    # ---- what the cached ways are made of --------------------------------------------------------------------------

    def rows_of(self, documents: Sequence[Document], joined: Joined = NOTHING) -> RowBatch:
        """Make the tensors of a micro-batch, on the network's device."""
        network = self.network
        return collate(documents, network.encoder.pad_id, network.device, network.max_pieces, joined)

    def pooled(self, documents: Sequence[Document]) -> Tensor:
        """Give the vectors of one micro-batch as the network stands.

        documents (Sequence[Document]): One micro-batch.
        RETURNS (Tensor): (n_docs, width), on the device.
        """
        network = self.network
        rows = self.rows_of(documents)
        fits = rows.ids.numel() <= self.budget
        return network.pool(network.encode(rows) if fits else last_states(network, rows, self.budget), rows)
