"""What `evaluate` says and writes."""

import csv
import io
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
from house_kit.pipelines import add_classifier, pipeline, read_json
from house_kit.texts import LABELS, TEXTS, multilabel_examples, one_hot
from spacy_transfer.evaluation.evaluate import evaluate, judge
from spacy_transfer.evaluation.predictions import Predictions

MODEL = "transfer_textcat"


def write_docs(path: Path, cats: list[dict[str, Any]], texts: list[str] = TEXTS) -> Path:
    nlp = spacy.blank("xx")
    docs = []
    for text, annotation in zip(texts, cats, strict=False):
        doc = nlp.make_doc(text)
        doc.cats = annotation
        docs.append(doc)
    DocBin(docs=docs).to_disk(path)
    return path


@pytest.fixture(scope="module")
def nlp(bert: Path) -> Language:
    return pipeline(bert)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return write_docs(folder / "test.spacy", [one_hot(LABELS[i % 3]) for i in range(len(TEXTS))])


def test_the_numbers_are_those_of_the_documents(nlp: Language, data: Path) -> None:
    scores = evaluate(nlp, data)
    predicted = [max(doc.cats, key=doc.cats.__getitem__) for doc in nlp.pipe(TEXTS)]
    right = [label == LABELS[i % 3] for i, label in enumerate(predicted)]
    found = scores["components"][MODEL]
    assert scores["accuracy"] == found["accuracy"]["value"] == sum(right) / len(right)
    assert found["accuracy"]["low"] < scores["accuracy"] < found["accuracy"]["high"]
    assert sum(one["n"] for one in found["confusions"]) == right.count(False)
    by_label = {one["label"]: one for one in found["by_label"]}
    for label in LABELS:
        assert by_label[label]["n_given"] == predicted.count(label)
        assert by_label[label]["f"]["value"] == pytest.approx(scores["cats_f_per_type"][label]["f"])
    values = [one["f"]["value"] for one in found["by_label"]]
    assert values == sorted(values)
    # All labels are there, so macro F is spaCy's too.
    assert found["macro_f"]["value"] == pytest.approx(scores["cats_macro_f"])
    json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_errors_are_written_surest_first(suffix: str, nlp: Language, data: Path, tmp_path: Path) -> None:
    path = tmp_path / f"errors{suffix}"
    scores = evaluate(nlp, data, errors=path)
    text = path.read_text("utf-8")
    delimiter = "\t" if suffix == ".tsv" else ","
    rows: list[dict[str, Any]] = (
        [json.loads(line) for line in text.splitlines()] if suffix == ".jsonl"
        else list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    )  # fmt: skip
    assert len(rows) == round((1 - scores["accuracy"]) * len(TEXTS)) > 0
    assert set(rows[0]) == {"text", "true", "predicted", "score"}
    sure = [float(row["score"]) for row in rows]
    assert sure == sorted(sure, reverse=True)
    for row in rows:
        cats = nlp(row["text"]).cats
        assert row["true"] == LABELS[TEXTS.index(row["text"]) % 3] != row["predicted"]
        assert max(cats, key=cats.__getitem__) == row["predicted"]
        assert cats[row["predicted"]] == pytest.approx(float(row["score"]), abs=1e-5)
    # An older one is replaced, another file is not.
    evaluate(nlp, data, errors=path)
    assert path.read_text("utf-8") == text
    path.write_text("my,notes\n" if suffix != ".jsonl" else '{"my": "notes"}\n')
    with pytest.raises(FileExistsError, match="T376"):
        evaluate(nlp, data, errors=path)


def test_no_other_suffix_and_not_the_data(nlp: Language, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"T641.*\.jsonl"):
        evaluate(nlp, data, errors=tmp_path / "errors.xlsx")
    with pytest.raises(ValueError, match="T641"):
        evaluate(nlp, data, errors=data)


@pytest.mark.parametrize("text", ["a\r\nb", 'say "no", please', "\x1b[31mred", "=1+1", "a\rb"])
def test_any_text_comes_back_from_a_table(text: str, tmp_path: Path) -> None:
    from spacy_transfer.evaluation.error_rows import write_errors

    flags = np.array([[True, False]])
    one = Predictions("x", ["a", "b|c"], True, 0.5, [0], [text], [[]], flags, ~(flags & False), np.array([[0.1, 0.9]]),
                      0, {})  # fmt: skip
    assert write_errors([one], tmp_path / "e.csv") == 1
    (row,) = csv.DictReader((tmp_path / "e.csv").open(encoding="utf-8", newline=""))
    assert row == {"text": text, "true": "a", "predicted": "b|c", "score": "0.9"}


# ---- other data --------------------------------------------------------------------------------------------------


def test_data_with_other_labels(nlp: Language, tmp_path: Path) -> None:
    other = write_docs(tmp_path / "other.spacy", [{"sports": 1.0}, {"politics": 1.0}])
    with pytest.raises(ValueError, match=r"T640.*'sports', 'politics'.*'card', 'login', 'money'"):
        evaluate(nlp, other)
    with pytest.raises(ValueError, match=r"T640.*no labels at all"):
        evaluate(nlp, write_docs(tmp_path / "bare.spacy", [{}, {}]))


