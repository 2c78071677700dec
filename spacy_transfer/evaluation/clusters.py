"""Vectors in clusters, by direction. NumPy alone."""

import numpy as np

from ..pipeline.interface import Floats
from .measures import Counts

# Steps of k-means: what is near what changes little after a few.
_N_STEPS = 12
# Numbers of a block of similarities.
_MOST_AT_ONCE = 20_000_000


def clusters_of(unit: Floats, n: int, generator: np.random.Generator) -> Counts:
    """Divide vectors by spherical k-means.

    unit (Floats): Of unit length, (n_vectors, width).
    n (int): Clusters, at most as many as vectors; one may stay empty.
    generator (np.random.Generator): Draws the first centers.
    RETURNS (Counts): Number of the cluster of each vector, (n_vectors,).
    SOURCE: Dhillon & Modha 2001, "Concept Decompositions for Large Sparse Text Data Using Clustering".
    """
    centers = unit[generator.choice(len(unit), n, replace=False)].copy()
    labels = np.zeros(len(unit), dtype=np.int64)
    for _ in range(_N_STEPS):
        before = labels
        labels = _nearest(unit, centers)
        if np.array_equal(labels, before):
            break
        sums = np.zeros_like(centers)
        np.add.at(sums, labels, unit)
        filled = np.bincount(labels, minlength=n) > 0
        centers[filled] = unit_length(sums[filled])
    return labels


def _nearest(unit: Floats, centers: Floats) -> Counts:
    block = max(1, _MOST_AT_ONCE // max(1, len(centers)))
    parts = [(unit[i : i + block] @ centers.T).argmax(axis=1) for i in range(0, len(unit), block)]
    return np.concatenate(parts).astype(np.int64)


def unit_length(vectors: Floats) -> Floats:
    """Scale vectors to length 1.

    vectors (Floats): (n_vectors, width).
    RETURNS (Floats): Of the same shape; a vector of zeros stays.
    """
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
