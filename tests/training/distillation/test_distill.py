"""A student learns a teacher's scores: what is asked, what is learned, and with which students."""

import json
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.training import Example
from thinc.api import Config

from house_kit.commands import run
from house_kit.pipelines import network_of, pipeline, scores_of
from house_kit.runs import BOW, MODEL, assert_same_run, config_of, killed_at, write_corpus
from house_kit.texts import LABELS, TEXTS, one_hot
from spacy_transfer.docbins import read_docs
from spacy_transfer.serving.export.export import export
from spacy_transfer.training.distillation import distill as module
from spacy_transfer.training.distillation.answer_cache import text_digest
from spacy_transfer.training.distillation.distill import Distilled, distill
from spacy_transfer.training.distillation.plan import Distillation
from spacy_transfer.training.distillation.teachers import Teacher
from spacy_transfer.training.interrupted import Interrupted
from spacy_transfer.training.loop.loop import Update
from spacy_transfer.training.train import train

# The last two say nothing to the teacher.
RAW = [*(f"{text} {word}" for text in TEXTS for word in ("please", "now")), "not happy", "thanks and please"]
STATIC = {"@misc": "spacy-transfer.StaticEncoder.v1", "width": 8}
WORDS = {
    "card": "card", "login": "login", "password": "login", "money": "money", "refund": "money", "bill": "money",
    "pay": "money", "paid": "money", "price": "money",
}  # fmt: skip


def by_word(texts: Sequence[str]) -> list[dict[str, float]]:
    """A large language model, as far as a test needs one: it reads the words."""
    found = []
    for text in texts:
        label = next((WORDS[word] for word in text.split() if word in WORDS), None)
        found.append({other: 0.8 if other == label else 0.1 for other in LABELS} if label else dict.fromkeys(LABELS, 0))
    return found


class Counting:
    """Counts what it is asked; may fail at some call."""

    def __init__(self, fails_at: int = 0) -> None:
        self.asked: list[str] = []
        self.n_calls, self.fails_at = 0, fails_at

    def __call__(self, texts: Sequence[str]) -> list[dict[str, float]]:
        self.n_calls += 1
        if self.n_calls == self.fails_at:
            raise ConnectionError("the model is gone")
        self.asked += texts
        return by_word(texts)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def student(bert: Path, corpus: Path) -> Config:
    """A static one; neither its corpora nor its labels are looked at."""
    rate = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 0.05}
    changes = {"components": {MODEL: {"model": {"encoder": STATIC}}}, "training": {"optimizer": rate}}
    config = config_of(bert, corpus, steps=20, **changes)
    config["components"][MODEL]["model"]["tuning"] = {"frozen_depth": -1}
    return config


def learned(output: Path) -> dict[str, dict[str, float]]:
    """Targets by text."""
    return {doc.text: doc.cats for doc in read_docs(output / "distillation" / "train.spacy")}


# ---- what is learned -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(student: Config, tmp_path_factory: pytest.TempPathFactory) -> Distilled:
    return distill(by_word, student, RAW, tmp_path_factory.mktemp("out"))


def test_a_student_agrees_with_its_teacher(done: Distilled) -> None:
    assert done.labels == LABELS
    assert done.temperature == 2.0
    nlp = spacy.load(done.folder / "model-best")
    texts = [text for text, scores in zip(RAW, by_word(RAW), strict=True) if any(scores.values())]
    best = scores_of(nlp, texts).argmax(dim=1)
    right = [LABELS[i] == max(one, key=one.get) for i, one in zip(best.tolist(), by_word(texts), strict=True)]
    assert sum(right) > 0.8 * len(right)
    # It is a pipeline like any other, and needs neither teacher nor Transformer.
    assert network_of(nlp).n_layers == 0


def test_targets_are_softened_scores(done: Distilled) -> None:
    cats = learned(done.folder)
    # Roots, that is logits divided by 2, that sum to 1 again.
    high, low = 0.8**0.5, 0.1**0.5
    for text, scores in cats.items():
        wanted = {
            label: (high if value == 0.8 else low) / (high + 2 * low) for label, value in by_word([text])[0].items()
        }
        assert scores == pytest.approx(wanted)
    # Where the teacher has no label nothing is learned, and what is kept apart has the teacher's.
    apart = {doc.text: doc.cats for doc in read_docs(done.folder / "distillation" / "dev.spacy")}
    assert apart
    assert not set(apart) & set(cats)
    assert all(sorted(scores.values()) == [0.0, 0.0, 1.0] for scores in apart.values())
    without = [text for text in RAW if not any(by_word([text])[0].values())]
    assert without
    assert done.n_left_out == len(without)
    assert set(cats) | set(apart) == set(RAW) - set(without)


