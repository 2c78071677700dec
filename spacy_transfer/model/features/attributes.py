"""Numeric extension attributes of a document as features, standardized."""

import math
import numbers
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ...errors import T005, T215, T216, T217, T218
from ...pipeline.sources import attribute_of, has_attribute
from .layer import Backprop, deviations

# Largest number of 32 bits, in which mean and deviation are stored.
_MOST = float(np.finfo(np.float32).max)
_FARTHEST = 1e6  # deviations from the mean
_SHOWN = 80  # characters of a text in a message


def make_attribute_features(names: list[str], *, missing: float | Literal["error", "mean"] = "error") -> Model:
    """`spacy-transfer.AttributeFeatures.v1`: `doc._.n_stars` and its like, each column with mean 0 and deviation 1.

    An attribute holds a bool, a number (as text too, "3.5", as CSV files have it), or a list or array of as many of
    them in every document. Mean and deviation are those of the training documents and stored with the model.
    `spacy-transfer.Corpus.v1` brings the attributes of a .spacy file to training.

    names (list[str]): As "_.n_stars" or "n_stars".
    missing (str | float): Where an attribute is None, NaN, empty, or not there: "error" stops, "mean" puts the
        mean of the training documents, a number that number; either adds a column for each attribute that says so.
    RETURNS (Model[list[Doc], Floats2d]): As wide as all values, and as many columns more as `missing` adds.
    RAISES (ValueError): T005 for no names, one twice, or a `missing` that is none. At initialization and later T215 for
        an attribute that does not exist, T216 for one without values, T217 for one that is no number, T218 for a list
        of another length.
    """
    bare = [name.removeprefix("_.") if isinstance(name, str) else "" for name in names]
    if not bare or len(set(bare)) < len(bare) or not all(name.isidentifier() for name in bare):
        want = 'a list of different names of extension attributes, ["_.n_stars"]'
        raise ValueError(T005.format(block="features", field="names", value=names, want=want))
    if missing not in ("error", "mean"):
        try:
            # The config system hands a number in quotes on as a str.
            missing = float(missing)
        except ValueError:
            missing = math.nan
        if not math.isfinite(missing):
            want = '"error", "mean" or a number'
            raise ValueError(T005.format(block="features", field="missing", value=missing, want=want))
    return Model(
        "attribute_features",
        _forward,
        init=_init,
        dims={"nO": None},
        # Measured, never learned: no gradient arrives, so no optimizer moves them.
        params={"mean": None, "deviation": None},
        attrs={
            "names": bare, "missing": missing, "lengths": [], "fits_data": True,
            "sources": [f"_.{name}" for name in bare],
        },
    )  # fmt: skip


def _init(model: Model, X: Sequence[Doc] | None = None, Y: Floats2d | None = None) -> Model:
    if not X:
        return model
    columns, lengths = [], []
    for name in model.attrs["names"]:
        if not any(has_attribute(doc, name) for doc in X):
            raise ValueError(T215.format(name=name, text=X[0].text[:_SHOWN]))
        found = [_read(doc, name, model.attrs["missing"]) for doc in X]
        given = next((one for one in found if one is not None), None)
        if given is None:
            raise ValueError(T216.format(name=name, where="all training documents"))
        lengths.append(len(given))
        columns.append(_stack(found, len(given), name, X))
    model.attrs["lengths"] = lengths
    mean, deviation = deviations(np.hstack(columns))
    model.set_dim("nO", len(mean) + (len(lengths) if model.attrs["missing"] != "error" else 0), force=True)
    # Twice as exact as weights: the mean of dates in seconds is far above their deviation.
    model.set_param("mean", model.ops.asarray(mean, dtype="float64"))
    model.set_param("deviation", model.ops.asarray(deviation, dtype="float64"))
    return model


def _forward(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    missing = model.attrs["missing"]
    columns, absent = [], []
    for name, length in zip(model.attrs["names"], model.attrs["lengths"], strict=True):
        found = [_read(doc, name, missing) for doc in docs]
        columns.append(_stack(found, length, name, docs))
        absent.append([one is None for one in found])
    values = np.hstack(columns)
    if missing not in ("error", "mean"):
        values = np.where(np.isnan(values), missing, values)
    mean, deviation = (model.ops.to_numpy(model.get_param(name)) for name in ("mean", "deviation"))
    # So far from all others that it says nothing more; the product with a weight stays a finite number.
    values = np.clip(np.nan_to_num((values - mean) / deviation, nan=0.0), -_FARTHEST, _FARTHEST)
    if missing != "error":
        values = np.hstack([values, np.asarray(absent, dtype=np.float64).T])
    return model.ops.asarray2f(values.astype(np.float32)), lambda d_out: []


def _read(doc: Doc, name: str, missing: float | str) -> NDArray[np.float64] | None:
    """The numbers of an attribute, (n,); None where it is missing and may be."""
    if missing == "error" and not has_attribute(doc, name):
        raise ValueError(T215.format(name=name, text=doc.text[:_SHOWN]))
    value = attribute_of(doc, name) if has_attribute(doc, name) else None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    given = list(value) if isinstance(value, list | tuple) else [value] if value is not None else []
    found = np.asarray([_number(one) for one in given], dtype=np.float64)
    # No number at all is infinite here.
    if (np.abs(found) > _MOST).any():
        raise ValueError(T217.format(name=name, value=value, text=doc.text[:_SHOWN]))
    if not len(found) or np.isnan(found).any():
        if missing == "error":
            raise ValueError(T216.format(name=name, where=f"this document: {doc.text[:_SHOWN]!r}"))
        return None
    return found


def _number(value: object) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    if not isinstance(value, numbers.Real | np.bool_ | str):
        return math.inf
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.inf


def _stack(
    found: Sequence[NDArray[np.float64] | None], length: int, name: str, docs: Sequence[Doc]
) -> NDArray[np.float64]:
    """Values (n_docs, length), NaN where there are none."""
    out = np.full((len(found), length), math.nan)
    for i, one in enumerate(found):
        if one is None:
            continue
        if len(one) != length:
            raise ValueError(T218.format(name=name, found=len(one), want=length, text=docs[i].text[:_SHOWN]))
        out[i] = one
    return out
