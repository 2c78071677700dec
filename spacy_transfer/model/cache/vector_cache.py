"""The way from documents to logits that starts from cached vectors: the whole encoder is frozen."""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from ...json_types import JsonMapping, JsonObject
from ...nn.devices.pinned import to_device
from ...nn.row_parts import prefix_states
from ..text.document_batch import DocumentBatch
from ..text.reader import Document
from .cache import CachedStates, document_key
from .direct import MOST_READ, Direct
from .filled_states import PREDICTED, TRAINING, ExpectedTexts, FilledStates


@final
class VectorCache:
    """Keeps the vector of each document; see `Pathway`.

    cached (CachedStates): The cache.
    direct (Direct): Runs what never comes again.
    expected (ExpectedTexts): What training will read.
    """

    def __init__(self, cached: CachedStates, direct: Direct, expected: ExpectedTexts) -> None:
        self.cached, self._direct = cached, direct
        self._vectors = _Vectors(direct)
        self._filled = FilledStates(cached, self._vectors, direct, expected)

    def groups(self, documents: Sequence[Document], budget: int | None = None) -> Iterable[list[int]]:
        """See `Pathway`. A document is one stored vector, so all of them are one micro-batch."""
        return [list(range(len(documents)))] if documents else []

    def predicted_groups(self, documents: Sequence[Document]) -> Iterable[list[int]]:
        """See `Pathway`."""
        return self.groups(documents) if self._filled.serves_predictions else self._direct.groups(documents)

    def keeps(self, documents: Sequence[Document], clean: Sequence[bool]) -> list[bool]:
        """See `Pathway`."""
        return self._filled.keeps(documents, clean)

    def learn(self, batch: DocumentBatch, budget: int | None = None) -> Tensor:
        """See `Pathway`."""
        return self._filled.learn(batch, lambda lasting: self._logits(lasting, TRAINING), self._passing)

    def predict(self, batch: DocumentBatch) -> Tensor:
        """See `Pathway`."""
        if not self._filled.serves_predictions:
            return self._direct.predict(batch)
        self._filled.add_predicted(batch.documents)
        return self._logits(batch, PREDICTED)

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """See `Pathway`. They are kept."""
        vectors = torch.zeros((len(texts), self._direct.network.vector_width))
        for begin in range(0, len(texts), MOST_READ):
            documents = self._direct.reader.read(texts[begin : begin + MOST_READ], remember=True)
            self._filled.add_missing(documents)
            vectors[begin : begin + len(documents)] = self._cached(documents, TRAINING)
        return vectors.to(self._direct.network.device)

    def state(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """See `Pathway`."""
        return self._filled.state()

    def restore(self, data: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        """See `Pathway`."""
        self._filled.restore(data, tensors)

    def _logits(self, batch: DocumentBatch, purpose: bytes) -> Tensor:
        network = self._direct.network
        vectors = to_device(self._cached(batch.documents, purpose), network.device)
        return network.classify(batch.joined.join(vectors))

    def _passing(self, batch: DocumentBatch) -> Tensor:
        """Logits of documents that never come again: the frozen depths run for them, nothing is kept."""
        network, documents = self._direct.network, batch.documents
        groups = list(self._direct.groups(documents))
        order = np.argsort(np.concatenate(groups))
        with torch.no_grad():
            vectors = torch.cat([self._vectors.pooled([documents[i] for i in group]) for group in groups])
        return network.classify(batch.joined.join(vectors[to_device(order, network.device)]))

    def _cached(self, documents: Sequence[Document], purpose: bytes) -> Tensor:
        """Vectors (n_docs, width) on the host; what was dropped for want of room is computed again."""
        kept = [self.cached.get(self._filled.kept_keys(document, purpose)[0]) for document in documents]
        pairs = zip(kept, documents, strict=True)
        return torch.cat([v if v is not None else self._again(document, purpose) for v, document in pairs])

    def _again(self, document: Document, purpose: bytes) -> Tensor:
        return self._filled.compute_together([document], purpose)[document_key(document, purpose)]


@final
class _Vectors:
    """Of each document its vector; see `StateKind`."""

    def __init__(self, direct: Direct) -> None:
        self._direct = direct

    def keys(self, document: Document, purpose: bytes) -> list[bytes]:
        """Name what the cache keeps of some documents."""
        return [document_key(document, purpose)]

    def compute(self, documents: Sequence[Document], purpose: bytes, *, on_gpu: bool) -> dict[bytes, Tensor]:
        """Compute what the cache keeps of some documents."""
        with torch.no_grad():
            pooled = self.pooled(documents).cpu()
        return {document_key(d, purpose): pooled[i : i + 1] for i, d in enumerate(documents)}

    def pooled(self, documents: Sequence[Document]) -> Tensor:
        """Vectors of one micro-batch, (n_docs, width), on the device."""
        network = self._direct.network
        batch = self._direct.rows_of(documents)
        return network.pool(prefix_states(network, batch, self._direct.budget), batch)
