"""The label set as a file, read by `spacy.read_labels.v1` in `[initialize.components.X.labels]`."""

import json
from collections.abc import Iterable
from pathlib import Path

from .. import errors
from .excerpt import excerpt
from .tables.decoding import decoded_lines
from .tables.rows import BadRow, parse_json


def read_labels(path: Path) -> list[str]:
    """Read a label set, a JSON list or one label in a line.

    path (Path): The file; only a line feed ends a line.
    RETURNS (list[str]): The labels, sorted.
    RAISES (UnicodeError): T042 if it is no text.
    RAISES (ValueError): T047 if it is empty, or holds a label twice or one that is no str.
    """
    text = "".join(decoded_lines(path))
    try:
        labels = _parse_labels(text)
    except BadRow as error:
        raise ValueError(errors.T047.format(path=path, format="a list of labels", reason=error)) from error
    return sorted(labels)


def _parse_labels(text: str) -> list[str]:
    values = parse_json(text) if text.lstrip().startswith(("[", "{")) else text.split("\n")
    if not isinstance(values, list):
        raise BadRow(errors.T047_LABELS_LIST)
    labels: dict[str, None] = {}
    for value in values:
        if not isinstance(value, str):
            raise BadRow(errors.T043_LABEL_TYPE.format(value=excerpt(value)))
        label = value.strip()
        if label in labels:
            raise BadRow(errors.T047_LABEL_TWICE.format(label=label))
        if label:
            labels[label] = None
    if not labels:
        raise BadRow(errors.T047_NO_LABELS)
    return list(labels)


def write_labels(labels: Iterable[str], path: Path) -> None:
    """Write a label set as a sorted JSON list.

    labels (Iterable[str]): The labels.
    path (Path): The file, written over.
    """
    path.write_text(json.dumps(sorted(labels), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
