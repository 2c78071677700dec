"""Which columns hold the texts and the labels, found out or asked for."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from spacy_transfer.corpora.tables.column_choice import Columns, choose_columns
from spacy_transfer.corpora.tables.sample_rows import read_sample
from spacy_transfer.corpora.tables.table_format import TableFormat

TEXTS = [f"this is the text number {n} of some" for n in range(12)]


def table(path: Path, head: list[str], rows: list[list[Any]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([head, *rows] if head else rows)
    return path


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def choose(path: Path, given: Columns | None = None, *, names_text: bool = False) -> Columns:
    return choose_columns(read_sample(path, TableFormat()), given or Columns(), names_text=names_text)


@pytest.mark.parametrize(
    ("head", "label"),
    [(["text", "label"], "label"), (["Message", "Category"], "Category"), (["id of it", "whatever"], "whatever")],
)
def test_by_name_or_by_what_the_cells_are(tmp_path: Path, head: list[str], label: str) -> None:
    found = choose(table(tmp_path / "a.csv", head, [[text, "ab"[n % 2]] for n, text in enumerate(TEXTS)], ";"))
    assert (found.text, found.label, found.header) == (head[0], label, ())


@pytest.mark.parametrize("cells", [[""] * 12, ["billing", "card", *[""] * 10]], ids=["empty", "few, each another"])
def test_a_column_that_is_called_label_is_meant_before_one_that_only_looks_so(cells: list[str], tmp_path: Path) -> None:
    """Guesses of a classifier, for instance, that wait to be checked."""
    rows = [
        {"text": text, "label": cell, "suggestion": "ab"[n % 2]}
        for n, (text, cell) in enumerate(zip(TEXTS, cells, strict=True))
    ]
    assert choose(lines(tmp_path / "a.jsonl", rows)).label == "label"


def test_a_row_of_data_at_the_top_is_no_header(tmp_path: Path) -> None:
    found = choose(table(tmp_path / "a.tsv", [], [["ab"[n % 2], text] for n, text in enumerate(TEXTS)], "\t"))
    assert found.header == ("label", "text")
    assert (found.text, found.label) == ("text", "label")
    assert "no header" in found.notes[0]


def test_where_the_first_row_may_be_either_it_is_asked_for(tmp_path: Path) -> None:
    rows = [[text, "xab"[(n > 0) + (n > 6)]] for n, text in enumerate(TEXTS)]
    with pytest.raises(ValueError, match=r"T619.*--columns text,label"):
        choose(table(tmp_path / "a.csv", [], rows))


def test_several_that_may_be_meant_are_named_with_the_option(tmp_path: Path) -> None:
    rows = [[text, "ab"[n % 2], "xyz"[n % 3]] for n, text in enumerate(TEXTS)]
    path = table(tmp_path / "a.csv", ["question", "coarse_label", "fine_label"], rows)
    with pytest.raises(ValueError, match=r"T613.*'coarse_label', 'fine_label'.*--label-field"):
        choose(path)
    assert choose(path, Columns(label="fine_label")).label == "fine_label"
    both = table(
        tmp_path / "b.csv",
        ["title", "abstract", "label"],
        [[text, text[::-1], "ab"[n % 2]] for n, text in enumerate(TEXTS)],
    )
    with pytest.raises(ValueError, match=r"T613.*the text.*'title', 'abstract'.*--text-field"):
        choose(both)
    assert choose(both, Columns(text="title"), names_text=True).label == "label"


@pytest.mark.parametrize("date", ["2026-03-0{}", "{}.3.2026", "03/0{}/26", "2026-03-0{}T12:30:00"])
def test_a_column_of_dates_is_none_of_labels(tmp_path: Path, date: str) -> None:
    rows = [[text, date.format(n % 4 + 1), "ab"[n % 2]] for n, text in enumerate(TEXTS)]
    assert choose(table(tmp_path / "a.csv", ["Frage", "Datum", "Thema"], rows)).label == "Thema"


def test_texts_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"T614.*no labels.*'text'"):
        choose(lines(tmp_path / "a.jsonl", [{"text": text} for text in TEXTS]))


def test_names_win_over_their_numbers(tmp_path: Path) -> None:
    rows = [{"text": text, "label": n % 2, "label_text": ["neg", "pos"][n % 2]} for n, text in enumerate(TEXTS)]
    assert choose(lines(tmp_path / "a.jsonl", rows)).label == "label_text"
    found = choose(lines(tmp_path / "b.jsonl", [{"text": row["text"], "label": row["label"]} for row in rows]))
    assert (found.label, found.numbers) == ("label", True)


@pytest.mark.parametrize(
    ("values", "separator"),
    [(["a|b", "b|c", "a", "c"], "|"), (["a; b", "b; c", "a", "c"], ";"), (["Food, drink", "Home", "Car"], None)],
)
def test_several_labels_in_a_cell(tmp_path: Path, values: list[str], separator: str | None) -> None:
    rows = [[text, values[n % len(values)]] for n, text in enumerate(TEXTS)]
    found = choose(table(tmp_path / "a.csv", ["text", "labels"], rows))
    assert (found.labels, found.label) == (("labels", None) if separator else (None, "labels"))
    assert found.separator == separator


def test_lists_values_and_columns_of_truths(tmp_path: Path) -> None:
    found = choose(lines(tmp_path / "a.jsonl", [{"text": text, "tags": ["x"]} for text in TEXTS]))
    assert found.labels == "tags"
    found = choose(lines(tmp_path / "b.jsonl", [{"text": text, "cats": {"x": 0.5}} for text in TEXTS]))
    assert found.cats == "cats"
    rows = [[n, text, n % 2, n % 3 == 0] for n, text in enumerate(TEXTS)]
    found = choose(table(tmp_path / "c.csv", ["id", "comment", "rude", "spam"], rows))
    assert (found.text, found.label_columns) == ("comment", ("rude", "spam"))


def test_an_export_of_a_tool_is_left_to_its_reader(tmp_path: Path) -> None:
    rows = [{"text": text, "label": "x", "answer": "accept", "_task_hash": 1} for text in TEXTS]
    found = choose(lines(tmp_path / "a.jsonl", rows))
    assert (found.tool, found.has_labels) == ("Prodigy", False)
