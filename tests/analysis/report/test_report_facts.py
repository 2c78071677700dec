"""What stands in the data of a report."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language

from house_kit.pipelines import pipeline
from house_kit.reports import EVIL, write_tests
from house_kit.runs import config_of, run, write_corpus
from house_kit.texts import LABELS
from spacy_transfer.analysis.report.charts import depth_charts
from spacy_transfer.analysis.report.place import find_place
from spacy_transfer.analysis.report.report import report
from spacy_transfer.analysis.report.search_facts import search_facts
from spacy_transfer.evaluation.evaluate import judge

KIND = "unfreezing by steps, Adam"


@pytest.fixture(scope="module")
def folder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("facts")
    run(config_of(bert, write_corpus(folder), KIND, 10), folder / "run")
    write_tests(folder / "test.spacy")
    other = pipeline(bert, seed=5)
    other.to_disk(folder / "other")
    return folder


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    return report(
        folder / "run", folder / "report.html", data=[folder / "test.spacy"],
        compare=[folder / "run/model-best", folder / "other"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def component(facts: dict[str, Any]) -> dict[str, Any]:
    (component,) = facts["tests"][0]["components"]
    return component


@pytest.fixture(scope="module")
def nlp(folder: Path) -> Language:
    return spacy.load(folder / "run/model-best")


def test_a_cell_counts_the_texts_that_it_leads_to(component: dict[str, Any]) -> None:
    """No text is left out here: there are few."""
    matrix, texts = component["matrix"], component["texts"]
    for row, counts in zip(matrix["rows"], matrix["counts"], strict=True):
        for column, n in zip(matrix["columns"], counts, strict=True):
            found = [one for one in texts if [row, column] in one["cells"]]
            if row != column:
                assert len(found) == n
                assert not any(one["right"] for one in found)
    n_wrong = sum(
        n for row, counts in zip(matrix["rows"], matrix["counts"], strict=True)
        for column, n in zip(matrix["columns"], counts, strict=True) if row != column
    )  # fmt: skip
    assert n_wrong == component["n_errors"] == sum(not one["right"] for one in texts)
    # The text whose label is unknown has a row of its own.
    assert matrix["rows"] == [*LABELS, ""]
    assert component["unknown_labels"] == {"<i>unknown</i>": 1}


def test_parts_of_the_data_are_parts(component: dict[str, Any]) -> None:
    parts = {one["by"]: one for one in component["slices"]}
    assert set(parts) == {"length in pieces", "windows", "_.source", "_.price", "meta.country"}
    right = round(component["accuracy"]["value"] * component["n_texts"])
    for part in parts.values():
        assert sum(group["n"] for group in part["groups"]) == component["n_texts"]
        assert round(sum(group["n"] * group["score"]["value"] for group in part["groups"])) == right
    assert {group["name"] for group in parts["_.source"]["groups"]} == {"mail", EVIL[2]}
    assert len(parts["_.price"]["groups"]) == 4
    assert parts["windows"]["groups"][0]["name"] == "1 window"


def test_what_the_log_says(folder: Path, facts: dict[str, Any]) -> None:
    curves, result = facts["training"]["curves"], facts["training"]["result"]
    assert max(one["score"] for one in curves["evaluations"]) == result["score"]
    assert len(curves["steps"]) == len(curves["loss"]["transfer_textcat"]) == 10
    depths = [depth for _, depth in curves["frozen_depth"]["transfer_textcat"]]
    assert depths == sorted(depths, reverse=True)
    assert depths[0] > depths[-1]
    assert facts["training"]["has_log"]
    assert "cpu" in json.dumps(facts["training"]["machine"])
    assert "tuning" in facts["training"]["recipe"]
    # Text that train and test share is found by the same check as ever.
    assert "overlap" in {one["code"] for one in facts["training"]["findings"]}
    assert [one["name"] for one in facts["training"]["splits"]] == ["train", "dev", "test"]
    assert sum(facts["training"]["training_labels"].values()) == 23


def test_the_same_pipeline_makes_no_difference(facts: dict[str, Any], folder: Path, nlp: Language) -> None:
    (comparison,) = facts["comparisons"]
    same, other = comparison["others"]
    assert (same["difference"]["n_gained"], same["difference"]["n_lost"], same["difference"]["p_value"]) == (0, 0, 1.0)
    assert same["gained"] == same["lost"] == same["labels"] == []
    one, two = (judge(model, folder / "test.spacy").components[0] for model in (nlp, spacy.load(folder / "other")))
    assert other["difference"]["n_gained"] == len(other["gained"]) == int((two.right & ~one.right).sum())
    assert other["difference"]["n_lost"] == len(other["lost"]) == int((one.right & ~two.right).sum())
    assert other["difference"]["accuracy"]["value"] == pytest.approx(two.right.mean() - one.right.mean())
    for row in other["lost"]:
        assert row["predicted"] == row["true"] != row["other"]


# ---- what is not there -------------------------------------------------------------------------------------------


def test_a_run_without_log_and_one_that_was_killed(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    log = (tmp_path / "run/log.jsonl").read_bytes()
    (tmp_path / "run/log.jsonl").unlink()
    found = report(tmp_path / "run", tmp_path / "a.html")
    assert not found["training"]["has_log"]
    assert "has no log.jsonl" in (tmp_path / "a.html").read_text("utf-8")
    # Killed before it saved anything, within a line.
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/log.jsonl").write_bytes(log[: len(log) // 2])
    found = report(tmp_path / "run", tmp_path / "a.html")
    assert found["pipeline"] is None
    assert 0 < len(found["training"]["curves"]["steps"]) < 10
    with pytest.raises(ValueError, match="T644"):
        report(tmp_path / "run", tmp_path / "a.html", data=[folder / "test.spacy"])


def test_a_pipeline_by_itself(folder: Path, tmp_path: Path) -> None:
    found = report(folder / "other", tmp_path / "a.html")
    assert found["run"] is None
    text = (tmp_path / "a.html").read_text("utf-8")
    assert "No run." in text
    assert "No test data." in text


def test_training_data_that_are_gone(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    config = spacy.util.load_config(tmp_path / "run/model-best/config.cfg")
    config["corpora"]["train"]["path"] = "gone/train.spacy"
    config.to_disk(tmp_path / "run/model-best/config.cfg")
    found = report(tmp_path / "run", tmp_path / "a.html")
    assert found["training"]["missing_data"] == ["gone/train.spacy"]
    assert found["training"]["training_labels"] == {}
    # A path of the config is relative to where the training ran.
    (tmp_path / "gone").mkdir()
    shutil.copy(folder / "train.spacy", tmp_path / "gone/train.spacy")
    monkeypatch.chdir(folder)
    assert report(tmp_path / "run", tmp_path / "a.html")["training"]["missing_data"] == []


# ---- a search ----------------------------------------------------------------------------------------------------


def result(score: float, seconds: float) -> dict[str, Any]:
    return {"score": score, "seconds": seconds, "n_steps": 10, "measure": "macro F", "test": {}}


def test_what_freezing_each_depth_bought(tmp_path: Path) -> None:
    key = "components.transfer_textcat.model.tuning.frozen_depth"
    trials = [
        {"number": 1, "values": {key: "all"}, "results": {"a": result(0.7, 5.0), "b": result(0.8, 7.0)},
         "is_dropped": False, "failed": ""},
        {"number": 2, "values": {key: 0}, "results": {"c": result(0.9, 50.0)}, "is_dropped": False, "failed": ""},
        {"number": 3, "values": {key: 3}, "results": {}, "is_dropped": False, "failed": "out of memory"},
    ]  # fmt: skip
    (tmp_path / "trial-002").mkdir()
    (tmp_path / "trial-002/log.jsonl").write_text("")
    (tmp_path / "study.json").write_text(json.dumps({"trials": trials, "best_run": "trial-002"}))
    found = search_facts(tmp_path)
    assert [one["depth"] for one in found["depths"]] == [0, "all"]
    assert found["depths"][1]["score"] == pytest.approx(0.75)
    assert found["depths"][1]["seconds"] == pytest.approx(6.0)
    assert [one["number"] for one in found["trials"]] == [2, 1, 3]
    assert [one.title for one in depth_charts(found)] == ["Score by frozen depth", "Time by frozen depth"]
    assert "depth all: 0.750 in 6 seconds" in depth_charts(found)[0].description
    for trial in trials:
        for i, one in enumerate(trial["results"].values()):
            one["peak_memory"] = 500.0 + 100 * i
    (tmp_path / "study.json").write_text(json.dumps({"trials": trials, "best_run": "trial-002"}))
    memory = depth_charts(search_facts(tmp_path))[2]
    assert memory.title == "Memory by frozen depth"
    assert "depth 0: 500 MB; depth all: 550 MB" in memory.description
    # The search, and a run within it.
    assert find_place(tmp_path).run == tmp_path / "trial-002"
    assert find_place(tmp_path / "trial-002").study == tmp_path
    facts = report(tmp_path, tmp_path / "report.html")
    assert facts["search"]["best_run"] == "trial-002"
    assert "out of memory" in (tmp_path / "report.html").read_text("utf-8")
    # A name that leads elsewhere is not followed.
    (tmp_path / "study.json").write_text(json.dumps({"trials": [], "best_run": "../elsewhere"}))
    assert find_place(tmp_path).run is None
