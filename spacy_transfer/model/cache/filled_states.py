"""States of documents that are computed in large batches, and in a resumed run in the batches they came from."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Protocol, final

import numpy as np
import torch
from torch import Tensor

from ...json_types import JsonMapping, JsonObject
from ...log import logger
from ...nn.devices.pinned import to_device
from ..shims.evaluating import is_evaluating
from ..text.document_batch import DocumentBatch
from ..text.reader import Document
from .batch_record import BatchRecord
from .cache import CachedStates
from .direct import MOST_READ, Direct

# Texts filled at a time, sorted by length: much faster than a training batch at a time.
_LEAST_FILL = 512
# Texts that are only predicted, as in evaluations during training, are cached up to so many.
_MOST_PREDICTED = 50_000

# Purposes of states: those of training, and those of texts that are only predicted.
TRAINING = b""
PREDICTED = b"predicted"

# One micro-batch -> (n_docs, n_labels).
Logits = Callable[[DocumentBatch], Tensor]


class StateKind(Protocol):
    """What is kept of a document."""

    def keys(self, document: Document, purpose: bytes) -> list[bytes]:
        """Name the states, or the vector, of a document.

        document (Document): Any.
        purpose (bytes): `TRAINING` or `PREDICTED`.
        RETURNS (list[bytes]): Their keys.
        """

    def compute(self, documents: Sequence[Document], purpose: bytes, *, on_gpu: bool) -> dict[bytes, Tensor]:
        """Compute the states or vectors of one micro-batch.

        documents (Sequence[Document]): One micro-batch.
        purpose (bytes): As for `keys`.
        on_gpu (bool): Whether they are kept on the GPU.
        RETURNS (dict[bytes, Tensor]): States by key, (n_pieces or 1, width) each.
        """


class ExpectedTexts:
    """Texts that training will read, so that their states are computed in large sorted batches.

    texts (list[str]): Each once.
    n_taken (int): How many of them have been taken.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.n_taken = 0

    def expect(self, texts: Sequence[str]) -> None:
        """Expect these, and no others."""
        self.texts, self.n_taken = list(dict.fromkeys(texts)), 0

    def take(self) -> list[str]:
        """Take as many as have been taken so far, so that never more than twice is computed what training reads."""
        size = min(max(_LEAST_FILL, self.n_taken), MOST_READ)
        taken = self.texts[self.n_taken : self.n_taken + size]
        self.n_taken += len(taken)
        return taken


