"""Several runs by one call: each is the run it would be alone, the better go on, and nothing is lost on the way."""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import spacy
from thinc.api import Config
from typer.testing import CliRunner

from house_kit.pipelines import read_json
from house_kit.runs import MODEL, Killed, assert_same_run, config_of, files_of, killed_at, log_of, run
from house_kit.slow import mostly_slow
from house_kit.studies import Made, studied
from spacy_transfer.cli import transfer_cli
from spacy_transfer.evaluation.evaluate import evaluate
from spacy_transfer.training.interrupted import Interrupted
from spacy_transfer.training.loop.loop import Run
from spacy_transfer.training.output.result import Result
from spacy_transfer.training.search.study import Plan, study
from spacy_transfer.training.search.sweep import grid, parse_sweep, rungs

RATE = "training.optimizer.learn_rate"
LIMIT = "corpora.train.limit"
DEPTH = f"components.{MODEL}.model.tuning.frozen_depth"


def rows_of(path: Path) -> list[dict[str, str]]:
    """Of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def state_of(folder: Path) -> dict[str, Any]:
    """study.json without times."""
    state: dict[str, Any] = read_json(folder / "study.json")
    for trial in state["trials"]:
        for result in trial["results"].values():
            del result["seconds"], result["peak_memory"]
    return state


# ---- a run that pauses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", mostly_slow([[1, 5, 9], [4], [12], [99]], but=[[1, 5, 9]]))
def test_paused_is_uninterrupted(config: Config, tmp_path: Path, stops: list[int]) -> None:
    whole = run(config, tmp_path / "whole")
    for i, stop_at in enumerate(stops):
        part = run(config, tmp_path / "parts", stop_at=stop_at, resume=i > 0)
        # The last step ends the run whether it was to pause there or not.
        assert (part.status, part.n_steps) == (("paused", stop_at) if stop_at < 12 else ("finished", 12))
    again = run(config, tmp_path / "parts", resume=True, stop_at=stops[0])
    assert again.status == ("paused" if stops[0] < 12 else "finished")
    assert again.n_steps == min(stops[-1], 12)
    last = run(config, tmp_path / "parts", resume=True)
    assert (last.status, last.n_steps, last.score) == ("finished", whole.n_steps, whole.score)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_result_is_for_programs(config: Config, tmp_path: Path) -> None:
    trained = run(config, tmp_path / "out")
    result = Result.read(tmp_path / "out")
    assert (result.status, result.n_steps, result.score) == ("finished", 12, trained.score)
    best = next(line for line in log_of(tmp_path / "out") if line.get("best") and line["score"] == trained.score)
    assert result.scores["cats_macro_f"] == best["scores"]["cats_macro_f"]
    assert result.seconds > 0


# ---- seeds -------------------------------------------------------------------------------------------------------


def test_each_seed_is_the_run_alone(config: Config, tmp_path: Path) -> None:
    found = studied(config, tmp_path / "study", Plan(seeds=[5, 6]))
    scores = []
    for seed in (5, 6):
        alone = run(config, tmp_path / "alone", overrides={"training.seed": seed}, force=True)
        assert_same_run(tmp_path / "alone", tmp_path / "study" / f"seed-{seed}")
        assert not (tmp_path / "study" / f"seed-{seed}" / "checkpoints").exists()
        scores.append(alone.score)
    assert found.best.scores == scores
    assert found.best.score == pytest.approx(sum(scores) / 2)
    assert found.best.deviation == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
    best = tmp_path / "study" / found.run
    assert Result.read(best).score == max(scores)
    assert files_of(tmp_path / "study" / "model-best") == files_of(best / "model-best")
    rows = rows_of(tmp_path / "study" / "results.csv")
    assert [(row["trial"], row["seed"], row["run"]) for row in rows] == [("1", "5", "seed-5"), ("1", "6", "seed-6")]
    assert [float(row["score"]) for row in rows] == scores
    assert all(float(row["seconds"]) >= 0 and row["judged by"] == "macro F" for row in rows)
    (mean,) = rows_of(tmp_path / "study" / "statistics.csv")
    assert (mean["runs"], float(mean["score mean"])) == ("2", pytest.approx(found.best.score))
    assert float(mean["score standard deviation"]) == pytest.approx(found.best.deviation)


# ---- sweeps ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_better_trials_go_on(config: Config, tmp_path: Path) -> None:
    """A rate of nothing learns nothing; what is left at the end is the run that its values would make alone."""
    made = Made(config)
    values = grid({RATE: [1e-12, 1e-2], DEPTH: [0, 2]})
    found = study(config, tmp_path / "study", Plan(values), made)
    plan = rungs(4, 12, 4, 2)
    assert [one.stop_at for one in plan] == [5, 9, 0]
    names = [f"trial-{i:03d}" for i in range(1, 5)]
    assert [part for part in made.parts if part[1] == 5] == [(name, 5, False) for name in names]
    assert [len([part for part in made.parts if part[1] == stop]) for stop in (9, 0)] == [2, 1]
    assert all(resume for _, stop, resume in made.parts if stop != 5)
    assert found.best.values[RATE] == 1e-2
    assert [trial.is_dropped for trial in found.trials].count(True) == 3
    alone = run(config, tmp_path / "alone", overrides=found.best.values)
    assert alone.score == found.best.score
    assert_same_run(tmp_path / "alone", tmp_path / "study" / found.run)
    for trial in found.trials:
        folder = tmp_path / "study" / f"trial-{trial.number:03d}"
        assert (folder / "log.jsonl").exists()
        assert (folder / "model-best").exists() == (trial is found.best)
    # Dropped after a rung, each at the score it had there.
    early = [trial for trial in found.trials if trial.n_steps == 5]
    assert len(early) == 2
    best_early = max(trial.score for trial in early)
    at_first = {t.number: max(r["score"] for r in log_of(tmp_path / "study" / f"trial-{t.number:03d}")
                              if r["kind"] == "evaluation" and r["step"] <= 4) for t in found.trials}  # fmt: skip
    assert all(at_first[trial.number] >= best_early for trial in found.trials if trial not in early)


@pytest.mark.slow
def test_resumed_is_uninterrupted(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed within the first run, within one of the last rung, and at the start of each in between."""
    plan = Plan(grid({RATE: [1e-3, 1e-2]}), seeds=[1, 2], soup=True)
    whole = studied(config, tmp_path / "whole", plan)

    # Six parts of runs. Before a part nothing of it is there, within it a checkpoint is.
    steps = iter([3, None, 3, None, 10, None])
    call = Made.__call__

    def killed(self: Made, folder: Path, values: Mapping[str, Any], stop_at: int, resume: bool) -> None:
        if (step := next(steps)) is not None:
            with killed_at(monkeypatch, step):
                run(self.config, folder, overrides=values, stop_at=stop_at, resume=resume, checkpoint_every="2")
        raise Killed

    def killed_after(self: Made, *args: Any) -> None:
        call(self, *args)
        monkeypatch.setattr(Made, "__call__", killed)

    for i in range(6):
        monkeypatch.setattr(Made, "__call__", killed_after if i else killed)
        with pytest.raises(Killed):
            studied(config, tmp_path / "parts", plan, resume=i > 0)
    monkeypatch.setattr(Made, "__call__", call)
    found = studied(config, tmp_path / "parts", plan, resume=True)
    assert (found.run, found.soup) == (whole.run, whole.soup)
    assert state_of(tmp_path / "parts") == state_of(tmp_path / "whole")
    assert_same_run(tmp_path / "parts" / found.run, tmp_path / "whole" / whole.run)
    assert files_of(tmp_path / "parts" / "model-best") == files_of(tmp_path / "whole" / "model-best")


