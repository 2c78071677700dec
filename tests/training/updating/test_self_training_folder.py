"""The folder of a self-training: what is refused, what `force` discards, what `resume` compares."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import DocBin
from thinc.api import Config

from house_kit.runs import config_of, everything, killed_at, write_corpus
from house_kit.texts import TEXTS
from spacy_transfer.training.output.marker import Kind, Marker
from spacy_transfer.training.updating import self_train as module
from spacy_transfer.training.updating.self_train import SelfTraining, self_train

PLAN = SelfTraining(rounds=1, share=0.5, least_score=0.0)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Texts with labels and without; tests may change them."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = [{"text": f"{text} please"} for text in TEXTS]
    (folder / "raw.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return write_corpus(folder)


def config_with(bert: Path, corpus: Path, **changes: Any) -> Config:
    """A config as people write it: it names its files once, as variables."""
    config = config_of(bert, corpus, "frozen, by pieces", steps=3, **changes)
    config["paths"] = {"encoder": str(bert)}
    config["components"]["transfer_textcat"]["model"]["encoder"]["name"] = "${paths.encoder}"
    return config


def go(bert: Path, corpus: Path, **options: Any) -> Path:
    """Train in the folder next to the texts."""
    config = options.pop("config", None) or config_with(bert, corpus)
    output = corpus.with_name("out")
    self_train(config, [corpus / "raw.jsonl"], output, **{"plan": PLAN, "checkpoint_every": "1", **options})
    return output


@pytest.mark.parametrize("kind", [None, "run", "study", "pretraining"])
def test_what_something_else_wrote_is_refused_and_stays(bert: Path, corpus: Path, kind: Kind | None) -> None:
    output = corpus.with_name("out")
    for name in ("model-best", "model-last", "checkpoints", "round-0", "texts-1"):
        (output / name).mkdir(parents=True)
        (output / name / "notes").write_text("mine")
    (output / "study.json").write_text("{}")
    (output / "round-trip").write_text("mine")
    if kind is not None:
        Marker.write(output, kind)
    before = everything(output)
    code = "T371" if kind is None else "T380"
    with pytest.raises(
        FileExistsError, match=rf"{code}.*round-0, texts-1, checkpoints.*model-best, study\.json.*--force"
    ):
        go(bert, corpus)
    assert everything(output) == before
    if kind != "study":
        return
    go(bert, corpus, force=True)
    marker = Marker.read(output)
    assert marker is not None
    assert marker.kind == "self-training"
    left = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert not [name for name in left if name.endswith("notes")]
    assert {"round-trip", "self-train.json", "model-best/meta.json"} <= left
    assert not {"study.json", "checkpoints", "model-last"} & {path.name for path in output.iterdir()}


def test_what_cannot_begin_writes_nothing(bert: Path, corpus: Path) -> None:
    """A wrong name is no reason to train a round first."""
    for code, options in (
        ("T642.*'parser'", {"component": "parser"}),
        ("T172", {"checkpoint_every": "soon"}),
        ("T165.*--resume", {"resume": True}),
        ("T165.*--resume", {"resume": True, "force": True}),
    ):
        with pytest.raises(ValueError, match=code):
            go(bert, corpus, **options)
    spans = config_with(bert, corpus)
    spans["components"]["transfer_textcat"]["target"] = "sents"
    with pytest.raises(ValueError, match="T791"):
        go(bert, corpus, config=spans)
    assert not corpus.with_name("out").exists()


def test_a_training_that_failed_at_once_leaves_nothing_to_discard(
    bert: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise ValueError("not this time")

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", fail)
        with pytest.raises(ValueError, match="not this time"):
            go(bert, corpus)
    output = go(bert, corpus)
    # Now there is something to lose, even if its rounds are gone.
    shutil.rmtree(output / "round-0")
    shutil.rmtree(output / "round-1")
    with pytest.raises(ValueError, match="T735"):
        go(bert, corpus)


def relabeled(path: Path) -> None:
    """Give the first text another label."""
    docs = list(DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab))
    docs[0].cats = dict(docs[1].cats)
    DocBin(docs=docs).to_disk(path)


def test_it_is_not_resumed_with_something_else(bert: Path, corpus: Path) -> None:
    """Also between its rounds, where no checkpoint is that of another run."""
    go(bert, corpus)

    def refused(what: str, **options: Any) -> None:
        with pytest.raises(ValueError, match=rf"T167[\s\S]*{what}"):
            go(bert, corpus, resume=True, **options)

    refused(r"model\.encoder\.name", overrides={"paths.encoder": str(shutil.copytree(bert, corpus.with_name("other")))})
    config = config_with(bert, corpus)
    for part in (config["components"], config["initialize"]["components"]):
        part["other"] = part.pop("transfer_textcat")
    config["nlp"]["pipeline"] = ["other"]
    refused("classifier: 'transfer_textcat' then, 'other' now", config=config)
    relabeled(corpus / "train.spacy")
    refused("labeled texts:")
    relabeled(corpus / "dev.spacy")
    refused("dev texts:")
    (corpus / "raw.jsonl").write_text('{"text": "is it here"}\n')
    refused("\ntexts:")


def test_what_force_discards_is_not_resumed(bert: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = go(bert, corpus)
    first = {path.name for path in output.iterdir()}
    assert {"round-0", "round-1", "texts-1"} <= first
    with pytest.raises(ValueError, match=r"T735.*--force"):
        go(bert, corpus)
    best = everything(output / "model-best")
    with killed_at(monkeypatch, 0):
        go(bert, corpus, force=True)
    names = {path.name for path in output.iterdir()}
    assert not {"round-1", "texts-1"} & names
    # Those of the discarded round have gone further.
    assert [path.name for path in (output / "round-0" / "checkpoints").glob("step-*")] == ["step-00000000"]
    # The old pipeline stays as long as there is no other.
    assert everything(output / "model-best") == best
    again = go(bert, corpus, resume=True)
    assert {path.name for path in again.iterdir()} >= {"round-0", "texts-1", "model-best"}


def test_what_it_reads_is_not_discarded(bert: Path, corpus: Path) -> None:
    output = go(bert, corpus)
    before = everything(output)
    for place in ("round-0/model-best", "model-best"):
        with pytest.raises(ValueError, match=rf"T373.*{place}"):
            go(bert, corpus, force=True, overrides={"paths.encoder": str(output / place)})
    assert everything(output) == before
