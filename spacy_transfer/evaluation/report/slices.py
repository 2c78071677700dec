"""Scores by part of the data: by length, by window, by attribute."""

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ...json_types import JsonObject
from ...model.architectures.classifier import OwnEncoderClassifier
from ...pipeline.components import classifiers_of
from ...pipeline.interface import classifier_of
from ..measures import Interval, Outcomes, bootstrap_f, wilson
from ..predictions import Predictions

# Values of an attribute that are shown, and groups that numbers are cut into.
_MOST_VALUES, _N_GROUPS = 12, 4
# Attributes that are shown.
_MOST_ATTRIBUTES = 20
_WINDOWS = ((1, "1 window"), (2, "2 windows"), (4, "3 or 4 windows"), (8, "5 to 8 windows"), (math.inf, "9 or more"))
_OTHERS, _MISSING = "(others)", "(none)"
_LONGEST_VALUE = 80


def slices(predictions: Predictions, nlp: Language, docs: Sequence[Doc], references: Sequence[Doc]) -> list[JsonObject]:
    """Measure parts of the data.

    predictions (Predictions): Of a component.
    nlp (Language): The pipeline.
    docs (Sequence[Doc]): All documents, as the pipeline predicted them.
    references (Sequence[Doc]): As they are annotated, with their attributes.
    RETURNS (list[dict]): For each way to cut: "by", and "groups" with their texts and accuracy; where labels are not
        exclusive, micro F.
    """
    chosen = [docs[place] for place in predictions.places]
    annotated = [references[place] for place in predictions.places]
    found: list[JsonObject] = []
    if not chosen:
        return found
    lengths, windows = _lengths(predictions.name, nlp, chosen)
    unit = "tokens" if lengths is None else "pieces"
    values = [len(doc) for doc in chosen] if lengths is None else lengths
    found.append(_cut(f"length in {unit}", values, predictions))
    if windows is not None and len(set(windows)) > 1:
        found.append(_cut("windows", windows, predictions))
    for name, attribute in list(_attributes(annotated))[:_MOST_ATTRIBUTES]:
        found.append(_cut(name, attribute, predictions))
    return [one for one in found if len(one["groups"]) > 1]


def _lengths(name: str, nlp: Language, docs: Sequence[Doc]) -> tuple[list[int] | None, list[str] | None]:
    """Pieces of each text, and in how many windows it is read; None where the encoder is another component's."""
    net = classifier_of(classifiers_of(nlp)[name].model)
    if not isinstance(net, OwnEncoderClassifier):
        return None, None
    tokenizer, windows = net.shim.tokenizer, net.shim.windows
    pieces = tokenizer.encode(net.texts(docs))
    names = [
        "1 window, middle left out"
        if windows.cuts(one, tokenizer)
        else next(name for most, name in _WINDOWS if len(windows.cut(one, tokenizer)) <= most)
        for one in pieces
    ]
    return [len(one) for one in pieces], names


def _attributes(docs: Sequence[Doc]) -> Iterator[tuple[str, list[Hashable]]]:
    """Fields of the data beside text and labels: `doc._.name`, and what stands in a dict under one."""
    rows: list[dict[str, Hashable]] = []
    for doc in docs:
        row: dict[str, Hashable] = {}
        for key, value in doc.user_data.items():
            # `doc._.name`: spans and tokens have their place as the third and fourth part.
            is_attribute = isinstance(key, tuple) and len(key) == 4 and key[0] == "._." and key[2] is None
            name = f"_.{key[1]}" if is_attribute else key if isinstance(key, str) else None
            if name is not None:
                row.update(_flat(name, value))
        rows.append(row)
    names = Counter(name for row in rows for name in row)
    for name, n in names.most_common():
        values = [row.get(name) for row in rows]
        n_different = len(set(values))
        is_number = all(isinstance(value, int | float) for value in values if value is not None)
        # A title or an id tells one text from the other.
        if n_different > 1 and (is_number or n_different <= max(2, n // 3)):
            yield name, values


def _flat(name: str, value: object) -> Iterator[tuple[str, Hashable]]:
    if isinstance(value, str | int | float):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            if isinstance(part, str | int | float):
                yield f"{name}.{key}", part


def _cut(by: str, values: Sequence[Hashable], predictions: Predictions) -> JsonObject:
    groups = _groups(values)
    if by == "windows":
        groups.sort(key=lambda group: int(group[0].split(" ")[0]))
    rows = []
    for name, places in groups:
        rows.append({"name": name, "n": len(places), "score": asdict(_score(predictions, places))})
    return {"by": by, "measure": "accuracy" if predictions.exclusive else "micro F", "groups": rows}


def _score(predictions: Predictions, places: Sequence[int]) -> Interval:
    if predictions.exclusive:
        return wilson(int(predictions.right[places].sum()), len(places))
    outcomes = predictions.outcomes
    return bootstrap_f(Outcomes(outcomes.hits[places], outcomes.extras[places], outcomes.misses[places])).micro


def _groups(values: Sequence[Hashable]) -> list[tuple[str, list[int]]]:
    """Texts by value: numbers in parts of like size, other values by how often they come."""
    known = [value for value in values if value is not None]
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if is_number and len(set(known)) > _N_GROUPS:
        return _quantiles(values)
    counts = Counter(values)
    ranked = [value for value, _ in counts.most_common()]
    shown, others = ranked[:_MOST_VALUES], set(ranked[_MOST_VALUES:])
    if is_number:
        with suppress(TypeError):
            shown.sort(key=lambda value: (value is None, value))
    found = [(_name(value), [i for i, one in enumerate(values) if one == value]) for value in shown]
    if others:
        found.append((_OTHERS, [i for i, one in enumerate(values) if one in others]))
    return found


def _quantiles(values: Sequence[Hashable]) -> list[tuple[str, list[int]]]:
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = numbers[np.isfinite(numbers)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _N_GROUPS + 1), method="inverted_cdf"))
    found = []
    for i, high in enumerate(edges[1:]):
        low = edges[0] if i == 0 else edges[i]
        inside = (numbers >= low if i == 0 else numbers > low) & (numbers <= high)
        places = np.flatnonzero(inside).tolist()
        if places:
            lowest = numbers[places].min()
            name = f"{lowest:g}" if lowest == high else f"{lowest:g} to {high:g}"
            found.append((name, places))
    if missing := np.flatnonzero(~np.isfinite(numbers)).tolist():
        found.append((_MISSING, missing))
    return found


def _name(value: Hashable) -> str:
    if value is None:
        return _MISSING
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
