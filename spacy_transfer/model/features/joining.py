"""Passes features of documents to the head, and their gradients back to Thinc."""

from collections.abc import Sequence
from types import ModuleType

import torch
from spacy.tokens import Doc
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.shims import Shim
from torch import Tensor

from ...nn.devices.pinned import to_device
from ..learning.thinc_optimizers import array_of, from_xp
from .layer import Backprop, features_of

_TOGETHER = 256  # documents that are only predicted, at a time


class Joined:
    """What is joined to the vectors of a batch's documents.

    values (Tensor): (n_docs, n_features), on the network's device; in training a leaf that takes the gradient.
    backprop (Callable): Takes that gradient as an array of Thinc's.
    xp (ModuleType | None): The module that makes such arrays.
    """

    def __init__(self, values: Tensor, backprop: Backprop | None = None, xp: ModuleType | None = None) -> None:
        self.values = values.requires_grad_(backprop is not None)
        self._backprop, self._xp = backprop, xp

    def of(self, group: Sequence[int]) -> Tensor:
        """Those of some documents, (len(group), n_features)."""
        return self.values[to_device(group, self.values.device)]

    def forget_gradient(self) -> None:
        """Before a batch is begun, for the first time or again."""
        self.values.grad = None

    def give_back(self, loss_scale: float = 1.0) -> None:
        """Hand the gradient on to Thinc. Even one of zeros: the last listener's call lets the others' through.

        loss_scale (float): What the loss was multiplied by.
        """
        if self._backprop is not None:
            gradient = torch.zeros_like(self.values) if self.values.grad is None else self.values.grad
            self._backprop(array_of(gradient / loss_scale, self._xp))


def rows(joined: Joined | None, group: Sequence[int]) -> Tensor | None:
    """Features of some documents, where there are features."""
    return None if joined is None else joined.of(group)


def read(model: Model, docs: Sequence[Doc], device: torch.device) -> Joined | None:
    """Features of documents that are only predicted, where a classifier has features."""
    if (features := features_of(model)) is None:
        return None
    parts = [from_xp(features.predict(list(docs[i : i + _TOGETHER])), device) for i in range(0, len(docs), _TOGETHER)]
    return Joined(torch.cat(parts) if parts else torch.zeros((0, features.get_dim("nO")), device=device))


def begin(
    model: Model, docs: Sequence[Doc], device: torch.device, *, dropout: float = 0.0, n_docs: int = 1
) -> Joined | None:
    """Features of documents that are learned from, where a classifier has features.

    model (Model): The classifier.
    docs (Sequence[Doc]): Documents of a batch.
    device (torch.device): Where the network computes.
    dropout (float): Of layers that have one, as in spaCy's own components.
    n_docs (int): Documents over which another component's weights get the mean gradient; 1 for the sum.
    RETURNS (Joined | None): None without features.
    """
    if (features := features_of(model)) is None:
        return None
    _prepare(features, dropout=dropout, n_docs=n_docs)
    values, backprop = features.begin_update(list(docs))
    ops = features.ops
    return Joined(from_xp(values, device).float().clone(), lambda gradient: backprop(ops.asarray2f(gradient)), ops.xp)


def settle(features: Model) -> None:
    """Before features are stored: forget what the last batch left in their attrs, which Thinc stores too; a run that
    was resumed at its end has learned from no batch."""
    _prepare(features, dropout=0.0, n_docs=1)


def _prepare(features: Model, *, dropout: float, n_docs: int) -> None:
    set_dropout_rate(features, dropout)
    for node in features.walk():
        if "divisor" in node.attrs:
            node.attrs["divisor"] = max(n_docs, 1)


def finish(model: Model, optimizer: Optimizer, scale: float) -> None:
    """Let the optimizer move the weights of a classifier's features.

    model (Model): The classifier.
    optimizer (Optimizer): Of Thinc.
    scale (float): Factor on the summed gradients. The rate of a layer (attrs "lr_factor") holds for all below it.
    """
    if (features := features_of(model)) is None:
        return
    rates: dict[int, float] = {}
    for top in features.walk():
        for node in top.walk() if "lr_factor" in top.attrs else ():
            rates[node.id] = rates.get(node.id, 1.0) * float(top.attrs["lr_factor"])
    rate = optimizer.learn_rate
    try:
        for node in features.walk():
            optimizer.learn_rate = rate * rates.get(node.id, 1.0)
            for shim in node.shims:
                _scale_torch(shim, scale)
                shim.finish_update(optimizer)
            for name in node.param_names:
                if node.has_grad(name):
                    gradient = node.get_grad(name)
                    # In place: layers keep views of it.
                    gradient *= scale
                    moved, _ = optimizer((node.id, name), node.get_param(name), gradient)
                    node.set_param(name, moved)
    finally:
        optimizer.learn_rate = rate


def _scale_torch(shim: Shim, scale: float) -> None:
    """Of a torch layer among the features, such as an LSTM."""
    if isinstance(model := getattr(shim, "_model", None), torch.nn.Module):
        for weight in model.parameters():
            if weight.grad is not None:
                weight.grad.mul_(scale)


def balance(vectors: Tensor, joined: Tensor | None) -> tuple[Tensor, Tensor]:
    """Vectors with features beside them on the same scale, so that a penalty on weights means the same for both.

    vectors (n_docs, width), joined (n_docs, n_features).
    RETURNS (tuple): (n_docs, width + n_features), and factors (width + n_features,) that make of the weights on them
        those on vectors and features as they are.
    """
    if joined is None:
        return vectors, vectors.new_ones(vectors.shape[1])
    wanted, found = _spread(vectors), _spread(joined)
    # Where one of them is the same for all documents up to rounding, there is no scale to follow.
    varies = wanted > 1e-5 * vectors.square().mean().sqrt() and found > 0
    factor = wanted / found if varies else torch.ones_like(found)
    factors = torch.cat([vectors.new_ones(vectors.shape[1]), factor.expand(joined.shape[1])])
    return torch.cat([vectors, joined * factor], dim=1), factors


def _spread(values: Tensor) -> Tensor:
    return (values - values.mean(dim=0)).square().mean().sqrt()
