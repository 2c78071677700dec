"""An encoder warmed up on raw texts: the command, its work folder, resume, ranks."""

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import spacy
import torch
from thinc.api import Config
from typer.testing import CliRunner

from house_kit.pipelines import moved, pipeline, shim_of, weights_of
from house_kit.runs import everything, killed_at, log_of
from house_kit.scratches import NAME, WORDS, classifier
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.cli import transfer_cli
from spacy_transfer.files import DiskFull
from spacy_transfer.model.text.tokenizer import PieceTokenizer
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder
from spacy_transfer.nn.scratch.tokenizer_training import UNK
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.interrupted import Interrupted
from spacy_transfer.training.output.marker import Kind, Marker
from spacy_transfer.training.pretraining.pretrain import Pretrained, Pretraining, pretrain
from spacy_transfer.training.state import checkpoint

RAW = [f"{a} {b}" for a, b in itertools.permutations(TEXTS, 2)][:300]
FEW = RAW[:60]
PLAN = Pretraining(steps=7, rows=8, rate=1e-2, seed=3)


def config_with(**blocks: Any) -> Config:
    """Config of a tiny classifier from scratch; dropout as given."""
    return classifier(initialize=False, **blocks).config


DROPPING = {"encoder": {"dropout": 0.1, "word_dropout": 0.1}}


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "weights.safetensors")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- what comes of it --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an encoder that was warmed up, and the report of it."""
    folder = tmp_path_factory.mktemp("warm") / "encoder"
    told: list[tuple[int, float]] = []
    done = pretrain(
        config_with(), RAW, folder, plan=Pretraining(steps=60, rows=32, rate=1e-2, seed=1),
        report=lambda step, loss: told.append((step, loss)),
    )  # fmt: skip
    assert done.loss_after < done.loss_before - 0.25
    assert [step for step, _ in told] == list(range(3, 61, 3))
    assert told[-1][1] < told[0][1] - 0.25
    assert (done.n_texts, done.n_rows) == (300, 285)
    assert names(folder.parent) == ["encoder"]
    return folder


def test_a_classifier_starts_from_it(warm: Path) -> None:
    loaded = PretrainedEncoder(str(warm)).load()
    nlp = pipeline(str(warm))
    for name, weight in loaded.encoder.named_parameters():
        assert torch.equal(weight, weights_of(nlp)[f"encoder.{name}"])
    assert shim_of(nlp).record["pretrained"] == {"n_texts": 300, "steps": 60}
    assert set(weights_in(warm)) == {f"encoder.{name}" for name in loaded.encoder.state_dict()}

    def losses(nlp: Any, n_steps: int) -> list[float]:
        examples, sgd = exclusive_examples(nlp), AdamW(learn_rate=1e-2)
        torch.manual_seed(1)
        return [nlp.update(examples, sgd=sgd)[NAME] for _ in range(n_steps)]

    assert losses(nlp, 10)[-1] < losses(pipeline(str(warm)), 1)[0]


def test_its_log_is_that_of_the_loop(warm: Path) -> None:
    """Step 0 moves nothing; the last step has an evaluation."""
    lines = log_of(warm)
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(61))
    assert steps[0]["learn_rate"] == 0.0
    assert max(line["learn_rate"] for line in steps) == pytest.approx(1e-2)
    assert [line["step"] for line in evaluations][::5] == [0, 30, 60]
    losses = [line["scores"]["masked_lm_loss"] for line in evaluations]
    assert losses[-1] < losses[len(losses) // 2] < losses[0]


def test_the_first_look_is_at_the_encoder_as_it_came(bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert)
    found = set()
    for rate in (1e-9, 5e-3):
        plan = Pretraining(steps=2, rows=16, rate=rate)
        found.add(pretrain(nlp.config, FEW, tmp_path / str(rate), plan=plan).loss_before)
    assert len(found) == 1
    after = weights_in(tmp_path / "1e-09")
    for name, weight in PretrainedEncoder(str(bert)).load().encoder.named_parameters():
        assert float((after[f"encoder.{name}"] - weight.detach()).abs().max()) < 1e-7


def test_the_same_seed_gives_the_same_encoder(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        torch.rand(3)
        pretrain(config_with(**DROPPING), FEW, tmp_path / name, plan=Pretraining(steps=3, rows=8, seed=seed))
    one, two, three = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two", "three"))
    assert one == two != three


@pytest.mark.parametrize("family", ["bert", "albert", "roberta"])
def test_a_pretrained_encoder_is_adapted(family: str, encoder_folder: Callable[[str], Path], tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    model = {"encoder": {"name": str(encoder_folder(family))}, "windows": {"length": 32, "stride": 20}}
    nlp.add_pipe(NAME, config={"model": model})
    plan = Pretraining(steps=25, rows=16, rate=1e-2)
    done = pretrain(nlp.config, RAW[:100], tmp_path / "adapted", plan=plan)
    assert done.loss_after < done.loss_before
    before, after = PretrainedEncoder(str(encoder_folder(family))).load(), PretrainedEncoder(str(done.folder)).load()
    changed = moved(dict(before.encoder.named_parameters()), dict(after.encoder.named_parameters()))
    assert {after.encoder.depth_of(name) for name in changed} >= {0, 1}
    assert after.tokenizer == before.tokenizer


def test_raw_texts_are_cleaned_as_the_classifier_cleans_them(tmp_path: Path) -> None:
    upper = {"encoder": {"tokenizer": {**WORDS, "lower_case": False}}}
    cleaning = config_with(**upper, text={"normalization": {"lower": True}})
    pretrain(cleaning, [text.upper() for text in TEXTS], tmp_path / "out", plan=Pretraining(steps=1, rows=4))
    tokenizer = PieceTokenizer.from_folder(tmp_path / "out")
    assert UNK not in tokenizer.encode(["my card"])[0]
    assert tokenizer.encode(["MY CARD"])[0] == [UNK, UNK]


def test_long_texts_are_many_rows(tmp_path: Path) -> None:
    long = [" ".join(TEXTS), " ".join(TEXTS[::-1])]
    done = pretrain(config_with(), long, tmp_path / "out", plan=Pretraining(steps=12, rows=64, rate=1e-2))
    assert done.n_rows > 6
    assert done.loss_after < done.loss_before


# ---- the laws of the loop ----------------------------------------------------------------------------------------


def killed(monkeypatch: pytest.MonkeyPatch, step: int, target: Path, **options: Any) -> None:
    """A run that ends when a step is half done."""
    with killed_at(monkeypatch, step):
        pretrain(config_with(**DROPPING), FEW, target, plan=PLAN, checkpoint_every="2", **options)


def assert_same(one: Path, other: Path) -> None:
    """Encoder and log, bit for bit but for times."""
    assert log_of(one) == log_of(other)
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    assert (one / "tokenizer.json").read_text() == (other / "tokenizer.json").read_text()
    assert (one / "encoder.json").read_text() == (other / "encoder.json").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pretrained]:
    """A run that nothing has stopped."""
    folder = tmp_path_factory.mktemp("whole") / "encoder"
    return folder, pretrain(config_with(**DROPPING), FEW, folder, plan=PLAN)


def test_resumed_is_uninterrupted(
    whole: tuple[Path, Pretrained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the first step, in the middle, in the last; by an exception, then by SIGTERM."""
    target = tmp_path / "parts"
    killed(monkeypatch, 0, target)
    assert names(tmp_path) == ["parts.work"]
    killed(monkeypatch, 3, target, resume=True)

    def end(step: int, loss: float) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as stopped:
        pretrain(config_with(**DROPPING), FEW, target, plan=PLAN, resume=True, report=end)
    assert stopped.value.signal == signal.SIGTERM
    assert not target.exists()
    killed(monkeypatch, 7, target, resume=True)
    # The numbers that somebody else draws meanwhile have no say.
    torch.rand(5)
    done = pretrain(config_with(**DROPPING), FEW, target, plan=PLAN, resume=True)
    assert (done.loss_before, done.loss_after) == (whole[1].loss_before, whole[1].loss_after)
    assert_same(whole[0], target)
    assert names(tmp_path) == ["parts"]


