"""The abstract shim of a classifier, with an own or a shared encoder: labels, loss, head, trainable weights."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import T063, T684
from ...files.fields import refuse
from ...json_types import JsonMapping, JsonObject
from ...locks import changes_network
from ...log import announce
from ...nn.heads.confidence import Confidence, judging
from ...nn.heads.label_query import LabelQueryDecoder
from ...nn.joined import Joined
from ...nn.losses import Loss, label_weights
from ...nn.network import Network
from ...nn.own_blocks import check_loss
from ...nn.tuning import DepthRow
from ...pipeline.interface import ConfidenceFit, Floats
from ..learning.grad_cache import check_reads
from ..learning.solving import solve_head
from ..storage.snapshot import StoredNetwork
from .met_labels import MetLabels
from .settings import Settings
from .torch_shim import TorchShim


class ClassifierShim(TorchShim):
    """Holds the network of a classifier and its loss, from `initialize` or `load` on.

    settings (Settings): The blocks of the config.
    """

    kind = "transfer_classifier"

    settings: Settings
    # From `initialize` or `load` on.
    loss: Loss

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # Empty where nobody has said them.
        self.labels: tuple[str, ...] = ()
        # Weight of each label in the loss, settled by `initialize`: training may go on elsewhere, without the old data.
        self.label_weights: list[float] = []
        # Whether these were counted in training texts.
        self.is_balanced = False
        # Width of what is joined to the vectors.
        self.n_features = 0
        self.epoch: int | None = None
        # As tuning was applied last.
        self._frozen_depth = -1
        self._met = MetLabels()

    # ---- labels --------------------------------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        """The torch network.

        RAISES (ValueError): T006 before `initialize` or loading.
        """
        network: Network = self._there(self._model)
        return network

    def _count_labels(
        self, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float]
    ) -> Sequence[float]:
        """RETURNS (Sequence[float]): Weights of labels in the loss."""
        self.labels = tuple(labels)
        weights = label_weights(self.settings.loss, labels, positives, n_known)
        self.is_balanced = self.settings.loss.class_weights == "balanced"
        return weights

    def _begin_anew(self) -> None:
        """Nothing has been trained yet."""
        self.n_steps = 0
        self.epoch = None

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
        self.labels = tuple(labels)
        block = self.settings.loss
        if block.class_weights == "balanced":
            return self.is_balanced
        self.is_balanced = False
        weights = label_weights(block, labels, (), ())
        if len(weights) == len(self.label_weights) and weights != self.label_weights:
            self._set_label_weights(weights)
        return True

    @abstractmethod
    def _queries_for(self, labels: Sequence[str]) -> Tensor | None:
        """What the queries of labels start from, (n_labels, width), where that is their names."""

    @changes_network
    def scale_logits(self, factor: float) -> None:
        """Multiply all logits, by the last layer of the head: whoever has the weights has the same scores.

        factor (float): Above 0.
        """
        # It looks at logits too.
        self.set_confidence(None)
        output = self.network.head.output
        with torch.no_grad():
            output.weight.mul_(factor)
            output.bias.mul_(factor)
        self.forget_copies()

    # ---- confidence ----------------------------------------------------------------------------------------------

    @changes_network
    def set_confidence(self, fit: ConfidenceFit | None) -> None:
        """Keep what the confidence is computed from, in the network: stored with it, and gone when it is trained.

        fit (ConfidenceFit | None): None for no confidence.
        """
        if fit is None:
            self.network.confidence = None
            return
        self._make_confidence(len(fit.means), len(fit.prototypes))
        confidence = self.network.confidence
        for name, value in vars(fit).items():
            getattr(confidence, name).copy_(torch.from_numpy(np.asarray(value, dtype=np.float32)))

    @property
    def n_groups(self) -> int:
        """Groups of documents that the confidence knows; 0 without a confidence."""
        confidence = self.network.confidence
        return 0 if confidence is None else len(confidence.means)

    def _make_confidence(self, n_groups: int, n_prototypes: int) -> None:
        network, exclusive = self.network, self.settings.loss.exclusive
        if n_groups:
            made = Confidence(n_groups, n_prototypes, network.vector_width, exclusive=exclusive)
            network.confidence = made.to(network.device)
        else:
            network.confidence = None

    def _judge(self, logits: Callable[[], Floats]) -> tuple[Floats, Floats | None]:
        """Scores, and the confidence where there is one, of what gives logits."""
        with judging():
            found = logits()
        n_labels = self.network.head.n_labels
        return self._scores(found[:, :n_labels]), found[:, n_labels] if found.shape[1] > n_labels else None

    @changes_network
    def resize(self, n_labels: int, labels: Sequence[str] = ()) -> None:
        """Make room for new labels. They score 0 until a text with them has been learned from, and the scores of the
        old ones stay as they are.

        n_labels (int): Of all labels.
        labels (Sequence[str]): All, if at hand.
        """
        self.labels = tuple(labels)
        head = self.network.head
        if isinstance(head, LabelQueryDecoder):
            head.resize(n_labels, self._queries_for(labels[head.n_labels : n_labels]))
        else:
            head.resize(n_labels)
        head.awaited = (*head.awaited, *range(len(self.label_weights), n_labels))
        self._met = MetLabels()
        self._set_label_weights([*self.label_weights, *[1.0] * (n_labels - len(self.label_weights))])
        self._freeze()

    # ---- freezing ------------------------------------------------------------------------------------------------

    @abstractmethod
    def _freeze(self) -> None:
        """Apply tuning as it stands at this step or epoch."""

    @property
    @abstractmethod
    def _n_layers(self) -> int | None:
        """Layers of the encoder; None where it is not known yet."""

    @abstractmethod
    def describe(self) -> list[DepthRow]:
        """Per depth: weights, trainable weights, rate factor; top first."""

    def _depth_now(self, n_layers: int) -> int:
        """The frozen depth at this step or epoch, of an encoder of so many layers."""
        tuning = self.settings.tuning
        return tuning.depth_at(self.n_steps if tuning.unfreeze_unit == "steps" else (self.epoch or 0), n_layers)

    def _require_epoch(self) -> None:
        tuning = self.settings.tuning
        if tuning.unfreeze_every and tuning.unfreeze_unit == "epochs" and self.epoch is None:
            raise ValueError(T063)

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

    # ---- forward -------------------------------------------------------------------------------------------------

    def _scores(self, given: Floats) -> Floats:
        """Scores of documents, (n_docs, n_labels); 0 for labels that were added and not yet trained.

        given (Floats): Their logits, (n_docs, n_labels), on the host.
        """
        logits, awaited = torch.from_numpy(given), self.network.head.awaited
        if not awaited:
            return self.settings.loss.activate(logits).numpy()
        scored = [i for i in range(logits.shape[1]) if i not in awaited]
        out = torch.zeros_like(logits)
        # Without the others, and not on their -inf: so the arithmetic is that of before, to the bit.
        out[:, scored] = self.settings.loss.activate(logits[:, scored])
        return out.numpy()

    # ---- learning ------------------------------------------------------------------------------------------------

    def loss_gradient(self, logits: Floats, targets: Floats, known: Floats) -> tuple[float, Floats]:
        """The loss on logits that the caller has, for loops that go through `begin_update`.

        logits, targets, known (n_docs, n_labels).
        RETURNS: Mean of the documents' losses, and its gradient on the logits.
        """
        leaf = torch.from_numpy(np.asarray(logits, dtype=np.float32)).to(self.network.device).requires_grad_()
        loss, device = self.loss, leaf.device
        value = loss(leaf, torch.from_numpy(targets).to(device), torch.from_numpy(known).to(device)).mean()
        (gradient,) = torch.autograd.grad(value, leaf)
        return float(value.detach()), gradient.cpu().numpy()

    def _solve(
        self, vectors: Tensor, targets: Floats, known: Floats, joined: Joined, *, tuning_follows: bool, n_names: int = 0
    ) -> None:
        solve_head(
            self.network, self.settings, self.loss, vectors, targets, known, joined,
            tuning_follows=tuning_follows, n_names=n_names,
        )  # fmt: skip

    def _also_summed(self) -> Mapping[str, nn.Parameter]:
        return self._met.as_gradients(self.network.head.awaited, self.network.device)

    def _gradients_dropped(self) -> None:
        self._met = MetLabels()

    def _stepped(self) -> None:
        self.network.weights_moved()
        if self.network.confidence is not None:
            # Vectors are others now: what was fitted on the old ones would be silently wrong.
            self.set_confidence(None)
            announce(T684)
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
        n_layers = self._n_layers
        return n_layers is not None and self._depth_now(n_layers) != self._frozen_depth

    def _update_finished(self) -> None:
        pass

    # ---- resuming and storage ------------------------------------------------------------------------------------

    def _progress_of_labels(self) -> JsonObject:
        """Where freezing and the loss stand, for a checkpoint."""
        return {"epoch": self.epoch, "label_weights": self.label_weights, "awaited": list(self.network.head.awaited)}

    def _take_progress_of_labels(self, state: JsonMapping) -> None:
        self.epoch = state["epoch"]
        self.network.head.awaited = tuple(state["awaited"])
        self._set_label_weights(state["label_weights"])
        self._freeze()

    def _state_of_labels(self) -> JsonObject:
        """What is stored of labels and head besides weights."""
        head = self.network.head
        return {
            "n_steps": self.n_steps,
            "label_weights": self.label_weights,
            "n_labels": head.n_labels,
            "awaited": list(head.awaited),
            "balanced": self.is_balanced,
            "n_features": self.n_features,
            "n_groups": self.n_groups,
        }

    def _take_counts(self, state: JsonMapping) -> None:
        """Of what is stored, what comes before the network is built."""
        self.n_steps, self.epoch = int(state["n_steps"]), None
        self.n_features = int(state.get("n_features", 0))

    def _take_labels(self, stored: StoredNetwork) -> None:
        """Of what is stored, what comes after the network was built.

        RAISES (UnusableFile): T451 for a confidence that its weights have no room for.
        """
        state = stored.state
        n_groups, means = int(state.get("n_groups", 0)), stored.weights.get("confidence.means")
        if n_groups != (0 if means is None else len(means)):
            refuse("cfg", "network.n_groups", n_groups, "the length of the weight confidence.means, or 0 without one")
        self.network.head.awaited = tuple(state.get("awaited", ()))
        self._make_confidence(n_groups, len(stored.weights.get("confidence.prototypes", ())))
        self.is_balanced = bool(state.get("balanced", False))

    def _state_of_copies(self) -> JsonObject:
        return {"epoch": self.epoch, "labels": list(self.labels)}

    def _take_state_of_copies(self, state: JsonMapping) -> None:
        self.labels = tuple(state["labels"])
        if state["epoch"] is not None:
            self.set_epoch(state["epoch"])
