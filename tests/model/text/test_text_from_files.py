"""Attributes that are read of a document come from files, or from the components before."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus, Example
from typer.testing import CliRunner

from house_kit.pipelines import add_classifier, model_config, shim_of
from house_kit.texts import LABELS, TEXTS, one_hot
from spacy_transfer import cli  # noqa: F401  (adds the command group)
from spacy_transfer.corpora.convert import convert
from spacy_transfer.corpora.reading.reader import make_corpus
from spacy_transfer.evaluation.evaluate import evaluate
from spacy_transfer.model.text.text import Text

# ---- from a file -------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The label stands in the title alone; written by `convert`."""
    rows = [
        {"text": f"please {'help' if i % 2 else 'thanks'}", "title": TEXTS[i], "label": LABELS[i % 3]}
        for i in range(24)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    convert([tmp_path / "train.jsonl"], tmp_path, attribute_fields=["title"])
    return tmp_path / "train.spacy"


def train_config(folder: Path, encoder: Path, corpus: Path) -> Path:
    """The config of a classifier that reads title and text through our reader."""
    start = {"@misc": "spacy-transfer.LinearProbe.v1"}
    model = model_config(encoder, text={"sources": ["_.title", "text"]}, head_init=start)
    config: dict[str, Any] = {
        "nlp": {"lang": "xx", "pipeline": ["transfer_textcat"]},
        "components": {"transfer_textcat": {"factory": "transfer_textcat", "model": model}},
        "corpora": {part: {"@readers": "spacy-transfer.Corpus.v1", "path": str(corpus)} for part in ("train", "dev")},
        "training": {
            "seed": 0, "gpu_allocator": None, "max_steps": 100, "eval_frequency": 20, "patience": 0,
            "batcher": {"@batchers": "spacy-transfer.batch_by_pieces.v1", "docs": 8},
            "optimizer": {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 3e-3},
        },
    }  # fmt: skip
    spacy.util.Config(config).to_disk(folder / "short.cfg")
    result = run("init", "fill-config", folder / "short.cfg", folder / "config.cfg")
    assert result.exit_code == 0, result.output
    return folder / "config.cfg"


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.mark.slow
def test_spacy_train_on_attributes_of_a_file(quiet_bert: Path, corpus: Path, tmp_path: Path) -> None:
    """Nothing is registered: the file brings its values along."""
    config = train_config(tmp_path, quiet_bert, corpus)
    result = run("train", config, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    nlp = spacy.load(tmp_path / "out" / "model-best")
    assert nlp.meta["performance"]["cats_score"] > 0.8
    assert evaluate(nlp, corpus)["accuracy"] > 0.8
    # Loading has registered the attribute; spaCy's own command reads texts alone.
    with pytest.raises(ValueError, match=r"T112.*'spacy transfer evaluate'"):
        nlp.evaluate(list(Corpus(corpus)(nlp)))


def test_a_reader_that_leaves_attributes_behind_is_named(quiet_bert: Path, corpus: Path) -> None:
    Doc.set_extension("title", default=None)
    nlp = spacy.blank("xx")
    add_classifier(nlp, quiet_bert, text={"sources": ["_.title", "text"], "missing": "skip"})
    examples = list(Corpus(corpus)(nlp))
    with pytest.warns(UserWarning, match=r"T113.*'transfer_textcat' reads _.title.*spacy-transfer.Corpus.v1"):
        nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=nlp.create_optimizer())
    ours = list(make_corpus(path=corpus)(nlp))
    nlp.initialize(lambda: ours)


def test_the_reader_carries_what_is_read_and_nothing_else(bert: Path, tmp_path: Path) -> None:
    for name in ("title", "secret"):
        Doc.set_extension(name, default=None)
    Span.set_extension("summary", default=None)
    nlp = spacy.blank("xx")
    sources = ["_.title", "spans:parts", "spans:parts._.summary"]
    add_classifier(nlp, bert, text={"sources": sources, "missing": "skip"})
    # Tokens of their own: spans go over by characters.
    doc = Doc(nlp.vocab, words=["One", "two.", "Three"], spaces=[True, True, False])
    doc.cats = one_hot("card")
    doc._.title, doc._.secret = "T", "no input"
    doc.spans["parts"], doc.spans["gold"] = [doc[0:2], doc[2:3]], [doc[0:1]]
    doc.spans["parts"][1]._.summary = "3"
    DocBin(docs=[doc] * 3, store_user_data=True).to_disk(tmp_path / "x.spacy")
    examples = list(make_corpus(path=tmp_path / "x.spacy", limit=2)(nlp))
    assert len(examples) == 2
    for example in examples:
        predicted = example.predicted
        assert [token.text for token in predicted] == ["One", "two", ".", "Three"]
        assert [span.text for span in predicted.spans["parts"]] == ["One two.", "Three"]
        assert shim_of_text(nlp).read([predicted]) == ["T One two. Three 3"]
        assert predicted._.secret is None
        assert list(predicted.spans) == ["parts"]
        assert not predicted.cats


def shim_of_text(nlp: Language) -> Text:
    text: Text = shim_of(nlp).settings.text
    return text


def test_augmented_documents_keep_the_attributes(bert: Path, corpus: Path) -> None:
    def louder(nlp: Language, example: Example) -> Iterator[Example]:
        yield example
        doc = nlp.make_doc(example.text.upper())
        yield example.from_dict(doc, {"cats": example.reference.cats})

    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, text={"sources": ["_.title", "text"]})
    docs = [example.predicted for example in make_corpus(path=corpus, augmenter=louder)(nlp)]
    assert shim_of_text(nlp).read(docs[:2]) == [f"{TEXTS[0]} please thanks", f"{TEXTS[0]} PLEASE THANKS"]
    with pytest.raises(ValueError, match="T005"):
        make_corpus(path=corpus, limit=-1)


