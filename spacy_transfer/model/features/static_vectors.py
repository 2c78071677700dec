"""The pipeline's static word vectors as features: their mean over a document."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ORTH
from spacy.tokens import Doc
from spacy.vectors import Mode, Vectors
from thinc.api import Model
from thinc.types import Floats2d

from ...errors import T005, T219, T220
from .layer import Backprop, deviations

_TOGETHER = 1024  # documents whose token vectors are looked up at a time


def make_static_vectors(
    *, normalize: Literal["none", "length", "deviation"] = "deviation", width: int | None = None
) -> Model:
    """`spacy-transfer.StaticVectors.v1`: the mean of the vectors of all tokens that have one. It does not learn.

    The vectors are those of the vocab (`[initialize] vectors`, or of the pipeline that training goes on from), default
    or floret; what is measured of the training documents is stored with the model, the table with the pipeline.
    A document of which no token has a vector has features of zeros.

    normalize (str): "deviation" shifts and scales each dimension to mean 0 and deviation 1 over the training documents,
        which makes them comparable with each other; "length" makes each document's vector 1 long; "none" leaves them.
    width (int | None): Keep so many principal components of the training documents instead of all dimensions.
    RETURNS (Model[list[Doc], Floats2d]): As wide as the vectors, or `width`.
    RAISES (ValueError): T005 for a width below 1; at initialization above what vectors and documents have, and T219 if
        the pipeline has no vectors. T220 later, if it has others.
    """
    if width is not None and width < 1:
        raise ValueError(T005.format(block="features", field="width", value=width, want="1 or more"))
    return Model(
        "static_vector_features",
        _forward,
        init=_init,
        dims={"nO": None, "nM": None},
        # Measured, never learned: no gradient arrives, so no optimizer moves them.
        params={"middle": None, "directions": None},
        attrs={"normalize": normalize, "width": width, "fits_data": True},
    )


def _init(model: Model, X: Sequence[Doc] | None = None, Y: Floats2d | None = None) -> Model:
    if not X:
        return model
    n_dims = int(X[0].vocab.vectors_length)
    if not n_dims:
        raise ValueError(T219)
    model.set_dim("nM", n_dims, force=True)
    means, known = _means(model, X)
    means = np.asarray(model.ops.to_numpy(means), dtype=np.float64)[known]
    middle, directions = np.zeros(n_dims), np.eye(n_dims)
    width = model.attrs["width"]
    if width is not None:
        middle, directions = _principal(means, width)
    if model.attrs["normalize"] == "deviation" and len(means):
        values = (means - middle) @ directions
        mean, spread = deviations(values)
        # Undone through the directions: they are orthonormal.
        middle, directions = middle + directions @ mean, directions / spread
    model.set_dim("nO", directions.shape[1], force=True)
    model.set_param("middle", model.ops.asarray1f(middle.astype(np.float32)))
    model.set_param("directions", model.ops.asarray2f(directions.astype(np.float32)))
    return model


def _principal(means: NDArray[np.float64], width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """RETURNS (tuple): Middle (nM,) and the first principal directions, (nM, width), orthonormal."""
    most = min(means.shape)
    if width > most:
        want = f"at most {most}: dimensions of the vectors, or training documents with a vector"
        raise ValueError(T005.format(block="features", field="width", value=width, want=want))
    middle = means.mean(axis=0)
    _, _, rows = np.linalg.svd(means - middle, full_matrices=False)
    rows = rows[:width]
    # The sign of a direction is arbitrary; this one is the same everywhere.
    largest = np.abs(rows).argmax(axis=1)
    return middle, (rows * np.sign(rows[np.arange(width), largest])[:, None]).T


def _forward(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    xp = model.ops.xp
    means, known = _means(model, docs)
    values = (means - model.get_param("middle")) @ model.get_param("directions")
    if model.attrs["normalize"] == "length":
        values /= xp.maximum(xp.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    values[~model.ops.asarray(known)] = 0.0
    return model.ops.as_contig(values.astype("f")), lambda d_out: []


def _means(model: Model, docs: Sequence[Doc]) -> tuple[Floats2d, NDArray[np.bool_]]:
    """Mean vectors (n_docs, nM), and whether a token of each document has one."""
    ops, n_dims = model.ops, model.get_dim("nM")
    out, known = ops.alloc2f(len(docs), n_dims), np.zeros(len(docs), dtype=bool)
    for begin in range(0, len(docs), _TOGETHER):
        part = docs[begin : begin + _TOGETHER]
        vectors = part[0].vocab.vectors
        found = int(part[0].vocab.vectors_length)
        if found != n_dims:
            raise ValueError(T220.format(want=n_dims, found=found))
        attr = getattr(vectors, "attr", ORTH)
        keys = np.concatenate([np.asarray(doc.to_array(attr), dtype=np.uint64).reshape(-1) for doc in part])
        owner = np.repeat(np.arange(len(part)), [len(doc) for doc in part])
        if not len(keys):
            continue
        if isinstance(vectors, Vectors) and vectors.mode == Mode.default:
            rows = ops.to_numpy(vectors.find(keys=keys))
            has = rows >= 0
            data = ops.asarray2f(vectors.data[rows[has]])
        else:
            data = ops.asarray2f(vectors.get_batch(keys))
            has = ops.to_numpy(ops.xp.abs(data).sum(axis=1) > 0)
            data = ops.as_contig(data[has])
        counts = np.bincount(owner[has], minlength=len(part))
        if len(data):
            out[begin : begin + len(part)] = ops.reduce_mean(data, ops.asarray1i(counts.astype("i")))
        known[begin : begin + len(part)] = counts > 0
    return out, known
