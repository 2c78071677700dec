"""Nearness, confidence and its threshold, on numbers that one can trace."""

import numpy as np
import pytest

from spacy_transfer.evaluation.unknown_labels import auroc, find_min_confidence, fit_groups

RANDOM = np.random.default_rng(0)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_nearness_is_the_relative_distance_of_mahalanobis() -> None:
    middles = unit(np.array([[5.0, 0.0, 1.0], [0.0, 5.0, 1.0]]))
    group = RANDOM.integers(0, 2, 5000)
    x = unit(middles[group] + 0.2 * RANDOM.normal(size=(len(group), 3))).astype(np.float32)
    groups = fit_groups(x, np.eye(2, dtype=bool)[group])
    assert groups is not None
    points = unit(np.array([[1.0, 1.0, 0.5], [4.0, -1.0, 1.2]]))

    def squared(rest: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        return np.einsum("ij,jk,ik->i", rest, np.linalg.inv(covariance), rest)

    means = np.stack([x[group == i].mean(axis=0) for i in (0, 1)])
    inside, whole = np.cov((x - means[group]).T), np.cov(x.T)
    nearest = np.minimum(*(squared(points - mean, inside) for mean in means))
    expected = squared(points - x.mean(axis=0), whole) - nearest
    assert groups.nearness(points.astype(np.float32)) == pytest.approx(expected, rel=0.05, abs=0.1)
    # Longer vectors point to the same place.
    assert groups.nearness(3 * points.astype(np.float32)) == pytest.approx(groups.nearness(points.astype(np.float32)))


def test_closeness_is_the_distance_to_the_nearest_prototype() -> None:
    # Each label has two kinds of documents; in the middle between its kinds lies none of them.
    kinds = unit(np.array([[1.0, 0.0, 0.2], [0.0, 1.0, 0.2], [-1.0, 0.0, 0.2], [0.0, -1.0, 0.2]]))
    kind = RANDOM.integers(0, 4, 4000)
    x = unit(kinds[kind] + 0.05 * RANDOM.normal(size=(len(kind), 3))).astype(np.float32)
    groups = fit_groups(x, np.eye(2, dtype=bool)[kind % 2])
    assert groups is not None
    assert len(groups.prototypes) <= 1500
    near, between = (
        groups.closeness(kinds.astype(np.float32)),
        groups.closeness(np.array([[0, 0, 1]], dtype=np.float32)),
    )
    assert near.min() > between.max()
    points = unit(RANDOM.normal(size=(20, 3)))
    squared = ((points[:, None] - groups.prototypes) ** 2).sum(axis=2).min(axis=1)
    assert groups.closeness(points.astype(np.float32)) == pytest.approx((1 - squared) / 2, abs=1e-5)


def test_few_documents_in_a_wide_space_shrink_the_covariance() -> None:
    # Ten documents span at most nine of 64 directions; in the others every distance would be without bounds.
    x = RANDOM.normal(size=(10, 64)).astype(np.float32)
    groups = fit_groups(x, np.eye(2, dtype=bool)[np.arange(10) % 2])
    assert groups is not None
    lengths = np.linalg.svd(groups.whitening, compute_uv=False)
    assert lengths.max() < 100 * lengths.min()


def test_a_document_of_two_groups_is_measured_from_the_middle_of_both() -> None:
    members = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]], dtype=bool)
    x = np.array([[1.0, 0.1], [1.0, -0.1], [-0.1, 1.0], [0.1, 1.0], [1.0, 1.0]], dtype=np.float32)
    groups = fit_groups(x, members)
    assert groups is not None
    assert groups.means.shape == (2, 2)
    assert np.isfinite(groups.whitening).all()


def test_groups_whose_documents_are_all_alike_have_no_spread() -> None:
    assert fit_groups(np.eye(3, dtype=np.float32), np.eye(3, dtype=bool)) is None
    assert fit_groups(np.ones((4, 3), dtype=np.float32), np.ones((4, 1), dtype=bool)) is None


def test_the_threshold_is_between_known_and_unknown() -> None:
    known, unknown = np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.1, 0.3, 0.05])
    # At 0.5 three of four and all are right; at 0.15 all and two of three.
    assert find_min_confidence(known, unknown) == pytest.approx(0.5)
    # Without any that are unknown, 5 in 100 of the others are refused.
    assert find_min_confidence(np.linspace(0.0, 1.0, 101), np.zeros(0)) == pytest.approx(0.05)


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    assert auroc(np.array([0.9, 0.8]), np.array([0.1])) == 1.0
    assert auroc(np.array([0.5, 0.2]), np.array([0.5, 0.3])) == pytest.approx((0.5 + 1 + 0 + 0) / 4)
