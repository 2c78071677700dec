"""Exports of annotation tools: recognized and said; what was rejected or skipped is left out and counted."""

import json
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_transfer import errors
from spacy_transfer.corpora.annotation_tools import recognize
from spacy_transfer.corpora.convert import Converted, convert

Record = dict[str, Any]
CHOICE = {"options": [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}], "_task_hash": 1, "_view_id": "choice"}


def converted(folder: Path, records: list[Record], name: str = "t.jsonl", **options: Any) -> Converted:
    lines = [json.dumps(record) for record in records]
    text = "[" + ",\n".join(lines) + "]" if name.endswith(".json") else "\n".join(lines)
    (folder / name).write_text(text, "utf-8")
    return convert([folder / name], folder / "out", force=True, **options)


def docs_of(done: Converted) -> list[tuple[str, dict[str, float]]]:
    (path,) = done.files.values()
    return [(doc.text, doc.cats) for doc in DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)]


def told(done: Converted) -> tuple[str, dict[str, int]]:
    (notes,) = done.notes.values()
    return next(note for note in notes if note.startswith("an export")), next(iter(done.skipped.values()), {})


def test_prodigy_with_options(tmp_path: Path) -> None:
    records = [
        {"text": "one", "accept": ["a"], "answer": "accept", **CHOICE},
        {"text": "none", "accept": [], "answer": "accept", **CHOICE},
        {"text": "no", "accept": ["a"], "answer": "reject", **CHOICE},
        {"text": "hm", "accept": [], "answer": "ignore", **CHOICE},
    ]
    done = converted(tmp_path, records)
    assert docs_of(done) == [("one", {"a": 1.0, "b": 0.0}), ("none", {"a": 0.0, "b": 0.0})]
    assert told(done) == ("an export of Prodigy", {"answer: reject": 1, "answer: ignore": 1})
    single = [{**record, "config": {"choice_style": "single"}} for record in records]
    done = converted(tmp_path, single)
    assert docs_of(done) == [("one", {"a": 1.0})]
    assert sum(told(done)[1].values()) == 3


def test_prodigy_with_one_label(tmp_path: Path) -> None:
    records = [
        {"text": "yes", "label": "rude", "answer": "accept", "_input_hash": 1},
        {"text": "no", "label": "rude", "answer": "reject", "_input_hash": 2},
        {"text": "hm", "label": "rude", "answer": "ignore", "_input_hash": 3},
    ]
    done = converted(tmp_path, records)
    assert docs_of(done) == [("yes", {"rude": 1.0}), ("no", {"rude": 0.0})]
    assert told(done) == ("an export of Prodigy", {"answer: ignore": 1})
    # Rejected is rejected, too, where the user names the field of the label.
    done = converted(tmp_path, [{**one, **CHOICE, "accept": []} for one in records], label_field="label")
    assert docs_of(done) == [("yes", {"rude": 1.0})]


def test_doccano(tmp_path: Path) -> None:
    records = [
        {"id": 1, "text": "a", "label": ["x", "y"], "Comments": []},
        {"id": 2, "text": "b", "label": [], "Comments": []},
    ]
    done = converted(tmp_path, records)
    assert docs_of(done) == [("a", {"x": 1.0, "y": 1.0})]
    assert told(done) == ("an export of doccano", {"label: nothing chosen": 1})
    spans = [{"id": 1, "text": "a", "label": [[0, 1, "PER"]], "Comments": []}]
    with pytest.raises(ValueError, match=r"T043(?s:.)*doccano"):
        converted(tmp_path, spans)


def task(text: str, *choices: list[str] | None, **annotation: Any) -> Record:
    results = [[{"type": "choices", "value": {"choices": names}}] if names is not None else [] for names in choices]
    return {"id": 1, "data": {"text": text}, "annotations": [{"result": result, **annotation} for result in results]}


def test_label_studio(tmp_path: Path) -> None:
    records = [
        task("one", ["x"]), task("two", ["x", "y"]), task("same", ["y"], ["y"]),
        task("left", ["x"], was_cancelled=True),
        task("new"),
    ]  # fmt: skip
    done = converted(tmp_path, records, "t.json")
    assert docs_of(done) == [
        ("one", {"x": 1.0, "y": 0.0}), ("two", {"x": 1.0, "y": 1.0}), ("same", {"x": 0.0, "y": 1.0})
    ]  # fmt: skip
    assert told(done) == ("an export of Label Studio", {errors.T043_SKIPPED_CANCELED: 1, errors.T043_SKIPPED_NONE: 1})
    with pytest.raises(ValueError, match=r"T043(?s:.)*1: annotators disagree in Label Studio: 'x / y'"):
        converted(tmp_path, [task("torn", ["x"], ["y"])], "t.json")


