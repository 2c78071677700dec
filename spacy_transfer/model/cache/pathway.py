"""From documents to logits: cached up to the frozen boundary, computed above it."""

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...log import logger
from ...nn.devices.pinned import to_device
from ...nn.network import Network, RowBatch
from ...nn.row_parts import last_states, logits_of, prefix_states
from ..learning.memory import PieceBudget
from ..shims.evaluating import is_evaluating
from ..text.batching import collate, micro_batches
from ..text.reader import Document, TextReader
from .cache import EncoderCache, Features, document_key, namespace_of, row_key
from .fills import Fills

# Texts filled at a time, sorted by length: much faster than a training batch at a time.
_LEAST_FILL, _MOST_FILL = 512, 4096
# Texts that are only predicted, as in evaluations during training, are cached up to so many.
_MOST_PREDICTED = 50_000
_PREDICTED = b"predicted"


def _room_for_checkpoints(network: Network) -> int:
    """Bytes that a run writes beside the cache: two checkpoints and the one being written, each with the weights that
    move and two moments; the weights at the start, and model-best and model-last with the ones that replace them."""
    weights = [(w.numel() * w.element_size(), w.requires_grad) for w in network.parameters()]
    return 3 * 3 * sum(size for size, moves in weights if moves) + 5 * sum(size for size, _ in weights)


