"""From documents to logits by the shortest way: what each way must be able to do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from ...json_types import JsonMapping, JsonObject
from ..text.document_batch import DocumentBatch
from ..text.reader import Document


class Pathway(Protocol):
    """Runs a network over documents.

    `Direct` computes all of it, `StateCache` starts from states at the frozen boundary, `VectorCache` from the vectors
    of documents.
    """

    def groups(self, documents: Sequence[Document], budget: int | None = None) -> Iterable[list[int]]:
        """Divide training documents into micro-batches.

        documents (Sequence[Document]): Those of a step.
        budget (int | None): Most pieces in one, in place of the setting.
        RETURNS (Iterable[list[int]]): Indices of documents.
        """

    def predicted_groups(self, documents: Sequence[Document]) -> Iterable[list[int]]:
        """Divide documents that are only predicted into micro-batches.

        documents (Sequence[Document]): Any.
        RETURNS (Iterable[list[int]]): Indices of documents.
        """

    def keeps(self, documents: Sequence[Document], clean: Sequence[bool]) -> list[bool]:
        """Say which documents of a step come from the cache: the clean ones, and those it holds already (in another
        case, where the encoder knows none). Asked once a step, so that a second pass over it takes the same ways.

        documents (Sequence[Document]): Those of a step.
        clean (Sequence[bool]): Of each document, whether its text will come again.
        RETURNS (list[bool]): `lasting` of a `DocumentBatch`.
        """

    def learn(self, batch: DocumentBatch, budget: int | None = None) -> Tensor:
        """Give the logits of training documents, with the graph of what is trainable.

        batch (DocumentBatch): One micro-batch, lasting as `keeps` says.
        budget (int | None): As for `groups`; the rows of one document above it run in parts.
        RETURNS (Tensor): (n_docs, n_labels).
        """

    def predict(self, batch: DocumentBatch) -> Tensor:
        """Give the logits of documents that are only predicted; in the evaluations of a loop what is frozen may be
        cached too.

        batch (DocumentBatch): One micro-batch.
        RETURNS (Tensor): (n_docs, n_labels).
        """

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Give the vectors of training texts as the network stands.

        texts (Sequence[str]): Any number.
        RETURNS (Tensor): (n_texts, width), on the network's device.
        """

    def state(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """What a resumed run needs to know: from which micro-batch states came, not their values.

        RETURNS (tuple): JSON and tensors.
        """

    def restore(self, data: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        """Take what `state` gave, after the weights are restored."""
