"""Folders of text files whose names are the labels."""

from collections.abc import Callable
from pathlib import Path

import pytest

from spacy_transfer.corpora.convert import convert
from spacy_transfer.corpora.tables.records import BadLine, Record, read_records
from spacy_transfer.corpora.tables.rows import Fields
from spacy_transfer.corpora.tables.table_format import Reading, TableFormat
from spacy_transfer.corpora.text_folder import holds_texts_by_label

TEXTS = {"bad": [f"a dull film, {n}" for n in range(6)], "good": [f"a fine film, {n}" for n in range(6)]}


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def folders(place: Path) -> Path:
    for label, texts in TEXTS.items():
        for n, text in enumerate(texts):
            write(place / label / f"{n}_7.txt", f"{text}\n")
    return place


def numbered(place: Path) -> Path:
    for label, texts in TEXTS.items():
        for n, text in enumerate(texts):
            write(place / label / f"3726{n}", text)
    return place


def files(place: Path) -> Path:
    for label, texts in TEXTS.items():
        write(place / f"{label}.txt", "\r\n\r\n".join(texts))
    return place


@pytest.mark.parametrize("make", [folders, numbered, files])
def test_the_name_is_the_label(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    place = make(tmp_path / "d")
    write(place / ".DS_Store", "x")
    found = [record for record in read_records(place, Fields()) if isinstance(record, Record)]
    assert {label: [one.text for one in found if label in one.values] for label in TEXTS} == TEXTS
    assert all(record.exclusive for record in found)


def test_a_text_keeps_its_lines(tmp_path: Path) -> None:
    write(tmp_path / "bad" / "1.txt", "first\r\n\r\nsecond\r\n")
    write(tmp_path / "good" / "1.txt", "other")
    record = next(iter(read_records(tmp_path, Fields())))
    assert isinstance(record, Record)
    assert record.text == "first\n\nsecond"


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    place = folders(tmp_path / "d")
    write(place / "unsup" / "1.txt", "a film without a label")
    write(place / "README.md", "about the data")
    write(place / "urls_bad.txt", "http://x")
    reading = Reading()
    found = list(read_records(place, Fields(), TableFormat(), reading))
    assert len(found) == 12
    assert reading.notes == [
        "a folder for each of 2 labels, a file for each text", "not read: README.md, unsup, urls_bad.txt"
    ]  # fmt: skip


def test_a_blank_file_is_a_bad_line_with_its_name(tmp_path: Path) -> None:
    place = folders(tmp_path / "d")
    write(place / "bad" / "9.txt", " \n")
    bad = [one for one in read_records(place, Fields()) if isinstance(one, BadLine)]
    assert [one.reason for one in bad] == [f"no text: the file {Path('bad', '9.txt')} is blank"]


def test_encodings_are_found_out_and_said_once(tmp_path: Path) -> None:
    for label in TEXTS:
        for n in range(3):
            write(tmp_path / label / f"{n}.txt", f"{label} für Köln {n}", "cp1252")
    reading = Reading()
    found = [one.text for one in read_records(tmp_path, Fields(), None, reading) if isinstance(one, Record)]
    assert found[0] == "bad für Köln 0"
    assert len([note for note in reading.notes if "cp1252" in note]) == 1


def test_a_file_for_each_text_without_labels_is_refused(tmp_path: Path) -> None:
    for n in range(30):
        write(tmp_path / f"{n}.txt", "a text\nof two lines")
    assert not holds_texts_by_label(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"T880.*a folder for each label"):
        list(read_records(tmp_path, Fields()))


def test_folders_are_converted_as_files_are(tmp_path: Path) -> None:
    sources = [folders(tmp_path / "d" / "train"), files(tmp_path / "d" / "test")]
    made = convert(sources, tmp_path / "corpus")
    assert [path.name for path in made.files.values()] == ["train.spacy", "test.spacy"]
    assert made.n_texts == dict.fromkeys(sources, 12)
    assert made.labels == ["bad", "good"]
