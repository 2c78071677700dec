"""Suspicious texts as tasks of annotation tools: Prodigy's JSON lines or Label Studio's JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

from ...errors import T376, T651
from ...files import refuse_same, write_data
from ...json_types import JsonObject
from .doctor import Diagnosis, Place

_SUFFIXES = (".jsonl", ".json")
# Labels that a person can choose from at a glance.
_MOST_OPTIONS = 200
_KEYS = {".jsonl": {"text", "accept", "meta"}, ".json": {"data"}}


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


def write_tasks(diagnosis: Diagnosis, path: Path) -> int:
    """Write the texts to look at: probably wrong labels, contradictions among near-duplicates, outliers.

    diagnosis (Diagnosis): What was found.
    path (Path): .jsonl for Prodigy's interface "choice", .json for Label Studio.
    RETURNS (int): How many texts.
    RAISES (OSError): T372 for a full disk.
    """
    rows = list(_rows(diagnosis))
    labels = diagnosis.checked.labels[:_MOST_OPTIONS]
    if path.suffix.lower() == ".jsonl":
        options = [{"id": label, "text": label} for label in labels]
        text = "".join(
            json.dumps({"text": place.text, "options": options, "accept": place.labels, "meta": meta},
                       ensure_ascii=False) + "\n"
            for place, meta in rows
        )  # fmt: skip
    else:
        text = json.dumps([_for_label_studio(place, meta) for place, meta in rows], ensure_ascii=False, indent=1) + "\n"
    write_data(path, text.encode("utf-8", "backslashreplace"))
    return len(rows)


def _rows(diagnosis: Diagnosis) -> list[tuple[Place, JsonObject]]:
    """Each text once, for the first of the reasons."""
    found: dict[tuple[str, int], tuple[Place, JsonObject]] = {}

    def add(place: Place, reason: str, **more: object) -> None:
        """Take a text in."""
        meta = {"reason": reason, "split": place.split, "index": place.index, **more}
        found.setdefault((place.split, place.index), (place, meta))

    for one in diagnosis.suspects:
        if one.is_likely:
            score = round(one.suspicion, 4)
            add(one.place, "label may be wrong", label=one.label, suggested=one.suggested, score=score)
    for pair in diagnosis.twins:
        if pair.contradict:
            for place, other in ((pair.first, pair.second), (pair.second, pair.first)):
                add(place, "nearly the same text has other labels", other=f"{other.split}[{other.index}]",
                    other_labels=", ".join(other.labels), score=round(pair.similarity, 4))  # fmt: skip
    for place in diagnosis.outliers:
        add(place, "unlike all other texts")
    return list(found.values())


def _for_label_studio(place: Place, meta: JsonObject) -> JsonObject:
    def choices(labels: Sequence[str]) -> JsonObject:
        """Make the answer that some labels are."""
        return {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}

    suggested = [meta["suggested"]] if meta.get("suggested") else []
    return {
        "data": {"text": place.text, "meta": meta},
        "annotations": [{"result": [choices(place.labels)]}],
        "predictions": [{"result": [choices(suggested)], "score": meta.get("score")}] if suggested else [],
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
