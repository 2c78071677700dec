"""Our own loop makes the updates of `spacy train`, and says what it does."""

import io
import json
import math
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as spacy_train

from house_kit.pipelines import moved, read_json, weights_of
from house_kit.runs import KINDS, MODEL, assert_same_run, config_of, files_of, log_of, run, write_corpus
from spacy_transfer.training.loop.checkpoint_interval import Cadence
from spacy_transfer.training.loop.loop import Run
from spacy_transfer.training.session import Stopped
from spacy_transfer.training.train import train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


# ---- as spacy train ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_of_spacy_train(bert: Path, corpus: Path, tmp_path: Path, kind: str) -> None:
    """After every update, and what is saved."""
    theirs: list[dict[str, torch.Tensor]] = []
    ours: list[dict[str, torch.Tensor]] = []
    seen = theirs

    def look(nlp: Language, info: dict[str, Any]) -> None:
        nlp.get_pipe(MODEL).set_epoch(info["epoch"])
        seen.append(weights_of(nlp))

    spacy.registry.callbacks.register("look.v1", func=lambda: look)
    config = config_of(bert, corpus, kind, steps=13)
    config["training"]["before_update"] = {"@callbacks": "look.v1"}
    (tmp_path / "theirs").mkdir()
    # One step less: it makes one more than it is told.
    shorter = config.copy()
    shorter["training"]["max_steps"] = max(0, config["training"]["max_steps"] - 1)
    spacy_train(init_nlp(shorter), tmp_path / "theirs", stdout=io.StringIO(), stderr=io.StringIO())
    seen = ours
    trained = run(config, tmp_path / "ours", stdout=io.StringIO())
    assert len(ours) == len(theirs) == trained.n_steps > 4
    for one, other in zip(ours, theirs, strict=True):
        assert not moved(one, other)
    assert moved(ours[0], ours[-1])
    saved = files_of(tmp_path / "ours" / "model-last")
    assert saved == files_of(tmp_path / "theirs" / "model-last")
    # What is returned too: with averages, where the optimizer keeps them.
    trained.nlp.to_disk(tmp_path / "returned")
    assert files_of(tmp_path / "returned") == saved
    one, other = (read_json(tmp_path / who / "model-last" / "meta.json")["performance"] for who in ("ours", "theirs"))
    last = [line for line in log_of(tmp_path / "ours") if line["kind"] == "evaluation"][-1]
    # spaCy's are sums since the evaluation before, ours are means.
    for name in [name for name in one if name.endswith("_loss")]:
        other.pop(name)
        assert one.pop(name) == pytest.approx(last["loss"][name.removesuffix("_loss")])
    # spaCy does not look at what the last epoch ends with.
    if last["step"] % 4 == 0:
        assert one == other


def test_of_equal_scores_the_earlier_stays_best(bert: Path, corpus: Path, tmp_path: Path) -> None:
    config = config_of(bert, corpus, training={"optimizer": {"learn_rate": 0.0}})
    trained = run(config, tmp_path)
    assert trained.best_step == 0
    evaluations = [line for line in log_of(tmp_path) if line["kind"] == "evaluation"]
    assert [line["best"] for line in evaluations] == [True, False, False, False]
    assert len({line["score"] for line in evaluations}) == 1


# ---- what it says ------------------------------------------------------------------------------------------------


