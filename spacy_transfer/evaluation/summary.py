"""What matters about the predictions of a component: the numbers that `evaluate` shows and writes."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from ..json_types import JsonMapping, JsonObject
from .calibration import Calibration, Worth, calibration, least_score, worth
from .measures import Interval, bootstrap_f, confusions, f_interval, wilson
from .predictions import Predictions

# Shares of right decisions for which the least score is given.
WANTED = (0.99, 0.95, 0.9)


@dataclass(frozen=True)
class LabelScores:
    """How well a label is recognized.

    label (str): The label.
    n_texts (int): Texts that have it.
    n_given (int): Texts that were given it.
    precision (Interval): Share of these that have it; Wilson's interval.
    recall (Interval): Share of those that have it and were given it; Wilson's interval.
    f (Interval): The F of both; Wilson's interval of its hits.
    f_bootstrap (Interval): The same, by bootstrap over texts.
    """

    label: str
    n_texts: int
    n_given: int
    precision: Interval
    recall: Interval
    f: Interval
    f_bootstrap: Interval


@dataclass(frozen=True)
class Confusion:
    """A label that was taken for another.

    true (str): The right one; empty where a label was given to a text that has none left.
    predicted (str): The given one; empty where a label was missed and no other was given.
    n (int): Texts.
    """

    true: str
    predicted: str
    n: int


@dataclass(frozen=True)
class Summary:
    """What matters about the predictions of a component.

    name (str): Of the component.
    exclusive (bool): Exactly one label a text.
    threshold (float): Score from which a label is given, where labels are not exclusive.
    n_texts (int): Annotated texts.
    n_left_out (int): Texts without an annotation for these labels.
    unknown_labels (dict[str, int]): Labels in the data that the component does not know, and their texts.
    unused_labels (list[str]): Labels that no text has.
    accuracy (Interval): Share of texts with exactly the right labels; Wilson's interval.
    macro_f (Interval): Mean F of the labels that any text has or was given; by bootstrap over texts.
    micro_f (Interval): F of all decisions; by bootstrap over texts.
    by_label (list[LabelScores]): Lowest F first.
    confusions (list[Confusion]): Most frequent first.
    scores_worth (list[Worth]): What decisions are worth from which score on.
    least_scores (dict[str, Worth | None]): The lowest score from which on so many decisions are right, by their share.
    calibration (Calibration): Whether a score is the share that is right.
    """

    name: str
    exclusive: bool
    threshold: float
    n_texts: int
    n_left_out: int
    unknown_labels: dict[str, int]
    unused_labels: list[str]
    accuracy: Interval
    macro_f: Interval
    micro_f: Interval
    by_label: list[LabelScores]
    confusions: list[Confusion]
    scores_worth: list[Worth]
    least_scores: dict[str, Worth | None]
    calibration: Calibration

    def to_json(self) -> JsonObject:
        """Give the numbers as JSON has them.

        RETURNS (dict): NaN is null.
        """
        return without_nan(asdict(self))


def summarize(predictions: Predictions) -> Summary:
    """Count what matters.

    predictions (Predictions): Of a component.
    RETURNS (Summary): The numbers.
    """
    labels, outcomes = predictions.labels, predictions.outcomes
    n_hits, n_extras, n_misses = (
        flags.sum(axis=0).tolist() for flags in (outcomes.hits, outcomes.extras, outcomes.misses)
    )
    f_scores = bootstrap_f(outcomes)
    by_label = [
        LabelScores(
            label, n_hits[j] + n_misses[j], n_hits[j] + n_extras[j], wilson(n_hits[j], n_hits[j] + n_extras[j]),
            wilson(n_hits[j], n_hits[j] + n_misses[j]), f_interval(n_hits[j], n_extras[j] + n_misses[j]),
            f_scores.by_label[j],
        )
        for j, label in enumerate(labels)
    ]  # fmt: skip
    by_label.sort(key=lambda one: (math.isnan(one.f.value), one.f.value, -one.n_texts, one.label))
    scores, right = predictions.decisions()
    n_texts = len(predictions.texts)
    return Summary(
        name=predictions.name,
        exclusive=predictions.exclusive,
        threshold=predictions.threshold,
        n_texts=n_texts,
        n_left_out=predictions.n_left_out,
        unknown_labels=predictions.unknown,
        unused_labels=sorted(one.label for one in by_label if not one.n_texts),
        accuracy=wilson(int(predictions.right.sum()), n_texts),
        macro_f=f_scores.macro,
        micro_f=f_scores.micro,
        by_label=by_label,
        confusions=[Confusion(*one) for one in confusions(labels, outcomes)],
        scores_worth=worth(scores, right),
        least_scores={f"{wanted:g}": least_score(scores, right, wanted) for wanted in WANTED},
        calibration=calibration(*predictions.judgments()),
    )


def without_nan(data: JsonMapping) -> JsonObject:
    """Replace what JSON has no form for.

    data (Mapping): Dicts, lists, numbers, text.
    RETURNS (dict): The same with None for NaN and infinity, and Python's numbers for NumPy's.
    """
    return {str(key): _plain(part) for key, part in data.items()}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return without_nan(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
