"""Noise, the attack, what they cost, and the config that trains against them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin

from house_kit.commands import run
from house_kit.pipelines import pipeline
from house_kit.shared import shared_pipeline
from house_kit.texts import LABELS, TEXTS, exclusive_examples, multilabel_examples, one_hot
from spacy_transfer import robustness
from spacy_transfer.analysis.robustness.attack import Target, attack
from spacy_transfer.analysis.robustness.defense import defense
from spacy_transfer.analysis.robustness.noise import ATTACK, NOISES
from spacy_transfer.analysis.robustness.robustness import Drop, Robustness
from spacy_transfer.config.reading import read_config
from spacy_transfer.corpora.noise.augmentation import Augmentation
from spacy_transfer.evaluation.measures import Interval
from spacy_transfer.training.adamw import AdamW

NAME = "transfer_textcat"


@pytest.fixture(scope="module")
def folder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that knows its texts by heart, and these texts."""
    folder = tmp_path_factory.mktemp("robustness")
    nlp = pipeline(bert)
    examples, sgd = exclusive_examples(nlp), AdamW(learn_rate=1e-2)
    for _ in range(12):
        nlp.update(examples, sgd=sgd)
    nlp.to_disk(folder / "nlp")
    DocBin(docs=[one.reference for one in examples]).to_disk(folder / "test.spacy")
    return folder


@pytest.fixture(scope="module")
def nlp(folder: Path) -> Language:
    return spacy.load(folder / "nlp")


@pytest.fixture(scope="module")
def found(nlp: Language, folder: Path) -> Robustness:
    return robustness(nlp, folder / "test.spacy", n_attacked=10, n_queries=20)


def drop(noise: str, low: float, high: float) -> Drop:
    """A difference with this interval."""
    return Drop(noise, 9, 9, Interval(0.5, 0.4, 0.6), Interval((low + high) / 2, low, high), 1, 0, [])


def test_noise_is_the_same_each_time_and_another_with_another_seed() -> None:
    texts = [f"{text} says James, {i}" for i, text in enumerate(TEXTS)]
    for noise in NOISES:
        once = noise.change(texts, 3)
        assert once == noise.change(texts, 3)
        assert len(once) == len(texts)
        if noise.name != "lower case":
            assert once != texts
        if "case" not in noise.name:
            assert noise.change(texts, 4) != once


@pytest.mark.parametrize("noise", NOISES, ids=lambda one: one.name)
def test_noise_takes_any_text(noise: Any) -> None:
    """An empty one, marks, scripts without spaces, one word."""
    odd = ["", " ", "\u0301", "\u4e2d\u6587\u5b57", "a", "\U0001f600\U0001f600", "x\n\ny"]
    assert len(noise.change(odd, 0)) == len(odd)


def test_what_training_is_shown_is_a_field_of_the_augmentation() -> None:
    for noise in (*NOISES, ATTACK):
        Augmentation(**dict(noise.trained_by))


def test_accuracy_as_it_is_and_under_each_noise(found: Robustness, nlp: Language, folder: Path) -> None:
    assert {one.noise for one in found.drops} == {one.name for one in (*NOISES, ATTACK)}
    assert found.n_texts == len(TEXTS)
    docs = list(DocBin().from_disk(folder / "test.spacy").get_docs(nlp.vocab))
    right = {max(doc.cats, key=doc.cats.get) == max(nlp(doc.text).cats, key=nlp(doc.text).cats.get) for doc in docs[:1]}
    assert right <= {True, False}
    for one in found.drops[:-1]:
        assert one.accuracy.value == pytest.approx(found.accuracy.value + one.difference.value)
        assert one.difference.value == pytest.approx((one.n_gained - one.n_lost) / one.n_texts)
        assert one.difference.low <= one.difference.value <= one.difference.high
    # These texts are in lower case, and have no names.
    quiet = {one.noise: one for one in found.drops}
    for noise in ("lower case", "other names"):
        assert (quiet[noise].n_changed, quiet[noise].n_lost, quiet[noise].difference.value) == (0, 0, 0.0)
    assert [one.difference.value for one in found.drops[:-1]] == sorted(
        one.difference.value for one in found.drops[:-1]
    )
    assert found.drops[-1].noise == ATTACK.name
    assert json.loads(json.dumps(found.to_json()))["component"] == NAME


def test_an_attack_finds_the_word_that_counts_within_its_budget() -> None:
    target = Target(np.array([True, False]), np.array([True, True]), True, 0.5)
    asked: list[str] = []

    def score(texts: list[str]) -> Any:
        """Right as long as the word is there, letter by letter."""
        asked.extend(texts)
        return np.asarray([[0.9, 0.1] if "good" in text.split() else [0.2, 0.8] for text in texts], dtype=np.float32)

    one = attack("a good film with many other words", target, score, n_queries=30)
    assert one.succeeded
    assert one.n_words == 1
    assert "good" not in one.text.split()
    assert one.n_queries == len(asked) <= 30
    # One that does not give in.
    stubborn = attack("a good film", target, lambda texts: np.asarray([[0.9, 0.1]] * len(texts)), n_queries=9)
    assert not stubborn.succeeded
    assert stubborn.n_queries <= 9


