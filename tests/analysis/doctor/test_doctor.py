"""Wrong labels, near-duplicates and outliers are found where they were put."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin

import spacy_transfer.cli  # noqa: F401 (its commands)
from house_kit.commands import run
from house_kit.texts import CARD, LOGIN, MONEY
from spacy_transfer.analysis.annotation_tasks import refuse_tasks_file, write_tasks
from spacy_transfer.analysis.doctor import doctor as module
from spacy_transfer.analysis.doctor.confident import confident_joint, rank, share_wrong
from spacy_transfer.analysis.doctor.doctor import Diagnosis, doctor
from spacy_transfer.analysis.doctor.neighbors import find_neighbors, outliers
from spacy_transfer.analysis.doctor.to_check import tasks_of
from spacy_transfer.corpora.annotation_tools import recognize
from spacy_transfer.training.held_out import held_out_scores

N_TEXTS, N_LABELS, WIDTH = 600, 3, 12
LABELS = ["a", "b", "c"]


def clouds(seed: int, flipped: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors in three clouds that overlap a little, their right labels, and labels of which some were flipped."""
    random = np.random.default_rng(seed)
    right = random.integers(0, N_LABELS, N_TEXTS)
    vectors = random.normal(0, 1, (N_TEXTS, WIDTH)) + 5.0 * np.eye(N_LABELS, WIDTH)[right]
    given = right.copy()
    wrong = random.choice(N_TEXTS, round(flipped * N_TEXTS), replace=False)
    given[wrong] = (right[wrong] + random.integers(1, N_LABELS, len(wrong))) % N_LABELS
    return vectors.astype(np.float32), right, given


def test_flipped_labels_come_first() -> None:
    vectors, right, given = clouds(0, 0.05)
    targets = np.eye(N_LABELS, dtype=np.float32)[given]
    scores = held_out_scores(vectors, targets, np.ones_like(targets), exclusive=True)
    assert scores.sum(axis=1) == pytest.approx(np.ones(N_TEXTS), abs=1e-4)
    found = confident_joint(scores.astype(np.float64), given)
    first = rank(found)[: round(0.07 * N_TEXTS)]
    wrong = set(np.flatnonzero(right != given).tolist())
    assert len(wrong & set(first)) >= 0.7 * len(wrong)
    # About as many are counted as there are.
    assert 0.5 * len(wrong) <= found.n_wrong <= 2 * len(wrong)
    assert held_out_scores(vectors, targets, np.ones_like(targets), exclusive=True).tolist() == scores.tolist()


def test_the_joint_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.45, 0.55]])
    given = np.array([0, 0, 0, 1, 1, 1])
    found = confident_joint(scores, given)
    # Thresholds: 0.6 and 0.7167.
    assert found.counted.tolist() == [0, 0, 1, 1, -1, -1]
    assert found.joint.tolist() == [[2, 1], [0, 1]]
    assert found.n_wrong == 1
    assert found.suspicion == pytest.approx([0.1, 0.3, 0.8, 0.1, 0.3, 0.45])
    assert found.instead.tolist() == [1, 1, 1, 0, 0, 0]
    assert rank(found) == [2, 5, 1, 4, 0, 3]


def test_texts_that_are_hard_to_judge_are_no_wrong_labels() -> None:
    # Every third text lies between two labels; their own labels are right.
    random = np.random.default_rng(1)
    right = random.integers(0, 2, 900)
    is_hard = np.arange(900) % 3 == 0
    sure = np.where(is_hard, random.uniform(0.05, 0.95, 900), random.uniform(0.96, 0.999, 900))
    scores = np.stack([np.where(right == 0, sure, 1 - sure), np.where(right == 1, sure, 1 - sure)], axis=1)
    found = confident_joint(scores, right)
    assert found.joint.sum() - np.trace(found.joint) > 40
    assert found.n_wrong <= 0.01 * 900
    # One label in ten is wrong, whatever the text.
    given = np.where(np.arange(900) % 10 == 0, 1 - right, right)
    assert share_wrong(scores, given) == pytest.approx(0.1, abs=0.06)
    assert 45 <= confident_joint(scores, given).n_wrong <= 150


