"""Which way leads from documents to logits, as the boundary stands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import final

import torch
from torch import Tensor

from ...json_types import JsonMapping, JsonObject
from ...nn.encoders.pretrained import LoadedEncoder, transformers_version
from ...nn.network import Network
from ...nn.sentence_pooling import SentenceModules
from ..learning.memory import PieceBudget
from ..text.reader import TextReader
from .cache import CachedStates, EncoderCache, namespace_of
from .direct import Direct
from .filled_states import ExpectedTexts
from .pathway import Pathway
from .state_cache import StateCache
from .vector_cache import VectorCache


@final
class CurrentPathway:
    """Holds the pathway of a network, and replaces it where unfreezing has changed the boundary.

    network (Network): With its boundary set.
    builder (EncoderCache): The block of the config.
    room (PieceBudget): Most pieces in a micro-batch.
    reader (TextReader): Reads training texts.
    identity (Sequence[str]): Whatever else states depend on: attention implementation, versions.
    pooling (str): How states are pooled, for a cache of vectors.
    """

    def __init__(
        self,
        network: Network,
        builder: EncoderCache,
        room: PieceBudget,
        reader: TextReader,
        identity: Sequence[str],
        pooling: str,
    ) -> None:
        self._network, self._builder = network, builder
        self._identity, self._pooling = identity, pooling
        self.direct = Direct(network, room, reader)
        self.expected = ExpectedTexts()
        self._boundary = -1
        self._pathway: Pathway = self.direct

    @property
    def pathway(self) -> Pathway:
        """The way that holds now. After a step that has lowered the boundary, what is cached lies too high; until the
        next step nothing is cached."""
        return self._pathway if self._boundary == self._network.boundary else self.direct

    def expect(self, texts: Sequence[str]) -> None:
        """Take the texts that training will read, so that their states are computed in large sorted batches."""
        self.expected.expect(texts)

    def open(self) -> None:
        """Follow the boundary; called before each training step."""
        if self._boundary != self._network.boundary:
            self._begin(None)

    def close(self) -> None:
        """Forget all states: the weights are others now, or nobody needs them any more."""
        self._boundary, self._pathway, self.expected.n_taken = -1, self.direct, 0

    def _begin(self, seen: Mapping[str, int] | None) -> None:
        self._boundary, self.expected.n_taken = self._network.boundary, 0
        self._pathway = choose_pathway(
            self.direct, self._builder, self.expected, identity=self._identity, pooling=self._pooling, seen=seen
        )

    # ---- resuming ------------------------------------------------------------------------------------------------

    def state(self) -> tuple[JsonObject, dict[str, Tensor]]:
        """What `restore` needs.

        RETURNS (tuple): JSON and tensors.
        """
        data, tensors = self._pathway.state()
        return {"boundary": self._boundary, "n_filled": self.expected.n_taken, **data}, tensors

    def restore(self, data: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        """Take what `state` gave, after the weights are restored."""
        self.close()
        if data["boundary"] != self._network.boundary:
            # It was unfrozen after the last step: the next one begins a cache of its own.
            return
        self._begin((data.get("cached") or {}).get("seen"))
        self.expected.n_taken = data["n_filled"]
        self._pathway.restore(data, tensors)


def pathways_on(
    network: Network,
    loaded: LoadedEncoder,
    builder: EncoderCache,
    pooling: object,
    room: PieceBudget,
    reader: TextReader,
) -> CurrentPathway:
    """Make the cached forward of a network, whose cache is valid for this encoder and this pooling only.

    network (Network): The network.
    loaded (LoadedEncoder): What it was made on.
    builder (EncoderCache): The block of the config.
    pooling (object): The block of the config.
    room (PieceBudget): Most pieces in a micro-batch.
    reader (TextReader): Reads training texts.
    RETURNS (CurrentPathway): Documents to logits.
    """
    said = SentenceModules.from_json(loaded.record.get("sentence"))
    config = json.dumps(loaded.record["config"], sort_keys=True)
    identity = [config, loaded.encoder.attention, transformers_version(), torch.__version__]
    fields = [_fields(pooling), said.to_json() if said else None]
    pooled_by = json.dumps(fields, sort_keys=True, default=str)
    return CurrentPathway(network, builder, room, reader, identity, pooled_by)


def _fields(block: object) -> list[object]:
    """What tells a block from others of its kind, in every process."""
    kind = f"{type(block).__module__}.{type(block).__qualname__}"
    return [kind, asdict(block)] if is_dataclass(block) and not isinstance(block, type) else [kind]


def choose_pathway(
    direct: Direct,
    builder: EncoderCache,
    expected: ExpectedTexts,
    *,
    identity: Sequence[str],
    pooling: str,
    seen: Mapping[str, int] | None = None,
) -> Pathway:
    """Choose the shortest way that the boundary allows.

    direct (Direct): The way with nothing cached.
    builder (EncoderCache): The block of the config.
    expected (ExpectedTexts): What training will read.
    identity (Sequence[str]): Whatever else states depend on.
    pooling (str): How states are pooled.
    seen (Mapping[str, int] | None): What a resumed run may see of the cache's files; see `CachedStates`.
    RETURNS (Pathway): `direct`, or one of the two that cache.
    """
    network = direct.network
    # Below depth 1 there is only the look-up of embeddings, which the cache would not save.
    if builder.is_off or network.boundary < 1:
        return direct
    reserve = _room_for_checkpoints(network)
    is_whole = network.boundary >= network.n_layers and not list(network.pooling.parameters())
    if is_whole and network.head.reads == "vectors":
        namespace = namespace_of(network, "vectors", [*identity, pooling])
        vectors = CachedStates(builder, network.vector_width, torch.float32, namespace, seen, reserve)
        return VectorCache(vectors, direct, expected)
    on_gpu = network.device if network.device.type == "cuda" else None
    namespace = namespace_of(network, "states", identity)
    states = CachedStates(builder, network.encoder.width, network.frozen_dtype, namespace, seen, reserve, on_gpu)
    return StateCache(states, direct, expected)


def _room_for_checkpoints(network: Network) -> int:
    """Bytes that a run writes beside the cache: two checkpoints and the one being written, each with the weights that
    are trainable and two moments; the weights at the start, and model-best and model-last with the ones that replace
    them."""
    weights = [(w.numel() * w.element_size(), w.requires_grad) for w in network.parameters()]
    return 3 * 3 * sum(size for size, is_trainable in weights if is_trainable) + 5 * sum(size for size, _ in weights)
