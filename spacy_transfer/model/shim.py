"""The shim between Thinc and the one torch network: forward, loss and backward per micro-batch."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from thinc.util import get_torch_default_device
from torch import Tensor

from ..errors import T024, T063, T073
from ..nn.label_query import LabelQueryDecoder, LabelQueryHead
from ..nn.losses import Loss, label_weights
from ..nn.network import Network
from ..nn.precision import resolve_device, resolve_precision
from ..nn.pretrained import LoadedEncoder, transformers_version
from ..nn.tuning import DepthRow, describe
from ..nn.vocabulary import Texts, no_texts
from . import forking  # noqa: F401  (registers the hooks)
from .adapted import fill, for_disk, merged, rebuild, with_adapter
from .augmentation import draw_texts
from .coupled import check_reads, is_plain, learn_whole
from .gradients import Gradients
from .joining import Joined, rows
from .label_names import name_vectors
from .pathway import Pathway
from .pieces import PieceTokenizer
from .reading import Document, TextReader
from .settings import Settings
from .solving import check_solvable, solve_head
from .storage import weights_of
from .stored import StoredNetwork
from .training_shim import TrainingShim

Floats = NDArray[np.float32]


class NetworkShim(TrainingShim):
    """Holds tokenizer, network and loss, from `initialize` or `load` on.

    settings (Settings): The blocks of the config.
    """

    kind = "transfer_classifier"

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.tokenizer: PieceTokenizer | None = None
        self.record: dict[str, Any] = {}
        self.loss: Loss | None = None
        # Weight of each label in the loss, settled by `initialize`: training may go on elsewhere, without the old data.
        self.label_weights: list[float] = []
        # Batches that augmentation has drawn: with its seed all that the next draw depends on.
        self.n_draws = 0
        # Width of what is joined to the vectors.
        self.n_features = 0
        self.epoch: int | None = None
        self._pathway: Pathway | None = None
        self._reader: TextReader | None = None

    # ---- life ----------------------------------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        """The torch network. RAISES (ValueError): T006 before `initialize` or loading."""
        return cast(Network, self._there(self._model))

    @property
    def reader(self) -> TextReader:
        """Texts to rows. RAISES (ValueError): T006 before `initialize` or loading."""
        return cast(TextReader, self._there(self._reader))

    @property
    def pathway(self) -> Pathway:
        """Rows to logits. RAISES (ValueError): T006 before `initialize` or loading."""
        return cast(Pathway, self._there(self._pathway))

    def initialize(
        self, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float], texts: Texts = no_texts
    ) -> None:
        """Load the encoder, or make it of the training texts, and make a new head.

        labels (Sequence[str]): All labels. positives, n_known (Sequence[float]): Sum of each label's targets and
            documents annotated for it, over the training data.
        texts (Callable): Gives the training texts.
        RAISES (ValueError, OSError): What the blocks find wrong.
        """
        weights = label_weights(self.settings.loss, labels, positives, n_known)
        loaded = with_adapter(self.settings.encoder.load(texts), self.settings.tuning)
        self._build(loaded, len(labels), weights)
        head = self.network.head
        if isinstance(head, LabelQueryDecoder) and (vectors := self._queries_for(labels)) is not None:
            head.start_from(vectors)
        self.n_steps = 0
        self.n_draws = 0
        self.epoch = None

    def _build(self, loaded: LoadedEncoder, n_labels: int, weights: Sequence[float]) -> None:
        s = self.settings
        device = resolve_device(s.device, get_torch_default_device())
        precision = resolve_precision(s.precision, device)
        tokenizer = PieceTokenizer(loaded.tokenizer)
        s.windows.check(tokenizer, loaded.encoder.max_pieces)
        if s.piece_budget != "auto" and s.piece_budget < s.windows.length:
            raise ValueError(T024.format(budget=s.piece_budget, length=s.windows.length))
        s.tuning.check(loaded.encoder.n_layers, str(loaded.record.get("source", loaded.encoder.family)))
        pooling, head = s.build_top(loaded.encoder.width, self.n_features, n_labels)
        network = Network(loaded.encoder, pooling, head, precision)
        if s.gradient_checkpointing:
            if not loaded.encoder.body.supports_gradient_checkpointing:
                raise ValueError(T073.format(family=loaded.encoder.family))
            loaded.encoder.checkpoint_gradients()
        self._model = network.to(device)
        self.tokenizer = tokenizer
        self.record = loaded.record
        self._reader = TextReader(tokenizer, s.windows)
        config = json.dumps(loaded.record["config"], sort_keys=True)
        identity = [config, loaded.encoder.attention, transformers_version(), torch.__version__]
        self._pathway = Pathway(self.network, s.cache, s.piece_budget, identity)
        self._set_label_weights(weights)
        self.gradients = Gradients(half=precision == torch.float16)
        self._freeze()

    def _set_label_weights(self, weights: Sequence[float]) -> None:
        self.label_weights = [float(w) for w in weights]
        loss = self.settings.loss.build(self.label_weights).to(self.network.device)
        check_reads(loss, self.settings.loss, self.network.head)
        self.loss = loss

    def _queries_for(self, labels: Sequence[str]) -> Tensor | None:
        """What the queries of labels start from, (n_labels, width), where that is their names."""
        brick = self.settings.head
        if not labels or not isinstance(brick, LabelQueryHead) or brick.start != "names":
            return None
        return name_vectors(labels, self.network, self.reader)

    def resize(self, n_labels: int, labels: Sequence[str] = ()) -> None:
        """Make room for new labels; the logits of the old ones stay as they are. labels: All, if at hand."""
        head = self.network.head
        if isinstance(head, LabelQueryDecoder):
            head.resize(n_labels, self._queries_for(labels[head.n_labels : n_labels]))
        else:
            head.resize(n_labels)
        self._set_label_weights([*self.label_weights, *[1.0] * (n_labels - len(self.label_weights))])
        self._freeze()

    def to_device(self, device_type: str, device_id: int) -> None:
        """Thinc's `Model.to_gpu` and `to_cpu`."""
        if self.is_built:
            device = torch.device("cpu") if device_type == "cpu" else torch.device("cuda", device_id)
            self.network.to(device)
            self.network.precision = resolve_precision(self.settings.precision, device)
            self.gradients = Gradients(half=self.network.precision == torch.float16)
            self.network.forget_copies()
            self.pathway.close()
            self._set_label_weights(self.label_weights)

    def prepare(
        self,
        texts: Sequence[str],
        targets: Floats,
        known: Floats,
        join: Callable[[Sequence[int]], Joined | None],
    ) -> None:
        """What training will read: the feature cache expects it, and the head may be solved on it.

        texts (Sequence[str]): All training texts. targets, known: (n_texts, n_labels), as for `step`.
        join (Callable): Indices of texts to their features, if there are any.
        RAISES (ValueError): T064 if the head to be solved has hidden layers, T147 if it reads no vectors.
        """
        self.pathway.expect(texts)
        start, network = self.settings.start, self.network
        chosen = start.choose(len(texts))
        if not chosen:
            return
        check_solvable(self.settings.head)
        network.eval()
        self.pathway.open()
        vectors = self.pathway.vectors([texts[i] for i in chosen], self.reader)
        follows = network.boundary < network.n_layers or bool(self.settings.tuning.unfreeze_every)
        self._solve(vectors, targets[chosen], known[chosen], join(chosen), tuning_follows=follows)

    def _solve(
        self, vectors: Tensor, targets: Floats, known: Floats, joined: Joined | None, *, tuning_follows: bool
    ) -> None:
        solve_head(
            self.network, self.settings, cast(Loss, self.loss), vectors, targets, known, joined,
            tuning_follows=tuning_follows,
        )  # fmt: skip

    # ---- freezing ------------------------------------------------------------------------------------------------

    def _freeze(self) -> None:
        """Apply tuning as it stands at this step or epoch."""
        tuning = self.settings.tuning
        count = self.n_steps if tuning.unfreeze_unit == "steps" else (self.epoch or 0)
        network = self.network
        tuning.apply(network, tuning.depth_at(count, network.n_layers))
        self._moving = {name: w for name, w in network.named_parameters() if w.requires_grad}
        self._rates = {name: tuning.rate(network.depth_of(name), network.n_layers) for name in self._moving}
        # Whatever mode it was in, the frozen depths may be others now.
        network.eval()

    def tell_epoch(self, epoch: int) -> None:
        """The loop says which epoch it is in; unfreezing by epochs follows."""
        if epoch != self.epoch:
            self.epoch = epoch
            if self.is_built:
                self._freeze()

    def describe(self) -> list[DepthRow]:
        """Per depth: weights, moving weights, rate factor; top first."""
        return describe(self.network, self.settings.tuning)

    # ---- forward -------------------------------------------------------------------------------------------------

    def logits(self, texts: Sequence[str], joined: Joined | None = None) -> Floats:
        """Logits of texts, (n_texts, n_labels), on the host: one transfer for all of them."""
        network = self.network
        if network.training:
            network.eval()
        documents = self.reader.read(texts, remember=False)
        out = torch.zeros((len(texts), network.head.n_labels), device=network.device)
        with torch.no_grad():
            for group in self.pathway.groups(documents):
                out[torch.tensor(group, device=network.device)] = self.pathway.predict(
                    documents, group, rows(joined, group)
                )
        return cast(Floats, out.cpu().numpy())

    def scores(self, texts: Sequence[str], joined: Joined | None = None) -> Floats:
        """Scores of texts, (n_texts, n_labels)."""
        logits = torch.from_numpy(self.logits(texts, joined))
        return cast(Floats, self.settings.loss.activate(logits).numpy())

    def __call__(self, texts: Sequence[str], is_train: bool, joined: Joined | None = None) -> tuple[Floats, Any]:
        """Thinc's protocol, for callers with a loss of their own: logits and a function that takes their gradient."""
        if not is_train:
            return self.logits(texts, joined), lambda d_logits: []
        network = self._training()
        documents, clean = self._draw(texts, None)
        groups = self.pathway.groups(documents)
        parts = [
            (group, self.pathway.learn(documents, group, self.reader, clean, rows(joined, group))) for group in groups
        ]
        out = torch.zeros((len(texts), network.head.n_labels), device=network.device)
        for group, logits in parts:
            out[torch.tensor(group, device=network.device)] = logits.detach()

        def backprop(d_logits: Any) -> list[Any]:
            gradient = torch.as_tensor(d_logits, device=network.device, dtype=torch.float32) * self.gradients.loss_scale
            for group, logits in parts:
                logits.backward(gradient[torch.tensor(group, device=network.device)])
            if joined is not None:
                joined.give_back(self.gradients.loss_scale)
            return []

        return out.cpu().numpy(), backprop

    # ---- learning ------------------------------------------------------------------------------------------------

    def _require_epoch(self) -> None:
        if (
            self.settings.tuning.unfreeze_every
            and self.settings.tuning.unfreeze_unit == "epochs"
            and self.epoch is None
        ):
            raise ValueError(T063)

    def _training(self) -> Network:
        self._require_epoch()
        network = self.network
        # Setting the mode walks all modules, a millisecond: only after an evaluation.
        if not network.training:
            network.train()
        self.pathway.open()
        return network

    def _draw(self, texts: Sequence[str], targets: Floats | None) -> tuple[list[Document], list[bool]]:
        """Documents to learn from, and for each whether the cache may have it: changed ones are remembered nowhere."""
        drawn, clean = draw_texts(self.settings.augmentation, texts, targets, self.n_draws)
        self.n_draws += 1
        documents = self.reader.read(drawn, remember=clean)
        return documents, self.pathway.keeps(documents, clean)

    def step(
        self, texts: Sequence[str], targets: Floats, known: Floats, *, dropout: float, joined: Joined | None = None
    ) -> float:
        """Forward, loss and backward of a batch, one micro-batch after the other; gradients are summed.

        texts (Sequence[str]): The documents.
        targets, known (n_texts, n_labels): Targets in 0..1; 0 in `known` where the annotation is missing.
        dropout (float): For the head, where its block sets none of its own.
        joined (Joined | None): Features beside the vectors; their summed gradient is given back.
        RETURNS (float): Sum of the documents' losses; on a GPU as a tensor without dimensions.
        """
        network, loss = self._training(), cast(Loss, self.loss)
        if self.settings.head.dropout is None:
            network.head.set_dropout(dropout)
        documents, clean = self._draw(texts, np.where(known > 0, targets, np.float32("nan")))
        device = network.device
        wanted, mask = _to_device(targets, device), _to_device(known, device)

        def learn(group: Sequence[int]) -> Tensor:
            return self.pathway.learn(documents, group, self.reader, clean, rows(joined, group))

        def run(budget: int) -> Tensor:
            if joined is not None:
                joined.forget_gradient()
            if not is_plain(loss):
                groups = self.pathway.groups(documents, max(1, budget // loss.n_passes))
                return learn_whole(network, loss, groups, learn, wanted, mask, self.gradients)
            total = torch.zeros((), device=device)
            for group in self.pathway.groups(documents, budget):
                chosen = _to_device(np.asarray(group), device)
                value = loss(learn(group), wanted[chosen], mask[chosen]).sum()
                self.gradients.backward(value)
                total += value.detach()
            return total

        least = self.settings.windows.length
        total = self.gradients.sum_up(self._moving.values(), self.pathway.budget, least, run)
        # Documents without any annotation have no loss; they do not count in the mean either.
        self.gradients.n_docs += int((known > 0).any(axis=1).sum())
        if joined is not None:
            joined.give_back(self.gradients.loss_scale)
        # On a GPU the number stays there: fetching it would make every step wait for the device.
        return cast(float, total) if device.type == "cuda" else float(total)

    def loss_gradient(self, logits: Floats, targets: Floats, known: Floats) -> tuple[float, Floats]:
        """The loss on logits that the caller has, for loops that go through `begin_update`.

        logits, targets, known (n_docs, n_labels).
        RETURNS: Mean of the documents' losses, and its gradient on the logits.
        """
        leaf = torch.from_numpy(np.asarray(logits, dtype=np.float32)).to(self.network.device).requires_grad_()
        loss, device = cast(Loss, self.loss), leaf.device
        value = loss(leaf, torch.from_numpy(targets).to(device), torch.from_numpy(known).to(device)).mean()
        (gradient,) = torch.autograd.grad(value, leaf)
        return float(value.detach()), gradient.cpu().numpy()

    def _stepped(self) -> None:
        tuning = self.settings.tuning
        if tuning.unfreeze_every and tuning.unfreeze_unit == "steps":
            self._freeze()

    # ---- resuming ------------------------------------------------------------------------------------------------

    def checkpoint_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What training has made besides the weights and the optimizer's moments: JSON and tensors."""
        state, _ = super().checkpoint_state()
        pathway, tensors = self.pathway.state(self.reader)
        own = {"n_draws": self.n_draws, "epoch": self.epoch, "label_weights": self.label_weights, "pathway": pathway}
        return {**state, **own}, tensors

    def restore_state(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take what `checkpoint_state` gave, after the weights are in their place."""
        super().restore_state(state, tensors)
        self.n_draws, self.epoch = state["n_draws"], state["epoch"]
        self._set_label_weights(state["label_weights"])
        self._freeze()
        self.network.forget_copies()
        self.pathway.restore(state["pathway"], tensors, self.reader)

    # ---- storage -------------------------------------------------------------------------------------------------

    def _stored(self) -> StoredNetwork:
        state = {"n_steps": self.n_steps, "label_weights": self.label_weights, "n_labels": self.network.head.n_labels}
        state["n_draws"] = self.n_draws
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
        self._build(loaded, int(state["n_labels"]), state["label_weights"])
        torch.set_rng_state(rng)
        fill(self.network, stored)
        self.pathway.close()
        if self.settings.tuning.adapter is None and "adapter" in self.record:
            self.merge_adapter()

    def merge_adapter(self) -> int:
        """Add the adapter to the encoder's weights; then both are the encoder. RETURNS (int): Weights it had, or 0."""
        if not self.is_built or "adapter" not in self.record:
            return 0
        self.settings, self.record, n_weights = merged(self.network, self.settings, self.record)
        self.pathway.close()
        self._freeze()
        return n_weights

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self.settings, "bytes": self.to_bytes(), "epoch": self.epoch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy gets an id of its own: two with the same one would share moments in an optimizer.
        self.__init__(state["settings"])  # type: ignore[misc]
        self.from_bytes(state["bytes"])
        if state["epoch"] is not None:
            self.tell_epoch(state["epoch"])


def _to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    host = torch.from_numpy(array)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)
