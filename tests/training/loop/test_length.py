"""How long a training is, what its rate does, and what is refused before it begins."""

import io
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as spacy_train
from thinc.api import Adam, Config, registry

from house_kit.pipelines import network_of, pipeline, shim_of
from house_kit.runs import MODEL, assert_same_run, config_of, killed_at, log_of, run, write_corpus
from house_kit.texts import LABELS, exclusive_examples
from spacy_transfer.pipeline.length import measure
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.loop.loop import Run
from spacy_transfer.training.loop.rates import WarmupLinear, set_length
from spacy_transfer.training.loop.time_limit import TimeLimit
from spacy_transfer.training.search.study import Plan, study
from spacy_transfer.training.search.sweep import parse_sweep

PEAK = {"@schedules": "spacy-transfer.WarmupLinear.v1", "peak": 4e-3, "warmup": 0.25}
OPTIMIZER = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": PEAK}
BY_PIECES = {"@batchers": "spacy-transfer.batch_by_pieces.v1", "docs": 4, "buffer": 3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def by_epochs(bert: Path, corpus: Path, n_epochs: int = 2, **training: Any) -> Config:
    """A config whose length is so many epochs: 23 texts in batches of 4."""
    blocks = {"max_epochs": n_epochs, "max_steps": 0, "optimizer": OPTIMIZER, "batcher": BY_PIECES, **training}
    return config_of(bert, corpus, "frozen, by pieces", training=blocks)


# ---- counting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("max_steps", "max_epochs", "sentence"),
    [
        (0, 3, "18 steps = 3 epochs of your 23 training texts"),
        (12, 0, "12 steps = 2 epochs of your 23 training texts"),
        (3, 0, "3 steps = 0.5 epochs of your 23 training texts"),
        (6, 0, "6 steps = 1 epoch of your 23 training texts"),
        (99, 2, "12 steps = 2 epochs of your 23 training texts (max_epochs = 2 comes before max_steps = 99)"),
        (7, 2, "7 steps = 1.2 epochs of your 23 training texts (max_steps = 7 comes before max_epochs = 2)"),
        (9, -1, "9 steps on a stream of texts"),
        (0, 0, "Training on your 23 training texts has no end (max_steps and max_epochs are 0): it runs until "
               "you stop it"),
    ],
)  # fmt: skip
def test_the_length_in_one_line(bert: Path, corpus: Path, max_steps: int, max_epochs: int, sentence: str) -> None:
    nlp = spacy.blank("xx")
    examples = exclusive_examples(nlp)[:23]
    state = random.getstate(), np.random.get_state()[1].tolist()
    block = {"max_steps": max_steps, "max_epochs": max_epochs, "patience": 0, "batcher": BY_PIECES}
    assert str(measure(block, examples)) == sentence
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state


def test_sizes_that_grow_are_counted_through_all_epochs() -> None:
    examples = exclusive_examples(spacy.blank("xx"))
    size = {"@schedules": "compounding.v1", "start": 2.0, "stop": 12.0, "compound": 1.2}
    batcher = {"@batchers": "spacy.batch_by_sequence.v1", "size": size, "get_length": None}
    length = measure({"max_steps": 0, "max_epochs": 4, "patience": 0, "batcher": batcher}, examples)
    made = spacy.registry.resolve({"batcher": batcher})["batcher"]
    assert length.n_steps == sum(len(list(made(examples))) for _ in range(4))


def test_the_rate_rises_and_falls_over_the_whole_length() -> None:
    schedule = WarmupLinear(peak=1.0, warmup=0.25, total_steps=8)
    assert [round(next(schedule), 4) for _ in range(10)] == [
        0.3333, 0.6667, 1.0, 0.8333, 0.6667, 0.5, 0.3333, 0.1667, 0.0, 0.0
    ]  # fmt: skip
    optimizer = AdamW(learn_rate=WarmupLinear(peak=1.0, warmup=0.25))
    assert optimizer.learn_rate == 1.0
    set_length(optimizer, 8)
    assert optimizer.learn_rate == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match=r"T005.*warmup = 2"):
        WarmupLinear(peak=1.0, warmup=2)


