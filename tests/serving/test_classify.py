"""Trying a trained pipeline on a few texts."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from typer.testing import CliRunner

from house_kit.pipelines import add_classifier, pipeline
from house_kit.texts import LABELS
from house_kit.texts import TEXTS as ALL
from spacy_transfer.cli import transfer_cli
from spacy_transfer.serving.classify import classify, rank_labels

TEXTS = ["my card is lost", "refund the money"]


@pytest.fixture
def trained(bert: Path, tmp_path: Path) -> Path:
    pipeline(bert).to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_scores_are_those_of_the_pipeline_best_first(trained: Path) -> None:
    nlp = spacy.load(trained)
    for text, labels in zip(TEXTS, rank_labels(trained, TEXTS), strict=True):
        assert dict(labels) == pytest.approx(nlp(text).cats, abs=1e-5)
        assert [score for _, score in labels] == sorted((score for _, score in labels), reverse=True)
    assert [len(labels) for labels in rank_labels(trained, TEXTS, top=2)] == [2, 2]


def test_the_command(trained: Path) -> None:
    done = CliRunner().invoke(transfer_cli, ["classify", str(trained), *TEXTS, "--top", "1"])
    assert done.exit_code == 0, done.output
    assert all(text in done.output for text in TEXTS)
    assert len(re.findall(rf"  [01]\.\d{{3}}  (?:{'|'.join(LABELS)})\n", done.output)) == 2
    assert f"spacy.load('{trained}')" in done.output.replace("\n", "")


def test_what_cannot_be_classified(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="T510"):
        rank_labels(trained, ["", " "])
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="T511"):
        rank_labels(tmp_path / "blank", TEXTS)


# ---- a stream of texts, in Python --------------------------------------------------------------------------------


def test_a_stream_has_the_scores_of_the_pipeline(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = pipeline(bert)
    texts = [f"{text} {i}" for i, text in enumerate(ALL)] + ["", "the card " * 30]
    want = [max(doc.cats.items(), key=lambda pair: pair[1]) for doc in nlp.pipe(texts)]
    monkeypatch.setattr(Language, "make_doc", lambda self, text: pytest.fail("a document"))
    assert list(classify(nlp, iter(texts))) == want
    # Other batches, other last digits.
    for found, wanted in zip(classify(nlp, texts, batch_size=3), want, strict=True):
        assert found == (wanted[0], pytest.approx(wanted[1], abs=1e-5))


def test_a_stream_through_other_components(bert: Path) -> None:
    nlp = pipeline(bert)
    want = list(classify(nlp, TEXTS))
    nlp.add_pipe("sentencizer", first=True)
    for found, wanted in zip(classify(nlp, TEXTS), want, strict=True):
        assert found == (wanted[0], pytest.approx(wanted[1], abs=1e-5))


def test_a_stream_is_read_batch_by_batch(bert: Path) -> None:
    read = []

    def endless() -> Iterator[str]:
        while True:
            read.append(1)
            yield "my card"

    found = classify(pipeline(bert), endless(), batch_size=4)
    assert not read
    assert len({next(found) for _ in range(6)}) == 1
    assert len(read) == 8


def test_a_stream_that_cannot_be_classified(bert: Path, trained: Path) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    with pytest.raises(ValueError, match=r"T527.*sentencizer"):
        classify(nlp, TEXTS)
    with pytest.raises(ValueError, match=r"T537.*'other'.*transfer_textcat"):
        classify(trained, TEXTS, component="other")
    add_classifier(nlp, bert)
    with pytest.raises(ValueError, match="T006"):
        classify(nlp, TEXTS)
    for wrong in (3, None, b"bytes", "half \ud800"):
        with pytest.raises(ValueError, match="T538"):
            list(classify(trained, ["my card", wrong]))
