"""From a table with a column of paths to a pipeline and its scores: convert, train, stop, resume, evaluate, apply."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.cli import app
from spacy.cli.train import train as spacy_train
from spacy.tokens import DocBin
from thinc.api import Config
from typer.testing import CliRunner

import spacy_transfer.cli  # noqa: F401  (adds the command group)
from house_kit.media import png
from house_kit.runs import ADAMW, CNN, MODEL, assert_same_run, config_of, files_of, killed_at, run
from house_kit.texts import LABELS, TEXTS
from spacy_transfer import apply, convert, evaluate
from spacy_transfer.docbins import read_docs
from spacy_transfer.training.state.pipeline_state import all_weights

N = 12


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures next to a table that names them; one row has none, one no text, one neither label of its text."""
    folder = tmp_path_factory.mktemp("tables") / "shop"
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for i in range(N):
        (folder / "pictures" / f"{i}.png").write_bytes(png(i % 3, i))
        path = "" if i == 4 else f"pictures/{i}.png"
        rows.append({"text": "" if i == 7 else TEXTS[i], "label": LABELS[i % 3], "image": path})
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label", "image"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "train.csv"


@pytest.fixture(scope="module")
def corpus(table: Path) -> Path:
    """What convert makes of it, next to it."""
    convert([table], table.parent / "corpus", path_fields=["image"])
    shutil.copy(table.parent / "corpus/train.spacy", table.parent / "corpus/dev.spacy")
    return table.parent / "corpus"


def config(bert: Path, vit: Path, corpus: Path, depth: Any, **training: Any) -> Config:
    features = {"@layers": "spacy-transfer.ImageFeatures.v1", "encoder": str(vit), "frozen_depth": depth}
    readers = {
        name: {"@readers": "spacy-transfer.Corpus.v1", "path": str(corpus / f"{name}.spacy")}
        for name in ("train", "dev")
    }
    made = config_of(
        bert, corpus, "frozen, by pieces", steps=0, training={"max_epochs": 2, "eval_frequency": 3, **training}
    )
    made["corpora"] = readers
    made["components"][MODEL]["model"]["features"] = features
    return made


def test_paths_start_where_the_file_is(corpus: Path, tmp_path: Path) -> None:
    (found,) = {
        doc.user_data["transfer_paths"][0]
        for doc in DocBin(store_user_data=True).from_disk(corpus / "train.spacy").get_docs(spacy.blank("xx").vocab)
    }
    assert found == "image"
    key = ("._.", "image", None, None)
    stored = [
        doc.user_data[key]
        for doc in DocBin(store_user_data=True).from_disk(corpus / "train.spacy").get_docs(spacy.blank("xx").vocab)
    ]
    assert stored[0] == "../pictures/0.png"
    assert not stored[4]
    # The folder of both can go anywhere.
    shutil.copytree(corpus.parent, tmp_path / "elsewhere")
    docs = list(read_docs(tmp_path / "elsewhere/corpus/train.spacy"))
    assert len(docs) == N
    assert Path(docs[0].user_data[key]).resolve() == (tmp_path / "elsewhere/pictures/0.png").resolve()
    assert docs[7].text == ""
    assert Path(docs[7].user_data[key]).read_bytes() == png(1, 7)


def test_a_row_needs_a_text_or_a_picture(tmp_path: Path) -> None:
    lines = [
        {"text": "", "image": "a.png", "label": "a"},
        {"image": "/b.png", "label": "b"},
        {"text": " ", "image": "", "label": "b"},
    ]
    source = tmp_path / "train.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match="T043"):
        convert([source], tmp_path / "corpus", path_fields=["image"])
    made = convert([source], tmp_path / "corpus", path_fields=["image"], skip_bad=True)
    assert made.n_written[tmp_path / "corpus/train.spacy"] == 2
    docs = list(read_docs(tmp_path / "corpus/train.spacy"))
    paths = [Path(doc.user_data["._.", "image", None, None]).resolve() for doc in docs]
    assert paths == [(tmp_path / "a.png").resolve(), Path("/b.png")]


