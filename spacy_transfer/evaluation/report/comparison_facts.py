"""Several pipelines on the same texts: who is better, and what changed."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from ...json_types import JsonObject
from ..comparison import changes, compare
from ..evaluate import Judged
from ..measures import Outcomes, f_of
from ..predictions import Predictions
from ..summary import Summary
from .data_facts import text_row

# Texts of each kind that a page carries.
_MOST_TEXTS = 200
# Labels whose F changed most.
_MOST_LABELS = 15


def comparison_facts(data: str, first: Judged, others: Sequence[tuple[str, Judged]]) -> list[JsonObject]:
    """Compare every component of the first pipeline with its like in the others.

    data (str): Name of the test set.
    first (Judged): What the first pipeline made of it.
    others (Sequence[tuple[str, Judged]]): Names of the other pipelines, and what they made of it.
    RETURNS (list[dict]): For each component: the pipelines' scores, differences to the first, and texts that changed.
    """
    found = []
    for predictions, summary in zip(first.components, first.summaries, strict=True):
        rows = []
        for name, judged in others:
            like = _like(predictions, judged)
            rows.append(
                {"name": name, "unlike": like is None, **({} if like is None else _against(predictions, *like))}
            )
        found.append({
            "data": data, "component": predictions.name, "exclusive": predictions.exclusive,
            "first": _scores(summary, first), "others": rows,
        })  # fmt: skip
    return found


def _scores(summary: Summary, judged: Judged) -> JsonObject:
    return {
        "accuracy": asdict(summary.accuracy), "macro_f": asdict(summary.macro_f),
        "calibration_error": summary.calibration.error, "docs_per_second": judged.scores["docs_per_second"],
    }  # fmt: skip


def _like(predictions: Predictions, judged: Judged) -> tuple[Predictions, Summary, Judged] | None:
    """The component of another pipeline that has the same name, or else the most labels in common."""
    candidates = list(zip(judged.components, judged.summaries, strict=True))
    common = [len(set(one.labels) & set(predictions.labels)) for one, _ in candidates]
    best = max(
        range(len(candidates)), key=lambda i: (common[i] > 0 and candidates[i][0].name == predictions.name, common[i]),
        default=None,
    )  # fmt: skip
    return None if best is None or not common[best] else (*candidates[best], judged)


def _against(first: Predictions, other: Predictions, summary: Summary, judged: Judged) -> JsonObject:
    places = sorted(set(first.places) & set(other.places))
    rows, other_rows = (
        np.array([index[place] for place in places], dtype=np.int64)
        for index in ({place: i for i, place in enumerate(one.places)} for one in (first, other))
    )
    one, two = _rows(first.outcomes, rows), _rows(other.outcomes, other_rows)
    gained, lost = changes(one.right, two.right)
    return {
        "component": other.name, "n_texts": len(places), **_scores(summary, judged),
        "difference": asdict(compare(one, two)),
        "labels": _label_changes(first, other, one, two),
        "gained": [_change(first, other, int(rows[i]), int(other_rows[i])) for i in gained[:_MOST_TEXTS]],
        "lost": [_change(first, other, int(rows[i]), int(other_rows[i])) for i in lost[:_MOST_TEXTS]],
        "missing_labels": sorted(set(first.labels) - set(other.labels)),
        "new_labels": sorted(set(other.labels) - set(first.labels)),
    }  # fmt: skip


def _rows(outcomes: Outcomes, rows: NDArray[np.int64]) -> Outcomes:
    return Outcomes(outcomes.hits[rows], outcomes.extras[rows], outcomes.misses[rows])


def _change(first: Predictions, other: Predictions, i: int, j: int) -> JsonObject:
    row = text_row(first, i)
    return {
        **{key: row[key] for key in ("place", "text", "true", "predicted", "score")},
        "other": other.given_labels(j), "other_score": float(other.sureness[j]),
    }  # fmt: skip


def _label_changes(first: Predictions, other: Predictions, one: Outcomes, two: Outcomes) -> list[JsonObject]:
    """F of the labels that both know, those that changed most first."""

    def f(outcomes: Outcomes) -> list[float]:
        """Compute F by label."""
        wrong = outcomes.extras.sum(axis=0) + outcomes.misses.sum(axis=0)
        return f_of(outcomes.hits.sum(axis=0).astype(np.float64), wrong.astype(np.float64)).tolist()

    before = dict(zip(first.labels, f(one), strict=True))
    after = dict(zip(other.labels, f(two), strict=True))
    rows: list[JsonObject] = [
        {"label": label, "before": before[label], "after": after[label], "change": after[label] - before[label]}
        for label in first.labels
        if label in after and not np.isnan(before[label]) and not np.isnan(after[label])
    ]
    rows.sort(key=lambda row: -abs(row["change"]))
    return [row for row in rows if row["change"]][:_MOST_LABELS]
