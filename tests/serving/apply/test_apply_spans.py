"""Sentences in files: a list for each row, and no answer where a text gets one alone."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin

from house_kit.applied import write_texts
from house_kit.pipelines import add_classifier
from house_kit.texts import LABELS, TEXTS, exclusive_examples
from spacy_transfer import apply, classify
from spacy_transfer.pipeline.components import require_whole_documents
from spacy_transfer.pipeline.sources import key_of
from spacy_transfer.serving.apply.scoring import make_scoring, require_documents

ROWS = ["my card is lost. refund the money.", "login please", "i paid twice. help. thanks."]


@pytest.fixture(scope="module")
def made(bert: Path) -> Callable[[str | None], Language]:
    def make(doc_cats: str | None) -> Language:
        nlp = spacy.blank("xx")
        nlp.add_pipe("sentencizer")
        add_classifier(nlp, bert, settings={"target": "sents", "doc_cats": doc_cats})
        examples = exclusive_examples(nlp)
        nlp.initialize(lambda: examples)
        return nlp

    return make


def test_each_row_lists_its_sentences(made: Callable[[str | None], Language], tmp_path: Path) -> None:
    nlp = made("max")
    source = write_texts(tmp_path / "rows.jsonl", ROWS)
    apply(nlp, source, tmp_path / "out.jsonl", top=2)
    apply(nlp, source, tmp_path / "out.csv")
    apply(nlp, source, tmp_path / "out.spacy")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    docs = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(nlp.vocab))
    for text, line, cells, doc, wanted in zip(ROWS, lines, table, docs, nlp.pipe(ROWS), strict=True):
        assert len(line["spans"]) == text.count(".") or len(line["spans"]) == 1
        for span, sent in zip(line["spans"], wanted.sents, strict=True):
            assert (span["start"], span["end"], span["text"]) == (sent.start_char, sent.end_char, sent.text)
            assert span["label"] == max(sent._.cats, key=sent._.cats.get)
            assert span["score"] == pytest.approx(max(sent._.cats.values()), abs=1e-5)
            assert len(span["scores"]) == 2
            assert doc.user_data[key_of(sent, "cats")] == pytest.approx(sent._.cats, abs=1e-5)
        assert line["score"] == pytest.approx(max(wanted.cats.values()), abs=1e-5)
        assert [one["label"] for one in json.loads(cells["spans"])] == [one["label"] for one in line["spans"]]
        assert cells["label"] == line["label"]


def test_without_scores_of_documents(made: Callable[[str | None], Language], tmp_path: Path) -> None:
    nlp = made(None)
    apply(nlp, write_texts(tmp_path / "rows.jsonl", ROWS), tmp_path / "out.jsonl")
    line = json.loads((tmp_path / "out.jsonl").read_text("utf-8").splitlines()[0])
    assert line.keys() == {"id", "text", "spans"}
    assert {one["label"] for one in line["spans"]} <= set(LABELS)
    with pytest.raises(ValueError, match=r"T790.*'transfer_textcat'.*doc_cats"):
        list(classify(nlp, TEXTS[:2]))
    with pytest.raises(ValueError, match="T790"):
        require_documents(make_scoring(nlp, keeps_docs=False).components)
    with pytest.raises(ValueError, match=r"T791.*'sents'"):
        require_whole_documents(nlp)
    with pytest.raises(ValueError, match=r"T791.*'sents'"):
        nlp.get_pipe("transfer_textcat").explain([nlp.make_doc(ROWS[0])])


def test_one_answer_with_scores_of_documents(made: Callable[[str | None], Language]) -> None:
    nlp = made("mean")
    for (label, score), doc in zip(classify(nlp, ROWS), nlp.pipe(ROWS), strict=True):
        assert score == pytest.approx(max(doc.cats.values()), abs=1e-5)
        assert label == max(doc.cats, key=doc.cats.get)
