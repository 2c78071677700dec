"""What label names tell: spellings of one label, missing values, lists, columns that are none."""

import time
from pathlib import Path

import pytest

from spacy_transfer.corpora.convert import convert
from spacy_transfer.corpora.inspection.check import check
from spacy_transfer.corpora.inspection.label_findings import find_label_names, find_look_alikes, fold_label

ALIKE = [
    ("Refund", "REFUND"), ("refund", "refund\u00a0"), ("a b", "a  b"), ("café", "cafe\u0301"), ("x", "x\u200b"),
    ("x", "x\x00"),
    ("e-mail", "e–mail"), ("don't", "don’t"), ("ＡＢ", "ab"), ("credit_card", "credit card"), ("Refund.", "refund"),
    ("cat", "c\u0430t"), ("Straße", "STRASSE"), ("x", "\ufeffx"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_labels_that_look_alike(one: str, other: str) -> None:
    assert fold_label(one) == fold_label(other)
    assert find_look_alikes({one: 1, other: 2, "z": 3}) == [[other, one]]


@pytest.mark.parametrize(
    ("one", "other"), [("a", "b"), ("C", "C++"), ("1", "10"), ("not good", "good"), (".", "!"), ("é", "e")]
)
def test_labels_that_do_not(one: str, other: str) -> None:
    assert fold_label(one) != fold_label(other)


def codes(*labels: str, n: int = 10) -> set[str]:
    return {found.code for found in find_label_names(dict.fromkeys(labels, n), n * len(labels))}


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (["nan", "x"], "missing-like-labels"), (["None", "x"], "missing-like-labels"),
        (["#N/A", "x"], "missing-like-labels"),
        (["x\x00", "y"], "invisible-in-label"), (["x\u200b", "y"], "invisible-in-label"),
        (["['a', 'b']", "x"], "list-labels"),
        (["a; b", "b; c", "a", "c"], "unsplit-labels"), (["a,b", "a,c", "b,c"], "unsplit-labels"),
        (["0", "1", "2"], "number-labels"), (["2024-01-02", "x"], "date-labels"), (["3.5.2024", "x"], "date-labels"),
    ],
)  # fmt: skip
def test_odd_names_are_told(labels: list[str], code: str) -> None:
    assert codes(*labels) == {code}


@pytest.mark.parametrize(
    "labels",
    [
        ["pos", "neg"],
        ["Food, drink", "Home, garden"],
        ["a/b", "x"],
        ["日本", "語"],
        ["خوب", "می‌خواهم"],
        ["1st", "2nd"],
        ["👍", "👎"],
    ],
)
def test_sound_names_are_not(labels: list[str]) -> None:
    assert codes(*labels) == set()


def table(folder: Path, labels: list[str]) -> Path:
    path = folder / "t.csv"
    path.write_text("text,label\n" + "".join(f'text {i},"{label}"\n' for i, label in enumerate(labels)), "utf-8")
    return path


def test_convert_and_check_tell_the_same(tmp_path: Path) -> None:
    source = table(tmp_path, ["Refund", "REFUND", "refund\u200b", "nan"] * 5)
    done = convert([source], tmp_path / "out")
    want = {"look-alike-labels", "invisible-in-label", "missing-like-labels"}
    assert {found.code for found in done.findings} == want
    assert want <= {found.code for found in check([done.files[source]]).findings}


def test_merging_is_asked_for_and_takes_the_most_frequent_spelling(tmp_path: Path) -> None:
    source = table(tmp_path, ["Refund", "REFUND", "refund", "refund", "other"])
    assert len(convert([source], tmp_path / "out").labels) == 4
    done = convert([source], tmp_path / "out", merge_labels=True, force=True)
    assert done.labels == ["other", "refund"]
    assert done.merged == {"REFUND": "refund", "Refund": "refund"}
    (tmp_path / "given.txt").write_text("Refund\nother\n")
    done = convert([source], tmp_path / "out", merge_labels=True, labels=tmp_path / "given.txt", force=True)
    assert done.labels == ["Refund", "other"]
    assert done.n_texts[source] == 5


def test_missing_labels_are_bad_lines_where_the_user_says_so(tmp_path: Path) -> None:
    source = table(tmp_path, ["nan", "x", "None"])
    done = convert([source], tmp_path / "out", missing_labels=["nan", "None"], skip_bad=True)
    assert done.labels == ["x"]
    assert [bad.line for bad in done.bad_lines] == [2, 4]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([f"id{i}" for i in range(60)], "60 of 60 texts"),
        ([f"2024-01-{1 + i % 28:02}" for i in range(90)], "28 of 28 labels"),
        ([f"{i % 20}.5" for i in range(90)], "20 of 20 labels"),
    ],
)
def test_a_column_that_is_none_is_refused(tmp_path: Path, labels: list[str], reason: str) -> None:
    source = table(tmp_path, labels)
    with pytest.raises(ValueError, match=rf"T392.*{reason}"):
        convert([source], tmp_path / "out")
    # The user may insist with a set of labels.
    (tmp_path / "set.txt").write_text("\n".join(sorted(set(labels))))
    assert convert([source], tmp_path / "out", labels=tmp_path / "set.txt").n_texts[source] == len(labels)


def test_few_texts_of_many_labels_are_no_reason(tmp_path: Path) -> None:
    assert len(convert([table(tmp_path, [f"l{i % 77}" for i in range(100)])], tmp_path / "out").labels) == 77


def test_no_label_at_all(tmp_path: Path) -> None:
    source = tmp_path / "t.jsonl"
    source.write_text('{"text": "a", "labels": []}\n{"text": "b", "labels": []}\n')
    with pytest.raises(ValueError, match="T390"):
        convert([source], tmp_path / "out")


def test_labels_cost_linear_time_and_space(tmp_path: Path) -> None:
    """2,000 labels over 6,000 texts: quadratic code took minutes and 65 times the room."""
    source = tmp_path / "t.csv"
    rows = (f"a text of some words, number {i},label number {i % 2000}\n".replace(", ", " ") for i in range(6000))
    source.write_text("text,label\n" + "".join(rows))
    start = time.process_time()
    done = convert([source], tmp_path / "out")
    report = check([done.files[source]])
    assert time.process_time() - start < 30
    assert done.files[source].stat().st_size < 3 * source.stat().st_size
    assert report.exclusive
    assert {found.code for found in report.findings} == {"few-texts"}
    assert report.splits[0].label_counts["label number 7"] == 3


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_a_line_feed_ends_a_line_of_a_label_file(tmp_path: Path, character: str) -> None:
    label = f"a{character}b"
    (tmp_path / "labels.txt").write_bytes(f"{label}\nc\r\n".encode())
    source = tmp_path / "t.jsonl"
    source.write_bytes(f'{{"text": "t", "label": "{label}"}}\n'.encode() if ord(character) > 31 else b"")
    if ord(character) > 31:
        assert convert([source], tmp_path / "out", labels=tmp_path / "labels.txt").labels == sorted([label, "c"])