@final
class FilledStates:
    """States of one kind, in a cache that fills itself.

    cached (CachedStates): The cache.
    kind (StateKind): What is kept of a document.
    direct (Direct): Divides documents into micro-batches, and reads texts.
    expected (ExpectedTexts): What training will read.
    """

    def __init__(self, cached: CachedStates, kind: StateKind, direct: Direct, expected: ExpectedTexts) -> None:
        self.cached = cached
        self._kind, self._direct, self._expected = kind, direct, expected
        self._batches = BatchRecord()
        self._n_predicted = 0

    # ---- training ------------------------------------------------------------------------------------------------

    def keeps(self, documents: Sequence[Document], clean: Sequence[bool]) -> list[bool]:
        """See `Pathway`."""
        return [same or self._has(document, TRAINING) for same, document in zip(clean, documents, strict=True)]

    def learn(self, batch: DocumentBatch, cached: Logits, uncached: Logits) -> Tensor:
        """Give the logits of training documents, each by its way.

        batch (DocumentBatch): One micro-batch.
        cached (Callable): Gives those of documents that last, by way of states, which are there by then.
        uncached (Callable): Gives those of documents that never come again.
        RETURNS (Tensor): (n_docs, n_labels).
        """
        lasting = [i for i, lasts in enumerate(batch.lasting) if lasts]
        passing = [i for i, lasts in enumerate(batch.lasting) if not lasts]
        if missing := [batch.documents[i] for i in lasting if not self._has(batch.documents[i], TRAINING)]:
            self._fill(missing)
        if not passing:
            return cached(batch)
        parts = [uncached(batch.of(passing))]
        if lasting:
            parts.append(cached(batch.of(lasting)))
        order = np.argsort([*passing, *lasting])
        return torch.cat(parts)[to_device(order, self._direct.network.device)]

    def add_missing(self, documents: Sequence[Document]) -> None:
        """Compute what is missing of training documents."""
        self._compute([document for document in documents if not self._has(document, TRAINING)], TRAINING)

    # ---- prediction ----------------------------------------------------------------------------------------------

    @property
    def serves_predictions(self) -> bool:
        """Whether what is predicted now is cached. What is predicted elsewhere than in a loop's evaluations never comes
        again: a service that has trained keeps nothing of it."""
        return self._n_predicted <= _MOST_PREDICTED and is_evaluating()

    def add_predicted(self, documents: Sequence[Document]) -> None:
        """Compute what is missing of documents that are predicted.

        documents (Sequence[Document]): One micro-batch.
        """
        missing = [d for d in documents if not self._has(d, TRAINING) and not self._has(d, PREDICTED)]
        if missing:
            # All of the micro-batch, whatever training has cached of it: so the numbers do not depend on when a run was
            # stopped and resumed. For the same reason training does not take them.
            self._n_predicted += sum(not self._is_reserved(document, PREDICTED) for document in missing)
            self._compute(documents, PREDICTED)

    # ---- states --------------------------------------------------------------------------------------------------

    def kept_keys(self, document: Document, purpose: bytes) -> list[bytes]:
        """Name the states of a document as they are kept, first those of training."""
        keys = self._kind.keys(document, TRAINING)
        if self._batches.recalled:
            self._recall(keys)
        if purpose == TRAINING:
            return keys
        pairs = zip(keys, self._kind.keys(document, purpose), strict=True)
        return [key if key in self.cached else other for key, other in pairs]

    def compute_together(self, documents: Sequence[Document], purpose: bytes) -> dict[bytes, Tensor]:
        """Compute the states of one micro-batch, and put them into the cache.

        RETURNS (dict): States by key.
        """
        entries = self._kind.compute(documents, purpose, on_gpu=self.cached.stay_on_gpu)
        kept = self.cached.put(entries)
        if purpose == TRAINING:
            self._batches.add([document.text for document in documents], kept)
        return entries

    def _has(self, document: Document, purpose: bytes) -> bool:
        cached, recalled = self.cached, self._batches.recalled
        return all(key in cached or key in recalled for key in self._kind.keys(document, purpose))

    def _is_reserved(self, document: Document, purpose: bytes) -> bool:
        return all(key in self.cached.reserved for key in self._kind.keys(document, purpose))

    def _fill(self, missing: Sequence[Document]) -> None:
        """Compute what a step lacks, and with it some of the texts that are expected."""
        # By identity: the reader gives the same object for the same text.
        wanted = {id(document): document for document in missing}
        if not self.cached.is_full and (texts := self._expected.take()):
            read = self._direct.reader.read(texts, remember=True)
            wanted.update((id(document), document) for document in read if not self._has(document, TRAINING))
        start = perf_counter()
        self._compute(list(wanted.values()), TRAINING)
        logger.debug("states of %d texts in %.1f s", len(wanted), perf_counter() - start)

    def _compute(self, documents: Sequence[Document], purpose: bytes) -> None:
        for group in self._direct.groups(documents):
            self.compute_together([documents[i] for i in group], purpose)

    # ---- resuming ------------------------------------------------------------------------------------------------

    def _recall(self, keys: Sequence[bytes]) -> None:
        """Compute states again in the micro-batches they came from before the run was stopped."""
        for number, texts in self._batches.wanted(keys).items():
            documents = self._direct.reader.read(texts, remember=True)
            entries = self._kind.compute(documents, TRAINING, on_gpu=self.cached.stay_on_gpu)
            self.cached.put({key: entries[key] for key in self._batches.came_from(number, list(entries))})

    def state(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """See `Pathway`."""
        cached, keys = self.cached.state()
        numbers = {text: i for i, text in enumerate(self._expected.texts)}
        batches, tensors = self._batches.state(keys, numbers)
        return {"n_predicted": self._n_predicted, "cached": cached, "batches": batches}, tensors

    def restore(self, data: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        """See `Pathway`."""
        self._n_predicted = data["n_predicted"]
        if "cached" in data:
            keys = self._batches.restore(data["batches"], tensors, self._expected.texts)
            self.cached.restore(data["cached"], keys)
