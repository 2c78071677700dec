"""Where the package meets spaCy, Thinc, other processes and the command line, with its network on a GPU."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.cli.train import train as spacy_train
from thinc.api import RAdam, fix_random_seed
from thinc.optimizers import Adam
from torch import distributed
from typer.testing import CliRunner

from house_kit.pipelines import network_of, pipeline, scores_of
from house_kit.runs import BOW, CNN, MODEL, config_of, run, write_corpus
from house_kit.texts import exclusive_examples
from spacy_transfer.cli import transfer_cli
from spacy_transfer.nn.devices.precision import prefer_device, resolve_device
from spacy_transfer.training import device as devices
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.distributed.launch import launch
from spacy_transfer.training.distributed.ranks import Ranks
from spacy_transfer.training.output.log_file import LogFile

FEATURES = {"@layers": "spacy-transfer.Tok2VecFeatures.v1", "lr_factor": 0.5, "tok2vec": CNN}


@pytest.fixture(autouse=True)
def nothing_preferred() -> Any:
    yield
    prefer_device(None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


# ---- losses ------------------------------------------------------------------------------------------------------


def test_update_gives_floats_as_spacys_loops_want(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, device="cuda")
    losses = nlp.update(exclusive_examples(nlp, 4), sgd=AdamW())
    assert json.loads(json.dumps(losses)) == losses


def test_spacy_train_saves_a_pipeline(quiet_bert: Path, corpus: Path, tmp_path: Path) -> None:
    config = config_of(quiet_bert, corpus, steps=5)
    config["components"][MODEL]["model"]["device"] = "cuda"
    config.to_disk(tmp_path / "config.cfg")
    spacy_train(tmp_path / "config.cfg", tmp_path / "out")
    assert (tmp_path / "out/model-best/meta.json").is_file()


def test_only_our_loop_leaves_losses_there(quiet_bert: Path, corpus: Path, tmp_path: Path, gpu: Any) -> None:
    """Each step of it would wait for the device otherwise; whoever trains on gets floats again."""
    config = config_of(quiet_bert, corpus, steps=8)
    seen: list[Any] = []

    def watched(nlp: Any) -> Any:
        def update(batch: Any, *, drop: float, losses: dict[str, Any]) -> None:
            nlp.update(batch, drop=drop, losses=losses, sgd=False)
            seen.extend(losses.values())

        return update

    trained = run(config, tmp_path, gpu_id=0, make_update=watched)
    assert seen
    assert all(isinstance(value, torch.Tensor) for value in seen)
    nlp = trained.nlp
    assert network_of(nlp).device.type == "cuda"
    assert isinstance(nlp.update(exclusive_examples(nlp, 4), sgd=AdamW())[MODEL], float)


# ---- Thinc without CuPy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [Adam, RAdam])
def test_thincs_optimizers_move_what_they_move_on_a_cpu(quiet_bert: Path, optimizer: Any) -> None:
    found = []
    for device in ("cpu", "cuda"):
        nlp = pipeline(quiet_bert, device=device)
        sgd = optimizer(1e-3, use_averages=True)
        for _ in range(3):
            nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
        with nlp.use_params(sgd.averages):
            found.append([scores_of(nlp, ["my card is lost"]), scores_of(nlp, ["refund please"])])
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-3)


def test_features_that_learn_do_so_beside_a_network_on_cuda(quiet_bert: Path) -> None:
    found = []
    for device in ("cpu", "cuda"):
        fix_random_seed(0)
        nlp = pipeline(quiet_bert, device=device, features=FEATURES, tuning={"frozen_depth": "all"})
        sgd = AdamW(learn_rate=1e-2)
        for _ in range(3):
            nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
        found.append(scores_of(nlp, ["my card is lost", "refund please"]))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("optimizer", [AdamW, Adam])
def test_moments_follow_a_network_to_another_device(quiet_bert: Path, optimizer: Any) -> None:
    scores = []
    for moves in (False, True):
        nlp = pipeline(quiet_bert, device="cuda")
        sgd = optimizer(learn_rate=1e-3, use_averages=True)
        for step in range(4):
            if moves and step == 2:
                nlp.get_pipe(MODEL).model.to_cpu()
                assert network_of(nlp).device.type == "cpu"
            nlp.update(exclusive_examples(nlp, 6), sgd=sgd)
        scores.append(scores_of(nlp, ["my card is lost", "refund please"]))
    torch.testing.assert_close(*scores, atol=1e-4, rtol=1e-3)


# ---- which GPU ---------------------------------------------------------------------------------------------------


def test_cuda_is_the_current_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert resolve_device("cuda", torch.device("cpu")) == torch.device("cuda", 1)


def test_a_command_without_cupy_makes_its_gpu_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    devices.use_device(1)
    assert chosen == [1]
    assert resolve_device("auto", torch.device("cpu")) == torch.device("cuda", 1)


def test_evaluate_computes_where_train_did(quiet_bert: Path, corpus: Path, tmp_path: Path) -> None:
    run(config_of(quiet_bert, corpus, steps=2), tmp_path / "out", gpu_id=0)
    prefer_device(None)
    arguments = ["evaluate", str(tmp_path / "out/model-last"), str(corpus / "dev.spacy"), "-g", "0"]
    found = {}
    for gpu_id in (["0"], ["-1"]):
        file = tmp_path / f"scores{gpu_id[0]}.json"
        result = CliRunner().invoke(transfer_cli, [*arguments[:-1], *gpu_id, "--output", str(file)])
        assert result.exit_code == 0, result.output
        found[gpu_id[0]] = json.loads(file.read_text("utf-8"))["accuracy"]
    assert found["0"] == found["-1"]


# ---- other processes ---------------------------------------------------------------------------------------------


def test_ranks_beside_a_frozen_component_of_spacys(
    quiet_bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL's rule put in its place: tensors of the CPU only through a group that has a backend for them."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", world_size=1, rank=0)
    hosts = []

    def heeding(name: str) -> Any:
        original = getattr(distributed, name)

        def call(tensor: Any, *args: Any, group: Any = None, **kwargs: Any) -> Any:
            if tensor.device.type == "cuda":
                assert group is None
                return None
            assert group is not None, "No backend type associated with device type cpu"
            hosts.append(name)
            return original(tensor, *args, group=group, **kwargs)

        return call

    for name in ("broadcast", "all_reduce"):
        monkeypatch.setattr(distributed, name, heeding(name))
    monkeypatch.setattr(Ranks, "are_asked_for", staticmethod(lambda: True))
    spacys = spacy.blank("xx")
    spacys.add_pipe("textcat", config={"model": BOW}).initialize(lambda: exclusive_examples(spacys), nlp=spacys)
    spacys.to_disk(tmp_path / "spacys")
    frozen = {"frozen_components": ["textcat"]}
    config = config_of(quiet_bert, corpus, "beside a component of spaCy's", steps=3, training=frozen)
    config["components"]["textcat"] = {"source": str(tmp_path / "spacys")}
    try:
        trained = run(config, tmp_path / "out", gpu_id=0)
    finally:
        distributed.destroy_process_group()
    assert trained.n_steps == 3
    assert {"broadcast", "all_reduce"} <= set(hosts)


def test_a_forked_child_is_told_what_to_do(quiet_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp, parent = pipeline(quiet_bert, device="cuda"), os.getpid()
    texts = ["my card is lost", "refund please"] * 3
    assert scores_of(nlp, texts, n_process=1).shape == (6, 3)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: os.getpid() != parent)
    with pytest.raises(ValueError, match=r"T310.*n_process=1"):
        list(nlp.pipe(texts, n_process=2, batch_size=2))


def test_ranks_on_gpus_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.chdir(tmp_path)
    launch(2, ["-c", "import os; open(os.environ['RANK'], 'w').write(os.environ['OMP_NUM_THREADS'])"], gpu=True)
    assert [Path(rank).read_text("utf-8") for rank in "01"] == ["4", "4"]


# ---- figures -----------------------------------------------------------------------------------------------------


def test_figures_are_fetched_together(tmp_path: Path, gpu: Any) -> None:
    log = LogFile(tmp_path / "log.jsonl")
    kinds = (torch.float32, torch.float64)
    for step in range(30):
        log.add({"step": step, "loss": {str(kind): torch.tensor(step / 2, dtype=kind).to("cuda") for kind in kinds}})
    with gpu.counting() as counts:
        lines = log.flush()
    assert len(counts.waits) == len(kinds)
    assert [line["loss"]["torch.float64"] for line in lines] == [step / 2 for step in range(30)]


def test_only_deterministic_kernels_where_asked(quiet_bert: Path, corpus: Path, tmp_path: Path) -> None:
    before = {}
    try:
        for deterministic in (False, True):
            folder = tmp_path / str(deterministic)
            run(config_of(quiet_bert, corpus, steps=2), folder, gpu_id=0, deterministic=deterministic)
            state = json.loads(next((folder / "checkpoints").glob("step-*/state.json")).read_text("utf-8"))
            before[deterministic] = state["versions"]
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    finally:
        torch.use_deterministic_algorithms(False)
    # Whoever goes on otherwise is told by T177.
    assert [before[way]["kernels"] for way in (False, True)] == ["any", "deterministic"]
    assert before[True]["GPU"] == "Fake GPU"
