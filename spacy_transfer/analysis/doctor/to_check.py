"""Which texts of a diagnosis people should look at."""

from ...json_types import JsonObject
from ..annotation_tasks import Task
from .doctor import Diagnosis, Place


def tasks_of(diagnosis: Diagnosis) -> list[Task]:
    """Collect the texts to look at: probably wrong labels, contradictions among near-duplicates, outliers.

    diagnosis (Diagnosis): What was found.
    RETURNS (list[Task]): Each text once, for the first of the reasons.
    """
    found: dict[tuple[str, int], Task] = {}

    def add(place: Place, reason: str, suggested: str = "", score: float | None = None, **more: object) -> None:
        """Take a text in."""
        known = {"suggested": suggested, "score": score} if suggested or score is not None else {}
        meta: JsonObject = {"reason": reason, "split": place.split, "index": place.index, **more, **known}
        task = Task(place.text, place.labels, [suggested] if suggested else [], score, meta)
        found.setdefault((place.split, place.index), task)

    for one in diagnosis.suspects:
        if one.is_likely:
            add(one.place, "label may be wrong", one.suggested, round(one.suspicion, 4), label=one.label)
    for pair in diagnosis.twins:
        if pair.contradict:
            for place, other in ((pair.first, pair.second), (pair.second, pair.first)):
                add(place, "nearly the same text has other labels", score=round(pair.similarity, 4),
                    other=f"{other.split}[{other.index}]", other_labels=", ".join(other.labels))  # fmt: skip
    for place in diagnosis.outliers:
        add(place, "unlike all other texts")
    return list(found.values())