def test_margins_of_any_number_of_labels() -> None:
    target = Target(np.array([True, False, False]), np.array([True, True, False]), False, 0.4)
    margins = target.margins(np.asarray([[0.9, 0.1, 0.9], [0.9, 0.5, 0.0], [0.3, 0.1, 0.0]], dtype=np.float32))
    assert margins == pytest.approx([0.3, -0.1, -0.1], abs=1e-6)


def test_independent_labels_are_measured(bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert, multilabel=True)
    DocBin(docs=[one.reference for one in multilabel_examples(nlp, 9)]).to_disk(tmp_path / "x.spacy")
    found = robustness(nlp, tmp_path / "x.spacy", n_attacked=2, n_queries=6, limit=5)
    assert found.n_texts == 5
    assert found.drops[-1].n_texts == 2


def test_the_config_trains_against_what_hurts_most(nlp: Language, folder: Path, tmp_path: Path) -> None:
    whole = Interval(0.9, 0.8, 1.0)
    drops = [
        drop("typing errors", -0.3, -0.1), drop("an added sentence", -0.6, -0.5), drop("emoji", -0.2, 0.1),
        drop("upper case", -0.5, -0.4),
    ]  # fmt: skip
    config, against = defense(nlp, Robustness(NAME, 9, whole, drops))
    assert against == ["upper case", "typing errors"]
    assert config is not None
    config.to_disk(tmp_path / "out.cfg", interpolate=False)
    back = read_config(tmp_path / "out.cfg", {})["components"][NAME]["model"]["augmentation"]
    assert (back["@misc"], back["casing"], back["typing"], back["drop"]) == (
        "spacy-transfer.Augmentation.v1",
        0.2,
        0.1,
        0.0,
    )
    assert "emoji" not in back
    # It builds, and the rest is the pipeline's own.
    spacy.util.load_model_from_config(spacy.util.load_config(tmp_path / "out.cfg"), auto_fill=True)
    assert config["components"][NAME]["model"]["encoder"] == nlp.config["components"][NAME]["model"]["encoder"]
    assert defense(nlp, Robustness(NAME, 9, whole, drops[1:3])) == (None, [])


def test_an_augmentation_that_is_there_stays(bert: Path) -> None:
    block = {"@misc": "spacy-transfer.Augmentation.v1", "typing": 0.3, "mixing": 0.4}
    nlp = pipeline(bert, augmentation=block)
    config, _ = defense(nlp, Robustness(NAME, 9, Interval(1, 1, 1), [drop("typing errors", -0.3, -0.1)]))
    assert config is not None
    found = config["components"][NAME]["model"]["augmentation"]
    assert (found["typing"], found["mixing"]) == (0.3, 0.4)


def test_a_shared_encoder_reads_no_changed_texts(bert: Path, tmp_path: Path) -> None:
    nlp = shared_pipeline(bert)
    DocBin(docs=[one.reference for one in exclusive_examples(nlp, 6)]).to_disk(tmp_path / "x.spacy")
    found = robustness(nlp, tmp_path / "x.spacy", n_attacked=1, n_queries=4)
    with pytest.raises(ValueError, match=r"T751.*detach"):
        defense(nlp, found)


def test_the_command(folder: Path, tmp_path: Path) -> None:
    args = ["transfer", "robustness", folder / "nlp", folder / "test.spacy", "--attacked", "5", "--queries", "12"]
    said = run(*args, "--output", tmp_path / "out.json", "--train", tmp_path / "out.cfg")
    for noise in (*NOISES, ATTACK):
        assert noise.name in said
    assert len(json.loads((tmp_path / "out.json").read_text())["drops"]) == len(NOISES) + 1
    assert (tmp_path / "out.cfg").exists() == ("trains against" in said)
    run(*args, "--output", tmp_path / "out.json")
    assert "T373" in run(*args, "--output", folder / "test.spacy", code=1)


def test_data_of_other_labels_and_none_at_all(nlp: Language, folder: Path, tmp_path: Path) -> None:
    doc = nlp.make_doc("a text")
    doc.cats = one_hot("x", ["x", "y"])
    DocBin(docs=[doc]).to_disk(tmp_path / "other.spacy")
    with pytest.raises(ValueError, match="T640"):
        robustness(nlp, tmp_path / "other.spacy")
    with pytest.raises(FileNotFoundError, match="T440"):
        robustness(nlp, tmp_path / "none.spacy")
    with pytest.raises(ValueError, match=r"T642.*transfer_textcat"):
        robustness(nlp, folder / "test.spacy", component="tagger")
    with pytest.raises(ValueError, match="T642"):
        robustness(spacy.blank("xx"), folder / "test.spacy")


def test_what_is_not_the_text_goes_along(bert: Path, tmp_path: Path) -> None:
    from spacy_transfer.pipeline.sources import register_attributes, store_attribute

    register_attributes(["_.title"])
    nlp = pipeline(bert, text={"sources": ["_.title", "text"], "missing": "skip"})
    docs = []
    for one in exclusive_examples(nlp, 6):
        store_attribute(one.reference, "title", "card")
        docs.append(one.reference)
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "x.spacy")
    robustness(nlp, tmp_path / "x.spacy", n_attacked=1, n_queries=4)
    alone = pipeline(bert, text={"sources": ["_.title"], "missing": "skip"})
    with pytest.raises(ValueError, match=r"T750.*_\.title"):
        robustness(alone, tmp_path / "x.spacy")
    assert LABELS