def test_some_labels_are_unknown(nlp: Language, tmp_path: Path) -> None:
    """A text whose label the pipeline does not know is an error if it names ours, and left out if it does not."""
    cats = [one_hot("card"), {**one_hot(""), "sports": 1.0}, {"sports": 1.0}]
    judged = judge(nlp, write_docs(tmp_path / "some.spacy", cats))
    (summary,), (predictions,) = judged.summaries, judged.components
    assert summary.n_texts == 2
    assert summary.n_left_out == 1
    assert summary.unknown_labels == {"sports": 2}
    assert not predictions.right[1]
    assert predictions.true_labels(1) == ["sports"]
    assert predictions.places == [0, 1]
    assert summary.unused_labels == ["login", "money"]


def test_no_such_component(nlp: Language, data: Path) -> None:
    with pytest.raises(ValueError, match=r"T642.*'tone'.*transfer_textcat"):
        evaluate(nlp, data, component="tone")


# ---- several labels, several components --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(bert: Path) -> Language:
    """One component for what it is about, and one for two more labels, of which a text has any number."""
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, name="topic", settings={"score_prefix": "topic_"})
    add_classifier(nlp, bert, name="tone", multilabel=True, settings={"score_prefix": "tone_"})
    nlp.config["training"]["score_weights"] = {"topic_cats_score": 0.5, "tone_cats_score": 0.5}
    examples = multilabel_examples(nlp)
    for example in examples:
        example.reference.cats["please"] = float("please" in example.reference.text)
    nlp.get_pipe("topic").initialize(lambda: examples, nlp=nlp, labels=LABELS)
    nlp.get_pipe("tone").initialize(lambda: examples, nlp=nlp, labels=["late", "please"])
    nlp.get_pipe("tone").cfg["threshold"] = 0.4
    return nlp


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    cats = [
        {**one_hot(LABELS[i % 3]), "late": float("late" in text), "please": float("please" in text)}
        for i, text in enumerate(TEXTS)
    ]
    return write_docs(folder / "test.spacy", cats)


def test_several_components_by_name(two: Language, mixed: Path, tmp_path: Path) -> None:
    scores = evaluate(two, mixed, errors=tmp_path / "errors.jsonl")
    assert list(scores["components"]) == ["topic", "tone"]
    rows = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text("utf-8").splitlines()]
    assert {row["component"] for row in rows} == {"topic", "tone"}
    assert scores["components"]["topic"]["accuracy"]["value"] == scores["topic_cats_acc"]
    assert scores["components"]["tone"]["accuracy"]["value"] == scores["tone_cats_acc"]
    assert scores["components"]["tone"]["macro_f"]["value"] == pytest.approx(scores["tone_cats_macro_f"])
    assert scores["components"]["topic"]["unknown_labels"] == {}
    assert list(evaluate(two, mixed, component="tone")["components"]) == ["tone"]


def test_errors_of_independent_labels(two: Language, mixed: Path) -> None:
    (tone,) = judge(two, mixed, component="tone").components
    for i in tone.errors():
        true, given = set(tone.true_labels(i)), set(tone.given_labels(i))
        assert true != given
        beliefs = [tone.scores[i, tone.labels.index(label)] for label in given - true]
        beliefs += [1 - tone.scores[i, tone.labels.index(label)] for label in true - given]
        assert tone.sureness[i] == pytest.approx(max(beliefs))
    scores, right = tone.decisions()
    assert (scores >= 0.4).all()
    assert right.sum() == (tone.gold & tone.predicted).sum()


# ---- the command -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(two: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "pipeline"
    two.to_disk(folder)
    return folder


def test_one_screen(saved: Path, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    said = run("transfer", "evaluate", saved, mixed, "--component", "topic", "-o", out, "--errors", tmp_path / "e.csv")
    assert len(said.splitlines()) <= 40
    for part in ("accuracy", "95 % interval", "bootstrap", "Labels, lowest F first", "Most confused", "right"):
        assert part in said
    assert "cats_micro_p" not in said
    scores = read_json(out)
    assert f"{100 * scores['components']['topic']['accuracy']['value']:.1f} %" in said
    # What the command shows of a single component is all there is in the file too.
    assert "topic_cats_micro_p" in scores
    everything = run("transfer", "evaluate", saved, mixed, "--all")
    assert "topic_cats_micro_p" in everything
    assert everything.index("topic") < everything.index("tone")


def test_files_are_refused_before_anything_is_loaded(mixed: Path, tmp_path: Path) -> None:
    said = run("transfer", "evaluate", tmp_path / "none", mixed, "--errors", tmp_path / "e.txt", code=1)
    assert "T641" in said
    both = tmp_path / "e.jsonl"
    assert "T373" in run("transfer", "evaluate", tmp_path / "none", mixed, "-o", both, "--errors", both, code=1)
