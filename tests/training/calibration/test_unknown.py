"""A confidence that a text has one of the known labels: fitted, stored, used, dropped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin

from house_kit.pipelines import pipeline
from house_kit.texts import LABELS, TEXTS, exclusive_examples, multilabel_examples, one_hot
from spacy_transfer import apply, calibrate, export
from spacy_transfer.cli.configs import share_or_auto
from spacy_transfer.evaluation.temperature import log_odds_of
from spacy_transfer.evaluation.unknown_labels import fit_groups
from spacy_transfer.model.shared.attach import attach, detach
from spacy_transfer.pipeline.interface import classifier_of

STRANGERS = ["happy", "angry screen box", "thanks", "box"]


def write(path: Path, nlp: Language, texts: list[str], cats: list[dict[str, float]]) -> Path:
    docs = [nlp.make_doc(text) for text in texts]
    for doc, its in zip(docs, cats, strict=True):
        doc.cats = its
    DocBin(docs=docs).to_disk(path)
    return path


def component(nlp: Language) -> Any:
    return nlp.get_pipe(nlp.pipe_names[0])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    """A calibrated pipeline, what it was trained on, and others: dev with texts of another label."""
    folder = tmp_path_factory.mktemp("unknown")
    nlp = pipeline(bert)
    nlp.to_disk(folder / "plain")
    gold = [one_hot(LABELS[i % 3]) for i in range(len(TEXTS))]
    write(folder / "train.spacy", nlp, TEXTS, gold)
    others = [f"{text} please" for text in TEXTS]
    write(folder / "dev.spacy", nlp, [*others, *STRANGERS], [*gold, *[{"other": 1.0}] * len(STRANGERS)])
    write(folder / "known.spacy", nlp, others, gold)
    return folder


@pytest.fixture(scope="module")
def fitted(files: Path) -> Any:
    return calibrate(files / "plain", files / "dev.spacy", files / "fitted", train=files / "train.spacy")[0].confidence


def confidence(nlp: Language, texts: list[str]) -> list[float]:
    return [doc._.transfer_confidence for doc in nlp.pipe(texts)]


def test_it_is_the_rank_of_distance_and_score_among_known_texts(files: Path, fitted: Any) -> None:
    nlp = spacy.load(files / "fitted")
    pipe = component(nlp)
    examples = exclusive_examples(nlp)
    members = np.array([[eg.reference.cats[label] for label in pipe.labels] for eg in examples]) > 0
    groups = fit_groups(pipe.vectors([eg.predicted for eg in examples]), members)
    assert groups is not None

    def raw(texts: list[str]) -> np.ndarray:
        docs = list(map(nlp.make_doc, texts))
        odds = log_odds_of(pipe.predict(docs), exclusive=True)
        stored = pipe.model.shims[0].network.confidence
        vectors = pipe.vectors(docs)
        return stored.weights.numpy() @ np.stack([groups.nearness(vectors), odds, groups.closeness(vectors)])

    known = [f"{text} please" for text in TEXTS]
    strange = [*STRANGERS, "price box happy angry"]
    reference = np.sort(raw(known))
    for value, found in zip(raw(strange), confidence(nlp, strange), strict=True):
        below = np.searchsorted(reference, value) / len(reference)
        assert found == pytest.approx(below, abs=2 / len(reference))
    assert fitted.n_train == len(TEXTS)
    assert fitted.n_unknown == len(STRANGERS)
    assert 0.0 <= fitted.auroc <= 1.0


def test_it_is_stored_with_the_model_and_changes_no_score(files: Path, fitted: Any) -> None:
    nlp, texts = spacy.load(files / "fitted"), [*TEXTS[:4], *STRANGERS]
    wanted = confidence(nlp, texts)
    scores = [doc.cats for doc in nlp.pipe(texts)]
    again = pipeline_of(nlp)
    assert confidence(again, texts) == wanted
    assert [doc.cats for doc in again.pipe(texts)] == scores
    # To the last bit: a threshold must not move between two scores.
    assert component(again).min_confidence == component(nlp).min_confidence == fitted.min_confidence
    component(again).set_confidence(None)
    assert [doc.cats for doc in again.pipe(texts)] == scores
    assert confidence(again, texts) == [None] * len(texts)


def pipeline_of(nlp: Language) -> Language:
    return spacy.util.load_model_from_config(nlp.config, auto_fill=True).from_bytes(nlp.to_bytes())


def test_files_get_the_word_for_none_below_it(files: Path, fitted: Any, tmp_path: Path) -> None:
    nlp = spacy.load(files / "fitted")
    texts = [*TEXTS, *STRANGERS]
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    wanted = confidence(nlp, texts)
    for least, limit in (("auto", fitted.min_confidence), (0.5, 0.5)):
        apply(nlp, source, tmp_path / "out.jsonl", min_confidence=least, labels=True, abstain="none", force=True)
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
        assert [row["confidence"] for row in rows] == pytest.approx(wanted, abs=1e-3)
        assert [row["label"] == "none" for row in rows] == [value < limit for value in wanted]
        assert all(row["labels"] == ([] if row["label"] == "none" else [row["label"]]) for row in rows)
    apply(nlp, source, tmp_path / "out.spacy")
    docs = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(nlp.vocab))
    assert [doc._.transfer_confidence for doc in docs] == pytest.approx(wanted, abs=1e-3)
    # Who does not ask for it gets what there was before.
    apply(nlp, source, tmp_path / "plain.jsonl")
    assert json.loads((tmp_path / "plain.jsonl").read_text("utf-8").splitlines()[0]).keys() == {
        "text",
        "label",
        "score",
    }


def test_training_drops_it(files: Path, fitted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    nlp = spacy.load(files / "fitted")
    nlp.update(exclusive_examples(nlp)[:6], sgd=nlp.create_optimizer())
    assert not component(nlp).has_confidence
    assert component(nlp).min_confidence == 0.0
    assert confidence(nlp, TEXTS[:2]) == [None, None]


def test_any_number_of_labels_and_none_of_them(files: Path, bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert, multilabel=True)
    nlp.to_disk(tmp_path / "plain")
    gold = [example.reference.cats for example in multilabel_examples(nlp)]
    nothing = dict.fromkeys(gold[0], 0.0)
    train = write(tmp_path / "train.spacy", nlp, [*TEXTS, "thanks", "happy"], [*gold, nothing, nothing])
    dev = write(tmp_path / "dev.spacy", nlp, [f"{text} it" for text in TEXTS], gold)
    (done,) = calibrate(tmp_path / "plain", dev, tmp_path / "out", train=train)
    assert done.confidence is not None
    assert done.confidence.auroc is None
    pipe = component(spacy.load(tmp_path / "out"))
    # A group for those without a label.
    assert classifier_of(pipe.model).shim.n_groups == len(pipe.labels) + 1


def test_it_goes_along_to_a_shared_encoder_and_back(files: Path, fitted: Any) -> None:
    pytest.importorskip("spacy_transformers")
    nlp = spacy.load(files / "fitted")
    wanted = confidence(nlp, TEXTS[:6])
    shared = attach(nlp)
    assert confidence(shared, TEXTS[:6]) == pytest.approx(wanted, abs=1e-3)
    assert confidence(detach(shared), TEXTS[:6]) == pytest.approx(wanted, abs=1e-3)


def test_what_cannot_be_is_refused(files: Path, fitted: Any, bert: Path, tmp_path: Path) -> None:
    nlp, train, dev = spacy.load(files / "plain"), files / "train.spacy", files / "dev.spacy"
    with pytest.raises(ValueError, match="T683"):
        calibrate(files / "plain", train, tmp_path / "out", train=train)
    single = write(tmp_path / "single.spacy", nlp, TEXTS[:3], [one_hot(label) for label in LABELS])
    with pytest.raises(ValueError, match="T680"):
        calibrate(files / "plain", dev, tmp_path / "out", train=single)
    with pytest.raises(ValueError, match="T680"):
        calibrate(files / "plain", single, tmp_path / "out", train=write(
            tmp_path / "rest.spacy", nlp, TEXTS[3:], [one_hot(LABELS[i % 3]) for i in range(3, len(TEXTS))]
        ))  # fmt: skip
    assert not (tmp_path / "out").exists()
    source = tmp_path / "texts.txt"
    source.write_text("card\n", "utf-8")
    with pytest.raises(ValueError, match="T682"):
        apply(nlp, source, tmp_path / "out.csv", min_confidence="auto")
    with pytest.raises(ValueError, match="T681"):
        share_or_auto("high")
    with pytest.raises(ValueError, match="T681"):
        apply(nlp, source, tmp_path / "out.csv", min_confidence=1.5)
    with pytest.raises(ValueError, match="T542"):
        export(files / "fitted", tmp_path / "onnx")
    # Calibrated without training texts it has none, and can be exported.
    calibrate(files / "fitted", files / "known.spacy", tmp_path / "again")
    assert not component(spacy.load(tmp_path / "again")).has_confidence


def test_a_strangers_file_gets_no_more_room_than_its_weights(files: Path, fitted: Any, tmp_path: Path) -> None:
    nlp = spacy.load(files / "fitted")
    nlp.to_disk(tmp_path / "one")
    cfg = tmp_path / "one" / "transfer_textcat" / "cfg"
    stored = json.loads(cfg.read_text("utf-8"))
    stored["network"]["n_groups"] = 2**30
    cfg.write_text(json.dumps(stored), "utf-8")
    with pytest.raises(OSError, match="T451"):
        spacy.load(tmp_path / "one")
