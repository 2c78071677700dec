"""Recognizes exports of annotation tools and reads their records, including rejected and skipped ones.

Prodigy (JSONL of `db-out`), doccano (JSONL), Label Studio (JSON and JSON-MIN), Argilla (records as JSON, and data sets
exported to the hub). A record becomes a row with `text` and one of `label`, `labels` and `cats`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import errors
from .excerpt import excerpt


class Skipped(Exception):
    """A record that its annotator left out, or never came to; the text says which."""


class Unclear(Exception):
    """A record whose annotation cannot be used; the text says why."""


Cells = Mapping[str, Any]
TEXT, LABEL, LABELS, CATS = "text", "label", "labels", "cats"


@dataclass(frozen=True)
class Tool:
    """An annotation tool.

    name (str): As people know it.
    recognizes (Callable[[Cells], bool]): Whether a record is one of its.
    read (Callable[[Cells], dict[str, object]]): Makes a row of a record; raises Skipped or Unclear.
    """

    name: str
    recognizes: Callable[[Cells], bool]
    read: Callable[[Cells], dict[str, object]]


def recognize(record: object) -> Tool | None:
    """Find the tool that a record comes from.

    record (object): The first record of a file.
    RETURNS (Tool | None): None where it is nobody's.
    """
    return next((tool for tool in TOOLS if isinstance(record, Mapping) and tool.recognizes(record)), None)


# ---- Prodigy -----------------------------------------------------------------------------------------------------

_ANSWERS = ("accept", "reject", "ignore")


def _is_prodigy(record: Cells) -> bool:
    marks = ("_task_hash", "_input_hash", "_view_id", "_session_id", "_annotator_id", "options", "accept", "label")
    return record.get("answer") in _ANSWERS and any(mark in record for mark in marks)


def _read_prodigy(record: Cells) -> dict[str, object]:
    answer = record.get("answer")
    if answer not in _ANSWERS:
        raise Unclear(errors.T043_TOOL.format(tool="Prodigy", field="answer", value=excerpt(answer)))
    if answer == "ignore":
        raise Skipped(errors.T043_SKIPPED.format(field="answer", value="ignore"))
    if "options" in record or "accept" in record:
        if answer == "reject":
            raise Skipped(errors.T043_SKIPPED.format(field="answer", value="reject"))
        return _choices_of_prodigy(record)
    label = record.get("label")
    if not isinstance(label, str):
        raise Unclear(errors.T043_TOOL.format(tool="Prodigy", field="label", value=excerpt(label)))
    # The question was whether this one label holds: of the others nothing is known.
    return {TEXT: record.get("text"), CATS: {label: 1.0 if answer == "accept" else 0.0}}


def _choices_of_prodigy(record: Cells) -> dict[str, object]:
    accepted = record.get("accept", [])
    options = record.get("options", [])
    if not isinstance(accepted, list) or not isinstance(options, list):
        raise Unclear(errors.T043_TOOL.format(tool="Prodigy", field="accept", value=excerpt(accepted)))
    names = [str(option.get("id")) if isinstance(option, Mapping) else str(option) for option in options]
    chosen = [str(name) for name in accepted]
    config = record.get("config")
    single = isinstance(config, Mapping) and config.get("choice_style") == "single"
    if single:
        return {TEXT: record.get("text"), LABEL: chosen[0]} if len(chosen) == 1 else _nothing("accept")
    if not names:
        return {TEXT: record.get("text"), LABELS: chosen}
    return {TEXT: record.get("text"), CATS: {name: float(name in chosen) for name in [*names, *chosen]}}


def _nothing(field: str) -> dict[str, object]:
    raise Skipped(errors.T043_SKIPPED.format(field=field, value="nothing chosen"))


# ---- doccano -----------------------------------------------------------------------------------------------------


def _is_doccano(record: Cells) -> bool:
    marks = {"Comments", "comments", "annotation_approver", "meta"}
    listed = isinstance(record.get("label"), list) and {"id", "text"} <= record.keys()
    return listed and bool(marks & record.keys() or record.keys() == {"id", "text", "label"})


def _read_doccano(record: Cells) -> dict[str, object]:
    labels = record.get("label")
    if not isinstance(labels, list) or any(not isinstance(label, str) for label in labels):
        raise Unclear(errors.T043_TOOL.format(tool="doccano", field="label", value=excerpt(labels)))
    # An empty list is what it writes for a text that nobody has looked at.
    return {TEXT: record.get("text"), LABELS: labels} if labels else _nothing("label")


# ---- Label Studio ------------------------------------------------------------------------------------------------


def _is_label_studio(record: Cells) -> bool:
    return isinstance(record.get("data"), Mapping) and isinstance(
        record.get("annotations", record.get("completions")), list
    )


def _read_label_studio(record: Cells) -> dict[str, object]:
    data = record.get("data")
    annotations = record.get("annotations", record.get("completions"))
    if not isinstance(data, Mapping) or not isinstance(annotations, list):
        raise Unclear(errors.T043_TOOL.format(tool="Label Studio", field="data", value=excerpt(data)))
    valid = [
        one
        for one in annotations
        if isinstance(one, Mapping) and not one.get("was_cancelled") and not one.get("skipped")
    ]
    if not valid:
        raise Skipped(errors.T043_SKIPPED_CANCELED if annotations else errors.T043_SKIPPED_NONE)
    votes = [_choices(one.get("result")) for one in valid]
    texts = [value for key, value in data.items() if isinstance(value, str)]
    text = data.get("text", texts[0] if len(texts) == 1 else None)
    return _agreed(text, votes, "Label Studio", data)


def _choices(result: object) -> frozenset[str]:
    regions = result if isinstance(result, list) else []
    values = [
        region.get("value")
        for region in regions
        if isinstance(region, Mapping) and region.get("type") in (None, "choices", "taxonomy")
    ]
    chosen: set[str] = set()
    for value in values:
        named = value.get("choices", value.get("taxonomy")) if isinstance(value, Mapping) else None
        # A taxonomy gives paths: its leaf is the label.
        chosen.update(
            str(part[-1] if isinstance(part, list) and part else part)
            for part in (named if isinstance(named, list) else [])
        )
    return frozenset(chosen)


def _is_label_studio_min(record: Cells) -> bool:
    return "annotation_id" in record and ("annotator" in record or "lead_time" in record)


_OF_LABEL_STUDIO = {"annotator", "annotation_id", "created_at", "updated_at", "lead_time", "id", "agreement", "comment"}


def _read_label_studio_min(record: Cells) -> dict[str, object]:
    rest = {key: value for key, value in record.items() if key not in _OF_LABEL_STUDIO}
    chosen = {
        key: value["choices"]
        for key, value in rest.items()
        if isinstance(value, Mapping) and isinstance(value.get("choices"), list)
    }
    plain = [key for key, value in rest.items() if isinstance(value, str) and key != TEXT]
    text = record.get("text")
    if len(chosen) == 1:
        return {**rest, TEXT: text, LABELS: [str(name) for name in next(iter(chosen.values()))]}
    if not chosen and len(plain) == 1:
        return {**rest, TEXT: text, LABEL: rest[plain[0]]}
    if not chosen and not plain:
        raise Skipped(errors.T043_SKIPPED_NONE)
    found = ", ".join([*chosen, *plain])
    raise Unclear(errors.T043_TOOL.format(tool="Label Studio", field="the labels", value=f"one of {excerpt(found)}"))


# ---- Argilla -----------------------------------------------------------------------------------------------------


def _is_argilla(record: Cells) -> bool:
    return isinstance(record.get("responses"), Mapping | list) and isinstance(record.get("fields"), Mapping)


def _read_argilla(record: Cells) -> dict[str, object]:
    fields, responses = record.get("fields"), record.get("responses")
    if not isinstance(fields, Mapping):
        raise Unclear(errors.T043_TOOL.format(tool="Argilla", field="fields", value=excerpt(fields)))
    answers: list[tuple[object, object]] = []  # value, status
    for response in _each(responses):
        if isinstance(response.get("values"), Mapping):
            status = response.get("status")
            answers += [
                (part.get("value") if isinstance(part, Mapping) else part, status)
                for part in response["values"].values()
            ]
        else:
            answers.append((response.get("value"), response.get("status")))
    texts = [value for value in fields.values() if isinstance(value, str)]
    return _answered(fields.get("text", texts[0] if len(texts) == 1 else None), answers, fields)


def _each(responses: object) -> Iterable[Cells]:
    parts = responses.values() if isinstance(responses, Mapping) else [responses]
    for part in parts:
        yield from (one for one in (part if isinstance(part, list) else [part]) if isinstance(one, Mapping))


def _is_argilla_table(record: Cells) -> bool:
    return any(key.endswith(".responses") for key in record) and any(
        key.endswith(".responses.status") for key in record
    )


def _read_argilla_table(record: Cells) -> dict[str, object]:
    questions = [key for key in record if key.endswith(".responses")]
    if len(questions) != 1:
        raise Unclear(
            errors.T043_TOOL.format(tool="Argilla", field="one question", value=excerpt(", ".join(questions)))
        )
    values, statuses = record[questions[0]] or [], record.get(f"{questions[0]}.status") or []
    return _answered(record.get("text"), list(zip(values, statuses, strict=False)), record)


def _answered(text: object, answers: list[tuple[object, object]], rest: Cells) -> dict[str, object]:
    given = [value for value, status in answers if status in (None, "submitted") and value is not None]
    if not given:
        statuses = sorted({str(status) for _, status in answers})
        said = errors.T043_SKIPPED.format(field="response", value=", ".join(statuses))
        raise Skipped(said if statuses else errors.T043_SKIPPED_NONE)
    votes = [frozenset(map(str, value)) if isinstance(value, list) else str(value) for value in given]
    return _agreed(text, votes, "Argilla", rest)


def _is_argilla_1(record: Cells) -> bool:
    return {"annotation", "status", "text"} <= record.keys() and (
        "prediction" in record or "annotation_agent" in record
    )


def _read_argilla_1(record: Cells) -> dict[str, object]:
    annotation = record.get("annotation")
    if record.get("status") in ("Discarded", "Default") or annotation is None:
        raise Skipped(errors.T043_SKIPPED.format(field="status", value=excerpt(record.get("status"))))
    if isinstance(annotation, list):
        return {**record, LABELS: [str(label) for label in annotation]}
    return {**record, LABEL: annotation}


def _agreed(text: object, votes: Sequence[str | frozenset[str]], tool: str, rest: Cells) -> dict[str, object]:
    """The one thing that all annotators said."""
    if len(set(votes)) > 1:
        shown = " / ".join(vote if isinstance(vote, str) else ", ".join(sorted(vote)) or "nothing" for vote in votes)
        raise Unclear(errors.T043_VOTES.format(tool=tool, votes=excerpt(shown)))
    plain = {key: value for key, value in rest.items() if key not in (LABEL, LABELS, CATS)}
    vote = votes[0]
    return {**plain, TEXT: text, LABEL: vote} if isinstance(vote, str) else {**plain, TEXT: text, LABELS: sorted(vote)}


TOOLS = (
    Tool("Prodigy", _is_prodigy, _read_prodigy),
    Tool("Label Studio", _is_label_studio, _read_label_studio),
    Tool("Label Studio (JSON-MIN)", _is_label_studio_min, _read_label_studio_min),
    Tool("Argilla", _is_argilla, _read_argilla),
    Tool("Argilla", _is_argilla_table, _read_argilla_table),
    Tool("Argilla", _is_argilla_1, _read_argilla_1),
    Tool("doccano", _is_doccano, _read_doccano),
)
