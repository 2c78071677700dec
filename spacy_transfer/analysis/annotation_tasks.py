"""Texts to look at as tasks of annotation tools: Prodigy's JSON lines or Label Studio's JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import T376, T651
from ..files import refuse_same, write_data
from ..json_types import JsonObject

_SUFFIXES = (".jsonl", ".json")
# Labels that a person can choose from at a glance.
_MOST_OPTIONS = 200
_KEYS = {".jsonl": {"text", "accept", "meta"}, ".json": {"data"}}


@dataclass(frozen=True)
class Task:
    """A text that a person should look at.

    text (str): The text.
    labels (list[str] | None): What it is labeled with; None where nobody has labeled it.
    suggested (list[str]): What it may be instead.
    score (float | None): Of the suggestion.
    meta (dict): What else the person should know, JSON-able.
    """

    text: str
    labels: list[str] | None
    suggested: list[str]
    score: float | None
    meta: JsonObject


def refuse_tasks_file(path: Path, inputs: Sequence[Path]) -> None:
    """Refuse a file of tasks that cannot be written, before time is spent.

    path (Path): Where it goes.
    inputs (Sequence[Path]): What the command reads.
    RAISES (ValueError): T651 for another suffix, T373 for one of the inputs.
    RAISES (FileExistsError): T376 for a file that is no older one of the kind.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(T651.format(path=path))
    refuse_same([path], inputs)
    if path.exists() and not _is_ours(path, suffix):
        raise FileExistsError(T376.format(path=path, what="a file of annotation tasks"))


def write_tasks(tasks: Sequence[Task], labels: Sequence[str], path: Path) -> None:
    """Write tasks.

    tasks (Sequence[Task]): In the order in which people should see them.
    labels (Sequence[str]): What there is to choose from.
    path (Path): .jsonl for Prodigy's interface "choice", .json for Label Studio.
    RAISES (OSError): T372 for a full disk.
    """
    if path.suffix.lower() == ".jsonl":
        options = [{"id": label, "text": label} for label in labels[:_MOST_OPTIONS]]
        text = "".join(
            json.dumps({"text": one.text, "options": options, "accept": one.labels or [], "meta": one.meta},
                       ensure_ascii=False) + "\n"
            for one in tasks
        )  # fmt: skip
    else:
        text = json.dumps([_for_label_studio(one) for one in tasks], ensure_ascii=False, indent=1) + "\n"
    write_data(path, text.encode("utf-8", "backslashreplace"))


def _for_label_studio(task: Task) -> JsonObject:
    def choices(labels: Sequence[str]) -> JsonObject:
        """Make the answer that some labels are."""
        return {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}

    return {
        "data": {"text": task.text, "meta": task.meta},
        **({"annotations": [{"result": [choices(task.labels)]}]} if task.labels is not None else {}),
        "predictions": [{"result": [choices(task.suggested)], "score": task.score}] if task.suggested else [],
    }


def _is_ours(path: Path, suffix: str) -> bool:
    if not path.is_file():
        return False
    try:
        if suffix == ".jsonl":
            with path.open("rb") as file:
                head = file.readline(10_000_000)
            first = json.loads(head) if head.strip() else dict.fromkeys(_KEYS[suffix])
        else:
            tasks = json.loads(path.read_text("utf-8"))
            first = tasks[0] if tasks else dict.fromkeys(_KEYS[suffix])
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return False
    return isinstance(first, dict) and set(first) >= _KEYS[suffix]
