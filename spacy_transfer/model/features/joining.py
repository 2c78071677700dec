"""Passes features of documents to the head, and their gradients back to Thinc."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Generic, Protocol, TypeVar, final

import torch
from spacy.tokens import Doc
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.shims import Shim
from torch import Tensor, nn

from ...nn.joined import NOTHING, Joined, JoinedValues
from ..learning.thinc_optimizers import array_of, from_xp
from .layer import Backprop, features_of
from .media.layer import shims_of
from .media.shim import MediaShim

T = TypeVar("T")

_TOGETHER = 256  # documents that are only predicted, at a time


class FeatureBatch(Protocol):
    """Features of documents, and the way of their gradient."""

    @property
    def joined(self) -> Joined:
        """What is joined to the vectors of the documents."""

    def forget_gradient(self) -> None:
        """Before a batch is begun, for the first time or again."""

    def give_back(self, loss_scale: float = 1.0) -> None:
        """Hand the gradient on to Thinc.

        loss_scale (float): What the loss was multiplied by.
        """


@final
class FixedFeatureBatch:
    """Features that take no gradient: of documents that are only predicted, or none at all.

    joined (Joined): What is joined to the vectors of the documents.
    """

    def __init__(self, joined: Joined = NOTHING) -> None:
        self.joined = joined

    def forget_gradient(self) -> None:
        """See `FeatureBatch`."""

    def give_back(self, loss_scale: float = 1.0) -> None:
        """See `FeatureBatch`."""


FEATURELESS = FixedFeatureBatch()


@final
class LearnedFeatureBatch:
    """Features that take a gradient.

    values (Tensor): (n_docs, n_features), on the network's device; becomes a leaf.
    backprop (Callable): Takes the gradient as an array of Thinc's.
    xp (ModuleType): The module that makes such arrays.
    """

    def __init__(self, values: Tensor, backprop: Backprop, xp: ModuleType) -> None:
        self._values = values.requires_grad_()
        self._backprop, self._xp = backprop, xp

    @property
    def joined(self) -> Joined:
        """See `FeatureBatch`."""
        return JoinedValues(self._values)

    def forget_gradient(self) -> None:
        """See `FeatureBatch`."""
        self._values.grad = None

    def give_back(self, loss_scale: float = 1.0) -> None:
        """See `FeatureBatch`. Even a gradient of zeros goes back: the last listener's call lets the others' through."""
        gradient = torch.zeros_like(self._values) if self._values.grad is None else self._values.grad
        self._backprop(array_of(gradient / loss_scale, self._xp))


@dataclass(frozen=True)
class Inputs(Generic[T]):
    """What a shim takes of the documents of a batch.

    data (Sequence[T]): Of each document what its encoder takes: a text, or states.
    features (FeatureBatch): What is joined to their vectors.
    """

    data: Sequence[T]
    features: FeatureBatch = FEATURELESS

    def of(self, places: Sequence[int]) -> "Inputs[T]":
        """Select documents that are only predicted.

        places (Sequence[int]): Their numbers.
        RETURNS (Inputs[T]): What is taken of these.
        """
        return Inputs([self.data[i] for i in places], FixedFeatureBatch(self.features.joined.of(places)))


def read(model: Model, docs: Sequence[Doc], device: torch.device) -> FeatureBatch:
    """Features of documents that are only predicted."""
    if (features := features_of(model)) is None:
        return FEATURELESS
    place(features, device)
    parts = [from_xp(features.predict(list(docs[i : i + _TOGETHER])), device) for i in range(0, len(docs), _TOGETHER)]
    values = torch.cat(parts) if parts else torch.zeros((0, features.get_dim("nO")), device=device)
    return FixedFeatureBatch(JoinedValues(values))


def begin(
    model: Model, docs: Sequence[Doc], device: torch.device, *, dropout: float = 0.0, n_docs: int = 1
) -> FeatureBatch:
    """Features of documents that are learned from.

    model (Model): The classifier.
    docs (Sequence[Doc]): Documents of a batch.
    device (torch.device): Where the network computes.
    dropout (float): Of layers that have one, as in spaCy's own components.
    n_docs (int): Documents over which another component's weights get the mean gradient; 1 for the sum.
    RETURNS (FeatureBatch): Features, and the way of their gradient.
    """
    if (features := features_of(model)) is None:
        return FEATURELESS
    _prepare(features, dropout=dropout, n_docs=n_docs)
    place(features, device)
    values, backprop = features.begin_update(list(docs))
    ops, given = features.ops, from_xp(values, device).float().clone()
    return LearnedFeatureBatch(given, lambda gradient: backprop(ops.asarray2f(gradient)), ops.xp)


def place(features: Model, device: torch.device) -> None:
    """Let the encoders among features compute where the network does, wherever Thinc's own layers do.

    features (Model[list[Doc], Floats2d]): Any layer.
    device (torch.device): Of the network.
    """
    for shim in shims_of(features):
        shim.compute_on(device)


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


def sum_gradients(
    features: Model, n_docs: int, sum_over_ranks: Callable[[Mapping[str, nn.Parameter], int], int]
) -> int:
    """Sum the gradients of features over ranks.

    features (Model[list[Doc], Floats2d]): Of a classifier.
    n_docs (int): Documents of this rank.
    sum_over_ranks (Callable): Sums the gradients of weights in place, the same ones in the same order on all ranks.
    RETURNS (int): Documents of all ranks.
    """
    cpu = torch.device("cpu")
    places = [(node, name) for node in features.walk() for name in node.param_names if node.has_param(name)]
    weights = {f"{i}": nn.Parameter(from_xp(node.get_param(name), cpu)) for i, (node, name) in enumerate(places)}
    for weight, (node, name) in zip(weights.values(), places, strict=True):
        if node.has_grad(name):
            weight.grad = from_xp(node.get_grad(name), cpu).to(weight.dtype)
    tuned = {
        f"{i}/{name}": weight for i, shim in enumerate(shims_of(features)) for name, weight in shim.trainable.items()
    }
    total = sum_over_ranks({**weights, **tuned}, n_docs)
    for weight, (node, name) in zip(weights.values(), places, strict=True):
        if weight.grad is None:
            continue
        if node.has_grad(name):
            # In place: layers keep views of it.
            node.get_grad(name)[...] = node.ops.asarray(weight.grad.numpy())
        else:
            node.set_grad(name, node.ops.asarray(weight.grad.numpy()))
    return total


def can_sum_gradients(features: Model) -> bool:
    """Whether all that learns in features is Thinc's own weights, or encoders of pictures and sounds.

    features (Model[list[Doc], Floats2d]): Of a classifier.
    """
    return all(isinstance(shim, MediaShim) for node in features.walk() for shim in node.shims)


def _scale_torch(shim: Shim, scale: float) -> None:
    """Of a torch layer among the features, such as an LSTM."""
    if isinstance(model := getattr(shim, "_model", None), torch.nn.Module):
        for weight in model.parameters():
            if weight.grad is not None:
                weight.grad.mul_(scale)
