"""The way from documents to logits that starts from cached states at the frozen boundary."""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from ...json_types import JsonMapping, JsonObject
from ...nn.row_parts import logits_of, prefix_states
from ..text.document_batch import DocumentBatch
from ..text.reader import Document
from .cache import CachedStates, row_key
from .direct import Direct
from .filled_states import PREDICTED, TRAINING, ExpectedTexts, FilledStates


@final
class StateCache:
    """Keeps the states of each row of pieces; see `Pathway`.

    cached (CachedStates): The cache.
    direct (Direct): Runs what never comes again.
    expected (ExpectedTexts): What training will read.
    """

    def __init__(self, cached: CachedStates, direct: Direct, expected: ExpectedTexts) -> None:
        self.cached, self._direct = cached, direct
        self._filled = FilledStates(cached, _States(direct), direct, expected)

    def groups(self, documents: Sequence[Document], budget: int | None = None) -> Iterable[list[int]]:
        """See `Pathway`."""
        return self._direct.groups(documents, budget)

    def predicted_groups(self, documents: Sequence[Document]) -> Iterable[list[int]]:
        """See `Pathway`."""
        return self._direct.groups(documents)

    def keeps(self, documents: Sequence[Document], clean: Sequence[bool]) -> list[bool]:
        """See `Pathway`."""
        return self._filled.keeps(documents, clean)

    def learn(self, batch: DocumentBatch, budget: int | None = None) -> Tensor:
        """See `Pathway`."""
        budget = budget or self._direct.budget
        return self._filled.learn(
            batch,
            lambda lasting: self._logits(lasting, TRAINING, budget),
            lambda passing: self._direct.learn(passing, budget),
        )

    def predict(self, batch: DocumentBatch) -> Tensor:
        """See `Pathway`."""
        if not self._filled.serves_predictions:
            return self._direct.predict(batch)
        self._filled.add_predicted(batch.documents)
        return self._logits(batch, PREDICTED, self._direct.budget)

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """See `Pathway`."""
        return self._direct.vectors(texts)

    def state(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """See `Pathway`."""
        return self._filled.state()

    def restore(self, data: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        """See `Pathway`."""
        self._filled.restore(data, tensors)

    def _logits(self, batch: DocumentBatch, purpose: bytes, budget: int) -> Tensor:
        network = self._direct.network
        keys = [key for document in batch.documents for key in self._filled.kept_keys(document, purpose)]
        rows = self._direct.rows_of(batch.documents, batch.joined)
        states = self.cached.padded(keys, rows.ids.shape[1], network.device)
        if states is None:
            # Dropped for want of room, or damaged: computed again, together.
            states = prefix_states(network, rows, budget)
        return logits_of(network, rows, budget, states)


@final
class _States:
    """Of each row of pieces its states; see `StateKind`."""

    def __init__(self, direct: Direct) -> None:
        self._direct = direct

    def keys(self, document: Document, purpose: bytes) -> list[bytes]:
        """Name what the cache keeps of some documents."""
        return [row_key(row, purpose) for row in document]

    def compute(self, documents: Sequence[Document], purpose: bytes, *, on_gpu: bool) -> dict[bytes, Tensor]:
        """Compute what the cache keeps of some documents."""
        rows = [row for document in documents for row in document]
        with torch.no_grad():
            batch = self._direct.rows_of(documents)
            states = prefix_states(self._direct.network, batch, self._direct.budget)
            if not on_gpu:
                states = states.cpu()
            return {row_key(row, purpose): states[i, : len(row.ids)] for i, row in enumerate(rows)}
