"""The shim between Thinc and a classifier's torch network: forward, loss and backward per micro-batch."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import T063
from ...locks import changes_network
from ...nn.devices.pinned import to_device
from ...nn.losses import Loss
from ...nn.network import Network
from ..features.joining import Joined, rows
from ..learning.augmentation import draw_texts
from ..learning.grad_cache import is_plain, learn_whole
from ..learning.solving import check_solvable, solve_head
from ..text.batching import micro_batches
from ..text.reader import Document
from .network_life import NetworkLife
from .torch_shim import predicts

Floats = NDArray[np.float32]


class NetworkShim(NetworkLife):
    """Runs the network of a classifier: logits, gradients, a head that starts solved.

    settings (Settings): The blocks of the config.
    """

    # ---- before training -----------------------------------------------------------------------------------------

    @changes_network
    def prepare(
        self,
        texts: Sequence[str],
        targets: Floats,
        known: Floats,
        join: Callable[[Sequence[int]], Joined | None],
        *,
        is_streamed: bool = False,
    ) -> None:
        """What training will read: the feature cache expects it, and the head may be solved on it.

        texts (Sequence[str]): All training texts. targets, known: (n_texts, n_labels), as for `step`.
        join (Callable): Indices of texts to their features, if there are any.
        is_streamed (bool): These are only the first of a stream, whose texts never come again.
        RAISES (ValueError): T064 if the head to be solved has hidden layers, T147 if it reads no vectors.
        """
        self.is_streamed = is_streamed
        self.pathway.expect([] if is_streamed else texts)
        head_init, network = self.settings.head_init, self.network
        chosen = head_init.choose(len(texts))
        if not chosen or not known[chosen].any():
            return
        check_solvable(self.settings.head)
        network.eval()
        self.pathway.open()
        read = [texts[i] for i in chosen]
        vectors = self.room.run(self.device, lambda _: self.pathway.vectors(read, self.reader))
        follows = network.boundary < network.n_layers or bool(self.settings.tuning.unfreeze_every)
        self._solve(vectors, targets[chosen], known[chosen], join(chosen), tuning_follows=follows)

    def _solve(
        self, vectors: Tensor, targets: Floats, known: Floats, joined: Joined | None, *, tuning_follows: bool
    ) -> None:
        solve_head(
            self.network, self.settings, cast(Loss, self.loss), vectors, targets, known, joined,
            tuning_follows=tuning_follows,
        )  # fmt: skip

    # ---- forward -------------------------------------------------------------------------------------------------

    @predicts
    def logits(self, texts: Sequence[str], joined: Joined | None = None) -> Floats:
        """Logits of texts, (n_texts, n_labels), on the host: one transfer for all of them."""
        return self.room.run(self.device, lambda _: self._logits(texts, joined))

    def _logits(self, texts: Sequence[str], joined: Joined | None) -> Floats:
        network = self.network
        documents = self.reader.read(texts, remember=False)
        parts: list[tuple[list[int], Tensor]] = []
        with torch.no_grad():
            for group in self.pathway.predicted_groups(documents):
                parts.append((group, self.pathway.predict(documents, group, rows(joined, group))))
        return in_order(parts, network.head.n_labels)

    def scores(self, texts: Sequence[str], joined: Joined | None = None) -> Floats:
        """Scores of texts, (n_texts, n_labels); 0 for labels that were added and not yet trained."""
        logits = torch.from_numpy(self.logits(texts, joined))
        awaited = self.network.head.awaited
        if not awaited:
            return cast(Floats, self.settings.loss.activate(logits).numpy())
        scored = [i for i in range(logits.shape[1]) if i not in awaited]
        out = torch.zeros_like(logits)
        # Without the others, and not on their -inf: so the arithmetic is that of before, to the bit.
        out[:, scored] = self.settings.loss.activate(logits[:, scored])
        return cast(Floats, out.numpy())

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
                out[torch.tensor(group, device=network.device)] = self.pathway.pooled([documents[i] for i in group])
        return out

    def __call__(self, texts: Sequence[str], is_train: bool, joined: Joined | None = None) -> tuple[Floats, Any]:
        """Thinc's protocol, for callers with a loss of their own: logits and a function that takes their gradient."""
        if not is_train:
            return self.logits(texts, joined), lambda d_logits: []
        return self._begin(texts, joined)

    @changes_network
    def _begin(self, texts: Sequence[str], joined: Joined | None) -> tuple[Floats, Any]:
        network = self._training()
        documents, clean = self._draw(texts, None)
        groups = self.pathway.groups(documents)
        parts = [
            (group, self.pathway.learn(documents, group, self.reader, clean, rows(joined, group))) for group in groups
        ]

        def backprop(d_logits: Any) -> list[Any]:
            with self.lock.changing():
                # What is computed again in the backward pass needs the mode it had.
                self._training()
                return _backprop(d_logits)

        def _backprop(d_logits: Any) -> list[Any]:
            gradient = torch.as_tensor(d_logits, device=network.device, dtype=torch.float32) * self.gradients.loss_scale
            for group, logits in parts:
                logits.backward(gradient[to_device(group, network.device)])
            if joined is not None:
                joined.give_back(self.gradients.loss_scale)
            self._met.add_all()
            return []

        return in_order(parts, network.head.n_labels), backprop

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
        if self.is_streamed:
            clean = [False] * len(drawn)
        documents = self.reader.read(drawn, remember=clean)
        return documents, self.pathway.keeps(documents, clean)

    @changes_network
    def step(
        self, texts: Sequence[str], targets: Floats, known: Floats, *, dropout: float, joined: Joined | None = None
    ) -> float:
        """Forward, loss and backward of a batch, one micro-batch after the other; gradients are summed.

        texts (Sequence[str]): The documents.
        targets, known (n_texts, n_labels): Targets in 0..1; 0 in `known` where the annotation is missing.
        dropout (float): For the head, where its block sets none of its own.
        joined (Joined | None): Features beside the vectors; their summed gradient is given back.
        RETURNS (float): Sum of the documents' losses; a tensor without dimensions where `keeps_losses_on_gpu` says so.
        """
        network, loss = self._training(), cast(Loss, self.loss)
        if self.settings.head.dropout is None:
            network.head.set_dropout(dropout)
        documents, clean = self._draw(texts, np.where(known > 0, targets, np.float32("nan")))
        device = network.device
        wanted, mask = to_device(targets, device), to_device(known, device)

        def run(budget: int) -> Tensor:
            def learn(group: Sequence[int]) -> Tensor:
                return self.pathway.learn(documents, group, self.reader, clean, rows(joined, group), budget)

            if joined is not None:
                joined.forget_gradient()
            if not is_plain(loss):
                groups = self.pathway.groups(documents, max(1, budget // loss.n_passes))
                return learn_whole(network, loss, groups, learn, wanted, mask, self.gradients)
            total = torch.zeros((), device=device)
            for group in self.pathway.groups(documents, budget):
                chosen = to_device(group, device)
                value = loss(learn(group), wanted[chosen], mask[chosen]).sum()
                self.gradients.backward(value)
                total += value.detach()
            return total

        total = self.gradients.sum_up(self._trainable.values(), self.room, device, len(texts), run)
        # Documents without any annotation have no loss; they do not count in the mean either.
        self.gradients.n_docs += int((known > 0).any(axis=1).sum())
        self._met.add(targets * known)
        if joined is not None:
            joined.give_back(self.gradients.loss_scale)
        return self._loss(total)

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


def in_order(parts: Sequence[tuple[Sequence[int], Tensor]], width: int) -> Floats:
    """What micro-batches gave, (n_documents, width) each, by document, on the host: one transfer for all of them.

    parts (Sequence): Documents of each micro-batch, and their values. width (int): For none at all.
    """
    if not parts:
        return np.zeros((0, width), dtype=np.float32)
    found = torch.cat([values.detach() for _, values in parts]).cpu().numpy()
    out = np.empty_like(found)
    out[np.concatenate([group for group, _ in parts])] = found
    return cast(Floats, out)