@pytest.mark.slow
def test_killed_for_real(tmp_path: Path) -> None:
    """SIGKILL while the command runs; then the same command with --resume."""
    classifier(initialize=False, **DROPPING).config.to_disk(tmp_path / "config.cfg")
    (tmp_path / "raw.txt").write_text("\n".join(FEW))
    options = ["--steps", "30", "--rows", "8", "--seed", "3", "--show", "none"]
    run = ["pretrain", str(tmp_path / "config.cfg"), str(tmp_path / "raw.txt")]
    command = [sys.executable, "-m", "spacy", "transfer", *run, str(tmp_path / "parts"), *options]
    command += ["--checkpoint-every", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and not list(tmp_path.glob("parts.work/checkpoints/step-0000000[3-9]*")):
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "parts").exists()
    for name, more in (("whole", []), ("parts", ["--resume"])):
        done = CliRunner().invoke(transfer_cli, [*run, str(tmp_path / name), *options, *more])
        assert done.exit_code == 0, done.output
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "blocks"), [({"accumulate": 3}, {}), ({}, {"piece_budget": 32}), ({"accumulate": 2}, {"piece_budget": 80})]
)
def test_parts_and_micro_batches_change_nothing(plan: dict[str, int], blocks: dict[str, Any], tmp_path: Path) -> None:
    fields = {"steps": 6, "rows": 8, "rate": 1e-3}
    pretrain(config_with(), FEW, tmp_path / "one", plan=Pretraining(**fields))
    pretrain(config_with(**blocks), FEW, tmp_path / "other", plan=Pretraining(**fields, **plan))
    one, other = weights_in(tmp_path / "one"), weights_in(tmp_path / "other")
    assert any(not torch.equal(one[name], other[name]) for name in one)
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-4, rtol=1e-3, msg=name)
    for line, same in zip(log_of(tmp_path / "one"), log_of(tmp_path / "other"), strict=True):
        if line["kind"] != "run":
            assert line["grad_norm"] == pytest.approx(same["grad_norm"], rel=1e-3)


