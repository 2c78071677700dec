"""Numbers about predictions, against scikit-learn, SciPy and by hand."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support

from spacy_transfer.evaluation.calibration import calibration, least_score, precision_recall, worth
from spacy_transfer.evaluation.comparison import changes, compare, mcnemar
from spacy_transfer.evaluation.measures import Outcomes, Patterns, bootstrap_f, confusions, f_interval, wilson

RANDOM = np.random.default_rng(1)
N_TEXTS, N_LABELS = 300, 4
truth = RANDOM.integers(0, N_LABELS, N_TEXTS)
# Two of three are right.
answers = np.where(RANDOM.random(N_TEXTS) < 0.67, truth, RANDOM.integers(0, N_LABELS, N_TEXTS))


def one_hot(labels: np.ndarray, n_labels: int = N_LABELS) -> np.ndarray:
    return np.eye(n_labels, dtype=bool)[labels]


OUTCOMES = Outcomes.of(one_hot(truth), one_hot(answers))


@pytest.mark.parametrize(("n_right", "n"), [(8, 10), (0, 10), (10, 10), (1, 1), (450, 500)])
def test_wilson_is_that_of_scipy(n_right: int, n: int) -> None:
    theirs = binomtest(n_right, n).proportion_ci(method="wilson")
    found = wilson(n_right, n)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert found.low <= found.value <= found.high


def test_without_cases_a_share_may_be_anything() -> None:
    found = wilson(0, 0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (0.0, 1.0)


def test_f_is_that_of_scikit_learn() -> None:
    scores = bootstrap_f(OUTCOMES)
    assert scores.macro.value == pytest.approx(f1_score(truth, answers, average="macro"))
    assert scores.micro.value == pytest.approx(f1_score(truth, answers, average="micro"))
    f = precision_recall_fscore_support(truth, answers)[2]
    assert [one.value for one in scores.by_label] == pytest.approx(f.tolist())
    for j in range(N_LABELS):
        found = f_interval(int(OUTCOMES.hits[:, j].sum()), int((OUTCOMES.extras | OUTCOMES.misses)[:, j].sum()))
        assert found.value == pytest.approx(f[j])
        # Both methods say about the same where texts are many.
        assert (found.low, found.high) == pytest.approx((scores.by_label[j].low, scores.by_label[j].high), abs=0.04)


def test_an_interval_of_few_right_texts_is_not_a_point() -> None:
    """The bootstrap cannot know."""
    all_right = Outcomes.of(one_hot(np.array([0, 0, 0])), one_hot(np.array([0, 0, 0])))
    assert bootstrap_f(all_right).by_label[0].low == 1.0
    assert f_interval(3, 0).low < 0.7


def test_the_bootstrap_draws_texts() -> None:
    """Drawing how often each outcome comes is drawing texts."""
    naive = []
    for _ in range(400):
        chosen = RANDOM.integers(0, N_TEXTS, N_TEXTS)
        hits, wrong = (flags[chosen].sum(axis=0) for flags in (OUTCOMES.hits, OUTCOMES.extras | OUTCOMES.misses))
        naive.append((2 * hits / (2 * hits + wrong)).mean())
    found = bootstrap_f(OUTCOMES).macro
    width = np.quantile(naive, 0.975) - np.quantile(naive, 0.025)
    assert found.high - found.low == pytest.approx(width, rel=0.25)
    assert bootstrap_f(OUTCOMES).macro == found
    patterns = Patterns.of(OUTCOMES.rows())
    assert len(patterns.counts) <= N_LABELS**2
    assert all((drawn.sum(axis=1) == N_TEXTS).all() for drawn, _ in patterns.resample())


def test_labels_that_nothing_has_do_not_count() -> None:
    wider = Outcomes.of(one_hot(truth, 6), one_hot(answers, 6))
    assert bootstrap_f(wider).macro.value == pytest.approx(f1_score(truth, answers, average="macro"))
    assert math.isnan(bootstrap_f(wider).by_label[5].value)


def test_nothing_at_all() -> None:
    none = Outcomes.of(np.zeros((0, 3), dtype=bool), np.zeros((0, 3), dtype=bool))
    assert math.isnan(bootstrap_f(none).macro.value)
    assert confusions("abc", none) == []
    assert math.isnan(calibration(np.zeros(0), np.zeros(0, dtype=bool)).error)
    assert precision_recall(np.zeros(0), np.zeros(0, dtype=bool)).recall == []
    assert worth(np.zeros(0), np.zeros(0, dtype=bool)) == []
    assert least_score(np.zeros(0), np.zeros(0, dtype=bool), 0.9) is None
    assert compare(none, none).p_value == 1.0


def test_confusions() -> None:
    found = confusions("abcd", OUTCOMES)
    assert sum(n for _, _, n in found) == (truth != answers).sum()
    assert [n for _, _, n in found] == sorted((n for _, _, n in found), reverse=True)
    right, given, n = found[0]
    assert n == ((truth == "abcd".index(right)) & (answers == "abcd".index(given))).sum()


def test_confusions_where_labels_are_independent() -> None:
    gold = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1]], dtype=bool)
    given = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1]], dtype=bool)
    known = np.ones_like(gold)
    known[3, 1] = False
    found = confusions("abc", Outcomes.of(gold, given, known))
    # What nobody has annotated is no error.
    assert found == [("", "c", 1), ("a", "b", 1), ("b", "", 1)]


def test_average_precision_is_that_of_scikit_learn() -> None:
    # Ties on purpose.
    scores, gold = RANDOM.integers(0, 20, 500) / 20, RANDOM.random(500) < 0.4
    curve = precision_recall(scores, gold)
    assert curve.average_precision == pytest.approx(average_precision_score(gold, scores))
    assert curve.recall == sorted(curve.recall)
    assert curve.recall[-1] == 1.0
    assert curve.thresholds == sorted(curve.thresholds, reverse=True)


def test_what_a_score_is_worth() -> None:
    scores = np.array([0.99, 0.96, 0.91, 0.9, 0.6])
    right = np.array([True, True, False, True, False])
    rows = worth(scores, right)
    assert [(row.threshold, row.n, row.share, row.right.value) for row in rows] == [
        (0.99, 1, 0.2, 1.0), (0.95, 2, 0.4, 1.0), (0.9, 4, 0.8, 0.75), (0.5, 5, 1.0, 0.6),
    ]  # fmt: skip
    least = least_score(scores, right, 0.75)
    assert least is not None
    assert (least.threshold, least.n) == (0.9, 4)
    assert least_score(scores, ~right, 0.99) is None


def test_calibration() -> None:
    scores = np.array([0.85, 0.85, 0.85, 0.85, 0.25])
    right = np.array([True, True, True, False, False])
    found = calibration(scores, right)
    assert found.error == pytest.approx((4 * 0.1 + 1 * 0.25) / 5)
    assert found.excess == pytest.approx(scores.mean() - 0.6)
    assert [(one.n, one.low) for one in found.bins] == [(1, 0.2), (4, 0.8)]
    # What is right as often as its score says has no error.
    honest = RANDOM.random(20_000)
    assert calibration(honest, RANDOM.random(20_000) < honest).error < 0.02
    assert calibration(np.array([1.0, 0.0]), np.array([True, False])).error == 0.0


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 5), (10, 1), (0, 6), (400, 300)])
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(gained, lost) == mcnemar(lost, gained)


def test_compare() -> None:
    better = np.where(RANDOM.random(N_TEXTS) < 0.5, truth, answers)
    other = Outcomes.of(one_hot(truth), one_hot(better))
    found = compare(OUTCOMES, other)
    assert found.n_lost == 0
    assert found.n_gained == int((truth == better).sum() - (truth == answers).sum())
    assert found.accuracy.value == pytest.approx((truth == better).mean() - (truth == answers).mean())
    difference = f1_score(truth, better, average="macro") - f1_score(truth, answers, average="macro")
    assert found.macro_f.value == pytest.approx(difference)
    assert found.accuracy.low > 0
    back = compare(other, OUTCOMES)
    assert back.accuracy.value == pytest.approx(-found.accuracy.value)
    gained, lost = changes(OUTCOMES.right, other.right)
    assert (len(gained), len(lost)) == (found.n_gained, 0)
    same = compare(OUTCOMES, OUTCOMES)
    assert (same.p_value, same.accuracy.low, same.accuracy.high) == (1.0, 0.0, 0.0)
