"""Makes scores probabilities by a temperature, and finds thresholds for the best F."""

import numpy as np

from ..pipeline.interface import Floats
from .measures import Flags, Numbers

# Temperatures that are tried, as powers of e: from 0.001 to 1000.
_WIDEST = 7.0
_STEPS = 60
_GOLDEN = (5**0.5 - 1) / 2
# So far from 0 and 1 scores are kept where a logit is made of them; single precision knows nothing beyond.
_SMALLEST, _LARGEST = 1e-38, 1 - 2**-24


def logits_of(scores: Floats, *, exclusive: bool) -> Numbers:
    """Compute logits that give some scores.

    scores (Floats): 0..1, (n_docs, n_labels).
    exclusive (bool): Whether they sum to 1 for each document; the logits are then right but for a constant.
    RETURNS (Numbers): (n_docs, n_labels).
    """
    p = np.clip(np.asarray(scores, dtype=np.float64), _SMALLEST, _LARGEST)
    return np.log(p) if exclusive else np.log(p) - np.log1p(-p)


def scores_of(logits: Numbers, *, exclusive: bool) -> Numbers:
    """Compute the scores of logits.

    logits (Numbers): (n_docs, n_labels).
    exclusive (bool): Whether the labels of a document exclude each other.
    RETURNS (Numbers): 0..1, (n_docs, n_labels).
    """
    if not exclusive:
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def mean_nll(logits: Numbers, gold: Floats, known: Floats, *, exclusive: bool) -> float:
    """Compute the mean negative log-likelihood in nats.

    logits (Numbers): (n_docs, n_labels).
    gold (Floats): 0..1, (n_docs, n_labels).
    known (Floats): 0 where the annotation is missing, (n_docs, n_labels).
    exclusive (bool): Whether the labels of a document exclude each other.
    RETURNS (float): By document; by known label where they do not exclude each other.
    """
    if exclusive:
        highest = logits.max(axis=1, keepdims=True)
        log_p = logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
        return float(-(gold * log_p).sum() / max(1e-9, float(gold.sum())))
    # log(1 + exp(z)) - gold * z, without overflow.
    losses = np.logaddexp(0.0, logits) - gold * logits
    return float((losses * known).sum() / max(1.0, float(known.sum())))


def find_temperature(logits: Numbers, gold: Floats, known: Floats, *, exclusive: bool) -> float:
    """Find the number by which logits are divided so that the scores are most likely.

    The likelihood has one maximum, which a golden-section search finds.

    logits (Numbers): (n_docs, n_labels).
    gold (Floats): 0..1, (n_docs, n_labels).
    known (Floats): 0 where the annotation is missing, (n_docs, n_labels).
    exclusive (bool): Whether the labels of a document exclude each other.
    RETURNS (float): Above 1 where the scores were too sure; from 0.001 to 1000.
    SOURCE: Guo et al. 2017, arXiv:1706.04599.
    """

    def nll(power: float) -> float:
        """Compute the loss at a temperature."""
        return mean_nll(logits / np.exp(power), gold, known, exclusive=exclusive)

    low, high = -_WIDEST, _WIDEST
    for _ in range(_STEPS):
        width = _GOLDEN * (high - low)
        if nll(high - width) < nll(low + width):
            high = low + width
        else:
            low = high - width
    return float(np.exp(0.5 * (low + high)))


def find_thresholds(
    scores: Numbers, gold: Floats, known: Floats, *, beta: float = 1.0, default: float = 0.5
) -> list[float]:
    """Find for each label the threshold with the best F on some documents.

    A threshold lies in the middle between the two scores that it parts. Of several with the same F the one nearest to
    the default is taken, and a label without a positive document keeps the default.

    scores (Numbers): (n_docs, n_labels).
    gold (Floats): 0..1, (n_docs, n_labels).
    known (Floats): 0 where the annotation is missing, (n_docs, n_labels).
    beta (float): Weight of recall against precision: 1 both, 0.5 precision twice as much, 2 recall.
    default (float): Of a label of which nothing is known.
    RETURNS (list[float]): From 0 to 1, a score counts from there on.
    """
    found: list[float] = []
    for column in range(scores.shape[1]):
        chosen = known[:, column] > 0
        own = np.asarray(scores[chosen, column], dtype=np.float64)
        positive = gold[chosen, column] >= 0.5
        found.append(_best_threshold(own, positive, beta, default) if positive.any() else default)
    return found


def _best_threshold(scores: Numbers, positive: Flags, beta: float, default: float) -> float:
    values, inverse = np.unique(scores, return_inverse=True)
    n_positive = np.bincount(inverse, weights=positive, minlength=len(values))
    n_all = np.bincount(inverse, minlength=len(values))
    # Predicted is what lies at a value and above.
    hits = n_positive[::-1].cumsum()[::-1]
    predicted = n_all[::-1].cumsum()[::-1]
    f = (1 + beta**2) * hits / (predicted + beta**2 * n_positive.sum())
    below = np.concatenate([[0.0], values[:-1]])
    middles = 0.5 * (below + values)
    best = np.flatnonzero(f >= f.max() - 1e-12)
    return float(middles[best[np.abs(middles[best] - default).argmin()]])


def log_odds_of(scores: Floats, *, exclusive: bool) -> Numbers:
    """Compute the log odds of the best label.

    scores (Floats): 0..1, (n_docs, n_labels).
    exclusive (bool): Whether they sum to 1 for each document.
    RETURNS (Numbers): (n_docs,), within -30 and 30.
    """
    logits = logits_of(scores, exclusive=exclusive)
    best = logits.max(axis=1)
    if exclusive:
        others = logits.copy()
        others[np.arange(len(others)), logits.argmax(axis=1)] = -np.inf
        highest = others.max(axis=1, keepdims=True)
        best = best - highest[:, 0] - np.log(np.exp(others - highest).sum(axis=1))
    return np.clip(best, -30.0, 30.0)
