"""The dev part that `convert --dev-share` takes from the training data."""

import json
from collections import Counter
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_transfer.corpora.convert import convert


def _write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def _labels(path: Path) -> Counter[str]:
    docs = DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)
    return Counter(max(doc.cats, key=doc.cats.get) for doc in docs)  # type: ignore[arg-type]


def _texts(path: Path) -> list[str]:
    return [doc.text for doc in DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)]


def test_each_label_gives_its_share_and_nothing_is_lost(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": "many" if i % 5 else "few"} for i in range(100)]
    source = _write(tmp_path / "train.jsonl", rows)
    found = convert([source], tmp_path / "out", dev_share=0.2)
    assert found.dev_file == tmp_path / "out" / "dev.spacy"
    assert _labels(found.dev_file) == {"many": 16, "few": 4}
    assert _labels(tmp_path / "out" / "train.spacy") == {"many": 64, "few": 16}


def test_a_repeated_text_stays_in_one_part(tmp_path: Path) -> None:
    rows = [{"text": f"text {i % 7}", "label": "ab"[i % 2]} for i in range(140)]
    found = convert([_write(tmp_path / "train.jsonl", rows)], tmp_path / "out", dev_share=0.3)
    assert found.dev_file is not None
    assert not set(_texts(found.dev_file)) & set(_texts(tmp_path / "out" / "train.spacy"))


def test_only_the_first_source_is_parted(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(20)]
    sources = [_write(tmp_path / "train.jsonl", rows), _write(tmp_path / "test.jsonl", rows)]
    convert(sources, tmp_path / "out", dev_share=0.5)
    assert len(_texts(tmp_path / "out" / "test.spacy")) == 20
    assert len(_texts(tmp_path / "out" / "train.spacy")) == 10


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused(tmp_path: Path, share: float) -> None:
    source = _write(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}])
    with pytest.raises(ValueError, match="T005"):
        convert([source], tmp_path / "out", dev_share=share)


def test_a_source_named_dev_leaves_no_room(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(20)]
    with pytest.raises(ValueError, match="T048"):
        convert([_write(tmp_path / "dev.jsonl", rows)], tmp_path / "out", dev_share=0.1)