def test_log(bert: Path, corpus: Path, tmp_path: Path) -> None:
    """A line a step, a line an evaluation, strictly JSON."""
    config = config_of(bert, corpus, "half frozen, sizes and rates on schedules")
    trained = run(config, tmp_path)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    lines = [json.loads(line, parse_constant=refuse) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    assert [line["step"] for line in steps] == list(range(trained.n_steps))
    assert [line["step"] for line in evaluations] == [0, 4, 8, 11]
    assert [line["learn_rate"] for line in steps[:5]] == pytest.approx([0.0, 1.25e-3, 2.5e-3, 3.75e-3, 5e-3])
    assert all(line["loss"][MODEL] > 0 and line["grad_norm"][MODEL] > 0 for line in steps)
    window = [line for line in steps if 0 < line["step"] <= 4]
    mean = sum(line["loss"][MODEL] * line["n_docs"] for line in window) / sum(line["n_docs"] for line in window)
    assert evaluations[1]["loss"][MODEL] == pytest.approx(mean)
    depths = evaluations[-1]["components"][MODEL]
    assert depths["frozen_depth"] == 1
    assert depths["rates"]["layer 2"] == pytest.approx(0.8 * depths["rates"]["layer 3"])
    assert set(evaluations[-1]["scores"]) > {"cats_score", "cats_acc", "speed"}


@pytest.mark.parametrize("show", ["auto", "lines", "bar", "none"])
def test_progress(bert: Path, corpus: Path, tmp_path: Path, show: str) -> None:
    out = io.StringIO()
    run(config_of(bert, corpus, "frozen, by pieces", steps=5), tmp_path, show=show, stdout=io.StringIO(), stderr=out)
    text = out.getvalue()
    if show == "none":
        assert not text
        return
    assert ("%|" in text) == (show == "bar")
    lines = [line for line in text.replace("\r", "\n").splitlines() if "mean loss" in line]
    assert [line["step"] for line in log_of(tmp_path) if line["kind"] == "evaluation"] == [0, 4]
    # What a newcomer asks first; rates and norms are in the log.
    figures = r"step 0 of 5, epoch 0.2 of 0.833 \| mean loss [\d.]+ \| score on dev [\d.]+ \(macro F\), the best so far"
    assert re.fullmatch(figures, lines[0])
    assert lines[1].startswith("step 4 of 5, epoch 0.8 of 0.833 | mean loss")
    assert len(lines) == 2
    assert text.startswith("5 steps = 0.83 epochs of your 23 training texts.\n") or show != "lines"
    assert not {"rate", "norm", "docs/s"} & set(" ".join(lines).replace(",", " ").split())


@pytest.mark.parametrize(
    ("text", "steps", "seconds"), [("100", 100, 0), ("30s", 0, 30), ("5m", 0, 300), ("2h", 0, 7200), ("auto", 100, 30)]
)
def test_cadence(text: str, steps: int, seconds: int) -> None:
    cadence = Cadence.parse(text)
    assert (cadence.steps, cadence.seconds) == (steps, seconds)
    assert not cadence.is_due(100) or not seconds
    cadence._time -= seconds
    assert cadence.is_due(100)
    assert not cadence.is_due(99) or not steps
    cadence.done(100)
    assert not cadence.is_due(150)


def test_checkpoints_keep_to_a_share_of_the_run() -> None:
    cadence = Cadence.parse("auto")
    cadence.done(100, took=10.0)
    cadence._time -= 299
    assert not cadence.is_due(1000)
    cadence._time -= 2
    assert cadence.is_due(1000)
    # Whoever names an interval gets it.
    cadence = Cadence.parse("30s")
    cadence.done(100, took=10.0)
    cadence._time -= 31
    assert cadence.is_due(101)


@pytest.mark.parametrize("text", ["", "0", "soon", "1.5m", "-3"])
def test_no_cadence(text: str) -> None:
    with pytest.raises(ValueError, match="T172"):
        Cadence.parse(text)


# ---- bad input ---------------------------------------------------------------------------------------------------


def spoil(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Some steps' losses are no number, and neither are their gradients."""
    original = Run._update_pipeline

    def update(self: Run, batch: Any, *, drop: float, losses: Any) -> None:
        original(self, batch, drop=drop, losses=losses)
        if self.at.n_done in steps:
            losses[MODEL] = math.nan
            for weight in self.nlp.get_pipe(MODEL).model.shims[0].network.parameters():
                if weight.grad is not None:
                    weight.grad.fill_(math.nan)

    monkeypatch.setattr(Run, "_update_pipeline", update)


def test_a_loss_that_is_no_number_stops(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step, texts and rate are named, and the checkpoint before it goes on once the reason is gone."""
    config = config_of(bert, corpus, "patience, RAdam")
    with monkeypatch.context() as patch:
        spoil(patch, 3)
        with pytest.raises(
            ValueError, match=r"T170.*Step 3 \(epoch 0\).*nan.*rate 1e-09.*number \d+, \d+.*--on-nan skip"
        ):
            run(config, tmp_path / "one", checkpoint_every="2")
    run(config, tmp_path / "one", resume=True)
    run(config, tmp_path / "other")
    assert_same_run(tmp_path / "one", tmp_path / "other")


def test_or_is_skipped_and_counted(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(monkeypatch, 3, 6)
    trained = run(config_of(bert, corpus), tmp_path, on_nan="skip")
    assert (trained.n_skipped, trained.n_steps) == (2, 12)
    assert "T176" in caplog.text
    assert [line["step"] for line in log_of(tmp_path) if line.get("skipped")] == [3, 6]
    assert all(value.isfinite().all() for value in weights_of(trained.nlp).values())


@pytest.mark.parametrize("optimizer", ["Adam.v1", "RAdam.v1", "SGD.v1"])
def test_gradients_are_looked_at_whatever_the_optimizer(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    original = Run._update_pipeline

    def update(self: Run, batch: Any, *, drop: float, losses: Any) -> None:
        original(self, batch, drop=drop, losses=losses)
        if self.at.n_done in (0, 1, 2):
            weight = next(w for w in self.nlp.get_pipe(MODEL).model.shims[0].network.parameters() if w.grad is not None)
            weight.grad.view(-1)[0] = math.nan

    monkeypatch.setattr(Run, "_update_pipeline", update)
    config = config_of(bert, corpus, steps=3, training={"optimizer": {"@optimizers": optimizer, "learn_rate": 1e-3}})
    config["training"]["optimizer"] = {"@optimizers": optimizer, "learn_rate": 1e-3}
    trained = run(config, tmp_path, on_nan="skip")
    assert trained.n_skipped == 3
    assert all(value.isfinite().all() for value in weights_of(trained.nlp).values())


def test_too_many_in_a_row_end_it(bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, *range(100))
    with pytest.raises(ValueError, match=r"T170\] 20 steps in a row.*step 19"):
        run(config_of(bert, corpus, steps=40), tmp_path, on_nan="skip")


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_a_pipeline_that_gives_nan_is_never_the_best(
    bert: Path, corpus: Path, tmp_path: Path, on_nan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Run._finish_update

    def finish(self: Run) -> Any:
        found = original(self)
        if self.at.n_done == 3:
            with torch.no_grad():
                for weight in self.nlp.get_pipe(MODEL).model.shims[0].network.parameters():
                    weight.fill_(math.nan)
        return found

    config = config_of(bert, corpus)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_finish_update", finish)
        with pytest.raises(ValueError, match="T170"):
            run(config, tmp_path, on_nan=on_nan)
    weights = safetensors.torch.load_file(tmp_path / "model-best" / MODEL / "weights.safetensors")
    assert all(value.isfinite().all() for value in weights.values())


def test_a_gradient_that_is_no_number_leaves_the_weights(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Run._finish_update

    def finish(self: Run) -> Any:
        if self.at.n_done == 2:
            next(iter(self.nlp.get_pipe(MODEL).model.shims[0]._trainable.values())).grad.view(-1)[0] = math.inf
        return original(self)

    monkeypatch.setattr(Run, "_finish_update", finish)
    trained = run(config_of(bert, corpus, steps=4), tmp_path / "skip", on_nan="skip")
    assert trained.n_skipped == 1
    assert all(value.isfinite().all() for value in weights_of(trained.nlp).values())
    with pytest.raises(ValueError, match="T170"):
        run(config_of(bert, corpus, steps=4), tmp_path / "stop")


@pytest.mark.parametrize("max_epochs", [0, -1])
def test_empty_corpus(
    bert: Path, corpus: Path, tmp_path: Path, max_epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With labels given, a pipeline is initialized on nothing only if all components allow it: ours do not."""
    DocBin().to_disk(tmp_path / "train.spacy")
    config = config_of(bert, corpus, training={"max_epochs": max_epochs})
    config["corpora"]["train"]["path"] = str(tmp_path / "train.spacy")
    with pytest.raises(ValueError, match=r"T039|T171|T185"):
        run(config, tmp_path / "out")


def test_batches_that_discard_everything(bert: Path, corpus: Path, tmp_path: Path) -> None:
    """spaCy would go round for ever."""
    batcher = {
        "@batchers": "spacy.batch_by_words.v1",
        "size": 1,
        "tolerance": 0.0,
        "discard_oversize": True,
        "get_length": None,
    }
    with pytest.raises(ValueError, match="T185"):
        run(config_of(bert, corpus, training={"batcher": batcher}), tmp_path)


def test_no_weighted_score(bert: Path, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(bert, corpus, steps=5, training={"score_weights": {"other_score": 1.0, "cats_score": None}})
    assert run(config, tmp_path).best_step == 0
    assert caplog.text.count("T175") == 1


# ---- signals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(
    bert: Path, corpus: Path, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, before = Run._finish_update, signal.getsignal(number)

    def finish(self: Run) -> Any:
        if self.at.n_done == 5:
            os.kill(os.getpid(), number)
        return original(self)

    config, out = config_of(bert, corpus), io.StringIO()
    was_raised = False
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_finish_update", finish)
        try:
            trained = train(config, tmp_path / "one", stderr=out, stdout=io.StringIO(), command="the command --resume")
        except Stopped as stopped:
            # A notebook's "Run all" is to end here.
            trained, was_raised = stopped.trained, True
    assert was_raised == (number == signal.SIGINT)
    assert issubclass(Stopped, KeyboardInterrupt)
    assert (trained.status, trained.signal, trained.n_steps) == ("interrupted", number, 6)
    assert "T173" in out.getvalue()
    assert "the command --resume" in out.getvalue()
    assert signal.getsignal(number) is before
    assert run(config, tmp_path / "one", resume=True).status == "finished"
    run(config, tmp_path / "other")
    assert_same_run(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize("kind", ["full, averages, accumulated", "frozen, by pieces"])
def test_within_an_evaluation_too(
    bert: Path, corpus: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evaluation is made again; the averages that it ran with do not become the weights."""
    config = config_of(bert, corpus, kind, nlp={"batch_size": 2})
    original = Language.pipe

    def pipe(self: Language, *args: Any, **options: Any) -> Any:
        for i, doc in enumerate(original(self, *args, **options)):
            if i == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield doc

    with monkeypatch.context() as patch:
        patch.setattr(Language, "pipe", pipe)
        for resume in (False, True):
            trained = run(config, tmp_path / "one", resume=resume)
            assert (trained.status, trained.n_steps) == ("interrupted", 1)
    run(config, tmp_path / "one", resume=True)
    run(config, tmp_path / "other")
    assert_same_run(tmp_path / "one", tmp_path / "other")