def test_annotations_are_mixed_in(student: Config, corpus: Path, tmp_path: Path) -> None:
    plan = Distillation(temperature=1.0, gold_weight=0.25)
    gold = {doc.text: doc.cats for doc in read_docs(corpus / "train.spacy")}
    in_dev = {doc.text for doc in read_docs(corpus / "dev.spacy")}
    values = {"training.max_steps": 1}
    done = distill(
        by_word, student, [*RAW, *in_dev], tmp_path / "out", labeled=corpus / "train.spacy", dev=corpus / "dev.spacy",
        plan=plan, overrides=values,
    )  # fmt: skip
    cats = learned(tmp_path / "out")
    assert done.n_labeled == len(gold)
    assert set(gold) <= set(cats)
    # Raw texts that are in dev are not learned from.
    assert not set(cats) & (in_dev - set(gold))
    for text, own in gold.items():
        (teacher,) = by_word([text])
        # Where the teacher has no label, the annotation counts whole.
        wanted = {k: 0.75 * teacher[k] + 0.25 * own[k] for k in LABELS} if any(teacher.values()) else own
        assert cats[text] == pytest.approx(wanted)


def test_copies_are_scored_too(student: Config, tmp_path: Path) -> None:
    teacher = Counting()
    plan = Distillation(variants=2)
    distill(Teacher("m", "m", teacher), student, RAW, tmp_path / "out", plan=plan, overrides={"training.max_steps": 1})
    copies = set(learned(tmp_path / "out")) - set(RAW)
    assert len(copies) > len(RAW) // 2
    assert copies <= set(teacher.asked)
    assert len(teacher.asked) == len(set(teacher.asked))


def test_an_ensemble_is_averaged(student: Config, tmp_path: Path) -> None:
    def other(texts: Sequence[str]) -> list[dict[str, float]]:
        return [one_hot("card") for _ in texts]

    plan = Distillation(temperature=1.0)
    distill([by_word, other], student, RAW, tmp_path / "out", plan=plan, overrides={"training.max_steps": 1})
    cats = learned(tmp_path / "out")
    scores = next(scores for text, scores in cats.items() if "login" in text)
    assert scores == pytest.approx({"card": 0.55, "login": 0.4, "money": 0.05})
    # Where one of them has no label, the other one counts alone.
    assert {text: cats[text]["card"] for text in RAW[-2:] if text in cats} == dict.fromkeys(
        set(RAW[-2:]) & set(cats), 1.0
    )


# ---- nothing is asked twice ----------------------------------------------------------------------------------------


def test_a_teacher_is_asked_once(student: Config, tmp_path: Path) -> None:
    output, plan = tmp_path / "out", Distillation(batch_size=10)
    first = Counting(fails_at=3)
    with pytest.raises(ConnectionError):
        distill(Teacher("m", "m", first), student, RAW, output, plan=plan)
    assert len(first.asked) == 20
    (file,) = (output / "distillation").glob("scores-*.jsonl")
    # As a kill in the middle of a line leaves it.
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:30])
    second = Counting()
    values = {"training.max_steps": 1}
    distill(Teacher("m", "m", second), student, RAW, output, plan=plan, overrides=values)
    assert not set(first.asked) & set(second.asked)
    assert set(first.asked) | set(second.asked) == set(RAW)
    third = Counting()
    distill(Teacher("m", "m", third), student, RAW, output, plan=plan, overrides=values, force=True)
    assert not third.asked
    # Another one is asked itself.
    distill(Teacher("n", "n", third), student, RAW, output, plan=plan, overrides=values, force=True)
    assert set(third.asked) == set(RAW)
    assert [json.loads(line).keys() for line in file.read_text("utf-8").splitlines()] == [{"text", "scores"}] * len(RAW)


