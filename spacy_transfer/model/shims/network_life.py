"""The life of a classifier's network: build, add labels, freeze, store."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, is_dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...errors import T073, T336, T349, T349_LENGTH, T350, T350_GONE
from ...locks import changes_network, reads_network
from ...log import announce
from ...nn.encoders.pretrained import LoadedEncoder, transformers_version
from ...nn.encoders.trial import try_encoder
from ...nn.heads.label_query import LabelQueryDecoder, LabelQueryHead
from ...nn.losses import Loss, label_weights
from ...nn.network import Network
from ...nn.own_blocks import check_loss
from ...nn.scratch.tokenizer_training import Texts, no_texts
from ...nn.sentence_pooling import AutoPooling, SentenceModules
from ...nn.tuning import DepthRow, describe
from ..cache.pathway import Pathway
from ..learning.grad_cache import check_reads
from ..storage.snapshot import StoredNetwork, room_for
from ..storage.weights import weights_of
from ..text.tokenizer import PieceTokenizer
from .adapters import fill, for_disk, merged, rebuild, with_adapter
from .label_names import name_vectors
from .met_labels import MetLabels
from .settings import Settings
from .torch_shim import TrainingShim


class NetworkLife(TrainingShim):
    """Holds tokenizer, network and loss, from `initialize` or `load` on.

    settings (Settings): The blocks of the config.
    """

    kind = "transfer_classifier"
    needed: tuple[str, ...] = ("n_steps", "n_labels", "label_weights")
    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.tokenizer: PieceTokenizer | None = None
        self.loss: Loss | None = None
        # Weight of each label in the loss, settled by `initialize`: training may go on elsewhere, without the old data.
        self.label_weights: list[float] = []
        # Batches that augmentation has drawn: with its seed all that the next draw depends on.
        self.n_draws = 0
        # Width of what is joined to the vectors.
        self.n_features = 0
        self.epoch: int | None = None
        self._pathway: Pathway | None = None
        # As tuning was applied last.
        self._frozen_depth = -1
        self._met = MetLabels()
        self.is_balanced = False

    # ---- life ----------------------------------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        """The torch network. RAISES (ValueError): T006 before `initialize` or loading."""
        return cast(Network, self._there(self._model))

    @property
    def pathway(self) -> Pathway:
        """Rows to logits. RAISES (ValueError): T006 before `initialize` or loading."""
        return cast(Pathway, self._there(self._pathway))

    @changes_network
    def initialize(
        self, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float], texts: Texts = no_texts
    ) -> None:
        """Load the encoder, or make it of the training texts, and make a new head.

        labels (Sequence[str]): All labels. positives, n_known (Sequence[float]): Sum of each label's targets and
            documents annotated for it, over the training data.
        texts (Callable): Gives the training texts.
        RAISES (ValueError, OSError): What the blocks find wrong.
        """
        tuning = self.settings.tuning
        if tuning.adapter is not None and tuning.frozen_depth == -1:
            announce(T336)
        weights = label_weights(self.settings.loss, labels, positives, n_known)
        self.is_balanced = self.settings.loss.class_weights == "balanced"
        loaded = with_adapter(self.settings.encoder.load(texts), self.settings.tuning)
        self._build(loaded, len(labels), weights)
        self._try_encoder(str(loaded.record.get("source")))
        self._follow_folder(loaded)
        head = self.network.head
        if isinstance(head, LabelQueryDecoder) and (vectors := self._queries_for(labels)) is not None:
            head.start_from(vectors)
        self.n_steps = 0
        self.n_draws = 0
        self.epoch = None

    def _try_encoder(self, name: str) -> None:
        """RAISES (ValueError): T473, T475 for an encoder whose states cannot be relied on at a depth that freezes."""
        network, tuning = self.network, self.settings.tuning
        try_encoder(network.encoder, name, network.boundary, tuning.lowest_depth(network.n_layers))

    def _follow_folder(self, loaded: LoadedEncoder) -> None:
        """Take the weights that a sentence-transformers folder has behind its pooling, or say what is not followed."""
        said = SentenceModules.from_json(loaded.record.get("sentence"))
        if said is None:
            return
        if isinstance(self.settings.pooling, AutoPooling):
            wanted = self.network.pooling.state_dict()
            if not wanted:
                return
            found = loaded.pooling_weights
            if {n: w.shape for n, w in found.items()} != {n: w.shape for n, w in wanted.items()}:
                raise ValueError(T350.format(problems=T350_GONE))
            self.network.pooling.load_state_dict(dict(found))
            return
        what, length = said.beyond_mean(), said.max_length
        if length is not None and length < self.windows.length:
            what.append(T349_LENGTH.format(length=length, window=self.windows.length))
        if what:
            announce(T349.format(name=loaded.record.get("source"), what="; ".join(what)))

    def _build(
        self,
        loaded: LoadedEncoder,
        n_labels: int,
        weights: Sequence[float],
        *,
        to_predict: bool = False,
        room: AbstractContextManager[None] | None = None,
    ) -> None:
        s = self.settings
        tokenizer, device, precision = self._prepare_for(loaded, to_predict=to_predict)
        s.tuning.check(loaded.encoder.n_layers, str(loaded.record.get("source", loaded.encoder.family)))
        said = SentenceModules.from_json(loaded.record.get("sentence"))
        with room or nullcontext():
            pooling, head, vector_width = s.build_top(loaded.encoder.width, self.n_features, n_labels, said)
        network = Network(loaded.encoder, pooling, head, precision, vector_width)
        if s.gradient_checkpointing:
            if not loaded.encoder.body.supports_gradient_checkpointing:
                raise ValueError(T073.format(family=loaded.encoder.family))
            loaded.encoder.checkpoint_gradients()
        self._hold(network, loaded, tokenizer, device)
        self.tokenizer = tokenizer
        config = json.dumps(loaded.record["config"], sort_keys=True)
        identity = [config, loaded.encoder.attention, transformers_version(), torch.__version__]
        pooled_by = json.dumps([_fields(s.pooling), said.to_json() if said else None], sort_keys=True, default=str)
        self._pathway = Pathway(self.network, s.cache, self.room, identity, pooled_by)
        self._set_label_weights(weights)
        self._freeze()

    def _set_label_weights(self, weights: Sequence[float]) -> None:
        self.label_weights = [float(w) for w in weights]
        loss = check_loss(self.settings.loss, self.settings.loss.build(self.label_weights), len(weights))
        loss = loss.to(self.network.device)
        check_reads(loss, self.settings.loss, self.network.head)
        self.loss = loss

    def weigh_labels(self, labels: Sequence[str]) -> bool:
        """Weigh labels as the config says, whatever was stored: it may have been edited, or overridden at load.

        labels (Sequence[str]): All, in order.
        RETURNS (bool): False where the config says "balanced" and the stored weights are not: they take training texts.
        RAISES (ValueError): T034 for a weight whose label does not exist.
        """
        block = self.settings.loss
        if block.class_weights == "balanced":
            return self.is_balanced
        self.is_balanced = False
        weights = label_weights(block, labels, (), ())
        if len(weights) == len(self.label_weights) and weights != self.label_weights:
            self._set_label_weights(weights)
        return True

    def _queries_for(self, labels: Sequence[str]) -> Tensor | None:
        """What the queries of labels start from, (n_labels, width), where that is their names."""
        builder = self.settings.head
        if not labels or not isinstance(builder, LabelQueryHead) or builder.init != "names":
            return None
        return name_vectors(labels, self.network, self.reader)

    @changes_network
    def resize(self, n_labels: int, labels: Sequence[str] = ()) -> None:
        """Make room for new labels. They score 0 until a text with them has been learned from, and the scores of the
        old ones stay as they are. labels: All, if at hand.
        """
        head = self.network.head
        if isinstance(head, LabelQueryDecoder):
            head.resize(n_labels, self._queries_for(labels[head.n_labels : n_labels]))
        else:
            head.resize(n_labels)
        head.awaited = (*head.awaited, *range(len(self.label_weights), n_labels))
        self._met = MetLabels()
        self._set_label_weights([*self.label_weights, *[1.0] * (n_labels - len(self.label_weights))])
        self._freeze()

    def _was_moved(self) -> None:
        super()._was_moved()
        self.network.forget_copies()
        self.pathway.close()
        self._set_label_weights(self.label_weights)

    # ---- freezing ------------------------------------------------------------------------------------------------

    def _freeze(self) -> None:
        """Apply tuning as it stands at this step or epoch."""
        tuning, network = self.settings.tuning, self.network
        self._frozen_depth = self._depth_now(network.n_layers)
        tuning.apply(network, self._frozen_depth)
        self._trainable = {name: w for name, w in network.named_parameters() if w.requires_grad}
        self._rates = {name: tuning.lr_factor(network.depth_of(name), network.n_layers) for name in self._trainable}
        # Whatever mode it was in, the frozen depths may be others now.
        network.eval()

    def _depth_now(self, n_layers: int) -> int:
        """The frozen depth at this step or epoch, of an encoder of so many layers."""
        tuning = self.settings.tuning
        return tuning.depth_at(self.n_steps if tuning.unfreeze_unit == "steps" else (self.epoch or 0), n_layers)

    def forget_copies(self) -> None:
        """To be called when weights were changed by other means than an optimizer."""
        if self.is_built:
            self.network.forget_copies()

    @changes_network
    def set_epoch(self, epoch: int) -> None:
        """The loop says which epoch it is in; unfreezing by epochs follows."""
        if epoch != self.epoch:
            self.epoch = epoch
            if self.is_built:
                self._freeze()

    def describe(self) -> list[DepthRow]:
        """Per depth: weights, trainable weights, rate factor; top first."""
        return describe(self.network, self.settings.tuning)

    def _also_summed(self) -> Mapping[str, nn.Parameter]:
        return self._met.as_gradients(self.network.head.awaited, self.network.device)

    def drop_gradients(self) -> None:
        """Forget what was summed since the last step."""
        super().drop_gradients()
        self._met = MetLabels()

    def _stepped(self) -> None:
        self.network.weights_moved()
        head = self.network.head
        if head.awaited:
            if not self.was_left_out:
                head.awaited = self._met.still_awaited(head.awaited)
            self._met = MetLabels()
        tuning = self.settings.tuning
        # Only where it changes: freezing walks all weights and modules, some milliseconds of each step.
        if tuning.unfreeze_every and tuning.unfreeze_unit == "steps" and self._unfreezes_now():
            self._freeze()

    def _unfreezes_now(self) -> bool:
        return self._depth_now(self.network.n_layers) != self._frozen_depth

    # ---- resuming ------------------------------------------------------------------------------------------------

    @reads_network
    def checkpoint_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What training has made besides the weights and the optimizer's moments: JSON and tensors."""
        state, _ = super().checkpoint_state()
        pathway, tensors = self.pathway.state()
        return {**state, **self._progress(), "n_draws": self.n_draws, "pathway": pathway}, tensors

    @changes_network
    def restore_state(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take what `checkpoint_state` gave, after the weights are in their place."""
        super().restore_state(state, tensors)
        self._take_progress(state)
        self.n_draws = state["n_draws"]
        self.network.forget_copies()
        self.pathway.restore(state["pathway"], tensors, self.reader)

    def _progress(self) -> dict[str, Any]:
        """Where freezing and the loss stand, whoever owns the encoder."""
        return {"epoch": self.epoch, "label_weights": self.label_weights, "awaited": list(self.network.head.awaited)}

    def _take_progress(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.network.head.awaited = tuple(state["awaited"])
        self._set_label_weights(state["label_weights"])
        self._freeze()

    # ---- storage -------------------------------------------------------------------------------------------------

    def _stored(self) -> StoredNetwork:
        state = {"n_steps": self.n_steps, "label_weights": self.label_weights, "n_labels": self.network.head.n_labels}
        state["n_draws"] = self.n_draws
        state["awaited"] = list(self.network.head.awaited)
        state["balanced"] = self.is_balanced
        state["n_features"] = self.n_features
        tokenizer = cast(PieceTokenizer, self.tokenizer)
        return StoredNetwork(self.record, tokenizer.text, weights_of(self.network), state)

    def _for_disk(self) -> StoredNetwork:
        return for_disk(self._stored(), self.network, self.settings)

    def _restore(self, stored: StoredNetwork) -> None:
        state = stored.state
        loaded = rebuild(stored, self.settings)
        self.n_steps = int(state["n_steps"])
        self.n_draws = int(state.get("n_draws", 0))
        self.n_features = int(state.get("n_features", 0))
        self.epoch = None
        rng = torch.get_rng_state()
        room = room_for(stored)
        self._build(loaded, state["n_labels"], state["label_weights"], to_predict=True, room=room)
        torch.set_rng_state(rng)
        self.network.head.awaited = tuple(state.get("awaited", ()))
        self.is_balanced = bool(state.get("balanced", False))
        fill(self.network, stored)
        self.pathway.close()
        if self.settings.tuning.adapter is None and "adapter" in self.record:
            self.merge_adapter()

    @changes_network
    def forget_texts(self) -> None:
        """Drop rows and features."""
        super().forget_texts()
        if self._pathway is not None:
            self._pathway.close()

    @changes_network
    def merge_adapter(self) -> int:
        """Add the adapter to the encoder's weights; then both are the encoder. RETURNS (int): Weights it had, or 0."""
        if not self.is_built or "adapter" not in self.record:
            return 0
        self.settings, self.record, n_weights = merged(self.network, self.settings, self.record)
        self.network.forget_copies()
        self.pathway.close()
        self._freeze()
        return n_weights

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "epoch": self.epoch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if state["epoch"] is not None:
            self.set_epoch(state["epoch"])


def _fields(block: object) -> list[object]:
    """What tells a block from others of its kind, in every process."""
    kind = f"{type(block).__module__}.{type(block).__qualname__}"
    return [kind, asdict(block)] if is_dataclass(block) and not isinstance(block, type) else [kind]