def test_label_studio_min(tmp_path: Path) -> None:
    fixed = {"annotator": 1, "annotation_id": 2, "created_at": "2024", "updated_at": "2024", "lead_time": 1.5, "id": 3}
    records = [
        {"text": "a", "sentiment": "pos", **fixed},
        {"text": "b", "sentiment": {"choices": ["pos", "neg"]}, **fixed},
    ]
    done = converted(tmp_path, [*records, {"text": "c", **fixed}], "t.json")
    assert docs_of(done) == [("a", {"neg": 0.0, "pos": 1.0}), ("b", {"neg": 1.0, "pos": 1.0})]
    assert told(done) == ("an export of Label Studio (JSON-MIN)", {"no annotation yet": 1})


def test_argilla(tmp_path: Path) -> None:
    def response(value: object, status: str) -> Record:
        return {"value": value, "status": status, "user_id": "u"}

    records = [
        {"fields": {"text": "a"}, "responses": {"label": [response("x", "submitted")]}, "status": "completed"},
        {"fields": {"text": "b"}, "responses": {"label": [response(["x", "y"], "submitted")]}},
        {"fields": {"text": "c"}, "responses": {"label": [response("x", "discarded")]}},
        {"fields": {"text": "d"}, "responses": {}},
    ]
    done = converted(tmp_path, records, "t.json")
    assert docs_of(done) == [("a", {"x": 1.0, "y": 0.0}), ("b", {"x": 1.0, "y": 1.0})]
    assert told(done) == ("an export of Argilla", {"response: discarded": 1, "no annotation yet": 1})
    old = {"prediction": None, "annotation_agent": "u"}
    records = [
        {"text": "a", "annotation": "x", "status": "Validated", **old},
        {"text": "b", "annotation": None, "status": "Default", **old},
        {"text": "c", "annotation": ["y"], "status": "Discarded", **old},
    ]
    done = converted(tmp_path, records)
    assert docs_of(done) == [("a", {"x": 1.0})]
    assert sum(told(done)[1].values()) == 2


def test_argilla_on_the_hub(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "id": ["1", "2"], "text": ["a", "b"], "label.responses": [["x"], None],
        "label.responses.status": [["submitted"], None],
        "label.responses.users": [["u"], None],
    }  # fmt: skip
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    done = convert([tmp_path / "t.parquet"], tmp_path / "out")
    assert docs_of(done) == [("a", {"x": 1.0})]
    assert told(done) == ("an export of Argilla", {"no annotation yet": 1})


@pytest.mark.parametrize(
    "record",
    [
        {"text": "a", "label": "x"}, {"text": "a", "label": ["x"]}, {"text": "a", "labels": []},
        {"answer": "yes", "label": "x"},
        {"data": "a", "annotations": []}, {"text": "a", "cats": {"x": 1}}, {"id": 1, "text": "a", "label": "x"},
        "text", None,
    ],
)  # fmt: skip
def test_other_records_are_nobodys(record: object) -> None:
    assert recognize(record) is None


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [None], [[]], {"a": None}, [{"value": None}]])
@pytest.mark.parametrize(
    "record",
    [
        {"text": "a", "answer": "accept", "label": "x"}, {"text": "a", "accept": ["a"], "answer": "accept", **CHOICE},
        {"id": 1, "text": "a", "label": ["x"], "Comments": []}, task("a", ["x"]),
        {"text": "a", "s": "x", "annotation_id": 1, "annotator": 1},
        {"fields": {"text": "a"}, "responses": {"l": [{}]}},
    ],
)  # fmt: skip
def test_fields_of_another_kind_are_bad_lines_or_left_out(tmp_path: Path, record: Record, value: object) -> None:
    """Whatever stands in a field: a record, a bad line or one that is left out, never another error."""
    for key in record:
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, [record, {**record, key: value}])), "utf-8")
        try:
            convert([tmp_path / "t.jsonl"], tmp_path / "out", force=True, skip_bad=True)
        except ValueError as error:
            assert str(error).startswith(("[T044]", "[T390]"))  # noqa: PT017
