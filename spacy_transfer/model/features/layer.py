"""Features of documents, joined to their vectors before the head: any Thinc Model[list[Doc], Floats2d]."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from thinc.util import is_xp_array

from ...errors import T005, T221

# Gradient of a layer's output -> that of its documents: none.
Backprop = Callable[[Floats2d], list[Doc]]

_NAME = "joined_features"
# A layer that learns its widths from data needs a few documents; one that measures the data (attrs "fits_data") all.
_SAMPLE = 10


def make_no_features() -> Model:
    """`spacy-transfer.NoFeatures.v1`: joins nothing.

    RETURNS (Model[list[Doc], Floats2d]): Of width 0.
    """
    return Model("no_features", _forward_none, dims={"nO": 0})


def _forward_none(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    return model.ops.alloc2f(len(docs), 0), lambda d_out: []


def join_features(*features: Model) -> Model:
    """`spacy-transfer.JoinedFeatures.v1`: several, one after the other; in the config as blocks under `features.*`.

    features (Model[list[Doc], Floats2d]): As many as there are.
    RETURNS (Model[list[Doc], Floats2d]): Their widths added up.
    RAISES (ValueError): T221 for a block that is no model, or gives something else.
    """
    for one in features:
        if not isinstance(one, Model):
            raise ValueError(T221.format(name=type(one).__name__, got="no layer of Thinc", n_docs="some"))
    width = 0 if all(has_no_width(one) for one in features) else None
    return Model("features_side_by_side", _forward_beside, init=_init_beside, layers=list(features), dims={"nO": width})


def _init_beside(model: Model, X: Sequence[Doc] | None = None, Y: Floats2d | None = None) -> Model:
    if X is not None:
        model.set_dim("nO", sum(fit(layer, X) for layer in model.layers), force=True)
    return model


def _forward_beside(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    parts = [layer(docs, is_train) for layer in model.layers]
    widths = [values.shape[1] for values, _ in parts]

    def backprop(d_out: Floats2d) -> list[Doc]:
        """Give each layer the columns of the gradient that are its own."""
        begin = 0
        for width, (_, take_back) in zip(widths, parts, strict=True):
            take_back(model.ops.as_contig(d_out[:, begin : begin + width]))
            begin += width
        return []

    return model.ops.xp.hstack([values for values, _ in parts]), backprop


def as_layer(features: Model) -> Model | None:
    """The layer of a classifier that holds its features; None where they have no width.

    features (Model[list[Doc], Floats2d]): The `features` block.
    """
    if has_no_width(features):
        return None
    return Model(_NAME, _forward_layer, init=_init_layer, layers=[features], dims={"nO": None})


def features_of(model: Model) -> Model | None:
    """That layer, found in a classifier; by name, since references do not survive copying."""
    return next((layer for layer in model.layers if layer.name == _NAME), None)


def sources_of(model: Model, of_texts: Sequence[str]) -> list[str]:
    """Names of what a classifier reads of documents: texts, and attributes that are features.

    model (Model[list[Doc], Floats2d]): The model of a classifier.
    of_texts (Sequence[str]): What its text is made of.
    RETURNS (list[str]): Each once.
    """
    features = features_of(model)
    nodes = () if features is None else features.walk()
    return list(dict.fromkeys([*of_texts, *(name for node in nodes for name in node.attrs.get("sources", []))]))


def _init_layer(model: Model, X: Sequence[Doc] | None = None, Y: Floats2d | None = None) -> Model:
    if X is not None:
        model.set_dim("nO", fit(model.layers[0], X), force=True)
    return model


def _forward_layer(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    return model.layers[0](docs, is_train)


def has_no_width(features: Model) -> bool:
    """Whether a layer is known to give nothing."""
    return features.has_dim("nO") is True and features.get_dim("nO") == 0


def fit(features: Model, docs: Sequence[Doc]) -> int:
    """Initialize features on the training documents.

    RETURNS (int): Their width.
    RAISES (ValueError): T221 if they do not give one row of finite numbers a document, and what the layers find wrong.
    """
    sample = _sample(docs)
    fits = any(node.attrs.get("fits_data") for node in features.walk())
    features.initialize(X=list(docs) if fits else sample)
    found = features.predict(sample)
    good = is_xp_array(found) and found.ndim == 2 and len(found) == len(sample) and found.dtype.kind == "f"
    if not good or not bool(features.ops.xp.isfinite(found).all()):
        got = f"{found.dtype} of shape {found.shape}" if is_xp_array(found) else type(found).__name__
        raise ValueError(T221.format(name=features.name, got=got, n_docs=len(sample)))
    return int(found.shape[1])


def _sample(docs: Sequence[Doc]) -> list[Doc]:
    """A few documents, with text where there are such."""
    return [doc for doc in docs if len(doc)][:_SAMPLE] or list(docs[:_SAMPLE])


def deviations(values: NDArray[np.number]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of columns, what is NaN left out; a column that is always the same has deviation 1.

    values (NDArray): (n_docs, n).
    RETURNS (tuple): Twice (n,).
    """
    known = ~np.isnan(values)
    n_known = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / n_known
    spread = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / n_known)
    # The mean of equal numbers may be off by their last digit.
    return mean, np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1.0), spread, 1.0)


def check_lr_factor(lr_factor: float) -> float:
    """Check a factor on the learning rate.

    lr_factor (float): As the config gives it.
    RETURNS (float): A number.
    RAISES (ValueError): T005 for 0 or below.
    """
    # The config system hands a number in quotes on as a str.
    lr_factor = float(lr_factor)
    if not 0.0 < lr_factor < float("inf"):
        raise ValueError(T005.format(block="features", field="lr_factor", value=lr_factor, want="above 0"))
    return lr_factor