@Language.component("test_text_titles")
def write_titles(doc: Doc) -> Doc:
    """A component that writes what the classifier reads."""
    if not Doc.has_extension("made"):
        Doc.set_extension("made", default=None)
    doc._.made = TEXTS[len(doc.text) % 24]
    return doc


def test_what_an_annotating_component_writes(quiet_bert: Path) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("test_text_titles")
    add_classifier(nlp, quiet_bert, text={"sources": ["_.made"]}, head_init={"@misc": "spacy-transfer.LinearProbe.v1"})
    nlp.config["training"]["annotating_components"] = ["test_text_titles"]
    texts = ["x" * i for i in range(1, 25)]
    cats = [one_hot(LABELS[i % 24 % 3]) for i in range(1, 25)]
    examples = [Example.from_dict(nlp.make_doc(t), {"cats": c}) for t, c in zip(texts, cats, strict=True)]
    nlp.initialize(lambda: examples)
    assert not any(eg.predicted.user_data for eg in examples)
    optimizer = nlp.create_optimizer()
    for _ in range(40):
        nlp.update(examples, sgd=optimizer, annotates=["test_text_titles"])
    assert nlp.evaluate(examples)["cats_micro_f"] > 0.8


# ---- convert -----------------------------------------------------------------------------------------------------


def stored(path: Path) -> list[Any]:
    docs = DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)
    return [{key[1]: value for key, value in doc.user_data.items()} for doc in docs]


def test_convert_keeps_attribute_fields(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "label": "x", "title": "A", "tags": ["p", "q"]}, {"text": "b", "label": "y", "title": None},
        {"text": "c", "label": "y", "title": "", "tags": []},
    ]  # fmt: skip
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "dev.csv").write_text("title,text,label,tags\nA,a,x,p\n,b,y,\n")
    sources = [tmp_path / "train.jsonl", tmp_path / "dev.csv"]
    options = ["--attribute-field", "title", "--attribute-field", "tags"]
    result = run("transfer", "convert", *sources, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert stored(tmp_path / "out" / "train.spacy") == [
        {"title": "A", "tags": ("p", "q")}, {"title": None, "tags": None}, {"title": "", "tags": ()}
    ]  # fmt: skip
    assert stored(tmp_path / "out" / "dev.spacy") == [{"title": "A", "tags": "p"}, {"title": "", "tags": ""}]
    convert(sources, tmp_path / "without")
    assert stored(tmp_path / "without" / "train.spacy") == [{}, {}, {}]


def test_convert_refuses_other_attributes(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text(
        '{"text": "a", "label": "x", "title": {"a": 3}}\n{"text": "b", "label": "y", "title": ["x", null]}\n'
    )
    with pytest.raises(ValueError, match=r"T043\] 2 bad(?s:.)*the field 'title' holds (?s:.)*, expected a str"):
        convert([source], tmp_path / "out", attribute_fields=["title"])
    source.write_text('{"text": "a", "label": "x", "title": "\\ud800"}\n')
    with pytest.raises(ValueError, match=r"T043(?s:.)*surrogate"):
        convert([source], tmp_path / "out", attribute_fields=["title"])
    for name in ("--", "text", "label", ""):
        with pytest.raises(ValueError, match=f"T114.*'{name}'"):
            convert([source], tmp_path / "out", attribute_fields=[name])
    (tmp_path / "b.csv").write_text("text,label\na,x\n")
    with pytest.raises(ValueError, match=r"T046.*'title'"):
        convert([tmp_path / "b.csv"], tmp_path / "out", attribute_fields=["title"])
