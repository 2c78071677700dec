"""A resumed run is an uninterrupted one, wherever and however it was stopped."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from spacy.tokens import DocBin
from thinc.api import Config

from house_kit.pipelines import merged
from house_kit.runs import KINDS, MODEL, assert_same_run, config_of, killed_at, run, write_corpus
from spacy_transfer.training.state import checkpoint
from spacy_transfer.training.state.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def killed_run(monkeypatch: pytest.MonkeyPatch, step: int, *args: Any, **options: Any) -> None:
    """A run that ends when a step is half done."""
    with killed_at(monkeypatch, step):
        run(*args, **options)


# ---- the law -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_is_uninterrupted(
    bert: Path, corpus: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped again and again, each time some steps after a checkpoint."""
    config = config_of(bert, corpus, kind)
    whole = run(config, tmp_path / "whole")
    assert whole.n_steps > 4
    for step in (4, 7, 10):
        if step < whole.n_steps:
            killed_run(monkeypatch, step, config, tmp_path / "parts", resume=step > 4, checkpoint_every="3")
    resumed = run(config, tmp_path / "parts", resume=True, checkpoint_every="3")
    assert (resumed.n_steps, resumed.score, resumed.best_step) == (whole.n_steps, whole.score, whole.best_step)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_stopped_before_every_step(bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(bert, corpus, "unfreezing by steps, Adam", steps=6)
    run(config, tmp_path / "whole")
    for step in range(6):
        killed_run(monkeypatch, step, config, tmp_path / "parts", resume=step > 0, checkpoint_every="1")
    run(config, tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0, 1500, 10**6])
