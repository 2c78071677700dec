"""Fits the confidence that a document has one of the known labels: which vectors are near, and what near means."""

from dataclasses import dataclass

import numpy as np

from ..pipeline.interface import ConfidenceFit, Floats
from .clusters import clusters_of
from .measures import Flags, Numbers

# Prototypes of all groups together, 2 MB of vectors of width 384, and each group has one at least.
_MOST_PROTOTYPES = 1500
# Of documents with known labels, the share that a threshold refuses where none with unknown labels are at hand.
_REFUSED = 0.05


@dataclass(frozen=True)
class Groups:
    """Means and spread of the vectors of training documents, of unit length.

    means (Numbers): Of each group, multiplied by the whitening, (n_groups, width).
    whitening (Numbers): The Mahalanobis distance of x and y is the length of (x - y) @ whitening, (width, width).
    center (Numbers): Mean of all documents, multiplied by the background, (width,).
    background (Numbers): As the whitening, of all documents as one group, (width, width).
    prototypes (Numbers): Means of clusters of the documents of a group, (n_prototypes, width).
    """

    means: Numbers
    whitening: Numbers
    center: Numbers
    background: Numbers
    prototypes: Numbers

    def nearness(self, vectors: Floats) -> Numbers:
        """Compute the squared distance from vectors to the center less that to the nearest mean: what is far from all
        documents is far from each group as well, and that alone says little.

        vectors (Floats): (n_docs, width).
        RETURNS (Numbers): (n_docs,); higher for documents that belong to a group.
        """
        x = _unit(vectors)
        inside = x @ self.whitening
        squared = (inside**2).sum(axis=1)[:, None] - 2 * inside @ self.means.T + (self.means**2).sum(axis=1)
        outside = ((x @ self.background - self.center) ** 2).sum(axis=1)
        return np.asarray(outside - np.maximum(squared.min(axis=1), 0.0))

    def closeness(self, vectors: Floats) -> Numbers:
        """Say how close the nearest prototype is: a mean knows nothing of what the documents of a label differ in.

        vectors (Floats): (n_docs, width).
        RETURNS (Numbers): Half of 1 less the squared distance, (n_docs,).
        """
        products = _unit(vectors) @ self.prototypes.T
        return np.asarray((products - (self.prototypes**2).sum(axis=1) / 2).max(axis=1))


def fit_groups(vectors: Floats, members: Flags) -> Groups | None:
    """Fit the mean of each group, and the covariance that all share, shrunk towards a multiple of the identity as far
    as the number of documents asks for.

    vectors (Floats): Of training documents, (n_docs, width).
    members (Flags): To which groups each belongs, one or more, (n_docs, n_groups).
    RETURNS (Groups | None): Of groups with a document; None where no group has two that differ.
    SOURCE: one covariance for all labels: Lee et al. 2018, arXiv:1807.03888; relative to all documents: Ren et al.
        2021, arXiv:2106.09022; the nearest documents: Sun et al. 2022, arXiv:2204.06507.
    """
    x = _unit(vectors)
    members = members[:, members.any(axis=0)]
    weights = members / members.sum(axis=0)
    means = weights.T @ x
    # A document of several groups is near the mean of their means.
    share = members / members.sum(axis=1, keepdims=True)
    middle = x.mean(axis=0)
    whitening = _whitening(x - share @ means, len(x) - members.shape[1])
    background = _whitening(x - middle, len(x) - 1)
    if whitening is None or background is None:
        return None
    return Groups(means @ whitening, whitening, middle @ background, background, _prototypes(x, members))


def _prototypes(x: Numbers, members: Flags) -> Numbers:
    """Means of clusters of each group's documents; the documents themselves where they are few."""
    found: list[Numbers] = []
    for own in members.T:
        unit = x[own]
        n = max(1, _MOST_PROTOTYPES // members.shape[1])
        if len(unit) > n:
            place = clusters_of(unit.astype(np.float32), n, np.random.default_rng(0))
            unit = np.stack([unit[place == i].mean(axis=0) for i in np.unique(place)])
        found.append(unit)
    return np.concatenate(found)


def _whitening(rest: Numbers, n_free: int) -> Numbers | None:
    """What makes the covariance of centered vectors the identity, after shrinkage.

    SOURCE: Chen et al. 2010, "Shrinkage Algorithms for MMSE Covariance Estimation" (OAS).
    """
    if n_free < 1 or not (trace := float((rest**2).sum()) / n_free) > 1e-12:
        return None
    width = rest.shape[1]
    covariance = rest.T @ rest / n_free
    squares = float((covariance**2).sum())
    spread = (n_free + 1 - 2 / width) * (squares - trace**2 / width)
    shrinkage = 1.0 if spread <= 0 else min(1.0, ((1 - 2 / width) * squares + trace**2) / spread)
    covariance = (1 - shrinkage) * covariance + shrinkage * trace / width * np.eye(width)
    values, axes = np.linalg.eigh(covariance)
    return np.asarray(axes / np.sqrt(np.maximum(values, 1e-9 * values.max())))


def _unit(vectors: Floats) -> Numbers:
    x = np.asarray(vectors, dtype=np.float64)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def fit_confidence(groups: Groups, vectors: Floats, log_odds: Numbers) -> ConfidenceFit:
    """Weigh nearness, log odds and closeness alike, each in units of its spread, and rank their sum among known
    documents.

    groups (Groups): Of the training documents.
    vectors (Floats): Of documents with known labels that were not trained on, (n_docs, width).
    log_odds (Numbers): Of their best labels, (n_docs,).
    RETURNS (ConfidenceFit): Of all three.
    """
    measures = np.stack([groups.nearness(vectors), log_odds, groups.closeness(vectors)])
    weights = 1 / np.maximum(measures.std(axis=1), 1e-6)
    quantiles = np.quantile(weights @ measures, np.linspace(0.0, 1.0, 101))
    parts = (
        groups.means, groups.whitening, groups.center, groups.background, groups.prototypes, weights, quantiles
    )  # fmt: skip
    return ConfidenceFit(*(part.astype(np.float32) for part in parts))


def find_min_confidence(known: Numbers, unknown: Numbers) -> float:
    """Find the confidence from which a document counts as one with a known label.

    known (Numbers): Confidence of documents with known labels, (n_known,).
    unknown (Numbers): Confidence of documents with none of them, (n_unknown,); may be empty.
    RETURNS (float): Where the shares of right decisions on both add up to most; without documents of unknown labels,
        what refuses 5 in 100 of the others.
    """
    if not len(unknown):
        return float(np.quantile(known, _REFUSED))
    values = np.unique(np.concatenate([known, unknown]))
    limits = 0.5 * (np.concatenate([[0.0], values[:-1]]) + values)
    kept = 1 - np.searchsorted(np.sort(known), limits, side="left") / len(known)
    refused = np.searchsorted(np.sort(unknown), limits, side="left") / len(unknown)
    return float(limits[(kept + refused).argmax()])


def auroc(known: Numbers, unknown: Numbers) -> float:
    """Compute the area under the ROC curve: how often a document with a known label has the higher confidence.

    known (Numbers): (n_known,).
    unknown (Numbers): (n_unknown,).
    RETURNS (float): 0..1; 0.5 by chance, ties count half.
    """
    order = np.sort(unknown)
    below, up_to = np.searchsorted(order, known, side="left"), np.searchsorted(order, known, side="right")
    return float((below + up_to).mean() / 2 / len(unknown))
