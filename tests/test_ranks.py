"""Two ranks, over Gloo on this machine, train as one."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import LABELS
from runs import MODEL, config_of, log_of, run, write_corpus
from spacy.cli import app
from spacy.training import Example
from typer.testing import CliRunner

import spacy_transfer.cli  # noqa: F401  (adds the command group)
from spacy_transfer.training.launch import launch
from spacy_transfer.training.ranks import Ranks


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


# A large eps, since the gradient of a key's bias is nothing but rounding, which Adam would blow up.
ADAMW = {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": 1e-2, "eps": 1e-3}
WEIGHED = {"@losses": "spacy-transfer.CrossEntropy.v1", "class_weights": "balanced"}
QUIET: dict[str, Any] = {
    "training": {"dropout": 0.0, "optimizer": ADAMW},
    "components": {MODEL: {"model": {"loss": WEIGHED}}},
}


def command(config: Path, output: Path, *more: str) -> list[str]:
    return ["-m", "spacy", "transfer", "train", str(config), "--output", str(output), "--show", "none", *more]


def train_on_two(config: Path, output: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """The command, in this process; the ranks are two of their own."""
    _, *arguments = command(config, output, "--ranks", "2", "--checkpoint-every", "3", *more)
    monkeypatch.setattr(sys, "argv", arguments)
    done = CliRunner().invoke(app, arguments[1:])
    assert done.exit_code == 0, done.output


def weights_in(output: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(output / "model-last" / MODEL / "weights.safetensors")


def assert_close(one: Path, other: Path) -> None:
    first, second = weights_in(one), weights_in(other)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=2e-5, rtol=1e-4, msg=name)
    # What each run says of its machine differs.
    lines = [[line for line in log_of(folder) if line["kind"] != "run"] for folder in (one, other)]
    for line, same in zip(*lines, strict=True):
        assert (line["kind"], line["step"], line["epoch"]) == (same["kind"], same["step"], same["epoch"])
        assert line["loss"][MODEL] == pytest.approx(same["loss"][MODEL], rel=1e-4)
        assert line["grad_norm"][MODEL] == pytest.approx(same["grad_norm"][MODEL], rel=1e-3)
        if line["kind"] == "evaluation":
            assert line["score"] == pytest.approx(same["score"])


@pytest.mark.slow
def test_two_ranks_are_one(quiet_bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, gradient norms, scores and weights; then each goes on from the other's checkpoint."""
    config = config_of(quiet_bert, corpus, "half frozen, sizes and rates on schedules", steps=10, **QUIET)
    config["training"]["accumulate_gradient"] = 2
    config.to_disk(tmp_path / "config.cfg")
    run(config, tmp_path / "one", checkpoint_every="3", stdout=io.StringIO())
    train_on_two(tmp_path / "config.cfg", tmp_path / "two", monkeypatch)
    assert_close(tmp_path / "one", tmp_path / "two")
    for name in ("one", "two"):
        # The last checkpoint is lost, as after a kill.
        (tmp_path / name / "checkpoints" / "step-00000010" / "state.json").write_text("{")
    run(config, tmp_path / "two", resume=True, stdout=io.StringIO())
    train_on_two(tmp_path / "config.cfg", tmp_path / "one", monkeypatch, "--resume")
    assert_close(tmp_path / "one", tmp_path / "two")
    # Steps, evaluations, the line on the machine.
    assert len(log_of(tmp_path / "one")) == 10 + 4 + 1


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_job(quiet_bert: Path, corpus: Path, tmp_path: Path) -> None:
    config = config_of(quiet_bert, corpus, steps=50, **QUIET)
    config.to_disk(tmp_path / "config.cfg")
    code = tmp_path / "code.py"
    code.write_text(
        "import os, spacy\n"
        "def fail(nlp, info):\n"
        "    if os.environ.get('RANK') == '1' and info['step'] == 3:\n"
        "        raise RuntimeError('a stone fell on it')\n"
        "spacy.registry.callbacks.register('fail.v1', func=lambda: fail)\n"
    )
    more = ["--code", str(code), "--training.before_update", '{"@callbacks": "fail.v1"}']
    with pytest.raises(ChildProcessError, match=r"T178.*Rank 1.*a stone fell on it"):
        launch(2, command(tmp_path / "config.cfg", tmp_path / "out", *more), gpu=False)


def test_more_ranks_than_devices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"T180.*1000 ranks.*core"):
        launch(1000, [], gpu=False)


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 8])
def test_shares(n_ranks: int) -> None:
    """Every text on one rank, in the order of the batch, with about as many characters on each."""
    import spacy

    nlp = spacy.blank("xx")
    texts = ["word " * (1 + 7 * i % 11) for i in range(16)]
    batch = [Example.from_dict(nlp.make_doc(text), {"cats": dict.fromkeys(LABELS, 0.0)}) for text in texts]
    shares = []
    for rank in range(n_ranks):
        one = Ranks.__new__(Ranks)
        one.rank, one.n_ranks = rank, n_ranks
        shares.append(one.share(batch))
    places = [[batch.index(example) for example in share] for share in shares]
    assert all(share == sorted(share) for share in places)
    assert sorted(i for share in places for i in share) == list(range(16))
    sizes = [sum(len(texts[i]) for i in share) for share in places]
    assert max(sizes) - min(sizes) <= max(map(len, texts))
