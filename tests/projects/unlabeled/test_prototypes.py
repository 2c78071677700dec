"""A classifier from vectors of labels and texts, and which texts to annotate, on vectors that one can trace."""

import numpy as np

from spacy_transfer.evaluation.temperature import scores_of
from spacy_transfer.projects.unlabeled.prototypes import fit_prototypes, worth_annotating

RANDOM = np.random.default_rng(0)
WIDTH = 32


def cloud(n_texts: int = 600) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Texts around three meanings, what they mean, and two phrasings of each that are far off in the same direction."""
    meanings = RANDOM.normal(size=(3, WIDTH))
    truth = RANDOM.integers(0, 3, n_texts)
    common = 4 * RANDOM.normal(size=WIDTH)
    texts = (meanings[truth] + common + 0.8 * RANDOM.normal(size=(n_texts, WIDTH))).astype(np.float32)
    other = 6 * RANDOM.normal(size=WIDTH)
    views = [(meanings + other + 0.6 * RANDOM.normal(size=(3, WIDTH))).astype(np.float32) for _ in range(2)]
    return texts, truth, views


def test_what_all_texts_and_all_labels_have_in_common_says_nothing() -> None:
    texts, truth, views = cloud()
    linear = fit_prototypes(texts, views, [0, 1, 2])
    logits = texts @ linear.weight.T + linear.bias
    assert (logits.argmax(axis=1) == truth).mean() > 0.9
    # By plain cosines it would not.
    whole = sum(views)
    cosines = (texts / np.linalg.norm(texts, axis=1, keepdims=True)) @ (
        whole / np.linalg.norm(whole, axis=1, keepdims=True)
    ).T
    assert (cosines.argmax(axis=1) == truth).mean() < 0.8


def test_scores_are_as_high_as_phrasings_agree() -> None:
    texts, _, views = cloud()
    linear = fit_prototypes(texts, views, [0, 1, 2])
    scores = scores_of(texts @ linear.weight.T + linear.bias, exclusive=True)
    assert abs(float(scores.max(axis=1).mean()) - linear.agreement) < 0.05


def test_a_label_may_have_several_phrases() -> None:
    texts, truth, views = cloud()
    phrases = [np.concatenate([view, view[:1] + 0.01]) for view in views]
    linear = fit_prototypes(texts, phrases, [0, 1, 2, 0])
    assert linear.weight.shape == (3, WIDTH)
    assert ((texts @ linear.weight.T + linear.bias).argmax(axis=1) == truth).mean() > 0.9


def test_uncertain_texts_far_from_each_other_come_first() -> None:
    # Two clouds of certain texts, and one of uncertain ones; each text but the first twice.
    middles = 10 * np.eye(3)
    vectors = np.concatenate([middle + 0.1 * RANDOM.normal(size=(20, 3)) for middle in middles]).astype(np.float32)
    scores = np.repeat([[0.98, 0.02], [0.02, 0.98], [0.51, 0.49]], 20, axis=0).astype(np.float32)
    groups = [i // 2 for i in range(60)]
    chosen = worth_annotating(vectors, scores, groups, 6, seed=0)
    assert chosen[0] >= 40
    assert len({groups[i] for i in chosen}) == len(chosen) == 6
    # All clouds are seen, and the uncertain one, a third of the texts, more often than that.
    drawn = [worth_annotating(vectors, scores, groups, 8, seed=seed) for seed in range(6)]
    assert all({i // 20 for i in one} == {0, 1, 2} for one in drawn)
    assert sum(i >= 40 for one in drawn for i in one) >= 0.42 * 48
    assert worth_annotating(vectors, scores, groups, 6, seed=0) == chosen
    assert len(worth_annotating(vectors, scores, groups, 100, seed=0)) <= 30
