"""A pipeline whose scores were calibrated: stored, loaded, evaluated and applied."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin

from house_kit.commands import run
from house_kit.pipelines import pipeline, scores_of
from house_kit.texts import TEXTS, exclusive_examples, multilabel_examples
from spacy_transfer.evaluation.evaluate import evaluate
from spacy_transfer.serving.apply.options import Options
from spacy_transfer.serving.apply.scoring import Component
from spacy_transfer.serving.apply.writing.answers import Answers
from spacy_transfer.training.calibration.calibrate import calibrate


def too_sure(folder: Path, bert: Path, *, multilabel: bool) -> tuple[Path, Path]:
    """A pipeline on disk whose logits are far too large, and annotated documents."""
    nlp = pipeline(bert, multilabel=multilabel)
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    component(nlp).calibrate(1 / 400, {})
    nlp.to_disk(folder / "sure")
    DocBin(docs=[example.reference for example in examples]).to_disk(folder / "dev.spacy")
    return folder / "sure", folder / "dev.spacy"


def component(nlp: Language) -> Any:
    return nlp.get_pipe(nlp.pipe_names[0])


def test_exclusive_scores_become_less_sure_and_rank_as_before(tmp_path: Path, bert: Path) -> None:
    before, dev = too_sure(tmp_path, bert, multilabel=False)
    (done,) = calibrate(before, dev, tmp_path / "calibrated")
    assert done.temperature > 2
    assert done.after.nll < done.before.nll
    assert done.after.ece < done.before.ece
    assert done.after.score == done.before.score
    assert not done.thresholds
    old, new = (scores_of(spacy.load(folder), TEXTS) for folder in (before, tmp_path / "calibrated"))
    assert new.max() < old.max()
    torch.testing.assert_close(torch.softmax(old.log() / done.temperature, dim=1), new, atol=1e-3, rtol=0.0)


def test_thresholds_are_stored_and_used_by_evaluate_and_apply(tmp_path: Path, bert: Path) -> None:
    folder, dev = too_sure(tmp_path, bert, multilabel=True)
    shown = run("transfer", "calibrate", folder, dev)
    assert "expected calibration error" in shown
    nlp = spacy.load(folder)
    pipe = component(nlp)
    assert set(pipe.cfg["thresholds"]) == set(pipe.labels) == {"card", "late", "login", "money"}
    scores = scores_of(nlp, TEXTS)
    # In double precision: a threshold lies between two scores, perhaps nearer to them than single precision can say.
    limits = torch.tensor(list(pipe.thresholds.values()), dtype=torch.float64)
    wanted = [
        [label for label, yes in zip(pipe.labels, row, strict=True) if yes]
        for row in (scores.double() >= limits).tolist()
    ]
    # Evaluated by the same thresholds: as many texts are entirely right.
    gold = [{label for label, value in example.reference.cats.items() if value} for example in multilabel_examples(nlp)]
    right = sum(set(labels) == truth for labels, truth in zip(wanted, gold, strict=True))
    found = evaluate(nlp, dev)
    assert found["accuracy"] == pytest.approx(right / len(TEXTS))
    # A label's threshold is one of the best for its F, and its AUC is that without thresholds.
    pipe.cfg["thresholds"] = {}
    plain = evaluate(nlp, dev)
    assert found["cats_macro_f"] >= plain["cats_macro_f"]
    assert found["cats_auc_per_type"] == pytest.approx(plain["cats_auc_per_type"])
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), "utf-8")
    run("transfer", "apply", folder, source, "--output", tmp_path / "out.jsonl", "--labels", "--show", "none")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [row["labels"] for row in rows] == wanted


def test_a_label_that_no_document_has_gets_the_threshold_of_the_component(tmp_path: Path, bert: Path) -> None:
    nlp = pipeline(bert, multilabel=True)
    own = component(nlp).cfg["threshold"]
    # Calibrated before, on documents that had it.
    component(nlp).calibrate(1.0, {"late": 0.25})
    nlp.to_disk(tmp_path / "nlp")
    docs = [example.reference for example in multilabel_examples(nlp)]
    for doc in docs:
        doc.cats["late"] = 0.0
    DocBin(docs=docs).to_disk(tmp_path / "dev.spacy")
    said = " ".join(run("transfer", "calibrate", tmp_path / "nlp", tmp_path / "dev.spacy").split())
    assert (
        f"T685] No document has these labels, so each of them gets the component's own threshold, {own}: late" in said
    )
    assert component(spacy.load(tmp_path / "nlp")).thresholds["late"] == own


def test_a_threshold_is_compared_with_the_score_and_not_with_what_is_written_of_it() -> None:
    component = Component("one", ("a", "b"), thresholds=(0.12345625, 0.9999997))
    scores = np.array([[0.1234563, 0.99999976], [0.1234562, 0.9999996]], dtype=np.float32)
    rows = Answers([component], Options(labels=True, all_scores=True), is_table=False).make(scores)
    # Written, they are all alike: 0.123456 and 1.0.
    assert rows[0]["scores"] == rows[1]["scores"] == {"a": 0.123456, "b": 1.0}
    assert [row["labels"] for row in rows] == [["a", "b"], []]


def test_what_was_never_calibrated_is_stored_as_before(bert: Path) -> None:
    nlp = pipeline(bert, multilabel=True)
    assert "thresholds" not in component(nlp)._cfg_to_store()
    assert set(component(nlp).thresholds.values()) == {0.5}
    again = pipeline(bert, multilabel=True)
    component(again).calibrate(1.0, {"late": 0.25})
    data = again.to_bytes()
    assert component(nlp.from_bytes(data)).thresholds["late"] == 0.25
    assert component(nlp.from_bytes(pipeline(bert, multilabel=True).to_bytes())).thresholds["late"] == 0.5


def test_what_cannot_be_is_refused(tmp_path: Path, bert: Path) -> None:
    folder, dev = too_sure(tmp_path, bert, multilabel=True)
    with pytest.raises(FileExistsError, match="T624"):
        calibrate(folder, dev, tmp_path)
    with pytest.raises(ValueError, match="T625"):
        calibrate(folder, dev, tmp_path / "out", beta=0.0)
    DocBin().to_disk(tmp_path / "empty.spacy")
    with pytest.raises(ValueError, match="T084"):
        calibrate(folder, tmp_path / "empty.spacy", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    cfg = json.loads((folder / "transfer_textcat_multilabel" / "cfg").read_text("utf-8"))
    cfg["thresholds"] = {"no such label": 0.5}
    (folder / "transfer_textcat_multilabel" / "cfg").write_text(json.dumps(cfg), "utf-8")
    with pytest.raises(ValueError, match=r"T451|T082"):
        spacy.load(folder)