def test_it_resumes_exactly(student: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"checkpoint_every": "3", "overrides": {"training.max_steps": 8}}
    distill(by_word, student, RAW, tmp_path / "whole", **options)
    with killed_at(monkeypatch, 5):
        distill(by_word, student, RAW, tmp_path / "killed", **options)
    distill(by_word, student, RAW, tmp_path / "killed", **options, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_half_a_student_after_a_signal_is_none(
    student: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"checkpoint_every": "3", "overrides": {"training.max_steps": 8}}
    distill(by_word, student, RAW, tmp_path / "whole", **options)
    n_updates: list[int] = []

    def ending(nlp: Language) -> Update:
        def update(batch: list[Example], *, drop: float, losses: dict[str, float]) -> None:
            nlp.update(batch, drop=drop, losses=losses, sgd=False)
            n_updates.append(len(batch))
            if len(n_updates) == 4:
                signal.raise_signal(signal.SIGTERM)

        return update

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", partial(train, make_update=ending))
        with pytest.raises(Interrupted) as caught:
            distill(by_word, student, RAW, tmp_path / "ended", **options)
    assert caught.value.signal == signal.SIGTERM
    assert len(n_updates) == 4
    distill(by_word, student, RAW, tmp_path / "ended", **options, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "ended")


# ---- teachers and students -----------------------------------------------------------------------------------------


def test_a_pipeline_teaches_its_lowest_layers(bert: Path, corpus: Path, tmp_path: Path) -> None:
    pipeline(bert).to_disk(tmp_path / "teacher")
    export(tmp_path / "teacher", tmp_path / "low", to="spacy", layers=1)
    config = config_of(tmp_path / "low", corpus, steps=1)
    done = distill(tmp_path / "teacher", config, RAW, tmp_path / "out")
    assert network_of(spacy.load(done.folder / "model-last")).n_layers == 1


@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_a_bag_of_words_of_spacy_learns_scores(factory: str, corpus: Path, bert: Path, tmp_path: Path) -> None:
    config = config_of(bert, corpus, steps=30)
    config["nlp"]["pipeline"] = [factory]
    exclusive = factory == "textcat"
    config["components"] = {factory: {"factory": factory, "model": {**BOW, "exclusive_classes": exclusive}}}
    config["initialize"] = {}
    done = distill(by_word, config, RAW, tmp_path / "out")
    assert done.temperature == 1.0
    nlp = spacy.load(done.folder / "model-last")
    cats = nlp("my card please").cats
    assert max(cats, key=cats.__getitem__) == "card"
    assert 0.1 < max(next(iter(learned(done.folder).values())).values()) < 0.9
    with pytest.raises(ValueError, match=r"T706.*3\.0"):
        distill(by_word, config, RAW, tmp_path / "other", plan=Distillation(temperature=3.0))


def test_independent_labels(bert: Path, corpus: Path, tmp_path: Path) -> None:
    config = config_of(bert, corpus, steps=1)
    name = f"{MODEL}_multilabel"
    config["nlp"]["pipeline"] = [name]
    config["components"] = {name: {**config["components"][MODEL], "factory": name}}
    config["initialize"] = {}
    distill(by_word, config, RAW, tmp_path / "out")
    cats = learned(tmp_path / "out")["my card is lost please"]
    # Odds of 4, whose logit is divided by 2.
    assert cats["card"] == pytest.approx(2 / 3)
    assert cats["login"] == pytest.approx(1 / 4)


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_labels_that_differ_are_asked_for(student: Config, corpus: Path, tmp_path: Path) -> None:
    def german(texts: Sequence[str]) -> list[dict[str, float]]:
        new = {"card": "Karte", "login": "Zugang", "money": "Geld"}
        return [{**{new[k]: v * 0.9 for k, v in one.items()}, "Rest": 0.1} for one in by_word(texts)]

    options: dict[str, Any] = {"dev": corpus / "dev.spacy", "overrides": {"training.max_steps": 1}}
    texts = [text for text in RAW if any(by_word([text])[0].values())]
    with pytest.raises(ValueError, match=r"T703.*Geld.*card.*--label-map"):
        distill(german, student, texts, tmp_path / "out", **options)
    names = {"Karte": "card", "Zugang": "login", "Geld": "money", "Rest": None}
    done = distill(german, student, texts, tmp_path / "out", labels=names, **options)
    assert done.labels == LABELS


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda texts: [{"card": 1.0}], r"T702.*1 answers for \d+"),
        (lambda texts: [{"card": 2.0} for _ in texts], "T702.*2.0.*'card'"),
        (lambda texts: ["card" for _ in texts], "T702.*'card'"),
        (lambda texts: [{1: 1.0} for _ in texts], "T702.*str"),
        (lambda texts: [{"card": 0.7, "login": 0.7} for _ in texts], "T704.*1.4"),
        (lambda texts: [{"card": 0.0, "login": 0.0} for _ in texts], "T714"),
    ],
)
def test_answers_that_cannot_be_used(answer: Any, code: str, student: Config, tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError), match=code):
        distill(Teacher("m", "m", answer), student, RAW, tmp_path / "out")