def test_neighbors() -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(0, 1, (60, 30)).astype(np.float32)
    vectors[:50] += 4.0
    vectors[7] = vectors[3] * 2
    found = find_neighbors(vectors, 0.999)
    assert [(i, j) for i, j, _ in found.pairs] == [(3, 7)]
    assert found.pairs[0][2] == pytest.approx(1.0, abs=1e-5)
    assert set(outliers(found.nearness)) == set(range(50, 60))
    assert find_neighbors(vectors[:1], 0.9).pairs == []


# ---- files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of three labels, and one that is wrong in train; another split has a near-duplicate with another label."""
    folder, vocab = tmp_path_factory.mktemp("doctor"), spacy.blank("xx").vocab
    texts = [(text, label) for some, label in ((CARD, "card"), (LOGIN, "login"), (MONEY, "money")) for text in some]
    for name, chosen in (("train", texts), ("test", [("my card is lost now", "money"), ("pay me my money", "money")])):
        docs = []
        for text, label in chosen:
            words = text.split(" ")
            doc = Doc(vocab, words=words, spaces=[*[True] * (len(words) - 1), False])
            doc.cats = {other: float(other == label) for other in ("card", "login", "money")}
            docs.append(doc)
        DocBin(docs=docs).to_disk(folder / f"{name}.spacy")
    return folder


def words(*_: object, **__: object) -> np.ndarray:
    """In place of an encoder: which words a text has."""
    vocabulary = sorted({word for text in [*CARD, *LOGIN, *MONEY] for word in text.split(" ")})
    texts = [*CARD, *LOGIN, *MONEY, "my card is lost now", "pay me my money"]
    return np.array([[float(word in text.split(" ")) for word in vocabulary] for text in texts], dtype=np.float32)


@pytest.fixture
def found(data: Path, monkeypatch: pytest.MonkeyPatch) -> Diagnosis:
    monkeypatch.setattr(module, "vectors_of_data", words)
    return doctor([data / "train.spacy", data / "test.spacy"])


def test_a_diagnosis(found: Diagnosis) -> None:
    assert found.checked.labels == ["card", "login", "money"]
    assert len(found.suspects) == 26
    assert any(one.place.text == "my card is lost now" and one.suggested == "card" for one in found.suspects[:3])
    (pair,) = [one for one in found.twins if one.leak and one.contradict]
    assert {pair.first.text, pair.second.text} == {"my card is lost", "my card is lost now"}
    assert 0.5 < found.accuracy < 1.0


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_tasks_for_annotation_tools(suffix: str, found: Diagnosis, tmp_path: Path) -> None:
    path = tmp_path / f"tasks{suffix}"
    tasks = tasks_of(found)
    write_tasks(tasks, found.checked.labels, path)
    text = path.read_text("utf-8")
    rows: list[dict[str, Any]] = (
        [json.loads(line) for line in text.splitlines()] if suffix == ".jsonl" else json.loads(text)
    )
    assert len(rows) == len(tasks) > 0
    if suffix == ".jsonl":
        assert all(set(row["accept"]) <= {one["id"] for one in row["options"]} for row in rows)
        # Answered, it is what `convert` reads.
        tool = recognize({**rows[0], "answer": "accept"})
        assert tool is not None
        assert tool.name == "Prodigy"
    else:
        assert all(row["data"]["text"] for row in rows)
    refuse_tasks_file(path, [])
    path.write_text('{"my": "notes"}\n')
    with pytest.raises(FileExistsError, match="T376"):
        refuse_tasks_file(path, [])


def test_the_command(data: Path, bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "tasks.jsonl"
    said = run("transfer", "doctor", data / "train.spacy", data / "test.spacy", "--encoder", bert, "-o", out)
    for part in ("probably wrong", "Nearly the same text", "hard to tell apart", "Unlike all other texts"):
        assert part in said
    assert out.is_file()
    said = run("transfer", "doctor", data / "test.spacy", "--encoder", bert, code=1)
    assert "T650" in said
    assert "T651" in run("transfer", "doctor", data / "train.spacy", "-o", tmp_path / "x.txt", code=1)
    for command in ("doctor", "curve"):
        assert "T691" in run("transfer", command, data / "train.spacy", "--encoder", bert, "--pipeline", "p", code=1)
