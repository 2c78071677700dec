"""A file of the texts that a pipeline gets wrong: CSV, TSV or JSON lines, by its suffix."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import T376, T641
from ..files import refuse_same, write_data
from .predictions import Predictions

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (*_DELIMITERS, ".jsonl")
_COLUMNS = ("text", "true", "predicted", "score")
_COMPONENT = "component"
# Between the labels of a text, in a table.
_SEPARATOR = "|"


def refuse_errors_file(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse a file of errors that cannot be written, before time is spent.

    path (Path): Where it goes.
    inputs (Iterable[Path]): What the command reads.
    RAISES (ValueError): T641 for another suffix, T373 for one of the inputs.
    RAISES (FileExistsError): T376 for a file that is no older one of the kind.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(T641.format(path=path, suffixes=", ".join(_SUFFIXES)))
    refuse_same([path], inputs)
    if path.exists() and not _is_ours(path, suffix):
        raise FileExistsError(T376.format(path=path, what="a file of errors"))


def write_errors(predictions: Sequence[Predictions], path: Path) -> int:
    """Write the texts that are wrong, the surest mistakes first; whole or not there.

    predictions (Sequence[Predictions]): Of one component or of several, which then stand in a column of their own.
    path (Path): .csv, .tsv or .jsonl. A table has several labels of a text in one cell, with | between them.
    RETURNS (int): How many there are.
    RAISES (OSError): T372 for a full disk.
    """
    rows: list[dict[str, object]] = []
    for component in predictions:
        for i in component.errors():
            true, given = component.true_labels(i), component.given_labels(i)
            row: dict[str, object] = {
                "text": component.texts[i],
                "true": true[0] if component.exclusive and true else "" if component.exclusive else true,
                "predicted": given[0] if component.exclusive else given,
                "score": round(float(component.sureness[i]), 6),
            }
            rows.append({**({_COMPONENT: component.name} if len(predictions) > 1 else {}), **row})
    names = [*([_COMPONENT] if len(predictions) > 1 else []), *_COLUMNS]
    write_data(path, _table(rows, names, path) if path.suffix.lower() in _DELIMITERS else _lines(rows))
    return len(rows)


def _lines(rows: Iterable[dict[str, object]]) -> bytes:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # Half of a surrogate pair cannot be written: a label may hold one.
    return text.encode("utf-8", "backslashreplace")


def _table(rows: Iterable[dict[str, object]], names: Sequence[str], path: Path) -> bytes:
    file = io.StringIO(newline="")
    # All text is quoted, since csv leaves a carriage return bare otherwise.
    writer = csv.writer(
        file, delimiter=_DELIMITERS[path.suffix.lower()], lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC
    )
    writer.writerow(names)
    for row in rows:
        cells = (row[name] for name in names)
        writer.writerow([_SEPARATOR.join(cell) if isinstance(cell, list) else cell for cell in cells])
    return file.getvalue().encode("utf-8", "backslashreplace")


def _is_ours(path: Path, suffix: str) -> bool:
    """Whether it is an older file of errors; an empty one may be, since JSON lines have no header."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.readline(1_000_000)
    try:
        if suffix == ".jsonl":
            first = json.loads(head) if head.strip() else dict.fromkeys(_COLUMNS)
            return isinstance(first, dict) and set(first) - {_COMPONENT} == set(_COLUMNS)
        names = next(csv.reader([head.decode("utf-8")], delimiter=_DELIMITERS[suffix]), [])
        return [name for name in names if name != _COMPONENT] == list(_COLUMNS)
    except (ValueError, RecursionError):
        return False
