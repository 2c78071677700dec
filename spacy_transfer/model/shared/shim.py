"""Pooling and head on the states of an encoder owned by another component."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast, final
from weakref import ref

import numpy as np
import torch
from spacy.tokens import Doc
from thinc.types import Floats2d
from thinc.util import get_torch_default_device
from torch import Tensor, nn

from ...errors import T204, T205, T351
from ...json_types import JsonMapping, JsonObject
from ...locks import changes_network
from ...nn.block_kinds import BlockKind
from ...nn.devices.pinned import to_device
from ...nn.devices.precision import resolve_device
from ...nn.encoders.encoder import Encoder
from ...nn.encoders.shared_body import SharedBody
from ...nn.encoders.shared_encoder import EncoderElsewhere, SharedEncoder
from ...nn.joined import Joined
from ...nn.network import Network, RowBatch
from ...nn.sentence_pooling import AutoPooling
from ...nn.tuning import DepthRow
from ...pipeline.interface import Floats
from ..features.joining import Inputs
from ..features.layer import Backprop
from ..learning.accumulation import Gradients
from ..learning.augmentation import NoAugmentation
from ..learning.grad_cache import is_plain, learn_whole
from ..learning.solving import check_solvable
from ..shims.classifier_shim import ClassifierShim
from ..shims.settings import CLASSIFIER, Settings
from ..shims.torch_shim import predicts
from ..storage.snapshot import StoredNetwork, room_for
from ..storage.weights import fill_weights, weights_of
from ..text.text import Text
from .states import GiveBack, States, TransformerData, gather, groups, nobody, scatter, width_of

# Most pieces pooled at a time when documents are only predicted, padding included.
_BUDGET = 65_536
_SHARED = BlockKind[SharedEncoder]("encoder", "a shared encoder", classes=(SharedEncoder,))

if TYPE_CHECKING:
    from spacy_transformers.pipeline_component import Transformer


@final
class SharedEncoderShim(ClassifierShim):
    """The shim of a classifier whose encoder another component runs. It takes the states of documents, as
    spacy-transformers gives them.

    settings (Settings): The blocks of the config.
    RAISES (ValueError): T205 for a setting that a shared encoder cannot follow.
    """

    needed = ("n_steps", "n_labels", "label_weights", "width")
    has_encoder = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if isinstance(settings.pooling, AutoPooling):
            raise ValueError(T351)
        _check(settings)
        self._builder = _SHARED.check(settings.encoder, CLASSIFIER)
        # Of the states; 0 before `connect`.
        self.width = 0
        self._body: ref[nn.Module] | None = None
        self._owner = 0
        # The transformer component, from `connect` to `prepare`.
        self.upstream: Transformer | None = None

    @property
    def builder(self) -> SharedEncoder:
        """The encoder block."""
        return self._builder

    @property
    def body(self) -> SharedBody | None:
        """The encoder, where it has been met: at `initialize`, or by its first states after loading."""
        body = self._body() if self._body is not None else None
        return SharedBody(body) if body is not None else None

    def meet(self, body: nn.Module | None, owner: int) -> None:
        """Get to know the encoder, and freeze in it what tuning says.

        body (nn.Module | None): Of transformers.
        owner (int): Id under which an optimizer keeps its moments.
        RAISES (ValueError): T061 for more frozen layers than it has, T208 for an encoder-decoder.
        """
        if body is None or (self._body is not None and self._body() is body):
            return
        self._body, self._owner = ref(body), owner
        tuning = self.settings.tuning
        tuning.check(SharedBody(body).n_layers, "the transformer")
        if self.is_built:
            self._freeze()

    # ---- life ----------------------------------------------------------------------------------------------------

    @changes_network
    def initialize(self, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float]) -> None:
        """Make a new head. `width` has to be known.

        labels (Sequence[str]): All labels.
        positives (Sequence[float]): Sum of each label's targets over the training data.
        n_known (Sequence[float]): Documents annotated for each label.
        RAISES (ValueError): What the blocks find wrong.
        """
        weights = self._count_labels(labels, positives, n_known)
        self._begin_anew()
        self._build_on(self.width, len(labels), weights)

    def _build_on(self, width: int, n_labels: int, weights: Sequence[float], *, to_predict: bool = False) -> None:
        s = self.settings
        self.width = width
        pooling, head, vector_width = s.build_top(width, self.n_features, n_labels)
        network = Network(cast(Encoder, EncoderElsewhere(width)), pooling, head, torch.float32, vector_width)
        default = get_torch_default_device()
        self._model = network.to(
            self._available("device", s.device, lambda value: resolve_device(value, default), to_predict)
        )
        self._set_label_weights(weights)
        self.gradients = Gradients(half=False)
        self._freeze()

    def to_device(self, device_type: str, device_id: int) -> None:
        """Thinc's `Model.to_gpu` and `to_cpu`."""
        if self.is_built:
            self.network.to(torch.device("cpu") if device_type == "cpu" else torch.device("cuda", device_id))
            self._set_label_weights(self.label_weights)

    # ---- freezing ------------------------------------------------------------------------------------------------

    def _freeze(self) -> None:
        tuning, network = self.settings.tuning, self.network
        self._trainable = dict(network.named_parameters())
        self._rates = dict.fromkeys(self._trainable, tuning.lr_factor(1, 0))
        if (body := self.body) is not None:
            self._frozen_depth = self._depth_now(body.n_layers)
            body.freeze(network, tuning, self._frozen_depth)
        network.eval()

    @property
    def _n_layers(self) -> int | None:
        return None if (body := self.body) is None else body.n_layers

    def describe(self) -> list[DepthRow]:
        """Per depth: weights, trainable weights, rate factor; top first. The encoder's where it is known."""
        n_weights = sum(weight.numel() for weight in self._trainable.values())
        body = self.body
        rows = [] if body is None else body.describe(self.settings.tuning)
        return [DepthRow(len(rows), "pooling, head", n_weights, n_weights, self.settings.tuning.head_lr_factor), *rows]

    # ---- forward -------------------------------------------------------------------------------------------------

    def _gather(self, inputs: Inputs[TransformerData]) -> States:
        found, width = width_of(inputs.data), self.width
        if found is not None and found != width:
            raise ValueError(T204.format(found=found, name="transfer_classifier", width=width))
        return gather(inputs.data, width, self.network.device, inputs.features.joined)

    @predicts
    def _predict(self, inputs: Inputs[TransformerData], stage: Callable[[Tensor, RowBatch], Tensor]) -> Tensor:
        """What a stage of the network makes of the states of documents, and of features, in their order."""
        order: list[int] = []
        parts: list[Tensor] = []
        with torch.no_grad():
            for group in groups(inputs.data, _BUDGET):
                states = self._gather(inputs.of(group))
                order += group
                parts.append(stage(states.states, states.batch))
        return torch.cat(parts)[to_device(np.argsort(order), self.network.device)]

    def vectors(self, data: Sequence[TransformerData]) -> Tensor:
        """Pooled states.

        RETURNS (Tensor): (n_docs, width).
        """
        if not len(data):
            return torch.zeros((0, self.network.vector_width))
        return self._predict(Inputs(data), self.network.pool)

    def logits(self, inputs: Inputs[TransformerData]) -> Floats:
        """Compute logits.

        inputs (Inputs): TransformerData of each document, and features.
        RETURNS (Floats): Logits, (n_docs, n_labels), on the host.
        RAISES (ValueError): T204 for states of another width.
        """
        return self._predict(inputs, self.network.head_from_states).cpu().numpy()

    def scores(self, inputs: Inputs[TransformerData]) -> Floats:
        """Scores of documents, (n_docs, n_labels); 0 for labels that were added and not yet trained."""
        return self._scores(self.logits(inputs))

    def judge(self, inputs: Inputs[TransformerData]) -> tuple[Floats, Floats | None]:
        """Scores of documents, (n_docs, n_labels), and their confidence, (n_docs,), where there is one."""
        return self._judge(lambda: self.logits(inputs))

    def __call__(
        self, inputs: Inputs[TransformerData], is_train: bool, give_back: GiveBack = nobody
    ) -> tuple[Floats, Backprop]:
        """Thinc's protocol; the gradient of a caller's own loss goes back to the encoder as it is."""
        if not is_train:
            return self.logits(inputs), lambda d_logits: []
        states = self._leaf(inputs)
        logits = self.network.head_from_states(states.states, states.batch)

        def backprop(d_logits: Floats2d) -> list[Doc]:
            """Give the gradient of the logits to the head and back to the shared encoder."""
            logits.backward(torch.as_tensor(d_logits, device=logits.device, dtype=torch.float32))
            self._met.add_all()
            self._return(states, inputs.data, give_back, self.builder.grad_factor)
            inputs.features.give_back()
            return []

        return logits.detach().cpu().numpy(), backprop

    def _leaf(self, inputs: Inputs[TransformerData]) -> States:
        """The states, to which gradients come."""
        if not self.network.training:
            self.network.train()
        states = self._gather(inputs)
        states.states.requires_grad_()
        return states

    def _return(self, states: States, data: Sequence[TransformerData], give_back: GiveBack, factor: float) -> None:
        gradient = states.states.grad
        # Even a gradient of zero: the last listener's call is what lets the others' gradients through.
        gradient = torch.zeros_like(states.states) if gradient is None else gradient.mul_(factor)
        give_back(scatter(gradient, states, data))

    # ---- learning ------------------------------------------------------------------------------------------------

    @changes_network
    def step(
        self,
        inputs: Inputs[TransformerData],
        targets: Floats,
        known: Floats,
        *,
        dropout: float,
        give_back: GiveBack = nobody,
    ) -> float:
        """Forward, loss and backward of a batch; there are no micro-batches.

        The sums for pooling and head wait for `finish_update`, as always. What goes back to the encoder, which its own
        component steps, is the mean over the documents of this batch; with `accumulate_gradient`, of which we are not
        told, the encoder gets the sum of the means.

        inputs (Inputs): TransformerData of each document, and features, whose gradient is given back.
        targets (n_docs, n_labels): As in `OwnEncoderShim`.
        known (n_docs, n_labels): As in `OwnEncoderShim`.
        dropout (float): For the head.
        give_back (Callable): Takes the gradients of the states.
        RETURNS (float): Sum of the documents' losses.
        RAISES (ValueError): T063, T204.
        """
        self._require_epoch()
        loss = self.loss
        if self.settings.head.dropout is None:
            self.network.head.set_dropout(dropout)
        states = self._leaf(inputs)
        wanted, mask = (to_device(values, states.states.device) for values in (targets, known))

        def learn(group: Sequence[int]) -> Tensor:
            """Compute the logits of some documents with a graph."""
            return self.network.head_from_states(*states.of(group))

        everything = list(range(len(inputs.data)))
        if is_plain(loss):
            value = loss(learn(everything), wanted, mask).sum()
            self.gradients.backward(value)
        else:
            value = learn_whole(
                self.network, loss, [everything], learn, wanted, mask, self.gradients, n_pieces=len,
                budget=len(everything),
            )  # fmt: skip
        n_docs = int((known > 0).any(axis=1).sum())
        self.gradients.n_docs += n_docs
        self._met.add(targets * known)
        self._return(states, inputs.data, give_back, self.builder.grad_factor / max(n_docs, 1))
        inputs.features.give_back()
        return self._loss(value.detach())

    @changes_network
    def prepare_head(
        self,
        docs: Sequence[Doc],
        targets: Floats,
        known: Floats,
        join: Callable[[Sequence[int]], Joined],
    ) -> None:
        """Solve the head where its block says so.

        docs (Sequence[Doc]): All training documents; the transformer reads those that are used.
        targets (n_docs, n_labels): Of all training documents.
        known (n_docs, n_labels): Of all training documents.
        join (Callable): Indices of documents to what is joined to their vectors.
        RAISES (ValueError): T064 if the head to be solved has hidden layers, T147 if it reads no vectors.
        """
        transformer, self.upstream = self.upstream, None
        chosen = self.settings.head_init.choose(len(targets))
        if not chosen or not known[chosen].any():
            return
        check_solvable(self.settings.head)
        self.network.eval()
        transformer = self._there(transformer)
        parts = []
        for begin in range(0, len(chosen), 64):
            read = [docs[i] for i in chosen[begin : begin + 64]]
            parts.append(self.vectors(transformer.predict(read).doc_data))
        tuning = self.settings.tuning
        stays = self.builder.grad_factor == 0 or (tuning.frozen_depth == "all" and not tuning.unfreeze_every)
        self._solve(torch.cat(parts), targets[chosen], known[chosen], join(chosen), tuning_follows=not stays)

    def _queries_for(self, labels: Sequence[str]) -> Tensor | None:
        # Another component reads: there is nothing here to read names with.
        return None

    def _weights_elsewhere(self) -> list[tuple[int, Mapping[str, nn.Parameter]]]:
        # The encoder's, which nobody else would average: a head belongs to the encoder it was averaged with.
        body = self._body() if self._body is not None else None
        return [] if body is None else [(self._owner, dict(body.named_parameters()))]

    def forget_texts(self) -> None:
        """Nothing to drop: what the encoder has read is its component's business."""

    # ---- resuming and storage ------------------------------------------------------------------------------------

    def _progress(self) -> tuple[JsonObject, dict[str, Tensor]]:
        # The encoder's own weights and moments are its component's, and nothing is cached.
        return self._progress_of_labels(), {}

    def _take_progress(self, state: JsonMapping, tensors: Mapping[str, Tensor]) -> None:
        self._take_progress_of_labels(state)

    def _stored(self) -> StoredNetwork:
        return StoredNetwork({}, "", weights_of(self.network), {**self._state_of_labels(), "width": self.width})

    def _for_disk(self) -> StoredNetwork:
        return self._stored()

    def _restore(self, stored: StoredNetwork) -> None:
        state = stored.state
        self._take_counts(state)
        rng = torch.get_rng_state()
        with room_for(stored):
            self._build_on(state["width"], state["n_labels"], state["label_weights"], to_predict=True)
        torch.set_rng_state(rng)
        self._take_labels(stored)
        fill_weights(self.network, stored.weights)


