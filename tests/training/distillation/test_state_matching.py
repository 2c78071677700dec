"""State matching: the student's encoder learns the teacher's vectors before the student learns scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from thinc.api import Config

from house_kit.pipelines import pipeline
from house_kit.runs import BOW, MODEL, assert_same_run, config_of, killed_at, write_corpus
from house_kit.texts import LABELS, TEXTS
from spacy_transfer.training.distillation.answer_cache import VECTORS, AnswerCache
from spacy_transfer.training.distillation.distill import distill
from spacy_transfer.training.distillation.plan import Distillation
from spacy_transfer.training.distillation.state_matching import vector_targets
from spacy_transfer.training.distillation.teachers import Teacher

RAW = [f"{text} {word}" for text in TEXTS for word in ("please", "now")]
STATIC = {"@misc": "spacy-transfer.StaticEncoder.v1", "width": 8}
SCRATCH = {
    "@misc": "spacy-transfer.ScratchEncoder.v1", "depth": 1, "width": 16, "heads": 2,
    "tokenizer": {"@misc": "spacy-transfer.WordLevel.v1"},
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def teacher(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "pipeline"
    pipeline(bert).to_disk(folder)
    return folder


def student_of(bert: Path, corpus: Path, encoder: dict[str, Any], steps: int = 4) -> Config:
    rate = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 0.02}
    changes = {"components": {MODEL: {"model": {"encoder": encoder}}}, "training": {"optimizer": rate}}
    config = config_of(bert, corpus, steps=steps, **changes)
    config["components"][MODEL]["model"]["tuning"] = {"frozen_depth": -1}
    name = {"name": str(bert)} if encoder is STATIC else {}
    config["components"][MODEL]["model"]["encoder"] = {**encoder, **name}
    return config


def vectors_in(folder: Path, texts: list[str]) -> np.ndarray:
    nlp = spacy.load(folder)
    return np.asarray(nlp.get_pipe(MODEL).vectors([nlp.make_doc(text) for text in texts]))


def likeness(own: np.ndarray, other: np.ndarray) -> float:
    """Correlation of the distances between texts, which a linear map between widths leaves comparable."""
    rows = np.triu_indices(len(own), 1)
    distances = [np.linalg.norm(one[:, None] - one[None], axis=2)[rows] for one in (own, other)]
    return float(np.corrcoef(*distances)[0, 1])


@pytest.mark.parametrize("encoder", [STATIC, SCRATCH], ids=["static", "scratch"])
def test_the_encoder_moves_towards_the_teacher(
    encoder: dict[str, Any], bert: Path, corpus: Path, teacher: Path, tmp_path: Path
) -> None:
    config = student_of(bert, corpus, encoder)
    found = {}
    for epochs in (0, 25):
        # At rate 0 nothing changes afterwards.
        values = {"training.max_steps": 1, "training.optimizer.learn_rate": 0.0} if not epochs else {}
        out = tmp_path / str(epochs)
        distill(teacher, config, RAW, out, plan=Distillation(match_epochs=epochs), overrides=values)
        place = out / "distillation" / "states" / "model-last" if epochs else out / "model-last"
        found[epochs] = likeness(vectors_in(place, RAW), vectors_in(teacher, RAW))
    assert found[25] > found[0] + 0.1


def test_the_student_begins_with_that_encoder(bert: Path, corpus: Path, teacher: Path, tmp_path: Path) -> None:
    config = student_of(bert, corpus, STATIC, steps=1)
    out = tmp_path / "out"
    done = distill(teacher, config, RAW, out, plan=Distillation(match_epochs=2))
    assert done.labels == LABELS
    states = out / "distillation" / "states" / "model-last"
    written = Config().from_disk(out / "distillation" / "config.cfg")
    assert written["components"][MODEL]["model"]["encoder"]["name"] == str(states / MODEL)
    # The student is whole without the folder.
    assert spacy.load(done.folder / "model-last")(RAW[0]).cats.keys() == set(LABELS)
    last, first = vectors_in(done.folder / "model-last", RAW), vectors_in(states, RAW)
    assert last.shape == first.shape
    assert likeness(last, first) > 0.9


def test_vectors_are_asked_for_once_and_kept_in_half_precision(tmp_path: Path) -> None:
    vectors = np.array([[1.0, -2.5, 0.125], [3.0, 0.0, 60000.0]], dtype=np.float16)
    cache = AnswerCache(tmp_path / "v.jsonl", VECTORS)
    cache.add(["a", "b"], list(vectors))
    cache.close()
    with (tmp_path / "v.jsonl").open("ab") as file:
        file.write(json.dumps({"text": "x" * 64, "vector": "no base64!"}).encode() + b"\n" + b'{"text": "ha')
    again = AnswerCache(tmp_path / "v.jsonl", VECTORS)
    assert len(again) == 2
    assert np.array_equal([again["a"], again["b"]], vectors)
    again.close()


@pytest.mark.parametrize(
    ("see", "problem"),
    [
        (lambda texts: [[1.0, 2.0]], r"1 answers for \d+"),
        (lambda texts: [[1.0, float("nan")] for _ in texts], "nan.*finite numbers"),
        (lambda texts: [[[1.0]] for _ in texts], "finite numbers"),
        (lambda texts: ["vector" for _ in texts], "'vector'.*finite numbers"),
        (lambda texts: [[] for _ in texts], "finite numbers"),
        (lambda texts: [[1.0] * (1 + len(text) % 2) for text in texts], "a vector of . numbers.*others have"),
        (lambda texts: None, "NoneType"),
    ],
)
def test_vectors_that_are_none_are_refused_and_not_kept(see: Any, problem: str, tmp_path: Path) -> None:
    teacher = Teacher("mine", "mine", lambda texts: [{"a": 1.0} for _ in texts], see)
    with pytest.raises(ValueError, match=f"T702.*{problem}"):
        teacher.vectors(["one", "four"], tmp_path, 8)
    assert not list(tmp_path.iterdir())


def test_widths_agree_between_batches_and_large_numbers_are_cut(tmp_path: Path) -> None:
    wide = Teacher("mine", "mine", lambda texts: [], lambda texts: np.full((len(texts), 2), -1e6))
    assert [list(one) for one in wide.vectors(["a"], tmp_path, 8)] == [[-65504.0, -65504.0]]
    narrow = Teacher("mine", "mine", lambda texts: [], lambda texts: [[0.5] for _ in texts])
    with pytest.raises(ValueError, match=r"T702.*a vector of 1 numbers for 'b', where others have 2"):
        narrow.vectors(["a", "b"], tmp_path, 8)


def test_nothing_is_resumed_that_was_not_begun(bert: Path, corpus: Path, tmp_path: Path) -> None:
    """Nor is the teacher asked first, which may take hours."""
    config = student_of(bert, corpus, STATIC)
    for epochs in (0, 2):
        teacher = Teacher("mine", "mine", lambda texts: pytest.fail("asked"), lambda texts: pytest.fail("asked"))
        with pytest.raises(ValueError, match=r"T165.*--resume"):
            distill(teacher, config, RAW, tmp_path / "out", plan=Distillation(match_epochs=epochs), resume=True)


def test_targets_keep_the_proportions_of_distances() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float16) * [8, 4, 2, 1, 1, 1]
    targets = vector_targets(list(vectors.astype(np.float16)))
    assert targets.shape == (40, 6)
    assert 0.0 <= targets.min() < targets.max() <= 1.0
    assert likeness(targets, vectors) > 0.99
    # Of equal texts there is nothing to tell.
    assert np.allclose(vector_targets([vectors[0].astype(np.float16)] * 3), 0.5)


def test_it_resumes_exactly_in_either_stage(
    bert: Path, corpus: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = student_of(bert, corpus, STATIC)
    options: dict[str, Any] = {
        "checkpoint_every": "1", "plan": Distillation(match_epochs=2), "overrides": {"training.max_steps": 6},
    }  # fmt: skip
    distill(teacher, config, RAW, tmp_path / "whole", **options)
    killed = tmp_path / "killed"
    with killed_at(monkeypatch, 3):
        distill(teacher, config, RAW, killed, **options)
    assert not (killed / "checkpoints").exists()
    # This time it passes the first stage and is killed in the second, which makes more steps.
    with killed_at(monkeypatch, 5):
        distill(teacher, config, RAW, killed, **options, resume=True)
    distill(teacher, config, RAW, killed, **options, resume=True)
    assert_same_run(tmp_path / "whole" / "distillation" / "states", killed / "distillation" / "states")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"tuning": {"frozen_depth": "all"}}, "T715.*0 layers, all of them frozen"),
        ({"tuning": {"frozen_depth": 0}}, "T715.*0 layers, all of them frozen"),
        ({"encoder": SCRATCH, "tuning": {"frozen_depth": 1}}, "T715.*1 layers, all of them frozen"),
        ({"encoder": {"@misc": "spacy-transfer.SharedEncoder.v1"}}, "T715.*another component"),
    ],
)
def test_students_that_cannot(
    change: dict[str, Any], code: str, bert: Path, corpus: Path, teacher: Path, tmp_path: Path
) -> None:
    config = student_of(bert, corpus, STATIC)
    config["components"][MODEL]["model"].update(change)
    with pytest.raises(ValueError, match=code):
        distill(teacher, config, RAW, tmp_path / "out", plan=Distillation(match_epochs=1))


def test_a_student_that_unfreezes_can(bert: Path, corpus: Path, teacher: Path, tmp_path: Path) -> None:
    for tuning, encoder in (
        ({"frozen_depth": "all", "unfreeze_every": 1}, STATIC),
        ({"frozen_depth": 0}, SCRATCH),
    ):
        config = student_of(bert, corpus, encoder, steps=1)
        config["components"][MODEL]["model"]["tuning"] = tuning
        distill(teacher, config, RAW, tmp_path / "out", plan=Distillation(match_epochs=1), force=True)
        assert (tmp_path / "out" / "distillation" / "states" / "model-last").is_dir()


def test_teachers_that_cannot(bert: Path, corpus: Path, teacher: Path, tmp_path: Path) -> None:
    def words(texts: Any) -> list[dict[str, float]]:
        return [dict.fromkeys(LABELS, 1 / 3) for _ in texts]

    plan = Distillation(match_epochs=1)
    config = student_of(bert, corpus, STATIC)
    with pytest.raises(ValueError, match=r"T715.*words.*--match-epochs"):
        distill(words, config, RAW, tmp_path / "out", plan=plan)
    with pytest.raises(ValueError, match=r"T715.*2 teachers"):
        distill([teacher, teacher], config, RAW, tmp_path / "out", plan=plan)
    config["nlp"]["pipeline"] = ["textcat"]
    config["components"] = {"textcat": {"factory": "textcat", "model": BOW}}
    config["initialize"] = {}
    with pytest.raises(ValueError, match=r"T715.*textcat"):
        distill(teacher, config, RAW, tmp_path / "out", plan=plan)
    assert not (tmp_path / "out" / "model-last").exists()