class Pathway:
    """Runs a network over documents.

    network (Network): With its boundary set. builder (EncoderCache): The block of the config.
    room (PieceBudget): Most pieces in a micro-batch. identity: Whatever else features depend on: attention
        implementation, versions. pooling (str): How states are pooled, for features that are vectors.
    """

    def __init__(
        self, network: Network, builder: EncoderCache, room: PieceBudget, identity: Sequence[str], pooling: str
    ) -> None:
        self.network, self.room = network, room
        self._pooling = pooling
        self._builder, self._identity = builder, identity
        self._features: Features | None = None
        self._kind = ""
        self._boundary = -1
        self._training_texts: list[str] = []
        self._n_filled = 0
        self._n_predicted = 0
        self._fills = Fills()
        # Set where a run is resumed: reads texts whose features are to be computed again.
        self._reader: TextReader | None = None

    # ---- what the shim calls -------------------------------------------------------------------------------------

    def expect(self, texts: Sequence[str]) -> None:
        """The texts that training will read, so that their features are computed in large sorted batches."""
        self._training_texts = list(dict.fromkeys(texts))
        self._n_filled = 0

    def open(self) -> None:
        """Called before each training step: the cache follows the boundary."""
        if self._boundary == self.network.boundary:
            return
        self._boundary, self._features, self._n_filled, self._n_predicted = self.network.boundary, None, 0, 0
        self._fills = Fills()
        self._make_features(None)

    def _make_features(self, seen: Mapping[str, int] | None) -> None:
        network = self.network
        # Below depth 1 there is only the look-up of embeddings, which the cache would not save.
        if self._builder.is_off or network.boundary < 1:
            return
        whole = network.boundary >= network.n_layers and not list(network.pooling.parameters())
        whole = whole and network.head.reads == "vectors"
        self._kind = "vectors" if whole else "states"
        pooling = [self._pooling] if whole else []
        namespace = namespace_of(network, self._kind, [*self._identity, *pooling])
        dtype = torch.float32 if whole else network.frozen_dtype
        width = network.vector_width if whole else network.encoder.width
        reserve = _room_for_checkpoints(network)
        on_gpu = network.device if network.device.type == "cuda" and not whole else None
        self._features = Features(self._builder, width, dtype, namespace, seen, reserve, on_gpu)

    def close(self) -> None:
        """Forget all features: the weights are others now, or nobody needs them any more."""
        self._boundary, self._features, self._n_filled, self._n_predicted = -1, None, 0, 0
        self._fills = Fills()

    def groups(self, documents: Sequence[Document], budget: int | None = None) -> Iterable[list[int]]:
        """Micro-batches, as indices of documents. Where a document is one stored vector, all of them are one.

        budget (int | None): Most pieces in one, in place of the setting.
        """
        if self._kind == "vectors" and self._is_current:
            return [list(range(len(documents)))] if documents else []
        return micro_batches(
            documents, budget or self.budget, self.network.device.type, few_shapes=self.network.few_shapes
        )

    def predicted_groups(self, documents: Sequence[Document]) -> Iterable[list[int]]:
        """The same for documents that are only predicted."""
        if self._serves_predictions:
            return self.groups(documents)
        return micro_batches(documents, self.budget, self.network.device.type, few_shapes=self.network.few_shapes)

    @property
    def _is_current(self) -> bool:
        # Unfreezing may have lowered the boundary since the last step; then these features lie too high.
        return self._features is not None and self._boundary == self.network.boundary

    @property
    def _serves_predictions(self) -> bool:
        # What is predicted elsewhere never comes again: a service that has trained keeps nothing of it.
        return self._is_current and self._n_predicted <= _MOST_PREDICTED and is_evaluating()

    @property
    def budget(self) -> int:
        """Most pieces in a micro-batch."""
        return self.room.on(self.network.device)

    def keeps(self, documents: Sequence[Document], clean: Sequence[bool]) -> list[bool]:
        """Which documents of a step come from the cache: the clean ones, and those it holds already (in another case,
        where the encoder knows none). Asked once a step, so that a second pass over it takes the same ways.

        clean (Sequence[bool]): Of each document, whether its text will come again.
        """
        if self._features is None:
            return list(clean)
        return [same or self._has(document) for same, document in zip(clean, documents, strict=True)]

    def learn(
        self,
        documents: Sequence[Document],
        group: Sequence[int],
        reader: TextReader,
        clean: Sequence[bool],
        joined: Tensor | None = None,
        budget: int | None = None,
    ) -> Tensor:
        """Logits of some training documents, with the graph of what moves.

        clean (Sequence[bool]): Of each document, as `keeps` says.
        joined (Tensor | None): Features beside their vectors, (len(group), n_features).
        budget (int | None): As for `groups`; the rows of one document above it run in parts.
        RETURNS (Tensor): (len(group), n_labels).
        """
        chosen = [documents[i] for i in group]
        if self._features is None:
            return self._run(chosen, joined, budget)
        lasting = [j for j, i in enumerate(group) if clean[i]]
        passing = [j for j, i in enumerate(group) if not clean[i]]
        if missing := [chosen[j] for j in lasting if not self._has(chosen[j])]:
            self._fill(missing, reader)
        if not passing:
            return self._from_features(chosen, joined=joined, budget=budget)
        device = self.network.device
        beside = [None if joined is None else joined[to_device(places, device)] for places in (passing, lasting)]
        parts = [self._without_features([chosen[j] for j in passing], beside[0], budget)]
        if lasting:
            parts.append(self._from_features([chosen[j] for j in lasting], joined=beside[1], budget=budget))
        order = np.argsort([*passing, *lasting])
        return torch.cat(parts)[to_device(order, device)]

    def predict(self, documents: Sequence[Document], group: Sequence[int], joined: Tensor | None = None) -> Tensor:
        """Logits of documents that are only predicted; in the evaluations of a loop what is frozen is cached too.

        joined (Tensor | None): Features beside their vectors, (len(group), n_features).
        """
        chosen = [documents[i] for i in group]
        if not self._serves_predictions:
            return self._run(chosen, joined)
        missing = [document for document in chosen if not self._has(document) and not self._has(document, _PREDICTED)]
        if missing:
            # All of the micro-batch, whatever training has cached of it: so the numbers do not depend on when a run was
            # stopped and resumed. For the same reason training does not take them.
            self._n_predicted += sum(not self._is_reserved(document, _PREDICTED) for document in missing)
            self._compute(chosen, _PREDICTED)
        return self._from_features(chosen, _PREDICTED, joined)

    def _run(self, documents: Sequence[Document], joined: Tensor | None, budget: int | None = None) -> Tensor:
        """Logits of documents, all depths."""
        batch = collate(documents, self.network.encoder.pad_id, self.network.device, self.network.max_pieces)
        return logits_of(self.network, batch, budget or self.budget, joined)

    def vectors(self, texts: Sequence[str], reader: TextReader) -> Tensor:
        """Vectors of training texts as the network stands, (n_texts, width); kept where they are features."""
        network, found = self.network, torch.zeros((len(texts), self.network.vector_width))
        for begin in range(0, len(texts), _MOST_FILL):
            documents = reader.read(texts[begin : begin + _MOST_FILL], remember=True)
            if self._features is not None and self._kind == "vectors":
                missing = [document for document in documents if not self._has(document)]
                self._compute(missing)
            with torch.no_grad():
                for group in self.groups(documents):
                    chosen = [documents[i] for i in group]
                    places = torch.tensor(group) + begin
                    if self._features is not None and self._kind == "vectors":
                        found[places] = self._cached_vectors(chosen)
                        continue
                    found[places] = self.pooled(chosen).cpu()
        return found.to(network.device)

    def pooled(self, documents: Sequence[Document]) -> Tensor:
        """Vectors of one micro-batch as the network stands, past the cache. RETURNS (Tensor): (n_docs, width)."""
        network = self.network
        batch = collate(documents, network.encoder.pad_id, network.device, network.max_pieces)
        return network.pool(self._last_states(batch), batch)

    def _last_states(self, batch: RowBatch) -> Tensor:
        network = self.network
        fits = batch.ids.numel() <= self.budget
        return network.encode(batch) if fits else last_states(network, batch, self.budget)

    # ---- features ------------------------------------------------------------------------------------------------

    def _keys(self, document: Document, purpose: bytes = b"") -> list[bytes]:
        """Keys of the features of a document."""
        if self._kind == "vectors":
            return [document_key(document, purpose)]
        return [row_key(row, purpose) for row in document]

    def _has(self, document: Document, purpose: bytes = b"") -> bool:
        features = self._features
        assert features is not None
        return all(key in features or key in self._fills.recalled for key in self._keys(document, purpose))

    def _is_reserved(self, document: Document, purpose: bytes) -> bool:
        features = self._features
        assert features is not None
        return all(key in features.reserved for key in self._keys(document, purpose))

    def _kept_keys(self, document: Document, purpose: bytes) -> list[bytes]:
        """Keys under which the features of a document are kept, first those of training."""
        features = self._features
        assert features is not None
        keys = self._keys(document)
        if self._fills.recalled:
            self._recall(keys)
        if not purpose:
            return keys
        pairs = zip(keys, self._keys(document, purpose), strict=True)
        return [key if key in features else other for key, other in pairs]

    def _from_features(
        self, documents: Sequence[Document], purpose: bytes = b"", joined: Tensor | None = None,
        budget: int | None = None,
    ) -> Tensor:  # fmt: skip
        network, features, budget = self.network, self._features, budget or self.budget
        assert features is not None
        if self._kind == "vectors":
            return network.classify(to_device(self._cached_vectors(documents, purpose), network.device), joined)
        keys = [key for document in documents for key in self._kept_keys(document, purpose)]
        batch = collate(documents, network.encoder.pad_id, network.device, network.max_pieces)
        states = features.padded(keys, batch.ids.shape[1], network.device)
        if states is None:
            # Dropped for want of room, or damaged: computed anew, together.
            states = prefix_states(network, batch, budget)
        return logits_of(network, batch, budget, joined, states)

    def _without_features(
        self, documents: Sequence[Document], joined: Tensor | None, budget: int | None = None
    ) -> Tensor:
        """Logits of documents that never come again: the frozen depths run for them, nothing is kept."""
        network = self.network
        if self._kind != "vectors":
            return self._run(documents, joined, budget)
        groups = list(micro_batches(documents, self.budget, network.device.type, few_shapes=network.few_shapes))
        order = np.argsort(np.concatenate(groups))
        with torch.no_grad():
            vectors = torch.cat([self._pooled([documents[i] for i in group]) for group in groups])
        return network.classify(vectors[to_device(order, network.device)], joined)

    def _pooled(self, documents: Sequence[Document]) -> Tensor:
        """Vectors of one micro-batch, (n_docs, width), on the device."""
        network = self.network
        batch = collate(documents, network.encoder.pad_id, network.device, network.max_pieces)
        return network.pool(prefix_states(network, batch, self.budget), batch)

    def _cached_vectors(self, documents: Sequence[Document], purpose: bytes = b"") -> Tensor:
        """(n_docs, width) on the CPU; what was dropped for want of room is computed anew."""
        features = self._features
        assert features is not None
        found = [features.get(self._kept_keys(document, purpose)[0]) for document in documents]
        pairs = zip(found, documents, strict=True)
        return torch.cat([v if v is not None else self._compute([d], purpose)[0] for v, d in pairs])

    def _fill(self, missing: Sequence[Document], reader: TextReader) -> None:
        """Compute what a step lacks, and as many of the expected texts as have been filled so far: the work is done
        in large batches, and never more than twice what training reads."""
        features = self._features
        assert features is not None
        # By identity: the reader gives the same object for the same text.
        wanted = {id(document): document for document in missing}
        if not features.is_full and self._n_filled < len(self._training_texts):
            size = min(max(_LEAST_FILL, self._n_filled), _MOST_FILL)
            texts = self._training_texts[self._n_filled : self._n_filled + size]
            self._n_filled += len(texts)
            read = reader.read(texts, remember=True)
            wanted.update((id(document), document) for document in read if not self._has(document))
        start = perf_counter()
        self._compute(list(wanted.values()))
        logger.debug("features of %d texts in %.1f s", len(wanted), perf_counter() - start)

    def _compute(self, documents: Sequence[Document], purpose: bytes = b"") -> list[Tensor]:
        """Compute features and put them into the cache.

        RETURNS (list[Tensor]): Vectors, one row each; or nothing.
        """
        network, features = self.network, self._features
        assert features is not None
        vectors: dict[int, Tensor] = {}
        for group in micro_batches(documents, self.budget, network.device.type, few_shapes=network.few_shapes):
            chosen = [documents[i] for i in group]
            entries = self._compute_together(chosen, purpose)
            kept = features.put(entries)
            if not purpose:
                self._fills.add([document.text for document in chosen], kept)
            if self._kind == "vectors":
                vectors.update((i, entries[document_key(documents[i], purpose)]) for i in group)
        return [vectors[i] for i in sorted(vectors)]

    def _compute_together(self, documents: Sequence[Document], purpose: bytes) -> dict[bytes, Tensor]:
        """Features of one micro-batch by key."""
        network = self.network
        with torch.no_grad():
            if self._kind == "vectors":
                pooled = self._pooled(documents).cpu()
                return {document_key(d, purpose): pooled[j : j + 1] for j, d in enumerate(documents)}
            rows = [row for document in documents for row in document]
            batch = collate(documents, network.encoder.pad_id, network.device, network.max_pieces)
            states = prefix_states(network, batch, self.budget)
            if self._features is None or not self._features.stay_on_gpu:
                states = states.cpu()
            return {row_key(row, purpose): states[j, : len(row.ids)] for j, row in enumerate(rows)}

    # ---- resuming ------------------------------------------------------------------------------------------------

    def _recall(self, keys: Sequence[bytes]) -> None:
        """Compute features again in the micro-batches they came from before the run was stopped."""
        features, reader = self._features, self._reader
        assert features is not None
        assert reader is not None
        for number, texts in self._fills.wanted(keys).items():
            entries = self._compute_together(reader.read(texts, remember=True), b"")
            features.put({key: entries[key] for key in self._fills.came_from(number, list(entries))})

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a resumed run needs to know of the cache: from which micro-batch features came, not their values."""
        data: dict[str, Any] = {
            "boundary": self._boundary,
            "n_filled": self._n_filled,
            "n_predicted": self._n_predicted,
        }
        if self._features is None:
            return data, {}
        features, keys = self._features.state()
        numbers = {text: i for i, text in enumerate(self._training_texts)}
        fills, tensors = self._fills.state(keys, numbers)
        return {**data, "features": features, "fills": fills}, tensors

    def restore(self, data: Mapping[str, Any], tensors: Mapping[str, Tensor], reader: TextReader) -> None:
        """Take what `state` gave, after the weights are restored."""
        self.close()
        self._reader = reader
        if data["boundary"] != self.network.boundary:
            # It was unfrozen after the last step: the next one begins a cache of its own.
            return
        self._boundary, self._fills = self.network.boundary, Fills()
        self._n_filled, self._n_predicted = data["n_filled"], data["n_predicted"]
        self._make_features((data.get("features") or {}).get("seen"))
        if self._features is not None and "features" in data:
            self._features.restore(data["features"], self._fills.restore(data["fills"], tensors, self._training_texts))
