"""Explanations of whole pipelines: the function, the command, lines, the page, JSON."""

import json
import re
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin

from house_kit.commands import run
from house_kit.pipelines import pipeline
from house_kit.reports import EVIL
from house_kit.runs import BOW
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer import explain
from spacy_transfer.analysis.explain.lines import lines_of
from spacy_transfer.analysis.explain.page import facts_of, page_of

NAME = "transfer_textcat"
TEXT = "my card is lost. the bill is late"


@pytest.fixture(scope="module")
def folder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, and training texts in two formats."""
    folder = tmp_path_factory.mktemp("explain")
    nlp = pipeline(bert)
    nlp.to_disk(folder / "nlp")
    examples = exclusive_examples(nlp)
    DocBin(docs=[one.reference for one in examples]).to_disk(folder / "train.spacy")
    rows = [
        {"text": one.reference.text, "label": max(one.reference.cats, key=one.reference.cats.get)} for one in examples
    ]
    (folder / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def nlp(folder: Path) -> Language:
    return spacy.load(folder / "nlp")


def test_any_component_with_scores_is_explained_by_occlusion() -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("textcat", config={"model": BOW})
    nlp.initialize(lambda: exclusive_examples(nlp))
    (found,) = explain(nlp, [TEXT], labels=["card"])
    assert found.component == "textcat"
    (one,) = found.explanations
    assert one.method == "occlusion"
    before, after = (nlp(text).cats["card"] for text in (TEXT, TEXT.replace("card ", "")))
    assert one.words[1].value == pytest.approx(before - after, abs=1e-6)
    with pytest.raises(ValueError, match="T741"):
        explain(nlp, [TEXT], method="gradients")
    with pytest.raises(ValueError, match=r"T749.*'textcat'"):
        explain(nlp, [TEXT], like=Path("x.jsonl"))


def test_which_component_is_meant(bert: Path) -> None:
    with pytest.raises(ValueError, match="T740"):
        explain(spacy.blank("xx"), [TEXT])
    nlp = pipeline(bert)
    nlp.add_pipe("textcat", config={"model": BOW})
    nlp.get_pipe("textcat").initialize(lambda: exclusive_examples(nlp), nlp=nlp)
    (found,) = explain(nlp, [TEXT])
    assert found.component == NAME
    (found,) = explain(nlp, [TEXT], component="textcat")
    assert found.explanations[0].method == "occlusion"
    with pytest.raises(ValueError, match=r"T748.*'tagger'.*transfer_textcat, textcat"):
        explain(nlp, [TEXT], component="tagger")


@pytest.mark.parametrize("name", ["train.spacy", "train.jsonl"])
def test_the_most_similar_training_text_is_the_text_itself(nlp: Language, folder: Path, name: str) -> None:
    found = explain(nlp, TEXTS[3:5], like=folder / name, n_like=3)
    for text, number, one in zip(TEXTS[3:5], (3, 4), found, strict=True):
        assert len(one.similar) == 3
        near = one.similar[0]
        assert (near.text, near.number) == (text, number)
        assert near.similarity == pytest.approx(1.0, abs=1e-5)
        assert near.labels == [["card", "login", "money"][number % 3]]
        assert [other.similarity for other in one.similar] == sorted((o.similarity for o in one.similar), reverse=True)


def test_similar_texts_that_cannot_be_read_are_named(nlp: Language, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="T440"):
        explain(nlp, [TEXT], like=tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "label": "b"}\n{"text": 3}\n')
    with pytest.raises(ValueError, match=r"T749.*bad.jsonl:2"):
        explain(nlp, [TEXT], like=tmp_path / "bad.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match="T749"):
        explain(nlp, [TEXT], like=tmp_path / "empty.jsonl")


def test_lines_show_signs_where_there_is_no_color(nlp: Language) -> None:
    (found,) = explain(nlp, [TEXT], labels=["card"])
    plain = ["".join(text for text, _ in line) for line in lines_of(found, color=False)]
    assert re.search(r"([+-])\S+\1", plain[1])
    assert plain[1].replace("+", "").replace("-", "") == TEXT
    colored = list(lines_of(found))
    assert "".join(text for text, _ in colored[1]) == TEXT
    assert any(colors for _, colors in colored[1])
    assert "Sentences" in plain
    assert sum(bool(re.match(r"  +[+-]\d", line)) for line in plain) == 9 + 2


def test_whatever_a_text_holds_is_text_on_the_page(nlp: Language, folder: Path) -> None:
    pytest.importorskip("jinja2")
    html = page_of(explain(nlp, EVIL, like=folder / "train.spacy"))
    tags = set(re.findall(r"<(\w+)", html))
    assert not tags & {"script", "img", "iframe", "b", "link"}
    assert not re.findall(r"""(?:src|href)\s*=|url\(|@import""", re.sub(r">[^<]*<", "><", html))
    assert "default-src 'none'" in html
    assert "\x07" not in html
    assert "\u202e" not in html
    assert "prefers-color-scheme: dark" in html
    assert html.count("<article>") == 2 * len(EVIL)


def test_the_command_and_its_files(folder: Path, tmp_path: Path) -> None:
    said = run("transfer", "explain", folder / "nlp", TEXT, "--like", folder / "train.jsonl", "--n", "3", "-k", "2")
    assert "Integrated gradients" in said
    assert "Most similar" in said
    for name in ("out.html", "out.json", "out.spacy"):
        run("transfer", "explain", folder / "nlp", TEXT, "--label", "card", "--label", "money", "-o", tmp_path / name)
    facts = json.loads((tmp_path / "out.json").read_text())["explained"]
    assert [one["label"] for one in facts[0]["explanations"]] == ["card", "money"]
    assert sum(word["value"] for word in facts[0]["explanations"][0]["words"]) == pytest.approx(
        facts[0]["explanations"][0]["difference"], rel=0.011, abs=1e-4
    )
    (doc,) = DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.blank("xx").vocab)
    assert set(doc.spans) == {"explanation:card", "explanation:money"}
    # Older ones are replaced, others never.
    run("transfer", "explain", folder / "nlp", TEXT, "-o", tmp_path / "out.html")
    (tmp_path / "mine.html").write_text("mine")
    assert "T376" in run("transfer", "explain", folder / "nlp", TEXT, "-o", tmp_path / "mine.html", code=1)
    assert "T746" in run("transfer", "explain", folder / "nlp", TEXT, "-o", tmp_path / "out.pdf", code=1)
    assert "T744" in run("transfer", "explain", folder / "nlp", code=1)
    assert "T744" in run("transfer", "explain", folder / "nlp", " ", code=1)
    assert "T745" in run("transfer", "explain", folder / "nlp", TEXT, "--label", "cards", code=1)
    (tmp_path / "long.txt").write_text(TEXT * 20)
    assert "Windows" in run("transfer", "explain", folder / "nlp", "--file", tmp_path / "long.txt")


def test_numbers_are_json(nlp: Language) -> None:
    assert json.loads(json.dumps(facts_of(explain(nlp, [TEXT])), allow_nan=False))["explained"][0]["text"] == TEXT
