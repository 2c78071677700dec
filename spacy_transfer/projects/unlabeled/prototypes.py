"""A linear classifier of vectors, made from what labels mean and from texts without labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation.measures import Numbers
from ...evaluation.temperature import scores_of
from ...pipeline.interface import Floats

# In which words a label is put to the encoder.
TEMPLATES = ("{}", "This text is about {}.", "The topic is {}.", "{}: a question or a message")
# Of a prototype, the share that stays what the label's own words say; the rest is the mean of the texts that are near.
_KEPT = 0.5
_ROUNDS = 10
# Of the cosines while texts are assigned.
_SHARPNESS = 0.1
# Temperatures that are tried.
_TEMPERATURES = np.geomspace(0.005, 1.0, 80)


@dataclass(frozen=True)
class Linear:
    """A linear layer.

    weight (Floats): (n_labels, width).
    bias (Floats): (n_labels,).
    temperature (float): By which the cosines are divided in it.
    agreement (float): Share of the texts on which classifiers from single templates agree with it.
    """

    weight: Floats
    bias: Floats
    temperature: float
    agreement: float


def fit_prototypes(texts: Floats, phrases: Sequence[Floats], owners: Sequence[int]) -> Linear:
    """Make a classifier of the vectors of labels, fitted to texts without labels.

    Vectors are centered, those of texts by their mean and those of labels by theirs: what all have in common says
    nothing. A label's vector then moves towards the mean of the texts that are nearest to it, and stays half of what it
    was. Labels that nearly all texts would get are held back by half of what would make all equally frequent. The
    temperature is the one at which the mean of the highest score is the share of texts on which single templates agree
    with the whole.

    texts (Floats): Vectors of texts without labels, (n_texts, width).
    phrases (Sequence[Floats]): For each template the vectors of all phrases, (n_phrases, width).
    owners (Sequence[int]): The label of each phrase.
    RETURNS (Linear): Its logits are for vectors as they are, not centered.
    SOURCE: centered vectors: Mu & Viswanath 2018, arXiv:1702.01417; prototypes of labels: Schopf et al. 2022,
        arXiv:2210.06023; held back labels: Zhao et al. 2021, arXiv:2102.09690.
    """
    n_labels, own = max(owners) + 1, np.asarray(owners)
    views = [np.stack([_unit(view)[own == label].mean(axis=0) for label in range(n_labels)]) for view in phrases]
    center, scale = texts.astype(np.float64).mean(axis=0), float(np.linalg.norm(texts, axis=1).mean())
    x = _unit(texts - center)
    single = [_unit(view - view.mean(axis=0)) for view in views]
    whole = _unit(np.mean([_unit(view) for view in views], axis=0))
    start = _unit(whole - whole.mean(axis=0))
    refined = _refined(start, x)
    held = _held_back(x @ refined.T)
    cosines = x @ refined.T + held
    chosen = cosines.argmax(axis=1)
    agreement = float(np.mean([((x @ view.T + held).argmax(axis=1) == chosen).mean() for view in single]))
    best = [scores_of(cosines / one, exclusive=True).max(axis=1).mean() for one in _TEMPERATURES]
    temperature = float(_TEMPERATURES[np.abs(np.asarray(best) - agreement).argmin()])
    # Centered vectors are not of unit length in the layer; on average they are as long as this.
    length = float(np.linalg.norm(texts - center, axis=1).mean()) or scale
    weight = refined / (temperature * length)
    bias = held / temperature - weight @ center
    return Linear(weight.astype(np.float32), bias.astype(np.float32), temperature, agreement)


def _refined(start: Numbers, texts: Numbers) -> Numbers:
    found = start
    for _ in range(_ROUNDS):
        shares = scores_of(texts @ found.T / _SHARPNESS, exclusive=True)
        means = _unit(shares.T @ texts)
        found = _unit(_KEPT * start + (1 - _KEPT) * means)
    return found


def _held_back(cosines: Numbers) -> Numbers:
    """What is added to the cosines of each label: half of what would make all labels equally frequent."""
    added = np.zeros(cosines.shape[1])
    for _ in range(100):
        share = scores_of((cosines + added) / _SHARPNESS, exclusive=True).mean(axis=0)
        added -= 0.5 * _SHARPNESS * np.log(share * len(share))
    return np.asarray(0.5 * (added - added.mean()))


def _unit(vectors: Numbers | Floats) -> Numbers:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9), dtype=np.float64)


def worth_annotating(vectors: Floats, scores: Floats, groups: Sequence[int], n_texts: int, *, seed: int) -> list[int]:
    """Choose texts that say most once they are annotated: uncertain ones that are far from each other.

    Each next text is drawn with a chance in proportion to its uncertainty times its squared distance from the nearest
    one that was chosen. The first is the most uncertain.

    vectors (Floats): Of all texts, (n_texts, width).
    scores (Floats): Of their labels, (n_texts, n_labels).
    groups (Sequence[int]): Texts of one group are nearly the same; of each, one is chosen.
    n_texts (int): How many to choose.
    seed (int): Of the draws.
    RETURNS (list[int]): Places, in the order of the choice.
    SOURCE: distances as k-means++ draws its centers: Arthur & Vassilvitskii 2007; with uncertainty: Ash et al. 2020,
        arXiv:1906.03671.
    """
    _, firsts = np.unique(np.asarray(groups), return_index=True)
    x, ranked = _unit(vectors[firsts]), np.sort(scores[firsts], axis=1)
    uncertain = 1.0 - (ranked[:, -1] - ranked[:, -2]).astype(np.float64)
    random = np.random.default_rng(seed)
    chosen = [int(uncertain.argmax())]
    away = np.full(len(x), np.inf)
    while len(chosen) < min(n_texts, len(x)):
        away = np.minimum(away, np.maximum(0.0, 2.0 - 2.0 * x @ x[chosen[-1]]))
        away[chosen] = 0.0
        chances = (uncertain + 1e-6) * away
        if not (total := float(chances.sum())) > 0:
            break
        chosen.append(int(random.choice(len(x), p=chances / total)))
    return [int(firsts[place]) for place in chosen]
