"""What precision = "auto" stands for, how a run keeps it, and what a pipeline says of its making."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from thinc.api import Config

from house_kit.pipelines import add_classifier, model_config, network_of, pipeline, read_json, scores_of, shim_of
from house_kit.runs import assert_same_run, config_of, killed_at, log_of, run, write_corpus
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.nn.devices import precision
from spacy_transfer.nn.devices.product_speed import product_speeds, shapes_of
from spacy_transfer.training.output.result import Result
from spacy_transfer.training.search.study import Plan, study
from spacy_transfer.training.train import train

CPU = torch.device("cpu")
MODEL = "transfer_textcat"
Fake = Callable[[float, float], list[Any]]


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Sets what is measured from now on, in a process that has measured nothing yet; gives what was asked for."""

    def fake(fp32: float, bf16: float) -> list[Any]:
        calls: list[Any] = []

        def measured(device: torch.device, shapes: Any, precisions: Sequence[str]) -> dict[str, float]:
            calls.append(shapes)
            return {"fp32": fp32, "bf16": bf16}

        monkeypatch.delenv(precision.VARIABLE, raising=False)
        monkeypatch.setattr(precision, "product_speeds", measured)
        monkeypatch.setattr(precision, "LEAST_WIDTH", 1)
        monkeypatch.setattr(precision, "_measured", {})
        return calls

    return fake


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


# ---- measuring ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bf16", "taken"), [(50.0, "fp32"), (100.0, "fp32"), (119.0, "fp32"), (120.0, "bf16")])
def test_a_lower_precision_must_be_a_fifth_faster(speeds: Fake, bf16: float, taken: str) -> None:
    speeds(100.0, bf16)
    choice = precision.choose_precision("auto", CPU)
    assert (choice.precision, choice.by) == (taken, "measured")
    assert choice.gflops == {"fp32": 100.0, "bf16": bf16}


def test_it_is_measured_once_and_said_once(speeds: Fake, caplog: pytest.LogCaptureFixture) -> None:
    calls = speeds(100.0, 300.0)
    with caplog.at_level(logging.INFO, "spacy_transfer"):
        found = {precision.resolve_precision("auto", CPU) for _ in range(3)}
    assert found == {torch.bfloat16}
    assert len(calls) == 1
    (line,) = caplog.messages
    assert "bf16" in line
    assert "100" in line
    assert "300" in line


