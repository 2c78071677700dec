"""Whatever a command takes for a corpus: files, folders of them, and what is neither."""

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from spacy.tokens import Doc, DocBin
from thinc.api import Config
from typer.testing import CliRunner

from house_kit.pipelines import pipeline
from house_kit.texts import LABELS, TEXTS, one_hot
from spacy_transfer import docbins, memory
from spacy_transfer.cli import transfer_cli
from spacy_transfer.corpora.inspection.check import check
from spacy_transfer.corpora.reading.raw_texts import read_raw_texts
from spacy_transfer.corpora.reading.reader import make_corpus
from spacy_transfer.corpora.tables.row_files import READERS
from spacy_transfer.docbins import find_docbins, read_docs
from spacy_transfer.evaluation.evaluate import evaluate


def write(path: Path, cats: list[dict[Any, Any]] | None = None, texts: list[str] | None = None) -> Path:
    vocab = spacy.blank("xx").vocab
    docs = DocBin(attrs=["ORTH"])
    texts = texts or ["one two", "three", "four"]
    for i, text in enumerate(texts):
        doc = Doc(vocab, words=text.split())
        doc.cats = cats[i % len(cats)] if cats else one_hot(LABELS[i % len(LABELS)])
        docs.add(doc)
    path.parent.mkdir(parents=True, exist_ok=True)
    docs.to_disk(path)
    return path


def test_folders_are_read_as_spacy_does(tmp_path: Path, bert: Path) -> None:
    write(tmp_path / "train" / "b.spacy")
    write(tmp_path / "train" / "deep" / "er" / "a.spacy")
    write(tmp_path / "train" / ".hidden.spacy")
    (tmp_path / "train" / "loop").symlink_to(tmp_path / "train")
    files = find_docbins(tmp_path / "train")
    assert [file.name for file in files] == ["b.spacy", "a.spacy"]
    report = check([tmp_path / "train"])
    assert (report.splits[0].name, report.splits[0].n_texts) == ("train", 6)
    nlp = pipeline(bert)
    assert evaluate(nlp, tmp_path / "train")["n_docs"] == 6
    assert len(list(make_corpus(path=tmp_path / "train")(nlp))) == 6
    assert len(read_raw_texts([tmp_path / "train"])) == 6