@pytest.mark.slow
def test_two_ranks_are_one(quiet_bert: Path, tmp_path: Path) -> None:
    blocks = pipeline(quiet_bert).config
    plan = Pretraining(steps=4, rows=9, rate=1e-3)
    one = pretrain(blocks, FEW, tmp_path / "one", plan=plan)
    two = pretrain(blocks, FEW, tmp_path / "two", plan=plan, ranks=2)
    assert two.loss_after == pytest.approx(one.loss_after, rel=1e-4)
    assert two.loss_before == pytest.approx(one.loss_before, rel=1e-6)
    for name, weight in weights_in(tmp_path / "one").items():
        # The gradient of a key's bias is nothing but rounding, which Adam blows up.
        if name.endswith("key.bias"):
            continue
        torch.testing.assert_close(weights_in(tmp_path / "two")[name], weight, atol=1e-4, rtol=1e-3, msg=name)
    for line, same in zip(log_of(tmp_path / "one"), log_of(tmp_path / "two"), strict=True):
        if line["kind"] != "run":
            assert line["grad_norm"] == pytest.approx(same["grad_norm"], rel=1e-3)
    assert names(tmp_path) == ["one", "two"]


# ---- what goes wrong ---------------------------------------------------------------------------------------------


def test_an_encoder_without_mask_piece(encoder_folder: Callable[[str], Path], tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    model = {"encoder": {"name": str(encoder_folder("t5"))}, "windows": {"length": 32, "stride": 20}}
    nlp.add_pipe(NAME, config={"model": model})
    with pytest.raises(ValueError, match=r"T135.*'t5'.*<mask>"):
        pretrain(nlp.config, RAW, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_what_was_there_stays_where_something_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, plan = config_with(), Pretraining(steps=1, rows=4)
    with pytest.raises(ValueError, match="T134"):
        pretrain(blocks, ["", " "], tmp_path / "out", plan=plan)
    with pytest.raises(ValueError, match="T172"):
        pretrain(blocks, RAW[:30], tmp_path / "out", plan=plan, checkpoint_every="often")
    assert not any(tmp_path.iterdir())
    pretrain(blocks, RAW[:30], tmp_path / "out", plan=plan)
    kept = (tmp_path / "out" / "weights.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="T137"):
        pretrain(blocks, RAW[:30], tmp_path / "out", plan=plan)

    copyfile = shutil.copyfile

    def full(source: Any, target: Any, **options: Any) -> Any:
        if Path(target).name == "log.jsonl":
            raise OSError(errno.ENOSPC, "No space left on device")
        return copyfile(source, target, **options)

    other = Pretraining(steps=1, rows=4, seed=5)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(DiskFull, match=r"T372.*out"):
            pretrain(blocks, RAW[:30], tmp_path / "out", plan=other, force=True)
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == kept
    # What was learned is not lost.
    assert names(tmp_path) == ["out", "out.work"]
    pretrain(blocks, RAW[:30], tmp_path / "out", plan=other, force=True, resume=True)
    pretrain(blocks, RAW[:30], tmp_path / "again", plan=other)
    assert_same(tmp_path / "again", tmp_path / "out")
    assert names(tmp_path) == ["again", "out"]


@pytest.mark.slow
def test_another_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "out"

    def again(texts: list[str] = FEW, plan: Pretraining = PLAN, *, resume: bool = True, **options: Any) -> Pretrained:
        return pretrain(config_with(**DROPPING), texts, target, plan=plan, resume=resume, **options)

    with pytest.raises(ValueError, match=r"T165.*out\.work"):
        again()
    killed(monkeypatch, 3, target)
    with pytest.raises(ValueError, match=r"T240.*--resume.*--force"):
        again(resume=False)
    with pytest.raises(ValueError, match=r"T167[^$]*texts"):
        again(RAW[:61])
    with pytest.raises(ValueError, match=r"T167[^$]*training.max_steps: 8 then, 10 now"):
        again(plan=Pretraining(steps=9, rows=8, rate=1e-2, seed=3))
    (tmp_path / "out.work" / "note.txt").write_text("mine")
    # Insisting goes on with other texts' rows, which are cut already.
    assert again(RAW[:61], force=True).n_texts == 60
    assert "T167" in caplog.text
    # What is not ours stays.
    assert names(tmp_path) == ["out", "out.work"]
    assert names(tmp_path / "out.work") == ["note.txt"]
    target.rename(tmp_path / "first")
    killed(monkeypatch, 3, target)
    (tmp_path / "out.work" / "start.json").write_text("{")
    with pytest.raises(ValueError, match=r"T243.*out\.work"):
        again()
    again(resume=False, force=True)
    assert_same(tmp_path / "first", target)


@pytest.mark.parametrize("kind", [None, "run", "study", "update", "self-training"])
def test_what_another_command_wrote_is_refused_and_stays(tmp_path: Path, kind: Kind | None) -> None:
    """It is no pretraining to be continued with --resume."""
    work = tmp_path / "work"
    for name in ("checkpoints/step-00000001", "model-best", "rows"):
        (work / name).mkdir(parents=True)
        (work / name / "notes").write_text("theirs")
    (work / "config.cfg").write_text("theirs")
    if kind is not None:
        Marker.write(work, kind)
    before = everything(work)
    code = "T371" if kind is None else "T380"
    with pytest.raises(FileExistsError, match=f"{code}.*checkpoints, rows, config.cfg, model-best.*--force"):
        pretrain(config_with(), FEW, tmp_path / "out", plan=Pretraining(steps=1, rows=4), work=work)
    assert everything(work) == before
    if kind == "run":
        pretrain(config_with(), FEW, tmp_path / "out", plan=Pretraining(steps=1, rows=4), work=work, force=True)
        assert b"theirs" not in everything(work).values()


def test_a_work_folder_that_was_named_stays(tmp_path: Path) -> None:
    pretrain(config_with(), FEW, tmp_path / "out", plan=PLAN, work=tmp_path / "run")
    assert {"checkpoints", "config.cfg", "log.jsonl", "model-best", "model-last"} <= set(names(tmp_path / "run"))
    last = PretrainedEncoder(str(tmp_path / "run" / "model-last")).load().encoder
    for name, weight in PretrainedEncoder(str(tmp_path / "out")).load().encoder.named_parameters():
        assert torch.equal(dict(last.named_parameters())[name], weight)


def test_a_process_of_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ValueError, match=r"T244.*--ranks"):
        pretrain(config_with(), FEW, tmp_path / "out")


@pytest.mark.parametrize(
    "fields",
    [{"steps": 0}, {"rows": 0}, {"rate": 0.0}, {"share": 1.0}, {"share": 0.0}, {"seed": -1}, {"accumulate": 0}],
)
def test_ranges_of_pretraining(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"T005.*{next(iter(fields))}"):
        Pretraining(**fields)


def run(*args: str | Path) -> Any:
    """Run `spacy transfer ARGS` in this process."""
    return CliRunner().invoke(transfer_cli, [*map(str, args)])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier(initialize=False).config.to_disk(tmp_path / "config.cfg")
    (tmp_path / "raw.txt").write_text("\n".join(RAW[:40]))
    (tmp_path / "more.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in RAW[40:60]))
    args = ["pretrain", tmp_path / "config.cfg", tmp_path / "raw.txt", tmp_path / "more.jsonl", tmp_path / "out"]
    done = run(*args, "--steps", "4", "--rows", "8")
    assert done.exit_code == 0, done.output
    assert "step 4 of 5" in done.output
    assert "60 texts" in done.output
    assert PretrainedEncoder(str(tmp_path / "out")).load().encoder.family == "spacy-transfer-scratch"
    again = run(*args)
    assert again.exit_code == 1
    assert "[T137]" in again.output

    interrupts = iter([signal.SIGINT])

    def end(*args: Any) -> None:
        for number in interrupts:
            os.kill(os.getpid(), number)

    args[-1] = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_sync", end)
        stopped = run(*args, "--steps", "4", "--rows", "8", "--checkpoint-every", "1")
    assert stopped.exit_code == 128 + signal.SIGINT
    assert "[T173]" in stopped.output
    assert run(*args, "--steps", "4", "--rows", "8", "--resume", "--show", "none").exit_code == 0
    assert_same(tmp_path / "out", tmp_path / "stopped")
    spacy.blank("xx").config.to_disk(tmp_path / "none.cfg")
    for config, message in ((tmp_path / "none.cfg", "[T138]"), (tmp_path / "missing.cfg", "[T440]")):
        failed = run("pretrain", config, tmp_path / "raw.txt", tmp_path / "other")
        assert failed.exit_code == 1
        assert message in failed.output.replace("\n", " ")