def _check(settings: Settings) -> None:
    own = "the transformer component runs the encoder"
    one_rate = "its own component updates its weights, at one learning rate"
    checks: tuple[tuple[str, object, tuple[object, ...], str], ...] = (
        ("tuning.lr_decay", settings.tuning.lr_decay, (1.0,), one_rate),
        ("tuning.embeddings_lr_factor", settings.tuning.embeddings_lr_factor, (1.0,), one_rate),
        ("gradient_checkpointing", settings.gradient_checkpointing, (False,), own),
        ("tuning.adapter", settings.tuning.adapter, (None,), "this component cannot add to its layers"),
        ("augmentation", settings.augmentation, (NoAugmentation(),), "its own component reads the documents"),
        ("head.init", getattr(settings.head, "init", "random"), ("random",), "its own component reads the names"),
        ("label_texts", settings.label_texts, (None,), "its own component reads the documents"),
        ("text", settings.text, (Text(),), "its own component reads the documents"),
        ("precision", settings.precision, ("auto", "fp32"), f"{own} (see its mixed_precision)"),
    )
    for field, value, neutral, reason in checks:
        if value not in neutral:
            raise ValueError(T205.format(field=field, value=value, reason=reason, neutral=_shown(neutral[0])))


def _shown(value: object) -> str:
    return "its default" if isinstance(value, Text | NoAugmentation) else "null" if value is None else str(value)