def test_what_cannot_begin(student: Config, corpus: Path, bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="T707"):
        distill(by_word, student, ["", "  "], tmp_path / "out")
    with pytest.raises(ValueError, match=r"T705.*'nobody'.*transfer_textcat"):
        distill(by_word, student, RAW, tmp_path / "out", component="nobody")
    with pytest.raises(ValueError, match=r"T005.*gold_weight"):
        Distillation(gold_weight=1.5)
    spacy.blank("xx").to_disk(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"T701.*empty"):
        distill(tmp_path / "empty", student, RAW, tmp_path / "out")
    assert not (tmp_path / "out" / "model-best").exists()


def test_a_run_that_is_there_is_refused_before_the_teacher_is_asked(student: Config, tmp_path: Path) -> None:
    output, values = tmp_path / "out", {"training.max_steps": 1}
    distill(by_word, student, RAW, output, overrides=values)
    before = {path: path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()}
    teacher = Teacher("m", "m", lambda texts: pytest.fail("asked"))
    options: dict[str, Any] = {"overrides": values, "plan": Distillation(temperature=3.0)}
    with pytest.raises(ValueError, match=r"T166.*--resume"):
        distill(teacher, student, RAW[:9], output, **options)
    assert {path: path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()} == before
    for name, code in (("study.json", "T186"), ("model-best", "T371")):
        other = tmp_path / code
        other.mkdir()
        (other / name).write_text("", "utf-8")
        with pytest.raises((ValueError, FileExistsError), match=code):
            distill(teacher, student, RAW, other, **options)
        assert [path.name for path in other.iterdir()] == [name]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_of_a_few_texts_one_is_kept_apart(n: int, student: Config, tmp_path: Path) -> None:
    texts = ["i want my money back", "where is my card", "a new password", "pay the bill", "login and card"][:n]
    distill(by_word, student, texts, tmp_path / "out", overrides={"training.max_steps": 1})
    apart = [doc.text for doc in read_docs(tmp_path / "out" / "distillation" / "dev.spacy")]
    assert apart
    assert len(learned(tmp_path / "out")) == n - len(apart)


def test_texts_that_are_kept_apart_without_a_label_are_named(student: Config, tmp_path: Path) -> None:
    texts = ["a new password", "pay the bill", "login and card"]
    apart = min(texts, key=text_digest)
    silent = Teacher("m", "m", lambda asked: [one_hot("card") if t != apart else one_hot("") for t in asked])
    with pytest.raises(ValueError, match=r"T716.*1 text.*--dev"):
        distill(silent, student, texts, tmp_path / "out")


def test_the_command(student: Config, corpus: Path, bert: Path, tmp_path: Path) -> None:
    pipeline(bert).to_disk(tmp_path / "teacher")
    student.to_disk(tmp_path / "student.cfg")
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in RAW), "utf-8")
    (tmp_path / "map.json").write_text(json.dumps({"card": "card"}), "utf-8")
    command = [
        "transfer", "distill", tmp_path / "teacher", "--to", tmp_path / "student.cfg",
        "--texts", tmp_path / "raw.jsonl", "--train", corpus / "train.spacy", "--dev", corpus / "dev.spacy",
        "--label-map", tmp_path / "map.json", "--show", "none", "--output", tmp_path / "out",
        "--training.max_steps", "2",
    ]  # fmt: skip
    printed = run(*command)
    assert "2 steps" in printed
    assert "23 of them labeled" in printed
    (tmp_path / "map.json").write_text(json.dumps({"card": 1}), "utf-8")
    assert "T710" in run(*command, "--force", code=1)
