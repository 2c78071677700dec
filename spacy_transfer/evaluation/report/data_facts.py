"""What a pipeline made of test data, as the page shows it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from spacy.language import Language

from ...json_types import JsonObject
from ..calibration import precision_recall, worth
from ..evaluate import Judged
from ..measures import NO_LABEL, f_of
from ..predictions import Predictions
from ..summary import Summary
from .slices import slices

# Labels that a matrix has room for.
_MOST_LABELS = 25
# Texts that a page carries: wrong ones, and right ones of each label and in all; characters of each.
_MOST_ERRORS, _MOST_OF_A_LABEL, _MOST_RIGHT = 1500, 10, 500
LONGEST_TEXT = 600
# Curves that are drawn: of labels with the lowest average precision.
_MOST_CURVES = 3
_STEPS = 200


def data_facts(data: Path, judged: Judged, nlp: Language) -> JsonObject:
    """Collect what the page shows of one test set.

    data (Path): Where it is.
    judged (Judged): What the pipeline made of it.
    nlp (Language): The pipeline.
    RETURNS (dict): Its components in order.
    """
    pairs = zip(judged.components, judged.summaries, strict=True)
    return {
        "name": data.stem or str(data), "path": str(data), "n_docs": judged.scores["n_docs"],
        "docs_per_second": judged.scores["docs_per_second"],
        "components": [
            {
                **summary.to_json(),
                "matrix": _matrix(predictions, summary),
                "precision_recall": _curves(predictions),
                "thresholds": _thresholds(predictions),
                "slices": slices(predictions, nlp, judged.docs, judged.references),
                "texts": _texts(predictions),
                "n_errors": int((~predictions.right).sum()),
            }
            for predictions, summary in pairs
        ],
    }  # fmt: skip


def _matrix(predictions: Predictions, summary: Summary) -> JsonObject:
    """Right labels by given labels, of the labels with the most mistakes."""
    hits = dict(zip(predictions.labels, predictions.outcomes.hits.sum(axis=0).tolist(), strict=True))
    mistakes: dict[str, int] = dict.fromkeys(predictions.labels, 0)
    for one in summary.confusions:
        for label in (one.true, one.predicted):
            if label != NO_LABEL:
                mistakes[label] += one.n
    ranked = sorted(predictions.labels, key=lambda label: -mistakes[label])
    kept = set(ranked[:_MOST_LABELS])
    labels = [label for label in predictions.labels if label in kept]
    cells = {(one.true, one.predicted): one.n for one in summary.confusions}
    # A row and a column for what has no label, where anything is in them.
    rows = [*labels, *([NO_LABEL] if any(one.true == NO_LABEL for one in summary.confusions) else [])]
    columns = [*labels, *([NO_LABEL] if any(one.predicted == NO_LABEL for one in summary.confusions) else [])]
    counts = [
        [hits[row] if row == column and row else cells.get((row, column), 0) for column in columns] for row in rows
    ]
    return {"rows": rows, "columns": columns, "counts": counts, "n_hidden": len(predictions.labels) - len(labels)}


def _curves(predictions: Predictions) -> JsonObject:
    """Precision against recall: of all labels together, and of those that are worst at it."""
    known = predictions.known
    micro = precision_recall(predictions.scores[known], predictions.gold[known])
    of_labels = []
    for j, label in enumerate(predictions.labels):
        rows = known[:, j]
        curve = precision_recall(predictions.scores[rows, j], predictions.gold[rows, j])
        if curve.recall:
            of_labels.append({"label": label, **asdict(curve)})
    of_labels.sort(key=lambda one: one["average_precision"])
    return {
        "micro": asdict(micro), "worst": of_labels[:_MOST_CURVES],
        "average_precision": {one["label"]: one["average_precision"] for one in of_labels},
    }  # fmt: skip


def _thresholds(predictions: Predictions) -> list[JsonObject]:
    """What a threshold buys: of exclusive labels the share of texts that are decided and right, else precision and
    recall of the labels given."""
    if predictions.exclusive:
        scores, right = predictions.decisions()
        steps = np.unique(np.quantile(scores, np.linspace(0, 1, _STEPS), method="inverted_cdf"))[::-1]
        return [asdict(one) for one in worth(scores, right, steps.tolist())]
    scores, gold = predictions.scores[predictions.known], predictions.gold[predictions.known]
    found = []
    for threshold in np.linspace(0.01, 0.99, 99).tolist():
        given = scores >= threshold
        n_hits, n_wrong = int((given & gold).sum()), int((given ^ gold).sum())
        f = float(f_of(np.array([float(n_hits)]), np.array([float(n_wrong)]))[0])
        found.append({
            "threshold": threshold, "n": int(given.sum()),
            "precision": n_hits / int(given.sum()) if given.any() else None,
            "recall": n_hits / int(gold.sum()) if gold.any() else None,
            "f": f,
        })  # fmt: skip
    return found


def _texts(predictions: Predictions) -> list[JsonObject]:
    """Texts to click through to: errors, the surest first, and some of the right ones of each label."""
    chosen = predictions.errors()[:_MOST_ERRORS]
    right = np.flatnonzero(predictions.right)
    kept: dict[int, None] = {}
    for j in range(len(predictions.labels)):
        of_label = right[predictions.gold[right, j]]
        kept.update(dict.fromkeys(of_label[:_MOST_OF_A_LABEL].tolist()))
    return [text_row(predictions, i) for i in [*chosen, *list(kept)[:_MOST_RIGHT]]]


def text_row(predictions: Predictions, i: int) -> JsonObject:
    """Describe one text.

    predictions (Predictions): Of a component.
    i (int): Number of the text among its texts.
    RETURNS (dict): Text, right and given labels, score, and which cells of the matrix it is in.
    """
    true, given = predictions.true_labels(i), predictions.given_labels(i)
    known = [predictions.labels[j] for j in np.flatnonzero(predictions.outcomes.misses[i])]
    extra = [predictions.labels[j] for j in np.flatnonzero(predictions.outcomes.extras[i])]
    hits = [predictions.labels[j] for j in np.flatnonzero(predictions.outcomes.hits[i])]
    is_right = bool(predictions.right[i])
    cells = [[label, label] for label in hits]
    if not is_right:
        cells += [[row, column] for row in known or [NO_LABEL] for column in extra or [NO_LABEL]]
    text = predictions.texts[i]
    return {
        "place": predictions.places[i], "text": text, "true": true, "predicted": given,
        "score": float(predictions.sureness[i]), "right": is_right, "cells": cells,
    }  # fmt: skip


def shown_texts(rows: Sequence[JsonObject]) -> int:
    """Count the wrong ones among texts that a page carries."""
    return sum(not one["right"] for one in rows)
