"""Reads what labels mean: names, or names with descriptions."""

import json
from collections.abc import Mapping
from pathlib import Path

from ...corpora.excerpt import excerpt
from ...corpora.inspection.repeats import normalize
from ...errors import T686, T686_FEW, T686_FORM, T686_JSON, T686_SILENT, T687
from ...files import require_file
from ...model.learning.label_texts import says_something
from ...model.shims.label_names import words_of

# Characters of a description.
_LONGEST = 1000
Phrases = dict[str, list[str]]


def read_label_file(path: Path) -> Phrases:
    """Read a file of labels.

    path (Path): JSON: a list of names, or an object that gives each name a description or a list of them.
    RETURNS (dict[str, list[str]]): For each label the phrases that say what it means. A label without a description has
        the words of its name.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T686 for a file of another form or fewer than two labels, T687 for two that cannot be told
        apart.
    """
    require_file(path)
    try:
        given = json.loads(path.read_text("utf-8-sig"))
    except ValueError as error:
        raise ValueError(T686.format(path=path, problem=T686_JSON.format(error=error))) from None
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        pairs = [(one, "") for one in given]
    elif isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        raise ValueError(T686.format(path=path, problem=T686_FORM.format(found=excerpt(given))))
    found: Phrases = {}
    meanings: dict[str, str] = {}
    for label, description in pairs:
        phrases = _phrases(path, label, description)
        for meaning in {normalize(words_of(label) or label), *map(normalize, phrases)}:
            if label in found or (other := meanings.setdefault(meaning, label)) != label:
                raise ValueError(T687.format(path=path, one=other if label not in found else label, other=label))
        found[label] = phrases
    if len(found) < 2:
        raise ValueError(T686.format(path=path, problem=T686_FEW.format(n=len(found))))
    return found


def _phrases(path: Path, label: str, given: object) -> list[str]:
    if not label.strip():
        raise ValueError(T686.format(path=path, problem=T686_FORM.format(found="a name without a letter")))
    phrases = []
    for one in given if isinstance(given, list) else [given]:
        if not isinstance(one, str) or len(one) > _LONGEST:
            found = f"{excerpt(label)}: {excerpt(given)}"
            raise ValueError(T686.format(path=path, problem=T686_FORM.format(found=found)))
        phrases.append(one.strip())
    phrases = [one for one in phrases if one]
    if not phrases and not says_something(label):
        raise ValueError(T686.format(path=path, problem=T686_SILENT.format(label=excerpt(label))))
    return phrases or [words_of(label)]
