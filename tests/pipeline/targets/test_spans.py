"""Sentences and spans in the place of documents: trained, scored, written, stored, read from files."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from house_kit.pipelines import add_classifier, moved, pipeline, weights_of
from house_kit.texts import CARD, LABELS, LOGIN, MONEY, TEXTS, exclusive_examples, one_hot
from spacy_transfer.corpora.reading.reader import make_corpus
from spacy_transfer.evaluation.evaluate import evaluate
from spacy_transfer.evaluation.scorer import score_cats
from spacy_transfer.pipeline.interface import classifier_of
from spacy_transfer.pipeline.sources import key_of
from spacy_transfer.training.adamw import AdamW

NAME = "transfer_textcat"
SOLVED: dict[str, Any] = {
    "tuning": {"frozen_depth": "all"}, "head_init": {"@misc": "spacy-transfer.LinearProbe.v1", "Cs": [100.0]},
}  # fmt: skip
SENTENCES = [
    [CARD[0], MONEY[1]], [LOGIN[2], CARD[3], MONEY[4]], [MONEY[0]], [LOGIN[1], LOGIN[3]], [CARD[5], LOGIN[4], CARD[1]],
    [MONEY[2], CARD[2]], [LOGIN[0], MONEY[3]],
]  # fmt: skip


def label_of(text: str) -> str:
    return next(label for label, texts in zip(LABELS, (CARD, LOGIN, MONEY), strict=True) if text in texts)


def document(nlp: Language, texts: Sequence[str], *, target: str = "sents", labels: bool = False) -> Doc:
    """A document of some sentences, each with its annotation."""
    words = [[*text.replace(",", " ,").split(), "."] for text in texts]
    doc = Doc(
        nlp.vocab, words=[word for sent in words for word in sent],
        sent_starts=[i == 0 for sent in words for i in range(len(sent))],
    )  # fmt: skip
    begin, spans = 0, []
    for text, sent in zip(texts, words, strict=True):
        end = begin + len(sent) - (target != "sents")
        spans.append(Span(doc, begin, end, label=label_of(text) if labels else ""))
        if not labels:
            doc.user_data[key_of(spans[-1], "cats")] = one_hot(label_of(text))
        begin += len(sent)
    if target != "sents":
        doc.spans[target.removeprefix("spans:")] = spans
    return doc


def examples_for(nlp: Language, **options: Any) -> list[Example]:
    references = [document(nlp, texts, **options) for texts in SENTENCES]
    return [Example(nlp.make_doc(doc.text), doc) for doc in references]


def targeted(folder: Path, target: str = "sents", *, doc_cats: str | None = None, **options: Any) -> Language:
    """An initialized pipeline that classifies sentences or spans."""
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    add_classifier(nlp, folder, settings={"target": target, "doc_cats": doc_cats}, **options)
    torch.manual_seed(0)
    labels = options.get("multilabel", False)
    examples = examples_for(nlp, target=target, labels=labels)
    nlp.initialize(lambda: examples)
    return nlp


@pytest.fixture(scope="module")
def nlp(bert: Path) -> Language:
    """Trained on annotated sentences."""
    nlp = targeted(bert, doc_cats="max", **SOLVED)
    nlp.update(examples_for(nlp), sgd=AdamW(learn_rate=1e-4))
    return nlp


# All of them are in the training data.
TEXT = " . ".join([CARD[0], MONEY[1], LOGIN[2]]) + " ."


def test_sentences_are_learned(nlp: Language) -> None:
    assert nlp.get_pipe(NAME).labels == ("card", "login", "money")
    found = [max(sent._.cats, key=sent._.cats.get) for sent in nlp(TEXT).sents]
    assert found == ["card", "money", "login"]


def test_a_sentence_scores_as_it_does_alone(nlp: Language) -> None:
    """Whatever is next to it in its document, and whatever documents in its batch."""
    sents = list(nlp(TEXT).sents)
    alone = classifier_of(nlp.get_pipe(NAME).model).scores([nlp.make_doc(sent.text) for sent in sents])
    for sent, row in zip(sents, alone.tolist(), strict=True):
        assert list(sent._.cats.values()) == pytest.approx(row, abs=1e-5)
    texts = [TEXT, "card .", "", "pay the bill . help", TEXT * 3]
    one, many = (list(nlp.pipe(texts, batch_size=size)) for size in (1, 100))
    for doc, other in zip(one, many, strict=True):
        assert len(list(doc.sents)) == len(list(other.sents)) if len(doc) else not len(other)
        for a, b in zip(doc.sents if len(doc) else (), other.sents if len(doc) else (), strict=True):
            assert list(a._.cats.values()) == pytest.approx(list(b._.cats.values()), abs=1e-5)


def test_scores_of_the_document(nlp: Language, bert: Path) -> None:
    doc = nlp(TEXT)
    rows = torch.tensor([list(sent._.cats.values()) for sent in doc.sents])
    assert list(doc.cats.values()) == pytest.approx(rows.amax(dim=0).tolist())
    assert nlp("").cats == dict.fromkeys(LABELS, 0.0)
    mean = targeted(bert, doc_cats="mean")(TEXT)
    rows = torch.tensor([list(sent._.cats.values()) for sent in mean.sents])
    assert list(mean.cats.values()) == pytest.approx(rows.mean(dim=0).tolist())
    assert not targeted(bert)(TEXT).cats


def test_sentences_are_rehearsed(bert: Path) -> None:
    """Their scores, not those of whole documents: alone, a rehearsal has nothing to bring back."""
    nlp = targeted(bert, **SOLVED)
    optimizer = nlp.resume_training(sgd=AdamW(learn_rate=3e-3))
    before, losses = torch.tensor(nlp.get_pipe(NAME).predict([nlp(TEXT)])), dict[str, float]()
    for _ in range(3):
        nlp.rehearse(examples_for(nlp), sgd=optimizer, losses=losses)
    after = torch.tensor(nlp.get_pipe(NAME).predict([nlp(TEXT)]))
    assert before.shape == (3, len(LABELS))
    torch.testing.assert_close(after, before, atol=0.02, rtol=0)
    with pytest.raises(ValueError, match="T785"):
        nlp.rehearse([Example.from_dict(nlp.make_doc("the card"), {})], sgd=optimizer)


def test_documents_of_one_sentence_teach_the_same(bert: Path) -> None:
    """A corpus of sentences with doc.cats needs no other annotation."""
    found = []
    for settings in ({}, {"target": "sents"}, {"target": "spans:quotes"}):
        nlp = pipeline(bert, settings=settings)
        losses: dict[str, float] = {}
        nlp.update(exclusive_examples(nlp, 6), sgd=AdamW(learn_rate=1e-2), losses=losses)
        found.append((losses[NAME], weights_of(nlp)))
    assert found[0][0] == found[1][0] == found[2][0]
    assert not moved(found[0][1], found[1][1])
    assert not moved(found[0][1], found[2][1])


def test_spans_by_their_labels(bert: Path) -> None:
    """Any number of labels a span; what is not marked is no; the text around it is not read."""
    nlp = targeted(bert, "spans:quotes", multilabel=True, **SOLVED)
    examples = examples_for(nlp, target="spans:quotes", labels=True)
    gold = nlp.get_pipe(f"{NAME}_multilabel").annotated(examples)
    assert len(gold) == sum(map(len, SENTENCES))
    assert gold[0].reference.cats == {"card": 1.0, "login": 0.0, "money": 0.0}
    assert gold[0].predicted.text == CARD[0]
    nlp.update(examples, sgd=AdamW(learn_rate=1e-4))
    doc = nlp.make_doc(f"{MONEY[1]} : {CARD[0]} {LOGIN[2]}")
    n, m = len(MONEY[1].split()), len(CARD[0].split())
    doc.spans["quotes"] = [doc[n + 1 : n + 1 + m], doc[:n], doc[:n]]
    doc = nlp(doc)
    assert [max(span._.cats, key=span._.cats.get) for span in doc.spans["quotes"]] == ["card", "money", "money"]
    assert doc[n + 1 : n + 1 + m]._.cats != doc[:n]._.cats
    assert doc[n:]._.cats is None
    assert not doc.cats


def test_stored_and_loaded(nlp: Language, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "nlp")
    again = spacy.load(tmp_path / "nlp")
    assert again.config["components"][NAME]["target"] == "sents"
    for sent, other in zip(nlp(TEXT).sents, again(TEXT).sents, strict=True):
        assert sent._.cats == other._.cats


def test_a_pickled_pipeline_writes_where_nobody_has_registered(nlp: Language) -> None:
    again = pickle.loads(pickle.dumps(nlp))
    wanted = [sent._.cats for sent in nlp(TEXT).sents]
    Span.remove_extension("cats")
    assert [sent._.cats for sent in again(TEXT).sents] == wanted


# ---- scores and files --------------------------------------------------------------------------------------------


def write(nlp: Language, path: Path) -> Path:
    DocBin(docs=[document(nlp, texts) for texts in SENTENCES], store_user_data=True).to_disk(path)
    return path


def test_a_file_is_read_scored_and_applied(nlp: Language, tmp_path: Path) -> None:
    file = write(nlp, tmp_path / "dev.spacy")
    read = list(make_corpus(path=file)(nlp))
    assert [len(list(eg.predicted.sents)) for eg in read] == list(map(len, SENTENCES))
    scores = evaluate(nlp, file)
    (own,) = scores["components"].values()
    n_parts = sum(map(len, SENTENCES))
    assert scores["n_docs"] == len(SENTENCES)
    assert own["n_texts"] == n_parts
    assert own["accuracy"]["value"] == scores["accuracy"] > 0.8


def test_scoring_other_spans_than_the_annotated(nlp: Language) -> None:
    """A part that was cut elsewhere counts by what covers most of it; one that nothing covers is wrong."""
    gold = document(nlp, [CARD[0], MONEY[1]])
    doc = nlp(gold.text)
    first = next(iter(doc.sents))
    doc.user_data = {key: value for key, value in doc.user_data.items() if key[1] != "cats"}
    doc.user_data[key_of(doc[first.start : first.end - 2], "cats")] = one_hot("card")
    assert score_cats([Example(doc, gold)], labels=LABELS, target="sents")["cats_acc"] == 0.5
    doc.user_data[key_of(doc[first.end - 2 :], "cats")] = one_hot("money")
    assert score_cats([Example(doc, gold)], labels=LABELS, target="sents")["cats_acc"] == 1.0


def test_documents_without_parts_become_one(nlp: Language, tmp_path: Path) -> None:
    docs = [nlp.make_doc(text) for text in TEXTS[:3]]
    for i, doc in enumerate(docs):
        doc.cats = one_hot(LABELS[i])
    DocBin(docs=docs).to_disk(tmp_path / "one.spacy")
    for target in ("sents", "spans:quotes"):
        other = spacy.blank("xx")
        add_classifier(other, "nowhere", settings={"target": target})
        for eg in make_corpus(path=tmp_path / "one.spacy")(other):
            parts = list(eg.predicted.sents) if target == "sents" else list(eg.predicted.spans["quotes"])
            assert [part.text for part in parts] == [eg.reference.text]


# ---- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "words"}, r"T005.*target.*'words'"), ({"target": "spans:"}, r"T005.*target"),
        ({"doc_cats": "max"}, r"T005.*doc_cats"), ({"target": "sents", "doc_cats": "min"}, r"doc_cats"),
    ],
)  # fmt: skip
def test_settings_that_are_none(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        add_classifier(spacy.blank("xx"), "nowhere", settings=settings)


def test_missing_groups_and_boundaries_are_named(nlp: Language, bert: Path) -> None:
    doc = Doc(nlp.vocab, words=TEXT.split())
    with pytest.raises(ValueError, match=r"T785.*sentencizer"):
        nlp.get_pipe(NAME)(doc)
    other = targeted(bert, "spans:quotes")
    doc.spans["names"] = []
    with pytest.raises(ValueError, match=r"T784.*'quotes'.*'names'"):
        other.get_pipe(NAME)(doc)
    doc.spans["quotes"] = []
    assert not other.get_pipe(NAME)(doc).cats


def test_annotations_that_are_none(bert: Path) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, settings={"target": "spans:quotes"})
    docs = [nlp.make_doc(text) for text in TEXTS[:3]]
    with pytest.raises(ValueError, match=r"T789.*'spans:quotes'.*3 training documents"):
        nlp.initialize(lambda: [Example(doc, doc) for doc in docs])
    docs[0].spans["quotes"] = [docs[0][:2]]
    docs[0].user_data[key_of(docs[0][:2], "cats")] = "card"
    with pytest.raises(ValueError, match=r"T786.*'card'"):
        nlp.initialize(lambda: [Example(doc, doc) for doc in docs])


def test_what_has_no_parts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"T788.*spans:a"):
        add_classifier(
            spacy.blank("xx"), "nowhere", settings={"target": "sents"}, text={"sources": ["spans:a"]}
        )  # fmt: skip
    shared = {"@misc": "spacy-transfer.SharedEncoder.v1"}
    with pytest.raises(ValueError, match=r"T788.*transformer component"):
        spacy.blank("xx").add_pipe(NAME, config={"target": "sents", "model": {"encoder": shared}})


def test_a_taken_extension_is_refused() -> None:
    kept = Span.remove_extension("cats") if Span.has_extension("cats") else None
    Span.set_extension("cats", getter=lambda span: {})
    try:
        with pytest.raises(ValueError, match="T787"):
            add_classifier(spacy.blank("xx"), "nowhere", settings={"target": "sents"})
    finally:
        Span.remove_extension("cats")
        if kept is not None:
            Span.set_extension("cats", default=None)
