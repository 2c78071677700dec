"""Temperature and thresholds, on numbers that one can trace."""

import numpy as np
import pytest

from spacy_transfer.evaluation.temperature import (
    find_temperature,
    find_thresholds,
    logits_of,
    mean_nll,
    scores_of,
)


def drawn(*, exclusive: bool, n_docs: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """True probabilities and labels that were drawn by them."""
    random = np.random.default_rng(0)
    p = scores_of(random.normal(size=(n_docs, 4)) * 1.5, exclusive=exclusive)
    if exclusive:
        best = (p.cumsum(axis=1) < random.random((n_docs, 1))).sum(axis=1)
        return p, np.eye(4)[np.minimum(best, 3)]
    return p, (random.random(p.shape) < p).astype(float)


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_temperature_undoes_what_made_the_scores_too_sure(exclusive: bool) -> None:
    p, gold = drawn(exclusive=exclusive)
    known = np.ones_like(p)
    sure = scores_of(logits_of(p, exclusive=exclusive) * 3.0, exclusive=exclusive)
    logits = logits_of(sure, exclusive=exclusive)
    found = find_temperature(logits, gold, known, exclusive=exclusive)
    assert found == pytest.approx(3.0, rel=0.1)
    # It is the best: the loss is higher on both sides.
    losses = [mean_nll(logits / t, gold, known, exclusive=exclusive) for t in (found * 0.9, found, found * 1.1)]
    assert losses[1] == min(losses)


def test_missing_annotations_count_for_nothing() -> None:
    p, gold = drawn(exclusive=False, n_docs=200)
    known = np.ones_like(p)
    known[100:] = 0.0
    noise = gold.copy()
    noise[100:] = 1.0 - noise[100:]
    logits = logits_of(p, exclusive=False)
    of_both = [
        (find_temperature(logits, labels, known, exclusive=False), find_thresholds(p, labels, known))
        for labels in (gold, noise)
    ]  # fmt: skip
    assert of_both[0] == of_both[1]


def test_thresholds_part_the_scores_where_f_is_best() -> None:
    scores = np.array([[0.1, 0.2, 0.9], [0.3, 0.8, 0.1], [0.2, 0.9, 0.1], [0.05, 0.1, 0.1]])
    gold = np.array([[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]])
    found = find_thresholds(scores, gold, np.ones_like(scores))
    # Between 0.1 and 0.2; between 0.2 and 0.8; no text has the third label.
    assert found == pytest.approx([0.15, 0.5, 0.5])
    mixed, truth = np.array([[0.2], [0.4], [0.6], [0.8]]), np.array([[0], [1], [0], [1]])
    assert find_thresholds(mixed, truth, np.ones_like(mixed), beta=2.0) == pytest.approx([0.3])
    assert find_thresholds(mixed, truth, np.ones_like(mixed), beta=0.25) == pytest.approx([0.7])
