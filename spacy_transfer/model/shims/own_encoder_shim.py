"""The shim of a classifier with an encoder of its own: forward, loss and backward per micro-batch."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import final

import numpy as np
import torch
from spacy.tokens import Doc
from thinc.types import Floats2d
from torch import Tensor

from ...errors import T073, T336, T663
from ...json_types import JsonMapping, JsonObject
from ...locks import changes_network
from ...log import announce
from ...nn.devices.pinned import to_device
from ...nn.encoders.pretrained import LoadedEncoder
from ...nn.encoders.trial import try_encoder
from ...nn.heads.label_query import LabelQueryDecoder, LabelQueryHead
from ...nn.joined import Joined
from ...nn.network import Network
from ...nn.scratch.tokenizer_training import Texts, no_texts
from ...nn.sentence_pooling import SentenceModules
from ...nn.tuning import DepthRow, describe
from ...pipeline.interface import Floats
from ..cache.current_pathway import CurrentPathway, pathways_on
from ..cache.looked_up import LookedUp
from ..cache.pathway import Pathway
from ..features.joining import Inputs
from ..features.layer import Backprop
from ..learning.augmentation import draw_texts
from ..learning.grad_cache import is_plain, learn_whole
from ..learning.label_texts import TextsOfLabels
from ..learning.solving import check_solvable
from ..storage.lowest_layers import lowest_layers
from ..storage.snapshot import StoredNetwork, room_for
from ..storage.weights import weights_of
from ..text.batching import micro_batches, padded_pieces
from ..text.document_batch import DocumentBatch
from .adapters import fill, for_disk, merged, rebuild, with_adapter
from .classifier_shim import ClassifierShim
from .encoder_shim import EncoderShim
from .label_names import name_vectors
from .sentence_folder import follow_folder
from .settings import Settings
from .torch_shim import predicts


@final
class OwnEncoderShim(ClassifierShim, EncoderShim):
    """Holds tokenizer, encoder, pooling and head, and runs them: logits, gradients, a head that starts solved.

    settings (Settings): The blocks of the config.
    """

    needed = ("n_steps", "n_labels", "label_weights")
    has_encoder = True

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # Batches that augmentation has drawn: with its seed all that the next draw depends on.
        self.n_draws = 0
        self._current_pathway: CurrentPathway | None = None
        # Where texts need no rows to be predicted.
        self._looked_up: LookedUp | None = None

    # ---- life ----------------------------------------------------------------------------------------------------

    @property
    def current_pathway(self) -> CurrentPathway:
        """Holds the pathway.

        RAISES (ValueError): T006 before `initialize` or loading.
        """
        return self._there(self._current_pathway)

    @property
    def pathway(self) -> Pathway:
        """Documents to logits, as the boundary stands.

        RAISES (ValueError): T006 before `initialize` or loading.
        """
        return self.current_pathway.pathway

    @changes_network
    def initialize(
        self, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float], texts: Texts = no_texts
    ) -> None:
        """Load the encoder, or make it of the training texts, and make a new head.

        labels (Sequence[str]): All labels.
        positives (Sequence[float]): Sum of each label's targets and documents annotated for it, over the training data.
        n_known (Sequence[float]): Sum of each label's targets and documents annotated for it, over the training data.
        texts (Callable): Gives the training texts.
        RAISES (ValueError, OSError): What the blocks find wrong.
        """
        tuning = self.settings.tuning
        if tuning.adapter is not None and tuning.frozen_depth == -1:
            announce(T336)
        weights = self._count_labels(labels, positives, n_known)
        loaded = with_adapter(self.settings.encoder.load(texts), self.settings.tuning)
        self._begin_anew()
        self.n_draws = 0
        self._build(loaded, len(labels), weights)
        self._try_encoder(str(loaded.record.get("source")))
        follow_folder(loaded, self.network, self.settings.pooling, self.windows)
        head = self.network.head
        if isinstance(head, LabelQueryDecoder) and (vectors := self._queries_for(labels)) is not None:
            head.start_from(vectors)

    def _try_encoder(self, name: str) -> None:
        """RAISES (ValueError): T473, T475 for an encoder whose states cannot be relied on at a depth that freezes."""
        network, tuning = self.network, self.settings.tuning
        try_encoder(network.encoder, name, network.boundary, tuning.lowest_depth(network.n_layers))

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
            causal = loaded.encoder.family if loaded.encoder.is_causal else None
            pooling, head, vector_width = s.build_top(loaded.encoder.width, self.n_features, n_labels, said, causal)
        network = Network(loaded.encoder, pooling, head, precision, vector_width)
        if s.gradient_checkpointing:
            if not loaded.encoder.body.supports_gradient_checkpointing:
                raise ValueError(T073.format(family=loaded.encoder.family))
            loaded.encoder.checkpoint_gradients()
        self._model = network.to(device)
        self._hold(loaded, tokenizer)
        self._looked_up = LookedUp.of(self.network, self.reader)
        self._current_pathway = pathways_on(self.network, loaded, s.cache, s.pooling, self.room, self.reader)
        self._set_label_weights(weights)
        self._freeze()

    def _queries_for(self, labels: Sequence[str]) -> Tensor | None:
        """What the queries of labels start from, (n_labels, width), where that is their names."""
        builder = self.settings.head
        if not labels or not isinstance(builder, LabelQueryHead) or builder.init != "names":
            return None
        return name_vectors(labels, self.network, self.reader)

    def _was_moved(self) -> None:
        self.network.forget_copies()
        self.current_pathway.close()
        self._set_label_weights(self.label_weights)

    def _texts_forgotten(self) -> None:
        if self._current_pathway is not None:
            self._current_pathway.close()

    # ---- freezing ------------------------------------------------------------------------------------------------

    @property
    def _n_layers(self) -> int:
        return self.network.n_layers

    def _freeze(self) -> None:
        """Apply tuning as it stands at this step or epoch."""
        tuning, network = self.settings.tuning, self.network
        self._frozen_depth = self._depth_now(network.n_layers)
        tuning.apply(network, self._frozen_depth)
        self._trainable = {name: w for name, w in network.named_parameters() if w.requires_grad}
        self._rates = {name: tuning.lr_factor(network.depth_of(name), network.n_layers) for name in self._trainable}
        # Whatever mode it was in, the frozen depths may be others now.
        network.eval()

    def describe(self) -> list[DepthRow]:
        """Per depth: weights, trainable weights, rate factor; top first."""
        return describe(self.network, self.settings.tuning)

    # ---- before training -----------------------------------------------------------------------------------------

    @changes_network
    def prepare(
        self,
        texts: Sequence[str],
        targets: Floats,
        known: Floats,
        join: Callable[[Sequence[int]], Joined],
        *,
        is_streamed: bool = False,
    ) -> None:
        """What training will read: the cache expects it, and the head may be solved on it.

        texts (Sequence[str]): All training texts.
        targets (Floats): (n_texts, n_labels), as for `step`.
        known (Floats): (n_texts, n_labels), as for `step`.
        join (Callable): Indices of texts to what is joined to their vectors.
        is_streamed (bool): These are only the first of a stream, whose texts never come again.
        RAISES (ValueError): T064 if the head to be solved has hidden layers, T147 if it reads no vectors, and what the
            texts of labels find wrong.
        """
        self.is_streamed = is_streamed
        of_labels = self._texts_of_labels()
        names = [] if of_labels is None else of_labels.texts
        self.current_pathway.expect([] if is_streamed else [*texts, *names])
        head_init, network = self.settings.head_init, self.network
        chosen = head_init.choose(len(texts))
        if not chosen or not known[chosen].any():
            return
        check_solvable(self.settings.head)
        network.eval()
        self.current_pathway.open()
        read = [*(texts[i] for i in chosen), *names]
        vectors = self.room.run(self.device, lambda _: self.pathway.vectors(read))
        follows = network.boundary < network.n_layers or bool(self.settings.tuning.unfreeze_every)
        targets, known = targets[chosen], known[chosen]
        if of_labels is not None:
            targets, known = _below((targets, known), of_labels.rows(range(len(names))))
        self._solve(vectors, targets, known, join(chosen), tuning_follows=follows, n_names=len(names))

    def _texts_of_labels(self) -> TextsOfLabels | None:
        """RAISES (ValueError): T660, T661, T663."""
        block = self.settings.label_texts
        if block is None:
            return None
        if len(self.labels) != self.network.head.n_labels:
            raise ValueError(T663)
        return block.of(self.labels)

    # ---- forward -------------------------------------------------------------------------------------------------

    @predicts
    def logits(self, inputs: Inputs[str]) -> Floats:
        """Logits of texts, (n_texts, n_labels), on the host: one transfer for all of them."""
        return self.room.run(self.device, lambda _: self._logits(inputs))

    def _logits(self, inputs: Inputs[str]) -> Floats:
        network = self.network
        vectors = None if self._looked_up is None else self._looked_up.vectors(inputs.data)
        if vectors is not None:
            with torch.no_grad():
                return network.classify(inputs.features.joined.join(vectors)).cpu().numpy()
        documents = self.reader.read(inputs.data, remember=False)
        batch = DocumentBatch(documents, [False] * len(documents), inputs.features.joined)
        parts: list[tuple[list[int], Tensor]] = []
        with torch.no_grad():
            for group in self.pathway.predicted_groups(documents):
                parts.append((group, self.pathway.predict(batch.of(group))))
        return in_order(parts, network.head.n_labels)

    def scores(self, inputs: Inputs[str]) -> Floats:
        """Scores of texts, (n_texts, n_labels); 0 for labels that were added and not yet trained."""
        return self._scores(self.logits(inputs))

    def judge(self, inputs: Inputs[str]) -> tuple[Floats, Floats | None]:
        """Scores of texts, (n_texts, n_labels), and their confidence, (n_texts,), where there is one."""
        return self._judge(lambda: self.logits(inputs))

    @predicts
    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts as the network stands, (n_texts, width), fp32: pooled states, before features and head."""
        return self.room.run(self.device, lambda budget: self._vectors(texts, budget))

    def _vectors(self, texts: Sequence[str], budget: int) -> Tensor:
        network = self.network
        documents = self.reader.read(texts, remember=False)
        out = torch.zeros((len(texts), network.vector_width), device=network.device)
        with torch.no_grad():
            for group in micro_batches(documents, budget, network.device.type):
                pooled = self.current_pathway.direct.pooled([documents[i] for i in group])
                out[torch.tensor(group, device=network.device)] = pooled
        return out

    def __call__(self, inputs: Inputs[str], is_train: bool) -> tuple[Floats, Backprop]:
        """Thinc's protocol, for callers with a loss of their own: logits and a function that takes their gradient."""
        if not is_train:
            return self.logits(inputs), lambda d_logits: []
        return self._begin(inputs)

    @changes_network
    def _begin(self, inputs: Inputs[str]) -> tuple[Floats, Backprop]:
        network = self._training()
        batch = self._draw(inputs, None)
        groups = self.pathway.groups(batch.documents)
        parts = [(group, self.pathway.learn(batch.of(group))) for group in groups]

        def backprop(d_logits: Floats2d) -> list[Doc]:
            """Give the gradient of the logits to the weights."""
            with self.lock.changing():
                # What is computed again in the backward pass needs the mode it had.
                self._training()
                return _backprop(d_logits)

        def _backprop(d_logits: Floats2d) -> list[Doc]:
            gradient = torch.as_tensor(d_logits, device=network.device, dtype=torch.float32) * self.gradients.loss_scale
            for group, logits in parts:
                logits.backward(gradient[to_device(group, network.device)])
            inputs.features.give_back(self.gradients.loss_scale)
            self._met.add_all()
            return []

        return in_order(parts, network.head.n_labels), backprop

    # ---- learning ------------------------------------------------------------------------------------------------

    def _training(self) -> Network:
        self._require_epoch()
        network = self.network
        # Setting the mode walks all modules, a millisecond: only after an evaluation.
        if not network.training:
            network.train()
        self.current_pathway.open()
        return network

    def _draw(self, inputs: Inputs[str], targets: Floats | None) -> DocumentBatch:
        """Documents to learn from; changed ones are remembered nowhere."""
        drawn, clean = draw_texts(self.settings.augmentation, inputs.data, targets, self.n_draws)
        self.n_draws += 1
        if self.is_streamed:
            clean = [False] * len(drawn)
        documents = self.reader.read(drawn, remember=clean)
        return DocumentBatch(documents, self.pathway.keeps(documents, clean), inputs.features.joined)

    def _with_names(self, batch: DocumentBatch, names: Sequence[str]) -> DocumentBatch:
        clean = [not self.is_streamed] * len(names)
        documents = self.reader.read(names, remember=clean)
        lasting = [*batch.lasting, *self.pathway.keeps(documents, clean)]
        return DocumentBatch([*batch.documents, *documents], lasting)

    @changes_network
    def step(self, inputs: Inputs[str], targets: Floats, known: Floats, *, dropout: float) -> float:
        """Forward, loss and backward of a batch, one micro-batch after the other; gradients are summed.

        inputs (Inputs[str]): The documents; the summed gradient of their features is given back.
        targets (n_texts, n_labels): Targets in 0..1; 0 in `known` where the annotation is missing.
        known (n_texts, n_labels): Targets in 0..1; 0 in `known` where the annotation is missing.
        dropout (float): For the head, where its block sets none of its own.
        RETURNS (float): Sum of the documents' losses; a tensor without dimensions where `keeps_losses_on_gpu` says so.
        """
        network, loss = self._training(), self.loss
        if self.settings.head.dropout is None:
            network.head.set_dropout(dropout)
        batch = self._draw(inputs, np.where(known > 0, targets, np.float32("nan")))
        met = targets * known
        if (of_labels := self._texts_of_labels()) is not None:
            places = of_labels.with_labels(met)
            batch = self._with_names(batch, [of_labels.texts[place] for place in places])
            targets, known = _below((targets, known), of_labels.rows(places))
        device = network.device
        wanted, mask = to_device(targets, device), to_device(known, device)

        def run(budget: int) -> Tensor:
            """Compute and learn in micro-batches of a budget."""

            def learn(group: Sequence[int]) -> Tensor:
                """Compute the logits of some documents with a graph."""
                return self.pathway.learn(batch.of(group), budget)

            inputs.features.forget_gradient()
            if not is_plain(loss):
                documents = batch.documents
                return learn_whole(
                    network, loss, self.pathway.groups(documents, max(1, budget // loss.n_passes)), learn, wanted, mask,
                    self.gradients, n_pieces=lambda group: padded_pieces([documents[i] for i in group]), budget=budget,
                )  # fmt: skip
            total = torch.zeros((), device=device)
            for group in self.pathway.groups(batch.documents, budget):
                chosen = to_device(group, device)
                value = loss(learn(group), wanted[chosen], mask[chosen]).sum()
                self.gradients.backward(value)
                total += value.detach()
            return total

        total = self.gradients.sum_up(self._trainable.values(), self.room, device, len(batch.documents), run)
        # Documents without any annotation have no loss; they do not count in the mean either.
        self.gradients.n_docs += int((known > 0).any(axis=1).sum())
        self._met.add(met)
        inputs.features.give_back(self.gradients.loss_scale)
        return self._loss(total)

    # ---- resuming and storage ------------------------------------------------------------------------------------

    def _progress(self) -> tuple[JsonObject, dict[str, Tensor]]:
        pathway, tensors = self.current_pathway.state()
        state = {"piece_limit": self.room.limit, "n_draws": self.n_draws, "pathway": pathway}
        return {**self._progress_of_labels(), **state}, tensors

    def _take_progress(self, state: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        self.room.limit = state["piece_limit"]
        self._take_progress_of_labels(state)
        self.n_draws = state["n_draws"]
        self.network.forget_copies()
        self.current_pathway.restore(state["pathway"], tensors)

    def _stored(self) -> StoredNetwork:
        state = {**self._state_of_labels(), "n_draws": self.n_draws}
        return StoredNetwork(self.record, self.tokenizer.text, weights_of(self.network), state)

    def _for_disk(self) -> StoredNetwork:
        return for_disk(self._stored(), self.network, self.settings)

    def _restore(self, stored: StoredNetwork) -> None:
        state = stored.state
        loaded = rebuild(stored, self.settings)
        self._take_counts(state)
        self.n_draws = int(state.get("n_draws", 0))
        rng = torch.get_rng_state()
        room = room_for(stored)
        self._build(loaded, state["n_labels"], state["label_weights"], to_predict=True, room=room)
        torch.set_rng_state(rng)
        self._take_labels(stored)
        fill(self.network, stored)
        self.current_pathway.close()
        if self.settings.tuning.adapter is None and "adapter" in self.record:
            self.merge_adapter()

    @changes_network
    def merge_adapter(self) -> int:
        """Add the adapter to the encoder's weights; then both are the encoder.

        RETURNS (int): Weights it had, or 0.
        """
        if not self.is_built or "adapter" not in self.record:
            return 0
        self.settings, self.record, n_weights = merged(self.network, self.settings, self.record)
        self.network.forget_copies()
        self.current_pathway.close()
        self._freeze()
        return n_weights

    @changes_network
    def keep_layers(self, n_layers: int, name: str) -> None:
        """Keep the lowest layers of the encoder; what tuning says of depths above them then means the highest.

        n_layers (int): How many, 1 to those it has.
        name (str): Of the component, for the message.
        RAISES (ValueError): T552 for a family whose configuration does not say how many layers it has.
        """
        rebuild, have = self.settings.encoder.rebuild, self.network.n_layers
        self.set_confidence(None)
        stored = lowest_layers(self._stored(), rebuild, have=have, keep=n_layers, name=name)
        self.settings = replace(self.settings, tuning=self.settings.tuning.within(n_layers))
        self._restore(stored)


def _below(above: tuple[Floats, Floats], below: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Targets and what is known of them, of texts and of what comes after them."""
    return np.concatenate([above[0], below[0]]), np.concatenate([above[1], below[1]])


def in_order(parts: Sequence[tuple[Sequence[int], Tensor]], width: int) -> Floats:
    """What micro-batches gave, (n_documents, width) each, by document, on the host: one transfer for all of them.

    parts (Sequence): Documents of each micro-batch, and their values.
    width (int): For none at all.
    """
    if not parts:
        return np.zeros((0, width), dtype=np.float32)
    found = torch.cat([values.detach() for _, values in parts]).cpu().numpy()
    out = np.empty_like(found)
    out[np.concatenate([group for group, _ in parts])] = found
    return out
