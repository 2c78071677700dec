"""Suggested are texts that the classifier does not know, each once, from files of any size."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin

import spacy_transfer.cli  # noqa: F401 (its commands)
from house_kit.commands import run
from house_kit.pipelines import pipeline
from house_kit.texts import LABELS, TEXTS
from spacy_transfer.analysis.suggest.choosing import STRATEGIES, choose, uncertainty
from spacy_transfer.analysis.suggest.pool import Candidate, Pool, chance_of
from spacy_transfer.analysis.suggest.suggest import suggest
from spacy_transfer.corpora.annotation_tools import recognize

RAW = [*TEXTS, *(f"{text} {i}" for i, text in enumerate(TEXTS))]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


# ---- choosing ----------------------------------------------------------------------------------------------------


def test_uncertainty_by_hand() -> None:
    scores = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.6, 0.3, 0.1], [1 / 3, 1 / 3, 1 / 3]], dtype=np.float32)
    assert uncertainty(scores, exclusive=True) == pytest.approx([1.0, 0.0, 0.7, 1.0])
    entropies = uncertainty(scores, exclusive=True, by="entropy")
    assert entropies == pytest.approx([np.log(2) / np.log(3), 0.0, 0.8173, 1.0], abs=1e-3)
    # Independent labels: nearness to the threshold, whichever it is.
    independent = np.array([[0.2, 0.9], [0.0, 1.0], [0.1, 0.6]], dtype=np.float32)
    found = uncertainty(independent, exclusive=False, threshold=0.2)
    assert found == pytest.approx([1.0, 0.0, 0.5], abs=1e-6)
    assert uncertainty(independent, exclusive=False, by="entropy")[1] == pytest.approx(0.0, abs=1e-6)
    assert uncertainty(np.zeros((0, 3), dtype=np.float32), exclusive=True).tolist() == []


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_text_once_and_the_same_ones_again(strategy: Any, exclusive: bool) -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (80, 4))
    scores = softmax(logits) if exclusive else (1 / (1 + np.exp(-logits))).astype(np.float32)
    vectors = random.normal(0, 1, (80, 6)).astype(np.float32)
    found = choose(scores, vectors, 20, strategy, exclusive=exclusive)
    assert len(set(found)) == len(found) == 20
    assert choose(scores, vectors, 20, strategy, exclusive=exclusive) == found
    assert sorted(choose(scores, vectors, 100, strategy, exclusive=exclusive)) == list(range(80))
    # Texts that are all the same are still texts.
    same = np.repeat(vectors[:1], 80, axis=0)
    assert len(set(choose(np.repeat(scores[:1], 80, axis=0), same, 20, strategy, exclusive=exclusive))) == 20
    assert choose(scores, vectors, 0, strategy, exclusive=exclusive) == []


def test_both_looks_at_uncertainty_and_at_difference() -> None:
    """Twenty sure texts, and three kinds of unsure ones, ten times each."""
    kinds = np.eye(3, 8, dtype=np.float32) * 3
    vectors = np.concatenate([np.repeat(kinds, 10, axis=0), np.random.default_rng(0).normal(0, 1, (20, 8))])
    scores = np.array([[0.5, 0.5]] * 30 + [[0.9999, 0.0001]] * 20, dtype=np.float32)
    for seed in range(5):
        found = choose(scores, vectors.astype(np.float32), 3, "both", exclusive=True, seed=seed)
        assert {i // 10 for i in found} == {0, 1, 2}
    # Margin alone takes three of one kind.
    assert choose(scores, vectors.astype(np.float32), 3, "margin", exclusive=True) == [0, 1, 2]


def test_the_gradients_are_those_of_the_head() -> None:
    """k-means++ among outer products that are made here, and never there."""
    random = np.random.default_rng(2)
    scores, vectors = softmax(random.normal(0, 1, (30, 3))), random.normal(0, 1, (30, 4)).astype(np.float32)
    given = np.eye(3)[scores.argmax(axis=1)]
    products = ((scores - given)[:, :, None] * vectors[:, None, :]).reshape(30, -1)
    first, second = choose(scores, vectors, 2, "both", exclusive=True, seed=7)
    assert first == (products**2).sum(axis=1).argmax()
    distances = np.minimum((products**2).sum(axis=1), ((products - products[first]) ** 2).sum(axis=1))
    distances[first] = 0.0
    assert second == np.random.default_rng(7).choice(30, p=distances / distances.sum())


def test_coverage_goes_where_no_annotated_text_is() -> None:
    random = np.random.default_rng(3)
    clouds = 10 * np.eye(4, 6)
    vectors = np.concatenate([clouds[i] + random.normal(0, 0.1, (15, 6)) for i in range(4)]).astype(np.float32)
    scores = np.full((60, 2), 0.5, dtype=np.float32)
    covered = (clouds[:2] + 0.01).astype(np.float32)
    for seed in range(5):
        found = choose(scores, vectors, 2, "coverage", exclusive=True, covered=covered, seed=seed)
        assert {i // 15 for i in found} <= {2, 3}


# ---- the pool ----------------------------------------------------------------------------------------------------


def test_the_pool_keeps_the_most_wanted_once() -> None:
    scores = np.zeros(2, dtype=np.float32)
    pool = Pool(3)
    for i, priority in enumerate([0.1, 0.9, 0.5, 0.7, 0.9, 0.2]):
        pool.offer(Candidate(f"text {i}", scores, 0, i), priority)
    pool.offer(Candidate("TEXT  1!", scores, 0, 9), 0.95)
    assert [one.text for one in pool.candidates()] == ["text 1", "text 4", "text 3"]
    # What was pushed out may come again.
    pool.offer(Candidate("text 2", scores, 0, 2), 0.8)
    assert [one.text for one in pool.candidates()] == ["text 1", "text 4", "text 2"]
    assert chance_of("A text.") == chance_of("a  text") != chance_of("another text")
    assert 0.3 < np.mean([chance_of(str(i)) for i in range(300)]) < 0.7


# ---- files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nlp(bert: Path) -> Language:
    return pipeline(bert)


@pytest.fixture(scope="module")
def folder(nlp: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suggest")
    nlp.to_disk(folder / "model")
    half = RAW[: len(RAW) // 2]
    (folder / "raw.txt").write_text("\n".join(half) + "\n", "utf-8")
    rows = [{"id": i, "text": text} for i, text in enumerate([*RAW[len(half) :], "my card is LOST!"])] + [{"text": 5}]
    with gzip.open(folder / "raw.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    DocBin(docs=[nlp.make_doc(text) for text in TEXTS[:4]]).to_disk(folder / "labeled.spacy")
    return folder


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_texts_are_suggested_once_and_annotated_ones_not(nlp: Language, folder: Path, strategy: Any) -> None:
    found = suggest(
        nlp, [folder / "raw.txt", folder / "raw.jsonl.gz"], n=10, strategy=strategy, labeled=[folder / "labeled.spacy"]
    )
    texts = [one.text for one in found.texts]
    assert len(set(texts)) == len(texts) == 10
    assert not set(texts) & set(TEXTS[:4])
    assert found.n_texts == len(RAW) + 1
    # With another case, it is still the text that is annotated.
    assert found.n_annotated == 5
    assert found.n_bad == 1
    assert "raw.jsonl.gz, line 26" in found.bad[0]
    for one in found.texts:
        doc = nlp(one.text)
        assert one.labels == [max(doc.cats, key=doc.cats.__getitem__)]
        assert one.score == pytest.approx(max(doc.cats.values()), abs=1e-4)
        assert one.line > 0
    if strategy == "margin":
        doubts = [one.uncertainty for one in found.texts]
        assert doubts == sorted(doubts, reverse=True)


def test_near_duplicates_are_suggested_once(nlp: Language, tmp_path: Path) -> None:
    long = "my card is lost and i paid the bill twice and the refund is late and the login is broken"
    texts = [f"{long} {word}" for word in ("a", "the", "my")] + TEXTS[:3]
    (tmp_path / "raw.txt").write_text("\n".join(texts), "utf-8")
    found = [one.text for one in suggest(nlp, tmp_path / "raw.txt", n=6, strategy="margin").texts]
    assert len(found) == 4
    assert sum(text.startswith(long) for text in found) == 1


def test_independent_labels(bert: Path, folder: Path) -> None:
    nlp = pipeline(bert, multilabel=True, settings={"threshold": 0.3})
    found = suggest(nlp, folder / "raw.txt", n=5)
    for one in found.texts:
        cats = nlp(one.text).cats
        assert one.labels == [
            label for label in nlp.get_pipe("transfer_textcat_multilabel").labels if cats[label] >= 0.3
        ]


def test_what_cannot_be(nlp: Language, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"T396.*--n 0"):
        suggest(nlp, folder / "raw.txt", n=0)
    with pytest.raises(ValueError, match=r"T761.*4 of them"):
        suggest(nlp, folder / "labeled.spacy", labeled=[folder / "labeled.spacy"])
    with pytest.raises(ValueError, match="T642"):
        suggest(spacy.blank("xx"), folder / "raw.txt")
    with pytest.raises(FileNotFoundError, match="T440"):
        suggest(nlp, folder / "none.txt")


def test_the_command_writes_tasks(folder: Path, tmp_path: Path) -> None:
    for suffix in (".jsonl", ".json"):
        out = tmp_path / f"tasks{suffix}"
        said = run("transfer", "suggest", folder / "model", folder / "raw.txt", "--n", "7", "-o", out, "--by", "margin")
        assert "7 texts to annotate" in " ".join(said.split())
        text = out.read_text("utf-8")
        if suffix == ".json":
            tasks = json.loads(text)
            assert all(task["predictions"] and "annotations" not in task for task in tasks)
        else:
            tasks = [json.loads(line) for line in text.splitlines()]
            assert [one["id"] for one in tasks[0]["options"]] == LABELS
            assert all(task["accept"] == [] and 0 <= task["meta"]["uncertainty"] <= 1 for task in tasks)
            tool = recognize({**tasks[0], "answer": "accept"})
            assert tool is not None
        assert len(tasks) == 7
    assert "T651" in run("transfer", "suggest", folder / "model", folder / "raw.txt", "-o", tmp_path / "x.csv", code=1)
    assert "T373" in run("transfer", "suggest", folder / "model", out, "-o", out, code=1)