def test_a_signal_ends_it_with_all_kept(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Run._finish_update

    def finish(self: Run) -> Any:
        # As a signal's handler does.
        self.is_wanted_to_end = self.at.n_done == 6
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_finish_update", finish)
        with pytest.raises(Interrupted):
            studied(config, tmp_path / "study", Plan(seeds=[1, 2]))
    assert Result.read(tmp_path / "study" / "seed-1").n_steps == 7
    found = studied(config, tmp_path / "study", Plan(seeds=[1, 2]), resume=True)
    run(config, tmp_path / "alone", overrides={"training.seed": 1})
    assert_same_run(tmp_path / "alone", tmp_path / "study" / "seed-1")
    assert len(found.best.scores) == 2


def test_a_trial_that_cannot_be_trained_is_left_out(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = studied(config, tmp_path / "study", Plan([{DEPTH: 9}, {DEPTH: 1}], keep_one_in=1))
    assert found.best.number == 2
    assert "T194" in caplog.text
    assert "T061" in found.trials[0].failed
    again = studied(config, tmp_path / "study", Plan([{DEPTH: 9}, {DEPTH: 1}], keep_one_in=1), resume=True)
    assert again.trials == found.trials
    with pytest.raises(ValueError, match=r"T190.*2 trials.*T061"):
        studied(config, tmp_path / "none", Plan([{DEPTH: 9}, {DEPTH: 8}]))


@pytest.mark.slow
def test_other_data_between_runs_are_told(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture, corpus: Path
) -> None:
    class Changed(Made):
        def __call__(self, folder: Path, values: Mapping[str, Any], stop_at: int, resume: bool) -> None:
            other = {"corpora.train.limit": 20} if folder.name == "seed-2" else {}
            super().__call__(folder, {**values, **other}, stop_at, resume)

    held = Config({**config, "training": {**config["training"], "max_epochs": 0}})
    study(held, tmp_path / "same", Plan(seeds=[1, 2]), Made(held))
    assert "T189" not in caplog.text
    study(held, tmp_path / "other", Plan(seeds=[1, 2]), Changed(held))
    assert "T189" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("trials", "is_told"), [([{DEPTH: 0}, {DEPTH: 1}], True), ([{LIMIT: 0}, {LIMIT: 20}], False)])
def test_other_data_after_a_resume_are_told(
    trials: list[dict[str, Any]], is_told: bool, config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Changed(Made):
        def __call__(self, folder: Path, values: Mapping[str, Any], stop_at: int, resume: bool) -> None:
            if folder.name == "trial-002" and not resumed:
                raise Interrupted(15)
            super().__call__(folder, {LIMIT: 20, **values} if resumed else values, stop_at, resume)

    held, resumed = Config({**config, "training": {**config["training"], "max_epochs": 0}}), False
    with pytest.raises(Interrupted):
        study(held, tmp_path / "study", Plan(trials, keep_one_in=1), Changed(held))
    assert "T189" not in caplog.text
    resumed = True
    study(held, tmp_path / "study", Plan(trials, keep_one_in=1), Changed(held), resume=True)
    assert ("T189" in caplog.text) == is_told


# ---- what is tried, what decides, what stays ---------------------------------------------------------------------


@pytest.mark.slow
def test_blocks_and_values_that_belong_together(config: Config, tmp_path: Path) -> None:
    """Each trial is the run that these values would make alone."""
    model = f"components.{MODEL}.model"
    focal = {"@losses": "spacy-transfer.Focal.v1", "exclusive": True}
    specs = [
        f'{model}.loss={{"@losses": "spacy-transfer.CrossEntropy.v1"}},{json.dumps(focal)}',
        f'{DEPTH},{RATE}=[1, 1e-3],["all", 1e-2]',
    ]
    plan = Plan(grid(parse_sweep(specs)), keep_one_in=1)
    assert len(plan.values) == 4
    # For all trials, whichever block they name.
    given = {f"{model}.loss.class_weights": "balanced"}
    found = studied(config, tmp_path / "study", plan, overrides=given)
    last = found.trials[3]
    assert last.values == {f"{model}.loss": focal, DEPTH: "all", RATE: 1e-2}
    run(config, tmp_path / "alone", overrides={**given, **last.values})
    assert_same_run(tmp_path / "alone", tmp_path / "study" / "trial-004")
    loss = spacy.load(tmp_path / "alone" / "model-last").config["components"][MODEL]["model"]["loss"]
    assert {**loss, **focal, "class_weights": "balanced"} == loss
    assert [row["loss"] for row in rows_of(tmp_path / "study" / "results.csv")].count(json.dumps(focal)) == 2


def test_config_files_are_trials(config: Config, bert: Path, corpus: Path, tmp_path: Path) -> None:
    other = config_of(bert, corpus, "full, averages, accumulated", steps=12)
    config.to_disk(tmp_path / "one.cfg")
    other.to_disk(tmp_path / "other.cfg")
    files = f"{tmp_path / 'one.cfg'},{tmp_path / 'other.cfg'}"
    options = ["--sweep", files, "--training.max_steps", "8", "--keep-one-in", "1", "--show", "none"]
    said = command(tmp_path / "one.cfg", "-o", tmp_path / "out", *options)
    assert "config" in said
    run(other, tmp_path / "alone", overrides={"training.max_steps": 8})
    assert_same_run(tmp_path / "alone", tmp_path / "out" / "trial-002")
    # A file that was changed is another study.
    config_of(bert, corpus, "full, averages, accumulated", steps=12, training={"dropout": 0.3}).to_disk(
        tmp_path / "other.cfg"
    )
    said = command(tmp_path / "one.cfg", "-o", tmp_path / "out", *options, "--resume", code=1)
    assert "other.cfg: training.dropout: 0.1 then, 0.3 now" in said


def test_what_the_user_names_is_the_judge(config: Config, corpus: Path, tmp_path: Path) -> None:
    """Of pipelines within a run, and of trials; test data decide nothing."""
    plan = Plan(grid({RATE: [1e-3, 1e-2]}), keep_one_in=1, by="accuracy", test=corpus / "train.spacy")
    found = studied(config, tmp_path / "study", plan)
    for trial in found.trials:
        ((name, result),) = trial.results.items()
        lines = [one for one in log_of(tmp_path / "study" / name) if one["kind"] == "evaluation"]
        assert [one["score"] for one in lines] == [one["scores"]["cats_acc"] for one in lines]
        assert result.score == max(one["score"] for one in lines) == result.scores["cats_acc"]
        assert (result.measure, result.seed) == ("cats_acc", 3)
        scores = evaluate(spacy.load(tmp_path / "study" / name / "model-best"), corpus / "train.spacy")
        assert result.test["cats_macro_f"] == scores["cats_macro_f"]
    assert found.best.score == max(trial.score for trial in found.trials)
    rows = rows_of(tmp_path / "study" / "results.csv")
    assert all(row["judged by"] == "cats_acc" and row["dev cats_acc"] and row["test cats_acc"] for row in rows)
    assert next(int(row["trial"]) for row in rows) == found.best.number


def test_trials_with_different_measures_are_told(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = "training.score_weights"
    plan = Plan([{}, {f"{weights}.cats_score": 0.0, f"{weights}.cats_acc": 1.0}], keep_one_in=1)
    studied(config, tmp_path / "study", plan)
    assert "T433" in caplog.text
    assert "macro F, cats_acc" in caplog.text


@pytest.mark.parametrize("soup_", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("keep", mostly_slow(["all", "best", "none"], but=["best"]))
def test_only_what_is_wanted_stays(config: Config, corpus: Path, tmp_path: Path, keep: Any, soup_: bool) -> None:
    """The results are the same whatever stays, and so is the best pipeline."""
    plan = Plan(grid({RATE: [1e-3, 1e-2]}), [1, 2], 1, soup_, test=corpus / "dev.spacy", keep=keep)
    found = studied(config, tmp_path / "study", plan, overrides={"training.max_steps": 5})
    folders = [
        path.parent for path in (tmp_path / "study").rglob("model-*") if path.name in ("model-best", "model-last")
    ]
    runs = {tmp_path / "study" / name for trial in found.trials for name in trial.results}
    assert len(runs) == 4
    assert {folder for folder in folders if folder in runs} == (runs if keep == "all" else set())
    assert (tmp_path / "study" / "model-best" / "meta.json").exists() == (keep != "none")
    assert all((folder / "log.jsonl").exists() and (folder / "result.json").exists() for folder in runs)
    assert all(result.test for trial in found.trials for result in trial.results.values())
    if keep == "best" and not found.soup.get("is_better"):
        number, seed = found.run.split("/")
        values = {**found.trials[int(number[-1]) - 1].values, "training.seed": int(seed[-1]), "training.max_steps": 5}
        run(config, tmp_path / "alone", overrides=values)
        assert files_of(tmp_path / "study" / "model-best") == files_of(tmp_path / "alone" / "model-best")
    # Nothing is missed by going on where all is done.
    again = studied(config, tmp_path / "study", plan, overrides={"training.max_steps": 5}, resume=True)
    assert (again.run, again.best.scores) == (found.run, found.best.scores)


# ---- bad input ---------------------------------------------------------------------------------------------------


def test_nothing_is_lost_unasked(config: Config, tmp_path: Path) -> None:
    plan = Plan([{RATE: 1e-3}, {RATE: 1e-2}])
    with pytest.raises(ValueError, match="T165"):
        studied(config, tmp_path / "study", plan, resume=True)
    studied(config, tmp_path / "study", plan)
    before = state_of(tmp_path / "study")
    with pytest.raises(ValueError, match="T186"):
        studied(config, tmp_path / "study", plan)
    with pytest.raises(ValueError, match=r"(?s)T167.*--seeds.*\[1\] now"):
        studied(config, tmp_path / "study", Plan(plan.values, seeds=[1]), resume=True)
    with pytest.raises(ValueError, match=r"(?s)T167.*training.dropout: 0.1 then, 0.2 now"):
        studied(config, tmp_path / "study", plan, resume=True, overrides={"training.dropout": 0.2})
    assert state_of(tmp_path / "study") == before
    wider = Plan([*plan.values, {RATE: 2e-2}])
    found = studied(config, tmp_path / "study", wider, resume=True, force=True)
    assert len(found.trials[2].results) == 1
    studied(config, tmp_path / "study", plan, force=True)
    assert state_of(tmp_path / "study") == before


@pytest.mark.parametrize("key", ["training.nothing.at_all", f"components.{MODEL}.modle.head.hidden"])
def test_a_key_that_cannot_be_set(config: Config, tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match=r"T330|T420"):
        studied(config, tmp_path / "study", Plan([{key: 1}]))
    assert not (tmp_path / "study").exists()


# ---- the command -------------------------------------------------------------------------------------------------


def command(*args: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(transfer_cli, ["train", *map(str, args)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_the_command(config: Config, tmp_path: Path) -> None:
    config.to_disk(tmp_path / "config.cfg")
    options = ["--sweep", f"{RATE}=1e-3,1e-2", "--sweep", f"{DEPTH}=1,all", "--trials", "3", "--seeds", "1,2", "--soup"]
    said = command(tmp_path / "config.cfg", "-o", tmp_path / "out", "--training.max_steps", "8", *options)
    state = read_json(tmp_path / "out" / "study.json")
    assert [sorted(trial["values"]) for trial in state["trials"]] == [sorted([RATE, DEPTH])] * 3
    assert "learn_rate" in said
    assert "frozen_depth" in said
    assert "Best: mean macro F" in said
    assert "2 seeds" in said
    assert (tmp_path / "out" / "model-best" / "meta.json").exists()
    assert Result.read(tmp_path / "out" / state["best_run"]).n_steps == 8
    assert "T186" in command(tmp_path / "config.cfg", "-o", tmp_path / "out", *options, code=1)
    said = command(tmp_path / "config.cfg", "-o", tmp_path / "out", "--training.max_steps", "8", *options, "--resume")
    assert "Best: mean macro F" in said


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--seeds", "1,x"], "T192"),
        (["--seeds", "1,1"], "T192"),
        (["--seeds", ""], "T192"),
        (["--sweep", "training.dropout"], "T187"),
        (["--soup"], "T195"),
        (["--trials", "2"], "T195.*without --sweep"),
        (["--keep-one-in", "2"], "T195"),
        (["--seeds", "1,2", "--trials", "2"], "T195.*trials.*without --sweep"),
        (["--seeds", "1,2", "--keep-one-in", "2"], "T195.*keep-one-in.*without --sweep"),
        (["--seeds", "1", "--stop-at", "4"], "T193"),
        (["--keep", "best"], "T195"),
        (["--test", "x.spacy"], "T195"),
        (["--seeds", "1,2", "--test", "x.spacy"], "T440"),
        (["--by", "acuracy"], "T431.*Did you mean accuracy"),
        (["--seeds", "1,2", "--by", "cats_desc"], "T431"),
        (["--seeds", "1", "--sweep", "training.seed=1,2"], "T434"),
        (["--sweep", "a.cfg,b.cfg"], "T435"),
    ],
)
def test_options_that_do_not_fit(config: Config, tmp_path: Path, options: list[str], error: str) -> None:
    config.to_disk(tmp_path / "config.cfg")
    assert re.search(error, command(tmp_path / "config.cfg", "-o", tmp_path / "out", *options, code=1))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Unable to enable fault handler")
def test_ranks_make_the_same_runs(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line that the ranks of a run are started with says all there is to say."""
    config.to_disk(tmp_path / "config.cfg")
    lines: list[list[str]] = []

    def in_this_process(n_ranks: int, arguments: list[str], *, gpu: bool) -> None:
        lines.append(arguments)
        assert (n_ranks, gpu) == (2, False)
        command(*arguments[4:])

    options = ["--sweep", f"{DEPTH}=1,all", "--seeds", "4", "--training.dropout", "0.2", "--show", "none"]
    command(tmp_path / "config.cfg", "-o", tmp_path / "one", *options)
    monkeypatch.setattr("spacy_transfer.training.distributed.launch.launch", in_this_process)
    command(tmp_path / "config.cfg", "-o", tmp_path / "two", *options, "--ranks", "2")
    assert [line[2:4] for line in lines] == [["transfer", "train"]] * 3
    assert state_of(tmp_path / "one") == state_of(tmp_path / "two")
    run_ = read_json(tmp_path / "one" / "study.json")["best_run"]
    assert_same_run(tmp_path / "one" / run_, tmp_path / "two" / run_)


@pytest.mark.filterwarnings("ignore:Unable to enable fault handler")
def test_pausing_by_command(config: Config, tmp_path: Path) -> None:
    config.to_disk(tmp_path / "config.cfg")
    said = command(tmp_path / "config.cfg", "-o", tmp_path / "out", "--stop-at", "6")
    assert "Paused after 6 steps" in said
    assert json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))["status"] == "paused"
    assert "12 steps" in command(tmp_path / "config.cfg", "-o", tmp_path / "out", "--resume")
