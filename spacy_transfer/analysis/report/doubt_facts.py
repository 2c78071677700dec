"""What the doctor says about the training data, and what more of them would bring, as the page shows it."""

from collections.abc import Sequence
from pathlib import Path

from ...json_types import JsonObject
from ..curve.curve import curve
from ..doctor.doctor import Diagnosis, Place, Twins, doctor
from .data_facts import LONGEST_TEXT

# Rows of each kind on the page.
_MOST = 50


def doctor_facts(paths: Sequence[Path], *, exclusive: bool | None) -> JsonObject:
    """Look for wrong labels.

    paths (Sequence[Path]): Training data, and what else is annotated.
    exclusive (bool | None): Exactly one label a text. None: as `check` finds out.
    RETURNS (dict): Counts, and the first of each kind; "error" alone where nothing can be said.
    """
    if not paths:
        return {"error": "the training data are not here any more"}
    try:
        found = doctor(paths, exclusive=exclusive)
    except (ValueError, OSError, ImportError) as error:
        return {"error": str(error)}
    return _facts(found)


def _facts(found: Diagnosis) -> JsonObject:
    likely = [one for one in found.suspects if one.is_likely]
    contradictions = [one for one in found.twins if one.contradict]
    leaks = [one for one in found.twins if one.leak and not one.contradict]
    return {
        "error": "", "n_texts": len(found.suspects), "n_wrong": found.n_wrong, "accuracy": found.accuracy,
        "n_likely": len(likely),
        "suspects": [
            {**_place(one.place), "label": one.label, "suggested": one.suggested, "suspicion": one.suspicion}
            for one in likely[:_MOST]
        ],
        "n_contradictions": len(contradictions), "contradictions": [_pair(one) for one in contradictions[:_MOST]],
        "n_leaks": len(leaks), "leaks": [_pair(one) for one in leaks[:_MOST]],
        "n_confusable": len(found.confusable),
        "confusable": [
            {"first": one.first, "second": one.second, "n": one.n, "share": one.share}
            for one in found.confusable[:_MOST]
        ],
        "n_outliers": len(found.outliers), "outliers": [_place(one) for one in found.outliers[:_MOST]],
    }  # fmt: skip


def _place(place: Place) -> JsonObject:
    return {"split": place.split, "place": place.index, "text": place.text[:LONGEST_TEXT], "labels": place.labels}


def _pair(pair: Twins) -> JsonObject:
    return {"first": _place(pair.first), "second": _place(pair.second), "similarity": pair.similarity}


def curve_facts(train: Path | None, dev: Path | None, *, exclusive: bool | None) -> JsonObject:
    """Estimate what more training texts would bring.

    train (Path | None): Training data; None where they are not there any more.
    dev (Path | None): What is scored; None takes a part of the training data.
    exclusive (bool | None): Exactly one label a text. None: as `check` finds out.
    RETURNS (dict): The curve; "error" alone where nothing can be said.
    """
    if train is None:
        return {"error": "the training data are not here any more"}
    try:
        return {"error": "", **curve([train], dev=dev, exclusive=exclusive).to_json()}
    except (ValueError, OSError, ImportError) as error:
        return {"error": str(error)}