def test_measuring_moves_no_random_state_and_knows_the_shapes(bert: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    encoder = network_of(pipeline(bert, tuning={"adapter": {"@misc": "spacy-transfer.LoRA.v1", "rank": 1}})).encoder
    # Not those of the adapter.
    assert shapes_of(encoder) == ((24, 16), (16, 16))
    torch.set_rng_state(before)
    found = product_speeds(CPU, ((64, 32), (32, 32)), ["fp32", "bf16"])
    assert torch.equal(torch.get_rng_state(), before)
    assert set(found) == {"fp32", "bf16"}
    assert all(speed >= 0.0 for speed in found.values())


def test_the_config_wins_over_the_environment_and_that_over_measuring(
    speeds: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = speeds(100.0, 300.0)
    monkeypatch.setenv(precision.VARIABLE, "fp32")
    assert precision.resolve_precision("auto", CPU) == torch.float32
    assert precision.resolve_precision("bf16", CPU) == torch.bfloat16
    assert not calls
    for value in ("auto", ""):
        monkeypatch.setenv(precision.VARIABLE, value)
        assert precision.resolve_precision("auto", CPU) == torch.bfloat16
    monkeypatch.setenv(precision.VARIABLE, "float16")
    with pytest.raises(ValueError, match=r"T300.*float16.*fp32"):
        precision.resolve_precision("auto", CPU)


def test_fp16_is_refused_on_a_cpu_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"T072.*--components.NAME.model.precision"):
        precision.resolve_precision("fp16", CPU)
    monkeypatch.setenv(precision.VARIABLE, "fp16")
    with pytest.raises(ValueError, match="T072"):
        precision.resolve_precision("auto", CPU)


# ---- kept with a run ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("first", ["fp32", "bf16"])
def test_a_resumed_run_takes_what_was_recorded(
    bert: Path, corpus: Path, tmp_path: Path, speeds: Fake, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Whatever would be measured now, and whatever the environment says."""
    config = config_of(bert, corpus, steps=6, components={MODEL: {"model": {"precision": "auto"}}})
    fast = {"fp32": (200.0, 100.0), "bf16": (100.0, 200.0)}
    speeds(*fast[first])
    run(config, tmp_path / "unbroken")
    speeds(*fast[first])
    with killed_at(monkeypatch, 4):
        run(config, tmp_path / "killed", checkpoint_every="2")
    speeds(*fast["bf16" if first == "fp32" else "fp32"])
    trained = run(config, tmp_path / "killed", resume=True)
    assert shim_of(trained.nlp).network.precision == {"fp32": torch.float32, "bf16": torch.bfloat16}[first]
    assert_same_run(tmp_path / "unbroken", tmp_path / "killed")
    facts = Result.read(tmp_path / "killed").machine[MODEL]
    assert facts["precision"] == first
    assert facts["gflops"] == dict(zip(("fp32", "bf16"), fast[first], strict=True))
    # Outside of the run this machine's own counts again.
    assert precision.choose_precision("auto", CPU, shapes_of(network_of(trained.nlp).encoder)).precision != first


def test_all_runs_of_a_study_compute_alike(bert: Path, corpus: Path, tmp_path: Path, speeds: Fake) -> None:
    """Also those that are made after it was interrupted, on a machine that would choose otherwise."""
    config = config_of(bert, corpus, steps=2, components={MODEL: {"model": {"precision": "auto"}}})
    taken = []

    def make(folder: Path, values: Any, stop_at: int, resume: bool) -> None:
        if len(taken) == 1 and not resumed:
            raise KeyboardInterrupt
        trained = train(config, folder, overrides=values, resume=resume, stop_at=stop_at, show="none", force=not resume)
        taken.append(shim_of(trained.nlp).network.precision)

    plan, resumed = Plan(seeds=[1, 2]), False
    speeds(100.0, 300.0)
    with pytest.raises(KeyboardInterrupt):
        study(config, tmp_path, plan, make)
    speeds(300.0, 100.0)
    resumed = True
    study(config, tmp_path, plan, make, resume=True)
    assert taken == [torch.bfloat16] * 2


def test_ranks_take_what_the_first_one_measures(speeds: Fake) -> None:
    speeds(100.0, 300.0)
    sent = []

    def first(make: Callable[[], str]) -> str:
        sent.append(make())
        return sent[-1]

    with precision.recorded(share=first):
        assert precision.resolve_precision("auto", CPU) == torch.bfloat16
    calls = speeds(300.0, 100.0)
    with precision.recorded(share=lambda make: sent[0]) as record:
        assert precision.resolve_precision("auto", CPU) == torch.bfloat16
    assert not calls
    # Processes that a search starts know its record.
    with precision.recorded(record), precision.handed_on():
        children = json.loads(json.dumps(dict(__import__("os").environ)))
    assert "bf16" in children[precision._FOR_RANKS]


# ---- said of a pipeline ------------------------------------------------------------------------------------------


def test_a_pipeline_says_what_made_it(bert: Path, corpus: Path, tmp_path: Path) -> None:
    config = config_of(bert, corpus, steps=1)
    run(config, tmp_path / "run")
    lines = [line for line in log_of(tmp_path / "run") if line["kind"] == "run"]
    result = read_json(tmp_path / "run" / "result.json")
    for found in (
        lines[0]["machine"], result["machine"],
        read_json(tmp_path / "run" / "model-last" / "meta.json")["spacy_transfer"],
        spacy.load(tmp_path / "run" / "model-best").meta["spacy_transfer"],
    ):  # fmt: skip
        facts = found[MODEL]
        assert (facts["precision"], facts["chosen_by"], facts["device"]) == ("fp32", "config", "cpu")
        assert facts["threads"] == torch.get_num_threads()
        assert facts["model"]
        assert {"spacy-transfer", "spacy", "thinc", "torch", "transformers"} <= facts["versions"].keys()
    assert log_of(tmp_path / "run")[0]["kind"] == "run"


def test_a_pipeline_of_a_newer_version_is_said(quiet_bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(quiet_bert)
    assert nlp.meta["spacy_transfer"][MODEL]["versions"]["torch"] == torch.__version__
    nlp.to_disk(tmp_path)
    spacy.load(tmp_path)
    path = tmp_path / MODEL / "cfg"
    path.write_text(json.dumps({**read_json(path), "written_by": "99.0"}), "utf-8")
    with pytest.warns(UserWarning, match=r"T303.*99\.0"):
        spacy.load(tmp_path)


# ---- what is not there -------------------------------------------------------------------------------------------

ELSEWHERE = [
    pytest.param({"device": "cuda:7"}, "T071", id="device"),
    pytest.param({"precision": "fp16"}, "T072", id="precision"),
]


@pytest.mark.parametrize(("blocks", "code"), ELSEWHERE)
def test_a_pipeline_from_elsewhere_predicts_and_does_not_train(
    quiet_bert: Path, corpus: Path, tmp_path: Path, blocks: dict[str, str], code: str
) -> None:
    nlp = pipeline(quiet_bert)
    wanted = scores_of(nlp, TEXTS)
    nlp.to_disk(tmp_path / "saved")
    config = Config().from_disk(tmp_path / "saved" / "config.cfg")
    config["components"][MODEL]["model"].update(blocks)
    config.to_disk(tmp_path / "saved" / "config.cfg")
    (field,) = blocks
    with pytest.warns(UserWarning, match=rf"T301.*{field} = '{blocks[field]}'.*components.NAME.model.{field}") as told:
        loaded = spacy.load(tmp_path / "saved")
    assert len([one for one in told if "T301" in str(one.message)]) == 1
    torch.testing.assert_close(scores_of(loaded, TEXTS), wanted, atol=1e-6, rtol=0.0)
    examples = exclusive_examples(loaded)
    with pytest.raises(ValueError, match=rf"{code}.*--components.NAME.model.{field}"):
        loaded.initialize(lambda: examples)
    # The override that the warning names.
    spacy.load(tmp_path / "saved", config={f"components.{MODEL}.model.{field}": "auto"})
    # In a run the loaded component would not be trained as its config says.
    sourced = config_of(quiet_bert, corpus, steps=1)
    sourced["components"] = {MODEL: {"source": str(tmp_path / "saved")}}
    sourced["initialize"] = {}
    with pytest.warns(UserWarning, match="T301"), pytest.raises(ValueError, match=rf"T302.*{MODEL}"):
        run(sourced, tmp_path / "run")


@pytest.mark.parametrize(("blocks", "code"), ELSEWHERE)
def test_training_elsewhere_is_refused(quiet_bert: Path, blocks: dict[str, str], code: str) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, quiet_bert, **blocks)
    examples = exclusive_examples(nlp)
    with pytest.raises(ValueError, match=rf"{code}.*--components.NAME.model"):
        nlp.initialize(lambda: examples)
    assert model_config(quiet_bert, **blocks)
