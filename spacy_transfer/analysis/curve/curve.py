"""Train on more and more of the texts, and say what twice as many would bring."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from spacy.language import Language

from ...corpora.inspection.check import check_splits
from ...corpora.splits import read_splits
from ...errors import T396, T762, T763
from ...evaluation.measures import Counts, Flags, Interval, Outcomes, percentiles
from ...json_types import JsonObject
from ...pipeline.interface import Floats
from ...training.held_out import choose_penalty, scores_by_size
from ..targets import targets_of, usable
from ..vectors import vectors_of_data
from .power_law import LEAST_SIZES, Forecast, Law, Outcome, fit_law, forecast

# Below, a curve is chance: a label has a handful of texts, and a step is one of them.
_LEAST_TEXTS = 50
# Texts on which the penalty is chosen; it says nothing about the others.
_MOST_FOR_PENALTY = 2000
_REPEATS = 5
# How many times as many texts are forecast.
_FACTORS = (2, 4)


@dataclass(frozen=True)
class Point:
    """What a part of the texts brought.

    share (float): Of the training texts.
    n (int): Training texts.
    score (Interval): On held-out texts; mean over the repeats.
    deviation (float): Standard deviation over the repeats.
    """

    share: float
    n: int
    score: Interval
    deviation: float


@dataclass(frozen=True)
class LearningCurve:
    """What more texts bring.

    measure (str): "accuracy", or "micro F" where labels are independent.
    n_texts (int): Annotated texts for training.
    n_held_out (int): Texts that were scored, in each repeat, by probes that had not seen them.
    n_labels (int): Labels.
    penalty (float): Inverse strength of the penalty of the probes.
    points (list[Point]): Rising.
    law (Law): What was fitted to them.
    now (Forecast): Of all the texts that there are.
    forecasts (list[Forecast]): Of twice as many, and of four times.
    """

    measure: str
    n_texts: int
    n_held_out: int
    n_labels: int
    penalty: float
    points: list[Point]
    law: Law
    now: Forecast
    forecasts: list[Forecast]

    def to_json(self) -> JsonObject:
        """Give everything, JSON-able."""
        return {"made_by": "spacy transfer curve", **asdict(self)}


def curve(
    paths: Sequence[Path],
    *,
    dev: Path | None = None,
    pipeline: Language | None = None,
    component: str | None = None,
    encoder: str | None = None,
    exclusive: bool | None = None,
    steps: int = 10,
    seed: int = 0,
) -> LearningCurve:
    """Train linear probes on 10, 20, ... 100 % of the texts, and extrapolate what more texts would bring.

    Texts become vectors by a frozen encoder once; each part of them is fitted five times, on other texts each time.

    paths (Sequence[Path]): .spacy files or folders of them: training data.
    dev (Path | None): Texts to score. None: a fifth of the training texts, another one in each repeat.
    pipeline (Language | None): Takes the vectors of one of its classifiers. One that was trained on these very texts
        makes the curve too good.
    component (str | None): The classifier, where there is more than one.
    encoder (str | None): Folder or name of an encoder, without a pipeline. None: that of the shipped configs.
    exclusive (bool | None): Exactly one label a text. None: as `check` finds out.
    steps (int): Parts of the texts, 4 or more.
    seed (int): Of the order of the texts, and of the resamples.
    RETURNS (LearningCurve): Scores by number of texts, and what twice and four times as many would bring.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T396 for too few steps, T642 for a pipeline without that classifier, T762 for too few texts or
        labels, T763 for dev texts without labels; what `check` refuses.
    """
    if steps < LEAST_SIZES:
        raise ValueError(T396.format(option="--steps", value=steps, want=f"a whole number from {LEAST_SIZES} on"))
    given = [*paths, *([dev] if dev is not None else [])]
    splits = read_splits(given)
    checked = check_splits(splits, exclusive=exclusive)
    # A label that dev texts alone have is one that no probe gives: they count as wrong.
    labels = [label for label in checked.labels if any(split.counts[label] for split in splits)]
    gold, known = targets_of(splits, labels, exclusive=checked.exclusive)
    n_training = sum(len(split.texts) for split in splits[: len(paths)])
    chosen = np.asarray(usable(gold, known, exclusive=checked.exclusive), dtype=np.int64)
    inside, outside = chosen[chosen < n_training], chosen[chosen >= n_training]
    if len(inside) < _LEAST_TEXTS or len(labels) < (2 if checked.exclusive else 1):
        raise ValueError(T762.format(n_texts=len(inside), n_labels=len(labels), least=_LEAST_TEXTS))
    if dev is not None and not len(outside):
        raise ValueError(T763.format(path=dev))
    vectors = vectors_of_data(given, pipeline=pipeline, component=component, encoder=encoder)
    data = Data(vectors, gold, known, exclusive=checked.exclusive)
    return learning_curve(data, inside, outside if dev is not None else None, steps=steps, seed=seed)


@dataclass(frozen=True)
class Data:
    """Annotated texts, those for training and those that are scored.

    vectors (Floats): Of a frozen encoder, (n_texts, width).
    gold (Flags): Which labels a text has, (n_texts, n_labels).
    known (Flags): Which are annotated.
    exclusive (bool): Exactly one label a text.
    """

    vectors: Floats
    gold: Flags
    known: Flags
    exclusive: bool


def learning_curve(data: Data, inside: Counts, outside: Counts | None, *, steps: int, seed: int) -> LearningCurve:
    """Make the curve of vectors; see `curve`.

    data (Data): All texts.
    inside (Counts): Numbers of those for training.
    outside (Counts | None): Numbers of those that are scored. None: a fifth of the others in turn.
    steps (int): Parts.
    seed (int): Of the order.
    RETURNS (LearningCurve): Scores and forecasts.
    """
    generator = np.random.default_rng(seed)
    few = generator.permutation(inside)[:_MOST_FOR_PENALTY]
    targets, known = data.gold.astype(np.float32), data.known.astype(np.float32)
    penalty = choose_penalty(data.vectors[few], targets[few], known[few], exclusive=data.exclusive)
    orders = _orders(inside, outside, generator)
    least = min(len(order) for order, _ in orders)
    sizes = [max(1, round(least * (i + 1) / steps)) for i in range(steps)]
    outcomes = []
    for order, held in orders:
        scored = scores_by_size(
            data.vectors, targets, known, order.tolist(), sizes, held.tolist(), exclusive=data.exclusive, c=penalty
        )  # fmt: skip
        outcomes.append(_outcome(data, held, list(scored)))
    # The same texts in each repeat are averaged, others stand side by side.
    joined = (
        Outcome(*(np.concatenate([getattr(one, name) for one in outcomes], axis=1) for name in ("hits", "out_of")))
        if outside is None
        else Outcome(*(np.mean([getattr(one, name) for one in outcomes], axis=0) for name in ("hits", "out_of")))
    )
    each = np.stack([one.scores() for one in outcomes])
    draws = joined.resampled(seed)
    n_texts = len(inside)
    points = [
        Point((i + 1) / steps, n, percentiles(float(score), draws[:, i]), float(each[:, i].std(ddof=1)))
        for i, (n, score) in enumerate(zip(sizes, joined.scores().tolist(), strict=True))
    ]
    now, *more = forecast(sizes, joined, n_texts, [n_texts, *(factor * n_texts for factor in _FACTORS)], seed)
    return LearningCurve(
        "accuracy" if data.exclusive else "micro F", n_texts, len(orders[0][1]), data.gold.shape[1], penalty, points,
        fit_law(sizes, joined.scores()), now, more,
    )  # fmt: skip


def _orders(inside: Counts, outside: Counts | None, generator: np.random.Generator) -> list[tuple[Counts, Counts]]:
    """Of each repeat the texts to train on, in order, and those that are scored."""
    if outside is not None:
        return [(generator.permutation(inside), outside) for _ in range(_REPEATS)]
    shuffled = generator.permutation(inside)
    parts = [shuffled[i::_REPEATS] for i in range(_REPEATS)]
    return [(generator.permutation(np.setdiff1d(shuffled, part)), part) for part in parts]


def _outcome(data: Data, held: Counts, scored: Sequence[Floats]) -> Outcome:
    gold, known = data.gold[held], data.known[held]
    hits, out_of = [], []
    for scores in scored:
        if data.exclusive:
            right = gold[np.arange(len(held)), scores.argmax(axis=1)]
            hits.append(right.astype(np.float64))
            out_of.append(np.ones(len(held)))
            continue
        found = Outcomes.of(gold & known, scores >= 0.5, known)
        n_hits = found.hits.sum(axis=1, dtype=np.float64)
        hits.append(2 * n_hits)
        out_of.append(2 * n_hits + found.extras.sum(axis=1) + found.misses.sum(axis=1))
    return Outcome(np.stack(hits), np.stack(out_of))
