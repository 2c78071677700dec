"""From pieces to tokens, from a document to the parts that are left out, and onto the Doc."""

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from house_kit.pipelines import pipeline
from house_kit.shared import shared_pipeline
from house_kit.texts import LABELS
from spacy_transfer.pipeline.explanations.attribution import Attribution
from spacy_transfer.pipeline.explanations.occlusion import occlude, without
from spacy_transfer.pipeline.explanations.words import explanation_of, sentences_of

NAME = "transfer_textcat"
TEXT = "My card is lost. Why?  Please help\n me!"


@pytest.fixture(scope="module")
def nlp(bert: Path) -> Language:
    return pipeline(bert)


def test_pieces_add_up_to_tokens_whatever_their_borders() -> None:
    doc = spacy.blank("en").make_doc("don't  panic\n now")
    chance = random.Random(0)
    for _ in range(20):
        cuts = sorted({0, len(doc.text), *chance.sample(range(len(doc.text)), 5)})
        places = list(pairwise(cuts))
        values = [chance.uniform(-1, 1) for _ in places]
        found = explanation_of(
            doc, "x", 0.5, Attribution([("text", doc.text)], " ", places, [0] * len(places), values, 1.0, 0.0, 1)
        )
        assert [one.text for one in found.words] == ["do", "n't", "panic", "now"]
        assert sum(one.value for one in found.words) == pytest.approx(sum(values))
        assert [doc.text[one.begin : one.end] for one in found.words] == [one.text for one in found.words]


def test_pieces_of_other_sources_are_elsewhere() -> None:
    doc = spacy.blank("xx").make_doc("a day")
    parts, places = [("_.title", "Title"), ("text", "a day")], [(0, 5), (5, 6), (6, 7), (8, 11)]
    found = explanation_of(doc, "x", 0.5, Attribution(parts, " ", places, [0] * 4, [1.0, 0.5, 2.0, 4.0], 7.5, 0.0, 1))
    assert [one.value for one in found.words] == [2.0, 4.0]
    assert found.elsewhere == {"_.title": 1.5}
    assert found.gap == 0.0


def test_sentences_are_those_of_the_document_or_end_at_full_stops() -> None:
    doc = spacy.blank("en").make_doc(TEXT)
    assert [doc[begin:end].text.strip() for begin, end in sentences_of(doc)] == [
        "My card is lost.", "Why?", "Please help\n me!",
    ]  # fmt: skip
    assert not doc.has_annotation("SENT_START")
    doc[1].is_sent_start = True
    assert sentences_of(doc)[0] == (0, 1)


def test_occlusion_is_what_a_score_loses() -> None:
    """Of a score that counts words it is exact."""
    doc = spacy.blank("xx").make_doc("good good bad . fine good")

    def score(docs: list[Doc]) -> Any:
        """Share of good, and of bad."""
        return np.asarray([[one.text.count("good") / 4, -one.text.count("bad")] for one in docs], dtype=np.float32)

    good, bad = occlude(doc, ["g", "b"], [0, 1], score)
    assert [one.value for one in good.words] == [0.25, 0.25, 0, 0, 0, 0.25]
    assert [one.value for one in bad.words] == [0, 0, -1, 0, 0, 0]
    assert [one.value for one in good.sentences] == [0.5, 0.25]
    assert good.difference is None


def test_a_document_without_some_words_keeps_the_rest_as_it_is() -> None:
    doc = spacy.blank("xx").make_doc(TEXT)
    assert without(doc, ()).text == doc.text
    assert without(doc, [2]).text == "My card lost. Why?  Please help\n me!"
    assert without(doc, range(len(doc))).text == ""


@pytest.mark.parametrize("method", ["gradients", "occlusion"])
def test_it_is_kept_on_the_doc(nlp: Language, method: str, tmp_path: Path) -> None:
    doc = nlp(TEXT)
    ((found,),) = nlp.get_pipe(NAME).explain([doc], method=method)
    assert found.label == max(doc.cats, key=doc.cats.get)
    assert found.score == pytest.approx(doc.cats[found.label])
    group = found.write(doc)
    assert [span.text for span in group] == [one.text for one in found.words]
    assert {span.label_ for span in group} == {found.label}
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "x.spacy")
    (back,) = DocBin().from_disk(tmp_path / "x.spacy").get_docs(nlp.vocab)
    kept = back.spans[f"explanation:{found.label}"]
    assert kept.attrs["values"] == [one.value for one in found.words]
    assert [span.text for span in kept] == [span.text for span in group]


def test_which_labels_are_explained(bert: Path) -> None:
    nlp = pipeline(bert, multilabel=True, settings={"threshold": 0.0})
    pipe = nlp.get_pipe(f"{NAME}_multilabel")
    (found,) = pipe.explain([nlp.make_doc(TEXT)])
    assert [one.label for one in found] == list(pipe.labels)
    (found,) = pipe.explain([nlp.make_doc(TEXT)], labels=["money"])
    assert [one.label for one in found] == ["money"]
    pipe.cfg["threshold"] = 1.1
    (found,) = pipe.explain([nlp.make_doc(TEXT)])
    assert len(found) == 1


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_a_text_without_words_is_refused(nlp: Language, text: str) -> None:
    with pytest.raises(ValueError, match=r"T744.*2"):
        nlp.get_pipe(NAME).explain([nlp.make_doc("a text"), nlp.make_doc(text)])


def test_a_label_that_does_not_exist_is_refused(nlp: Language) -> None:
    with pytest.raises(ValueError, match=r"T745.*'card', 'login', 'money'"):
        nlp.get_pipe(NAME).explain([nlp.make_doc("a text")], labels=[*LABELS, "cards"])


def test_a_shared_encoder_is_explained_by_occlusion(bert: Path) -> None:
    nlp = shared_pipeline(bert)
    doc = nlp(TEXT)
    pipe = nlp.get_pipe(NAME)
    with pytest.raises(ValueError, match=r"T741.*occlusion"):
        pipe.explain([doc], method="gradients")
    ((found,),) = pipe.explain([doc])
    assert found.method == "occlusion"
    assert found.score == pytest.approx(doc.cats[found.label], abs=1e-5)
    assert any(abs(one.value) > 1e-7 for one in found.words)
