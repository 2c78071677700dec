"""Two ranks, over Gloo on this machine, train as one."""

import ast
import io
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from spacy.cli import app
from spacy.training import Example
from typer.testing import CliRunner

import spacy_transfer.cli  # noqa: F401  (adds the command group)
from house_kit.features import LSTM, TOK2VEC, with_features
from house_kit.runs import CNN, MODEL, config_of, log_of, run, write_corpus
from house_kit.texts import LABELS
from spacy_transfer.training.distributed.launch import launch
from spacy_transfer.training.distributed.ranks import Ranks, require_own_weights
from spacy_transfer.training.interrupted import Interrupted


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


# What each process of a job notes of itself: where it listens, and what it unpickles.
WATCHED = """
import os, sys
from pathlib import Path

unpickled = []
sys.addaudithook(lambda event, args: unpickled.append(args) if event == "pickle.find_class" else None)

def listening(pid="self"):
    own = {os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            field = line.split()
            if field[3] == "0A" and f"socket:[{field[9]}]" in own:
                found.append(field[1].rsplit(":", 1)[0])
    return found
"""
FAILS = """
import spacy

def fail(nlp, info):
    if info["step"] == 1:
        note = [os.environ["RANK"], listening(), listening(os.getppid()), [str(one) for one in unpickled]]
        Path(os.environ["NOTES"], f"rank-{os.environ['RANK']}").write_text(repr(note))
    if os.environ["RANK"] == "1" and info["step"] == 3:
        raise RuntimeError("a stone fell on it")

spacy.registry.callbacks.register("fail.v1", func=lambda: fail)
"""
# 127.0.0.1 and ::1 as the kernel writes them.
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


@pytest.mark.slow
def test_a_job_listens_to_itself_alone_and_ends_with_a_rank_that_dies(
    quiet_bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(quiet_bert, corpus, steps=50, **QUIET)
    config.to_disk(tmp_path / "config.cfg")
    code = tmp_path / "code.py"
    code.write_text(WATCHED + FAILS)
    monkeypatch.setenv("NOTES", str(tmp_path))
    before = dict(os.environ)
    more = ["--code", str(code), "--training.before_update", '{"@callbacks": "fail.v1"}']
    with pytest.raises(ChildProcessError, match=r"T178.*Rank 1.*a stone fell on it"):
        launch(2, command(tmp_path / "config.cfg", tmp_path / "out", *more), gpu=False)
    assert dict(os.environ) == {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"], **before}
    if not Path("/proc/self/net/tcp").exists():
        return
    for rank in ("0", "1"):
        number, of_rank, of_launcher, unpickled = ast.literal_eval((tmp_path / f"rank-{rank}").read_text())
        assert number == rank
        # Gloo listens, so the look has seen what there is to see.
        assert of_rank
        assert set(of_rank) <= LOOPBACK
        assert not of_launcher
        assert not unpickled


def test_where_ranks_meet_is_private(tmp_path: Path) -> None:
    """Each job has a folder and a name of its own; a rank that was killed is told from those that miss it."""
    script = tmp_path / "rank.py"
    script.write_text(
        "import os, signal, stat, time\n"
        "folder = os.path.dirname(os.environ['SPACY_TRANSFER_RANKS_MEET_IN'])\n"
        "assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700\n"
        "assert 'MASTER_PORT' not in os.environ\n"
        "notes = os.path.join(os.path.dirname(__file__), 'jobs')\n"
        "open(notes, 'a').write(os.environ['TORCHELASTIC_RUN_ID'] + '\\n')\n"
        "os.kill(os.getpid(), signal.SIGKILL) if os.environ['RANK'] == '1' else time.sleep(60)\n"
    )
    for _ in range(2):
        with pytest.raises(ChildProcessError, match=r"T178.*Rank 1.*killed by signal 9"):
            launch(2, [str(script)], gpu=False)
    jobs = (tmp_path / "jobs").read_text().split()
    assert len(set(jobs)) == 2
    assert all(len(job) == 32 for job in jobs)


def test_a_signal_reaches_every_rank(tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(
        "import os, pathlib, signal, sys, time\n"
        "here = pathlib.Path(__file__).parent / os.environ['RANK']\n"
        "signal.signal(signal.SIGTERM, lambda *_: (here.with_suffix('.told').touch(), sys.exit(143)))\n"
        "here.with_suffix('.ready').touch()\n"
        "time.sleep(60)\n"
    )

    def terminate() -> None:
        while not all((tmp_path / f"{rank}.ready").exists() for rank in range(2)):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    with pytest.raises(Interrupted) as interrupted:
        launch(2, [str(script)], gpu=False)
    assert interrupted.value.signal == signal.SIGTERM
    assert all((tmp_path / f"{rank}.told").exists() for rank in range(2))


def test_more_ranks_than_devices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"T180.*1000 ranks.*core"):
        launch(1000, [], gpu=False)


def test_weights_that_ranks_cannot_keep_alike(bert: Path) -> None:
    nlp = with_features(bert, LSTM)
    nlp.add_pipe("textcat", config={"model": {"tok2vec": CNN}})
    with pytest.raises(ValueError, match=r"T179.*model\.features.*without that layer"):
        require_own_weights(nlp, ["transfer_textcat"])
    with pytest.raises(ValueError, match=r"T179.*textcat would learn too"):
        require_own_weights(nlp, ["transfer_textcat", "textcat"])
    # Thinc's layers hand their gradients on.
    require_own_weights(with_features(bert, TOK2VEC), ["transfer_textcat"])
    nlp = with_features(bert, None)
    require_own_weights(nlp, ["transfer_textcat"])


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