@pytest.mark.slow
def test_ranks_sum_the_gradients_of_features(
    quiet_bert: Path, vit: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tuned encoder of pictures, the vector for none, and Thinc's layers; two ranks are one."""
    # A large eps, since Adam would blow up gradients that are nothing but rounding.
    optimizer = {**ADAMW, "eps": 1e-3}
    made = config(quiet_bert, vit, corpus, 1, dropout=0.0, optimizer=optimizer)
    pictures = made["components"][MODEL]["model"]["features"]
    words = {"@layers": "spacy-transfer.Tok2VecFeatures.v1", "tok2vec": CNN}
    both = {"@layers": "spacy-transfer.JoinedFeatures.v1", "*": {"pictures": pictures, "words": words}}
    made["components"][MODEL]["model"]["features"] = both
    made.to_disk(tmp_path / "config.cfg")
    run(made, tmp_path / "one")
    arguments = ["transfer", "train", str(tmp_path / "config.cfg"), "--output", str(tmp_path / "two"), "--ranks", "2"]
    monkeypatch.setattr("sys.argv", ["spacy", *arguments])
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    one, two = (
        all_weights(spacy.load(tmp_path / name / "model-last"), only_trainable=False) for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("depth", ["all", 1])
def test_trained_stopped_and_resumed(
    quiet_bert: Path, vit: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: Any
) -> None:
    """To the same bytes, averages included; and spaCy's own loop does the same."""
    averages = {"optimizer": {**ADAMW, "use_averages": True}} if depth == 1 else {}
    made = config(quiet_bert, vit, corpus, depth, **averages)
    run(made, tmp_path / "whole")
    with killed_at(monkeypatch, 5):
        run(made, tmp_path / "parts", checkpoint_every="2")
    run(made, tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    if depth == "all":
        made.to_disk(tmp_path / "config.cfg")
        spacy_train(tmp_path / "config.cfg", tmp_path / "theirs")
        assert files_of(tmp_path / "whole/model-last") == files_of(tmp_path / "theirs/model-last")


def test_scores_are_those_of_the_documents_wherever_they_come_from(
    quiet_bert: Path, vit: Path, table: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = config(quiet_bert, vit, corpus, "all", max_epochs=20, eval_frequency=60)
    made["training"]["optimizer"]["learn_rate"] = 2e-2
    run(made, tmp_path / "run")
    model = tmp_path / "run/model-last"
    nlp = spacy.load(model)
    # The attribute is registered where the pipeline is loaded.
    docs = [nlp.make_doc(doc.text) for doc in read_docs(corpus / "train.spacy")]
    for doc, read in zip(docs, read_docs(corpus / "train.spacy"), strict=True):
        doc._.image = read._.image
    wanted = torch.tensor([[doc.cats[label] for label in LABELS] for doc in nlp.pipe(docs)])
    right = [wanted[i].argmax() == i % 3 for i in range(N) if i != 4]
    assert sum(right) >= 9
    found = evaluate(nlp, corpus / "train.spacy")
    assert found["n_docs"] == N
    assert found["accuracy"] >= 9 / N
    # Another working directory, and a table without labels.
    monkeypatch.chdir(tmp_path)
    apply(model, [table], output=tmp_path / "scores.jsonl", all_scores=True, prefix="p_")
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows[:2]] == ["pictures/0.png", "pictures/1.png"]
    assert len(rows) == N
    apply(model, [corpus / "train.spacy"], output=tmp_path / "again.jsonl", all_scores=True, prefix="p_")
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    for i, (row, other) in enumerate(zip(rows, again, strict=True)):
        for answer in (row, other):
            scores = next(value for key, value in answer.items() if isinstance(value, dict))
            torch.testing.assert_close(
                torch.tensor([scores[label] for label in LABELS]), wanted[i], atol=1e-4, rtol=1e-3
            )