def test_with_a_cache_on_disk(
    bert: Path, corpus: Path, tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States written after the checkpoint are not read: they would change what is computed together."""
    changes: list[dict[str, Any]] = [
        {"components": {MODEL: {"model": {"cache": {"memory": memory, "cache_dir": str(tmp_path / name)}}}}}
        for name in ("one", "other")
    ]
    one, other = (config_of(bert, corpus, "half frozen, streamed", **change) for change in changes)
    run(one, tmp_path / "whole")
    killed_run(monkeypatch, 5, other, tmp_path / "parts", checkpoint_every="3")
    run(other, tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


# One process imports all that training needs, and forks before it trains: torch goes backward in no fork of a process
# that has.
WORKER = """
import os, signal, sys, time
from pathlib import Path
import torch
from spacy.training.initialize import init_nlp
from thinc.api import Config
from spacy_transfer.training.train import train
torch.set_num_threads(1)
config, output = Config().from_disk(sys.argv[1]), Path(sys.argv[2])
init_nlp(config)
for begun in (1, 3, 6):
    child = os.fork()
    if child == 0:
        train(config, output, resume=begun > 1, checkpoint_every="1", show="none")
        os._exit(0)
    while not list(output.glob(f"checkpoints/step-0000000{begun}*")):
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
print("killed")
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As a forked process has it: sums depend on how many threads they are split among."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.usefixtures("one_thread")
def test_killed_for_real(bert: Path, corpus: Path, tmp_path: Path) -> None:
    """SIGKILL after the first, the third, the sixth checkpoint has begun to be written."""
    config = config_of(bert, corpus, "half frozen, sizes and rates on schedules")
    config.to_disk(tmp_path / "config.cfg")
    run(config, tmp_path / "whole")
    parts = tmp_path / "parts"
    command = [sys.executable, "-c", WORKER, str(tmp_path / "config.cfg"), str(parts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.endswith("killed\n"), done.stderr
    run(config, parts, resume=True)
    assert_same_run(tmp_path / "whole", parts)


# ---- files -------------------------------------------------------------------------------------------------------


def test_what_lies_on_disk(bert: Path, corpus: Path, tmp_path: Path) -> None:
    """Two checkpoints, safetensors and JSON, frozen weights once for the run."""
    config = config_of(bert, corpus)
    run(config, tmp_path, checkpoint_every="3")
    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == [
        "latest",
        "start.safetensors",
        "step-00000009",
        "step-00000012",
    ]
    assert (folder / "latest").read_text() == "step-00000012\n"
    files = {path.name for path in (folder / "step-00000012").iterdir()}
    assert files == {"state.json", "sha256.json", "weights.safetensors", "optimizer.safetensors", "places.safetensors"}
    start = safetensors.torch.load_file(folder / "start.safetensors")
    weights = safetensors.torch.load_file(folder / "step-00000012" / "weights.safetensors")
    assert set(weights) < set(start)
    assert not [name for name in weights if "embeddings" in name or "layer.0" in name]
    assert all(not torch.equal(start[name], weights[name]) for name in weights if name.endswith("dense.weight"))


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "optimizer.safetensors", "sha256.json"])
@pytest.mark.parametrize("damage", ["cut", "altered", "gone"])
def test_a_damaged_checkpoint_falls_back(
    bert: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, name: str, damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    whole = _two_checkpoints(bert, corpus, tmp_path_factory)
    shutil.copytree(whole / "checkpoints", tmp_path / "checkpoints")
    file = tmp_path / "checkpoints" / "step-00000009" / name
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[: len(data) // 2] if damage == "cut" else data[:-9] + b"\0" + data[-8:])
    found = Checkpoints(tmp_path / "checkpoints").read()
    assert found.folder.name == "step-00000006"
    assert "T168" in caplog.text
    assert "step-00000006" in caplog.text


_MADE: dict[str, Path] = {}


def _two_checkpoints(bert: Path, corpus: Path, factory: pytest.TempPathFactory) -> Path:
    """Output of a run with checkpoints at 6 and 9."""
    if "two" not in _MADE:
        folder = factory.mktemp("two")
        run(config_of(bert, corpus, steps=9), folder, checkpoint_every="3")
        _MADE["two"] = folder
    return _MADE["two"]


def test_a_damaged_checkpoint_changes_nothing(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(bert, corpus)
    run(config, tmp_path / "whole")
    killed_run(monkeypatch, 7, config, tmp_path / "parts", checkpoint_every="3")
    (tmp_path / "parts/checkpoints/step-00000006/weights.safetensors").write_bytes(b"nothing")
    run(config, tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_all_damaged(bert: Path, corpus: Path, tmp_path: Path) -> None:
    run(config_of(bert, corpus, steps=4), tmp_path)
    (tmp_path / "checkpoints" / "start.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"T174.*step-00000004.*--force"):
        run(config_of(bert, corpus, steps=4), tmp_path, resume=True)


def test_a_full_disk_is_told_once_and_training_goes_on(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(bert, corpus)
    run(config, tmp_path / "whole")
    original = checkpoint._write_tensors

    written: list[str] = []

    def full(path: Path, tensors: Any) -> str:
        written.append(path.name)
        # Of the steps 6, 9 and 12.
        if path.name == "optimizer.safetensors" and written.count(path.name) > 2:
            path.write_bytes(b"the beginning")
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write_tensors", full)
        run(config, tmp_path / "parts", checkpoint_every="3")
    assert caplog.text.count("T169") == 1
    assert "No space left" in caplog.text
    names = sorted(path.name for path in (tmp_path / "parts" / "checkpoints").iterdir())
    assert names == ["latest", "start.safetensors", "step-00000000", "step-00000003"]
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    run(config, tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


# ---- refused -----------------------------------------------------------------------------------------------------


def test_no_checkpoint(bert: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"T165.*--resume"):
        run(config_of(bert, corpus), tmp_path, resume=True)


def test_a_new_run_does_not_take_an_old_ones_place(bert: Path, corpus: Path, tmp_path: Path) -> None:
    config = config_of(bert, corpus, steps=2)
    run(config, tmp_path)
    with pytest.raises(ValueError, match=r"T166.*--resume.*--force"):
        run(config, tmp_path)
    first = (tmp_path / "log.jsonl").read_text().count("\n")
    run(config, tmp_path, force=True)
    assert (tmp_path / "log.jsonl").read_text().count("\n") == first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"training": {"seed": 4}}, "training.seed: 3 then, 4 now"),
        ({"training": {"optimizer": {"learn_rate": 0.1}}}, "optimizer.learn_rate: 0.003 then, 0.1 now"),
        ({"components": {MODEL: {"model": {"precision": "bf16"}}}}, "'torch.float32 on cpu' then"),
        ({"corpora": {"train": {"limit": 20}}}, "training data"),
    ],
)  # fmt: skip
def test_another_run_is_refused(
    bert: Path, corpus: Path, tmp_path: Path, change: Any, named: str, tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    config = config_of(bert, corpus, steps=9)
    config["training"]["max_epochs"] = 0
    run(config, tmp_path, checkpoint_every="3")
    other = Config(merged(config, change))
    with pytest.raises(ValueError, match="T167") as error:
        run(other, tmp_path, resume=True)
    assert named in str(error.value)
    assert "--force" in str(error.value)
    assert run(other, tmp_path, resume=True, force=True).status == "finished"
    assert "T167" in caplog.text


@pytest.mark.parametrize("which", ["train", "dev"])
@pytest.mark.parametrize("max_epochs", [0, -1])
def test_data_that_changed_are_refused(
    bert: Path, corpus: Path, tmp_path: Path, which: str, max_epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label of one text is another."""
    for name in ("train", "dev"):
        shutil.copy(corpus / f"{name}.spacy", tmp_path)
    config = config_of(bert, tmp_path, training={"max_epochs": max_epochs})
    killed_run(monkeypatch, 4, config, tmp_path / "out", checkpoint_every="3")
    bin_ = DocBin().from_disk(tmp_path / f"{which}.spacy")
    import spacy

    docs = list(bin_.get_docs(spacy.blank("xx").vocab))
    docs[2].cats = dict(zip(docs[2].cats, list(docs[2].cats.values())[::-1], strict=True))
    docs[1].cats = dict(zip(docs[1].cats, [0.2, 0.3, 0.5], strict=True))
    DocBin(docs=docs).to_disk(tmp_path / f"{which}.spacy")
    with pytest.raises(ValueError, match=rf"T167[^$]*{'dev' if which == 'dev' else 'training'} data"):
        run(config, tmp_path / "out", resume=True)


def test_the_log_is_cut_back(bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(bert, corpus)
    killed_run(monkeypatch, 8, config, tmp_path, checkpoint_every="3")
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    run(config, tmp_path, resume=True)
    steps = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if line["kind"] == "step"] == list(range(12))