TABLES = {
    "t.csv": b"text,label\na,x\n", "t.jsonl": b'{"text": "a"}\n', "t.parquet": b"PAR1", "table": b"text;label\na;x\n",
    "records": b'{"text": "a", "label": "x"}\n', "t.xlsx": b"PK\x03\x04", "t.txt": b"text\n",
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_named_for_what_it_is(tmp_path: Path, name: str, bert: Path) -> None:
    path = tmp_path / name
    path.write_bytes(TABLES[name])
    nlp = pipeline(bert)
    for use in (lambda: check([path]), lambda: evaluate(nlp, path), lambda: list(make_corpus(path=path)(nlp))):
        with pytest.raises(ValueError, match=r"T391.*spacy transfer convert"):
            use()


def test_each_table_that_is_told_apart_can_be_converted() -> None:
    assert set(docbins.TABLES) == set(READERS)


def test_a_folder_without_any(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\n")
    with pytest.raises(ValueError, match=r"T391.*t\.csv.*convert"):
        check([tmp_path])
    result = CliRunner().invoke(transfer_cli, ["check", str(tmp_path)])
    assert result.exit_code == 1
    assert "T391" in result.output


def test_training_on_a_table_says_so(tmp_path: Path) -> None:
    from spacy.training import Corpus

    from spacy_transfer.corpora.reading.config_corpora import check_corpora, check_path_of

    (tmp_path / "train.csv").write_text("text,label\na,x\n")
    with pytest.raises(ValueError, match=r"T391.*a CSV file.*spacy transfer convert"):
        check_path_of(Corpus(tmp_path / "train.csv"))
    check_path_of(lambda nlp: [])
    block = {"@readers": "spacy.Corpus.v1", "path": "${paths.train}"}
    config = Config({"paths": {"train": str(tmp_path / "train.csv")}, "corpora": {"train": block}})
    with pytest.raises(ValueError, match=r"T391.*a CSV file"):
        check_corpora(config)
    config["paths"]["train"] = str(write(tmp_path / "train.spacy"))
    check_corpora(config)


@pytest.mark.parametrize("memory_mb", [1, 10])
def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path, memory_mb: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_there", lambda: memory_mb * 1_000_000)
    (tmp_path / "bomb.spacy").write_bytes(zlib.compress(bytes(30_000_000)))
    for use in (lambda: check([tmp_path / "bomb.spacy"]), lambda: read_raw_texts([tmp_path / "bomb.spacy"])):
        with pytest.raises(ValueError, match=r"T397.*bomb\.spacy"):
            use()


@pytest.mark.parametrize(
    "change", [{"attrs": [999]}, {"lengths": b"x"}, {"cats": 3}, {"strings": None}, {"tokens": b"abc"}]
)
def test_damage_inside_is_one_error(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "t.spacy")
    stored = srsly.msgpack_loads(zlib.decompress(path.read_bytes()))
    path.write_bytes(zlib.compress(srsly.msgpack_dumps({**stored, **change})))
    with pytest.raises(ValueError, match=r"T047.*\.spacy"):
        list(read_docs(path))


@pytest.mark.parametrize("value", ["yes", None, [1.0], float("nan"), -0.5, 2, {"a": 1}])
def test_annotations_are_checked_before_they_are_scored(tmp_path: Path, bert: Path, value: object) -> None:
    path = write(tmp_path / "t.spacy", [{LABELS[0]: value}])
    with pytest.raises(ValueError, match="T033"):
        evaluate(pipeline(bert), path)


def test_numbers_beyond_any_float_are_no_annotation(bert: Path) -> None:
    from spacy.training import Example

    nlp = pipeline(bert)
    doc = nlp.make_doc("one two")
    doc.cats = {LABELS[0]: 10**400}
    with pytest.raises(ValueError, match="T033"):
        nlp.update([Example(nlp.make_doc("one two"), doc)], sgd=nlp.resume_training())


def test_raw_texts_of_all_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;text\n1;one, two\n2;three\n")
    (tmp_path / "b.jsonl").write_text('{"text": "four"}\n{"text": "  "}\n')
    (tmp_path / "c.txt").write_bytes("fünf\n".encode("utf-16"))
    (tmp_path / "d.json").write_text(json.dumps([{"text": "six"}]))
    names = ["a.csv", "b.jsonl", "c.txt", "d.json"]
    assert read_raw_texts([tmp_path / name for name in names]) == ["one, two", "three", "four", "fünf", "six"]
    with pytest.raises(ValueError, match="T046"):
        read_raw_texts([tmp_path / "a.csv"], field="body")


@pytest.mark.parametrize(
    ("line", "reason"),
    [('{"text": "a \\ud800 b"}', "half a surrogate"),
        ('{"text": "%s"}' % ("a" * 1_000_001), "1,000,001 characters"),
        ('{"text": 3}', "not a str"), ("{}", "no text"), ("[]", "a JSON object")],
)  # fmt: skip
def test_raw_texts_are_checked_as_labeled_ones(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(ValueError, match=rf"T136.*a\.jsonl:2: .*{reason}"):
        read_raw_texts([tmp_path / "a.jsonl"])


@pytest.mark.parametrize("value", ["a \ud800 b", ["x", "\udfff"]])
def test_attributes_with_half_a_surrogate_pair(bert: Path, value: object) -> None:
    from spacy_transfer.model.text.text import Text

    doc = spacy.blank("xx").make_doc("one")
    Doc.set_extension("headline", default=None, force=True)
    doc._.headline = value
    with pytest.raises(ValueError, match=r"T400.*'_\.headline'.*surrogate"):
        Text(sources=["_.headline"]).read([doc])
    endless: list[Any] = ["x"]
    endless.append(endless)
    doc._.headline = endless
    with pytest.raises(ValueError, match=r"T400.*contain itself"):
        Text(sources=["_.headline"]).read([doc])
    assert TEXTS