def test_where_no_loop_counts_the_rate_is_its_peak(quiet_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From the second update on, even where a loop had counted."""
    nlp = pipeline(quiet_bert)
    moved = []
    for total_steps in (None, 50):
        optimizer = AdamW(learn_rate=WarmupLinear(peak=1e-2, total_steps=total_steps))
        for _ in range(2):
            nlp.update(exclusive_examples(nlp, 4), sgd=optimizer)
        (groups,) = [one.param_groups for one in optimizer._networks.values()]
        moved.append(groups[0]["lr"])
    assert moved == [1e-2, 1e-2]
    assert "T337" not in caplog.text
    still = AdamW(learn_rate=iter([0.0, 1e-2]))
    for _ in range(3):
        nlp.update(exclusive_examples(nlp, 4), sgd=still)
    assert caplog.text.count("T337") == 1


# ---- a length in seconds -----------------------------------------------------------------------------------------


def one_second_a_step(monkeypatch: pytest.MonkeyPatch, jump_at: int = 1000) -> None:
    """A clock for runs: from step `jump_at` on, very late."""
    monkeypatch.setattr(Run, "_elapsed", lambda self: float(self.at.n_done) + 1000 * (self.at.n_done >= jump_at))


def test_a_run_in_seconds_lands_with_its_rate(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 seconds: 16 as without a limit, then to 0 in three steps; killed before and after, the same bytes."""
    one_second_a_step(monkeypatch)
    config, shown = by_epochs(bert, corpus, 10), io.StringIO()
    free, whole, parts = (tmp_path / name for name in ("free", "whole", "parts"))
    run(config, free, stop_at=24)
    trained = run(config, whole, max_seconds=20, show="lines", stderr=shown)
    assert (trained.status, trained.n_steps) == ("finished", 19)
    for sentence in (
        "or until 20 seconds have passed",
        "falls to 0 in 3 steps, 19 in all",
        "The time is up: 19 steps in 19",
    ):
        assert sentence in shown.getvalue()
    steps, others = ([one for one in log_of(folder) if one["kind"] == "step"] for folder in (whole, free))
    assert steps[:16] == others[:16]
    top = others[16]["learn_rate"]
    assert [one["learn_rate"] for one in steps[16:]] == pytest.approx([top, top * 2 / 3, top / 3])
    # What it ends with is looked at.
    assert [one["step"] for one in log_of(whole) if one["kind"] == "evaluation"][-1] == 18
    for i, step in enumerate((10, 17)):
        with killed_at(monkeypatch, step):
            run(config, parts, max_seconds=20, checkpoint_every="1", resume=i > 0)
    run(config, parts, max_seconds=20, resume=True)
    assert_same_run(whole, parts)
    with pytest.raises(ValueError, match=r"(?s)T167.*max_seconds: 20.* then, 30.* now"):
        run(config, parts, max_seconds=30, resume=True)


def test_a_run_ends_by_the_clock_or_by_itself(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first step after the time, evaluated and saved; a training that is short enough has no landing."""
    config = by_epochs(bert, corpus)
    one_second_a_step(monkeypatch, jump_at=6)
    late = run(config, tmp_path / "late", max_seconds=100)
    assert (late.status, late.n_steps, late.best_step) == ("finished", 6, late.best_step)
    assert [one["step"] for one in log_of(tmp_path / "late") if one["kind"] == "evaluation"][-1] == 5
    assert all((tmp_path / "late" / name / "meta.json").exists() for name in ("model-best", "model-last"))
    again = run(config, tmp_path / "late", max_seconds=100, resume=True)
    assert (again.status, again.n_steps) == ("finished", 6)
    one_second_a_step(monkeypatch)
    run(config, tmp_path / "free")
    run(config, tmp_path / "long", max_seconds=14)
    assert_same_run(tmp_path / "free", tmp_path / "long")
    for limit in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="T436"):
            run(config, tmp_path / "none", max_seconds=limit)


def test_time_alone_is_a_length(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one_second_a_step(monkeypatch)
    assert run(by_epochs(bert, corpus, 0), tmp_path, max_seconds=10).n_steps == 9
    rates = [one["learn_rate"] for one in log_of(tmp_path) if one["kind"] == "step"]
    assert rates == [4e-3] * 9
    assert "T328" not in caplog.text


def test_steps_that_still_fit() -> None:
    limit = TimeLimit(100.0)
    assert limit.n_left(80.0, 60, (40.0, 20)) == 19
    # Nothing was measured: as fast as until now; and never none.
    assert limit.n_left(80.0, 8, (0.0, 0)) == 1
    assert limit.n_left(99.9, 2, (99.9, 2)) == 1
    assert not TimeLimit().is_up(1e9)


# ---- under both loops --------------------------------------------------------------------------------------------


def test_both_loops_know_the_length(
    bert: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Said once before the first step; the rate falls to its end with the last step; nothing of it is saved."""
    config = by_epochs(bert, corpus)
    rates: list[float] = []

    class Noting(AdamW):
        def step_schedules(self) -> None:
            rates.append(float(self.learn_rate))
            super().step_schedules()

    registry.optimizers.register("noting.v1", func=Noting)
    config["training"]["optimizer"]["@optimizers"] = "noting.v1"
    said = []
    for name, loop in (("ours", run), ("theirs", None)):
        out = io.StringIO()
        caplog.clear()
        (tmp_path / name).mkdir()
        if loop is not None:
            run(config, tmp_path / name, show="lines", stderr=out)
        else:
            spacy_train(init_nlp(config), tmp_path / name, stdout=io.StringIO(), stderr=io.StringIO())
        said.append((out.getvalue() + caplog.text).count("12 steps = 2 epochs of your 23 training texts"))
        schedule = WarmupLinear(peak=4e-3, warmup=0.25, total_steps=12)
        assert rates == [schedule.at(step) for step in range(12)]
        rates.clear()
        nlp = spacy.load(tmp_path / name / "model-last")
        assert nlp.config["training"]["optimizer"]["learn_rate"]["counted_steps"] is None
        assert nlp.resume_training().learn_rate == 4e-3
    assert said == [1, 1]


def test_more_epochs_are_more_epochs(bert: Path, corpus: Path, tmp_path: Path) -> None:
    trained = run(by_epochs(bert, corpus), tmp_path, overrides={"training.max_epochs": 3})
    assert trained.n_steps == 18
    steps = [line for line in log_of(tmp_path) if line["kind"] == "step"]
    assert min(line["learn_rate"] for line in steps) > 0.0
    # What it ends with is looked at.
    assert [line["step"] for line in log_of(tmp_path) if line["kind"] == "evaluation"] == [0, 4, 8, 12, 16, 17]


def test_what_is_likely_not_meant_is_said(
    bert: Path, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Less than an epoch; a rate that is 0 for most of the time; a label that dev has not."""
    short = {"@schedules": "warmup_linear.v1", "initial_rate": 1e-3, "warmup_steps": 1, "total_steps": 2}
    config = by_epochs(bert, corpus, 0, max_steps=5, optimizer={**OPTIMIZER, "learn_rate": short})
    config["initialize"]["components"][MODEL]["labels"] = [*LABELS, "weather"]
    run(config, tmp_path)
    for words in ("T325] 5 steps see only 83%", "T326] The learning rate is 0 in 4 of 5", "T329] No text of the dev"):
        assert words in caplog.text
    caplog.clear()
    # Where the head was solved, no step shall move it.
    run(by_epochs(bert, corpus, 0, max_steps=1, optimizer={**OPTIMIZER, "learn_rate": 0.0}), tmp_path / "solved")
    assert "T32" not in caplog.text


def test_empty_dev_data_are_an_error(bert: Path, corpus: Path, tmp_path: Path) -> None:
    """In both loops, and nothing that was there is gone."""
    DocBin().to_disk(tmp_path / "empty.spacy")
    config = by_epochs(bert, corpus)
    config["corpora"]["dev"]["path"] = str(tmp_path / "empty.spacy")
    (tmp_path / "out" / "model-best").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"T327.*\[corpora.dev\]"):
        run(config, tmp_path / "out")
    assert (tmp_path / "out" / "model-best").exists()
    with pytest.raises(ValueError, match="T327"):
        init_nlp(config)


# ---- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ({"training.max_step": 5}, r"T330.*training\.max_step:.*Did you mean max_steps"),
        ({"training.eval_frequency": 0}, "T331.*eval_frequency = 0"),
        ({"training.dropout": 2}, "T331.*dropout = 2"),
        ({"training.dropout": -1}, "T331.*dropout = -1"),
        ({"training.dropout": float("nan")}, "T333.*training.dropout = nan"),
        ({"training.max_steps": float("inf")}, "T333.*training.max_steps = inf"),
        ({"training.max_steps": -1}, "T331.*max_steps = -1"),
        ({"training.max_steps": 1.5}, "T331.*max_steps = 1.5"),
        ({"training.patience": -1}, "T331.*patience = -1"),
        ({"training.max_epochs": -2}, "T331.*max_epochs = -2"),
        ({"training.accumulate_gradient": 0}, "T331.*accumulate_gradient = 0"),
        ({"training.seed": -1}, "T331.*seed = -1"),
        ({"training.optimizer.learn_rate.peak": -1.0}, "T005.*peak = -1.0"),
        ({"training.optimizer.learn_rate.peak": "3e-4"}, "T332.*training.optimizer.learn_rate.peak"),
        ({"training.optimizer.learn_rate": -1.0}, "T331.*learn_rate = -1.0"),
        ({"training.batcher.docs": "16"}, "T332.*training.batcher.docs"),
        ({"paths.trian": "x.spacy"}, r"T334.*paths\.trian.*Did you mean paths\.train"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_before_anything_is_touched(
    bert: Path, corpus: Path, tmp_path: Path, overrides: dict[str, Any], code: str
) -> None:
    (tmp_path / "model-best").mkdir()
    config = by_epochs(bert, corpus)
    config["paths"] = {"train": str(corpus / "train.spacy")}
    config["corpora"]["train"]["path"] = "${paths.train}"
    with pytest.raises(ValueError, match=code):
        run(config, tmp_path, overrides=overrides)
    assert [path.name for path in tmp_path.iterdir() if path.name != "log.jsonl"] == ["model-best"]


@pytest.mark.parametrize(
    ("spec", "code"), [("training.dropout=NaN,0.1", "T333"), ("training.nothing=1,2", "T330.*training.nothing")]
)
def test_a_sweep_of_what_cannot_be_is_refused(bert: Path, corpus: Path, tmp_path: Path, spec: str, code: str) -> None:
    ((key, values),) = parse_sweep([spec]).items()
    plan = Plan([{key: value} for value in values])
    with pytest.raises(ValueError, match=code):
        study(by_epochs(bert, corpus), tmp_path / "out", plan, lambda *args: pytest.fail("it trains"))
    assert not (tmp_path / "out").exists()


def test_optimizer_and_component_check_their_numbers(quiet_bert: Path) -> None:
    for rate, code in ((-1.0, "T005"), ("3e-4", "T332"), (iter(["a"]), "T339")):
        with pytest.raises(ValueError, match=code):
            AdamW(learn_rate=rate)
    nlp = pipeline(quiet_bert)
    for drop in (2.0, -1.0):
        with pytest.raises(ValueError, match="T331"):
            nlp.update(exclusive_examples(nlp, 4), drop=drop, sgd=Adam(1e-3))


# ---- what is shown and logged --------------------------------------------------------------------------------------


def test_a_resumed_run_says_from_where_and_keeps_the_loggers_file(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of spaCy's console logger is not printed beside our lines; its file is that of one unbroken run."""
    files = {}
    for name in ("whole", "parts"):
        file = tmp_path / f"{name}.jsonl"
        logger = {"@loggers": "spacy.ConsoleLogger.v3", "progress_bar": "train", "output_file": str(file)}
        config = by_epochs(bert, corpus, logger=logger)
        out, shown = io.StringIO(), io.StringIO()
        if name == "parts":
            with killed_at(monkeypatch, 7):
                run(config, tmp_path / name, checkpoint_every="3")
            run(config, tmp_path / name, show="lines", resume=True, stdout=out, stderr=shown)
            begin = "Resuming after step 5: 12 steps = 2 epochs of your 23 training texts.\n"
            assert shown.getvalue().startswith(begin)
        else:
            run(config, tmp_path / name, stdout=out)
        assert not out.getvalue()
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        files[name] = [{**line, "scores": {**line["scores"], "speed": 0}} for line in lines]
    assert [line["step"] for line in files["whole"]] == [0, 4, 8, 11]
    assert files["whole"] == files["parts"]
    log = [line for line in log_of(tmp_path / "whole") if line["kind"] == "evaluation"]
    losses = [line["losses"][MODEL] for line in files["whole"]]
    assert losses == pytest.approx([line["loss"][MODEL] for line in log])


def test_each_run_of_a_study_has_its_loggers_file(bert: Path, corpus: Path, tmp_path: Path) -> None:
    logger = {"@loggers": "spacy.ConsoleLogger.v2", "output_file": str(tmp_path / "scores.jsonl")}
    config = by_epochs(bert, corpus, 1, logger=logger)

    def train_one(folder: Path, values: Any, stop_at: int, resume: bool) -> None:
        run(config, folder, overrides=values, stop_at=stop_at, resume=resume)

    study(config, tmp_path / "study", Plan(seeds=(0, 1)), train_one)
    for seed in (0, 1):
        assert len((tmp_path / "study" / f"seed-{seed}" / "scores.jsonl").read_text().splitlines()) == 3
    assert not (tmp_path / "scores.jsonl").exists()


def test_a_file_of_somebody_else_is_not_written_over(
    bert: Path, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notes.jsonl").write_text("mine")
    logger = {"@loggers": "spacy.ConsoleLogger.v3", "output_file": str(tmp_path / "notes.jsonl")}
    run(by_epochs(bert, corpus, 1, logger=logger), tmp_path / "out")
    assert (tmp_path / "notes.jsonl").read_text() == "mine"
    assert "T335" in caplog.text


def test_the_rate_of_an_evaluation_is_that_of_its_step(bert: Path, corpus: Path, tmp_path: Path) -> None:
    run(by_epochs(bert, corpus), tmp_path)
    lines = log_of(tmp_path)
    rates = {line["step"]: line["learn_rate"] for line in lines if line["kind"] == "step"}
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    assert [line["learn_rate"] for line in evaluations] == [rates[line["step"]] for line in evaluations]
    top = [line["components"][MODEL]["rates"]["pooling, head"] for line in evaluations]
    assert top == [line["learn_rate"] for line in evaluations]


# ---- dropout -----------------------------------------------------------------------------------------------------


def dropouts_of(nlp: Language) -> set[float]:
    """Of all modules of the encoder that have one."""
    body = network_of(nlp).encoder.body
    return {module.p for module in body.modules() if isinstance(module, torch.nn.Dropout)}


@pytest.mark.parametrize("family", ["bert", "distilbert", "t5", "bart", "deberta-v2"])
def test_dropout_of_the_encoder_is_a_setting(
    family: str, encoder_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """It acts in training only, in every layer that trains, and is stored with the pipeline."""
    folder = encoder_folder(family)
    examples = exclusive_examples(spacy.blank("xx"), 6)
    losses = {}
    for dropout in (0.0, 0.6):
        nlp = pipeline(folder, encoder={"dropout": dropout})
        losses[dropout] = [nlp.update(examples, sgd=False)[MODEL] for _ in range(2)]
    assert losses[0.0][0] == losses[0.0][1]
    assert losses[0.6][0] != losses[0.6][1]
    nlp.to_disk(tmp_path / "saved")
    assert spacy.load(tmp_path / "saved").config["components"][MODEL]["model"]["encoder"]["dropout"] == 0.6
    again = shim_of(spacy.load(tmp_path / "saved")).record["config"]
    assert 0.6 in [value for key, value in again.items() if "dropout" in key]
    with pytest.raises(ValueError, match=r"T005.*encoder: dropout"):
        pipeline(folder, encoder={"dropout": 1.5})


def test_an_adapter_without_frozen_depth_says_what_is_taken(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("peft")
    with caplog.at_level(logging.INFO, "spacy_transfer"):
        pipeline(bert, tuning={"frozen_depth": -1, "adapter": {"@misc": "spacy-transfer.LoRA.v1", "rank": 2}})
    assert "T336" in caplog.text
