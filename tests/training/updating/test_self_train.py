"""`spacy transfer self-train`: texts that a classifier is sure of join in, where dev gets better."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin
from thinc.api import Config

from house_kit.commands import run
from house_kit.pipelines import scores_of
from house_kit.runs import MODEL, assert_same_run, config_of, killed_at, write_corpus
from house_kit.texts import LABELS, TEXTS
from spacy_transfer.training.output.result import Result
from spacy_transfer.training.updating.confident import most_confident
from spacy_transfer.training.updating.self_train import SelfTraining, self_train

KIND = "frozen, by pieces"
PLAN = SelfTraining(rounds=1, share=0.5, least_score=0.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_corpus(tmp_path_factory.mktemp("corpus"))
    rows = [{"text": f"{text} please"} for text in TEXTS] + [{"text": TEXTS[0]}]
    (folder / "raw.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return folder


def make_config(bert: Path, corpus: Path, **changes: Any) -> Config:
    return config_of(bert, corpus, KIND, steps=6, **changes)


def decide(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Dev scores of the rounds, whatever the trainings reach."""
    read = Result.read

    def of_round(folder: Path) -> Result:
        found = read(folder)
        object.__setattr__(found, "score", scores[int(folder.name.removeprefix("round-"))])
        return found

    monkeypatch.setattr(Result, "read", of_round)


def test_a_round_is_kept_where_dev_gets_better(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(monkeypatch, 0.5, 0.6)
    done = self_train(make_config(bert, corpus), [corpus / "raw.jsonl"], tmp_path / "out", plan=PLAN)
    assert [one.is_kept for one in done.rounds] == [True, True]
    # The text that has a label already is not among them.
    assert done.n_texts == len(TEXTS)
    joined = {
        doc.text: doc.cats
        for doc in DocBin().from_disk(tmp_path / "out/texts-1/joined.spacy").get_docs(spacy.blank("xx").vocab)
    }
    first = spacy.load(tmp_path / "out" / "round-0" / "model-best")
    assert 0 < len(joined) < len(TEXTS)
    assert done.rounds[1].n_joined == len(joined) == sum(done.rounds[1].joined.values())
    for text, cats in joined.items():
        assert cats == {max(own := first(text).cats, key=own.get): 1.0}
    best, last = (spacy.load(path) for path in (done.folder, tmp_path / "out" / "round-1" / "model-best"))
    assert scores_of(best, TEXTS).equal(scores_of(last, TEXTS))


def test_a_round_that_is_not_better_ends_it(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(monkeypatch, 0.5, 0.5, 0.9)
    plan = SelfTraining(rounds=2, share=0.5, least_score=0.0)
    done = self_train(make_config(bert, corpus), [corpus / "raw.jsonl"], tmp_path / "out", plan=plan)
    assert [one.is_kept for one in done.rounds] == [True, False]
    first = spacy.load(tmp_path / "out" / "round-0" / "model-best")
    assert scores_of(spacy.load(done.folder), TEXTS).equal(scores_of(first, TEXTS))


def test_a_killed_round_is_resumed_to_the_same_weights(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, raw = make_config(bert, corpus), [corpus / "raw.jsonl"]
    decide(monkeypatch, 0.5, 0.6)
    self_train(config, raw, tmp_path / "through", plan=PLAN)
    with killed_at(monkeypatch, 3):
        self_train(config, raw, tmp_path / "killed", plan=PLAN, checkpoint_every="1")
    with pytest.raises(ValueError, match=r"T735.*--resume"):
        self_train(config, raw, tmp_path / "killed", plan=PLAN)
    with pytest.raises(ValueError, match="T167"):
        self_train(config, raw, tmp_path / "killed", plan=SelfTraining(share=0.1), resume=True)
    self_train(config, raw, tmp_path / "killed", plan=PLAN, resume=True, checkpoint_every="1")
    for number in range(2):
        assert_same_run(tmp_path / "through" / f"round-{number}", tmp_path / "killed" / f"round-{number}")


def test_texts_that_cannot_join_in(bert: Path, corpus: Path, tmp_path: Path) -> None:
    config = make_config(bert, corpus)
    for code, text in (("T727", "the box arrived broken"), ("T720", TEXTS[0]), ("T720", " ")):
        (tmp_path / "raw.txt").write_text(f"{text}\n", "utf-8")
        with pytest.raises(ValueError, match=code):
            self_train(config, [tmp_path / "raw.txt"], tmp_path / "out")
    streamed = Config(
        {**config, "corpora": {**config["corpora"], "train": {"@readers": "spacy.PlainTextCorpus.v1", "path": "x"}}}
    )
    with pytest.raises(ValueError, match=r"T734.*corpora.train"):
        self_train(streamed, [corpus / "raw.jsonl"], tmp_path / "out")
    with pytest.raises(ValueError, match=r"T005.*share"):
        SelfTraining(share=0.0)
    assert not (tmp_path / "out").exists()


def test_the_command_shows_the_rounds(bert: Path, corpus: Path, tmp_path: Path) -> None:
    make_config(bert, corpus).to_disk(tmp_path / "config.cfg")
    printed = run(
        "transfer", "self-train", tmp_path / "config.cfg", corpus / "raw.jsonl", "--output", tmp_path / "out",
        "--rounds", "1", "--least-score", "0", "--show", "none",
    )  # fmt: skip
    assert "texts joined" in printed
    assert spacy.load(tmp_path / "out" / "model-best").get_pipe(MODEL).labels == tuple(LABELS)


# ---- the choice ----------------------------------------------------------------------------------------------------


def test_each_label_has_a_threshold_of_its_own() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [0.4, 0.6]], dtype=np.float32)
    found = most_confident(scores, exclusive=True, share=0.5, least_score=0.5)
    assert found == [{0: 1.0}, {}, {}, {1: 1.0}]
    assert most_confident(scores, exclusive=True, share=1.0, least_score=0.58) == [{0: 1.0}, {0: 1.0}, {}, {1: 1.0}]


def test_independent_labels_are_known_to_hold_or_not_or_left_open() -> None:
    scores = np.array([[0.9, 0.02], [0.6, 0.4], [0.1, 0.03]], dtype=np.float32)
    found = most_confident(scores, exclusive=False, share=0.5, least_score=0.8)
    # The second is not sure of anything; the last is sure of nothing that holds.
    assert found == [{0: 1.0, 1: 0.0}, {}, {}]
