"""A run owns its folder, and nothing good in it is lost."""

import errno
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any, Literal

import pytest
import safetensors.torch
import torch
from spacy.tokens import Doc, DocBin
from thinc.api import Config

from house_kit.kills import killed_at_rename
from house_kit.pipelines import merged
from house_kit.runs import MODEL, assert_same_run, config_of, everything, files_of, killed_at, run, write_corpus
from spacy_transfer.files import DiskFull, InUse, hold_folder
from spacy_transfer.training.output.marker import Marker
from spacy_transfer.training.search.study import Plan, study
from spacy_transfer.training.state.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def made(bert: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A run of six steps with checkpoints after 3 and 6, and its config."""
    config, folder = config_of(bert, corpus, steps=6), tmp_path_factory.mktemp("made")
    run(config, folder, checkpoint_every="3")
    return config, folder


def copied(made: tuple[Config, Path], tmp_path: Path) -> tuple[Config, Path]:
    return made[0], Path(shutil.copytree(made[1], tmp_path / "out"))


# ---- owners ------------------------------------------------------------------------------------------------------


def test_a_second_start_is_told_and_changes_nothing(made: tuple[Config, Path], tmp_path: Path) -> None:
    config, folder = copied(made, tmp_path)
    told, before = list[str](), everything(folder)

    def second() -> None:
        for resume, force in ((False, False), (True, False), (False, True)):
            try:
                run(config, folder, resume=resume, force=force)
            except InUse as error:
                told.append(str(error))

    with hold_folder(folder):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(told) == 3
    assert all(f"[T370] {folder} is in use by process {os.getpid()} on " in one for one in told)
    assert everything(folder) == before


@pytest.mark.parametrize("name", ["log.jsonl", "result.json", "model-last", "model-best", "checkpoints"])
def test_what_we_did_not_write_is_refused_by_name(bert: Path, corpus: Path, tmp_path: Path, name: str) -> None:
    config = config_of(bert, corpus, steps=1)
    if "." in name:
        (tmp_path / name).write_text("mine")
    else:
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes").write_text("mine")
    (tmp_path / "model-best.old").mkdir()
    (tmp_path / "model-best.old" / "kept").write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(FileExistsError, match=rf"T371.*{name}.*--force"):
        run(config, tmp_path)
    assert everything(tmp_path) == before
    run(config, tmp_path, force=True)
    assert "mine" not in str(everything(tmp_path).pop(name, b""))
    assert (tmp_path / "model-best.old" / "kept").read_text() == "mine"
    assert Marker.read(tmp_path) is not None


@pytest.mark.parametrize("kind", ["pretraining", "update", "self-training"])
def test_what_another_command_wrote_is_refused(
    made: tuple[Config, Path], tmp_path: Path, kind: Literal["pretraining", "update", "self-training"]
) -> None:
    Marker.write(tmp_path, kind)
    shutil.copytree(made[1] / "model-best", tmp_path / "model-best")
    before = everything(tmp_path)
    for go in (run, lambda config, folder: study(config, folder, Plan(seeds=[1, 2]), train=pytest.fail)):
        with pytest.raises(FileExistsError, match=r"T380.*model-best.*--force"):
            go(made[0], tmp_path)
    assert everything(tmp_path) == before
    # Nothing of it would be replaced.
    shutil.rmtree(tmp_path / "model-best")
    run(made[0], tmp_path)
    marker = Marker.read(tmp_path)
    assert marker is not None
    # A pretraining and an update train in their own folder.
    assert marker.kind == ("run" if kind == "self-training" else kind)


def test_a_search_does_not_replace_the_best_pipeline_of_a_run(made: tuple[Config, Path], tmp_path: Path) -> None:
    config, folder = copied(made, tmp_path)
    shutil.rmtree(folder / "checkpoints")
    before = everything(folder)
    with pytest.raises(FileExistsError, match=r"T380.*model-best.*--force"):
        study(config, folder, Plan(seeds=[1, 2]), train=pytest.fail)
    assert everything(folder) == before


@pytest.mark.parametrize("step", [0, 1])
def test_an_old_run_stays_until_the_first_step_is_done(
    made: tuple[Config, Path], tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it fails or is killed: in the first step everything is as it was, then it is the new run's."""
    config, folder = copied(made, tmp_path)
    other = Config(merged(config, {"training": {"seed": 9}}))
    before = everything(folder)
    with killed_at(monkeypatch, step):
        run(other, folder, force=True)
    if step == 0:
        assert everything(folder) == before
        assert run(config, folder, resume=True).status == "finished"
    else:
        # Its evaluation at step 0 has given model-best; the old log is gone.
        assert Checkpoints(folder / "checkpoints").read().state["identity"]["config"]["training.seed"] == 9
        assert run(other, folder, resume=True).status == "finished"
        run(other, tmp_path / "whole")
        assert_same_run(tmp_path / "whole", folder)


def test_a_run_that_cannot_begin_changes_nothing(made: tuple[Config, Path], tmp_path: Path) -> None:
    config, folder = copied(made, tmp_path)
    before = everything(folder)
    for change in ({"training": {"dropout": 2.0}}, {"corpora": {"train": {"path": "nowhere.spacy"}}}):
        with pytest.raises((ValueError, OSError)):
            run(Config(merged(config, change)), folder, force=True)
        assert everything(folder) == before


def test_the_encoder_may_not_lie_where_the_run_writes(made: tuple[Config, Path], tmp_path: Path) -> None:
    config, folder = copied(made, tmp_path)
    encoder = {"name": str(folder / "model-best" / MODEL)}
    other = Config(merged(config, {"components": {MODEL: {"model": {"encoder": encoder}}}}))
    with pytest.raises(ValueError, match=r"T373.*model-best"):
        run(other, folder, force=True)
    # A folder that holds the output may be named.
    around = {
        "name": str(shutil.copytree(Path(config["components"][MODEL]["model"]["encoder"]["name"]), tmp_path / "e"))
    }
    shutil.move(folder, tmp_path / "e" / "out")
    other = Config(merged(config, {"components": {MODEL: {"model": {"encoder": around}}}}))
    assert run(other, tmp_path / "e" / "out", force=True).status == "finished"


def test_a_study_and_a_run_do_not_take_each_others_place(made: tuple[Config, Path], tmp_path: Path) -> None:
    config, folder = copied(made, tmp_path)

    def train(place: Path, values: Any, stop_at: int, resume: bool) -> None:
        run(config, place, overrides=values, stop_at=stop_at, resume=resume, force=not resume)

    before = everything(folder)
    with pytest.raises(ValueError, match="T166"):
        study(config, folder, Plan(seeds=[0]), train)
    (tmp_path / "seeds").mkdir()
    shutil.move(folder, tmp_path / "seeds" / "seed-0")
    with pytest.raises(ValueError, match=r"T166.*seed-0"):
        study(config, tmp_path / "seeds", Plan(seeds=[0, 1]), train)
    assert everything(tmp_path / "seeds" / "seed-0") == before
    # Insisted on, it is replaced, and what else lies there stays.
    (tmp_path / "seeds" / "seed-0" / "notes").write_text("mine")
    study(config, tmp_path / "seeds", Plan(seeds=[0]), train, force=True)
    lines = [json.loads(line) for line in (tmp_path / "seeds" / "seed-0" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(6))
    assert (tmp_path / "seeds" / "seed-0" / "notes").read_text() == "mine"
    assert run(config, tmp_path / "alone").best_step >= 0
    before = everything(tmp_path / "seeds")
    with pytest.raises(ValueError, match="T186"):
        run(config, tmp_path / "seeds")
    assert everything(tmp_path / "seeds") == before


# ---- killed ------------------------------------------------------------------------------------------------------


def test_killed_at_renames(bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever rename it was: what is there is whole, and the run goes on or begins again to the same end."""
    config = config_of(bert, corpus, steps=2, training={"eval_frequency": 1})
    with killed_at_rename(monkeypatch, 10**9) as counter:
        run(config, tmp_path / "whole", checkpoint_every="1")
    assert counter.n > 30
    for number, last in enumerate(range(0, counter.n, 17)):
        out = tmp_path / f"parts{number}"
        # Every other time an old run lies there already.
        if number % 2:
            shutil.copytree(tmp_path / "whole", out)
        with killed_at_rename(monkeypatch, last, can_exchange=number % 3 > 0) as dead:
            run(config, out, checkpoint_every="1", force=True)
        assert dead.is_dead
        for name in ("model-last", "model-best"):
            if (out / name).exists():
                assert len(files_of(out / name)) >= 1
        resume = out.exists() and Checkpoints(out / "checkpoints").are_there
        run(config, out, resume=resume)
        assert_same_run(tmp_path / "whole", out)
        assert not [path for path in out.rglob(".spacy-transfer*") if path.name != ".spacy-transfer.json"]
        shutil.rmtree(out)


# ---- the same run, or refused ------------------------------------------------------------------------------------


def test_labels_encoder_tokenizer_attributes_are_part_of_a_run(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Path(shutil.copytree(bert, tmp_path / "encoder"))
    texts = Path(shutil.copytree(corpus, tmp_path / "texts"))
    labels = tmp_path / "labels.json"
    labels.write_text('["card", "login", "money"]')
    read = {"@readers": "spacy.read_labels.v1", "path": str(labels), "require": True}
    config = config_of(encoder, texts, steps=6, initialize={"components": {MODEL: {"labels": read}}})
    with killed_at(monkeypatch, 4):
        run(config, tmp_path / "out", checkpoint_every="3")

    def with_field(path: Path, change: Any) -> None:
        data = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(change(data)))

    def swapped(data: Any) -> Any:
        vocab = data["model"]["vocab"]
        vocab["card"], vocab["bill"] = vocab["bill"], vocab["card"]
        return data

    def attribute(path: Path) -> None:
        import spacy

        nlp = spacy.blank("xx")
        docs = list(DocBin().from_disk(path).get_docs(nlp.vocab))
        if not Doc.has_extension("title"):
            Doc.set_extension("title", default=None)
        docs[3]._.title = "another"
        DocBin(docs=docs, store_user_data=True).to_disk(path)

    changes = [
        (labels, lambda: labels.write_text('["login", "card", "money"]'), f"labels of {MODEL}"),
        (encoder / "tokenizer.json", lambda: with_field(encoder / "tokenizer.json", swapped), f"tokenizer of {MODEL}"),
        (
            encoder / "config.json",
            lambda: with_field(encoder / "config.json", lambda data: {**data, "hidden_act": "relu"}),
            f"encoder of {MODEL}",
        ),
        (texts / "train.spacy", lambda: attribute(texts / "train.spacy"), "training data"),
        (texts / "dev.spacy", lambda: attribute(texts / "dev.spacy"), "dev data"),
    ]
    for path, change, named in changes:
        before = path.read_bytes()
        change()
        with pytest.raises(ValueError, match=rf"T167(.|\n)*{named}"):
            run(config, tmp_path / "out", resume=True)
        path.write_bytes(before)
    run(config, tmp_path / "out", resume=True)
    run(config, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "out")


def test_changed_settings_of_the_optimizer_count_when_they_are_forced(
    made: tuple[Config, Path], tmp_path: Path
) -> None:
    config, folder = copied(made, tmp_path)
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    longer = Config(merged(config, {"training": {"optimizer": {"learn_rate": 0.0, "weight_decay": 0.0}}}))
    run(longer, folder, resume=True, force=True)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    rates = {line["step"]: line["learn_rate"] for line in lines if line["kind"] == "step"}
    assert rates[2] > 0
    assert rates[3] == rates[5] == 0.0
    at_3 = safetensors.torch.load_file(folder / "checkpoints" / "step-00000003" / "weights.safetensors")
    at_end = safetensors.torch.load_file(folder / "checkpoints" / "step-00000006" / "weights.safetensors")
    assert all(torch.equal(at_3[name], at_end[name]) for name in at_3)


@pytest.mark.parametrize("damage", ["shortened", "overwritten", "deleted"])
def test_a_log_that_is_not_the_runs_is_told(
    made: tuple[Config, Path], tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    config, folder = copied(made, tmp_path)
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    log = folder / "log.jsonl"
    data = log.read_bytes()
    if damage == "deleted":
        log.unlink()
    else:
        log.write_bytes(data[:20] if damage == "shortened" else b"x" + data[1:])
    finished = run(config, folder, resume=True)
    assert finished.status == "finished"
    assert "T378" in caplog.text
    assert json.loads(log.read_text("utf-8").splitlines()[0])["step"] == 3
    asides = list(folder.glob("log-put-aside-*.jsonl"))
    assert len(asides) == (damage != "deleted")
    assert json.loads((folder / "result.json").read_text())["scores"]


def test_the_log_is_not_written_through_a_link(made: tuple[Config, Path], tmp_path: Path) -> None:
    config, folder = copied(made, tmp_path)
    (folder / "log.jsonl").replace(tmp_path / "elsewhere")
    (folder / "log.jsonl").symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(OSError, match="T377"):
        run(config, folder, resume=True)
    assert (tmp_path / "elsewhere").read_bytes() == before


def test_a_missing_best_pipeline_is_noticed_before_a_step(made: tuple[Config, Path], tmp_path: Path) -> None:
    config, folder = copied(made, tmp_path)
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    shutil.rmtree(folder / "model-best")
    log = (folder / "log.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"T379.*model-best.*--force"):
        run(config, folder, resume=True)
    assert (folder / "log.jsonl").read_bytes() == log
    finished = run(config, folder, resume=True, force=True)
    assert finished.best_step >= 3
    assert (folder / "model-best" / "meta.json").is_file()


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "null", "3", '{"state.json": 3}', "[" * 10**5, '{"../../x": "0"}', '{"/dev/zero": "0"}', "\ud800"],
)
def test_a_checkpoint_that_is_not_ours_is_passed_over(
    made: tuple[Config, Path], tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(made[1] / "checkpoints", tmp_path / "checkpoints")
    newest = tmp_path / "checkpoints" / "step-00000006"
    (newest / "sha256.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert Checkpoints(tmp_path / "checkpoints").read().folder.name == "step-00000003"
    assert "T168" in caplog.text
    (newest / "weights.safetensors").unlink()
    os.mkfifo(newest / "weights.safetensors")
    assert Checkpoints(tmp_path / "checkpoints").read().folder.name == "step-00000003"


# ---- a full disk -------------------------------------------------------------------------------------------------


def test_a_full_disk_in_training_is_one_sentence(
    bert: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No leftovers, and after it the run goes on to the same end."""
    config = config_of(bert, corpus, steps=5)
    run(config, tmp_path / "whole")
    original, n_saved = safetensors.torch.save_file, 0

    def full(tensors: Any, path: Path) -> None:
        nonlocal n_saved
        if "model-last" in str(path) or not path.name:
            raise AssertionError
        n_saved += 1
        if n_saved > 5:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        original(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(DiskFull, match=r"T372.*model-last.*needs at least.*continue with:\nspacy --resume$"):
            run(config, tmp_path / "parts", checkpoint_every="100", command="spacy --resume")
    names = sorted(path.name for path in (tmp_path / "parts").iterdir())
    assert names == [".spacy-transfer.json", "checkpoints", "log.jsonl", "model-best", "model-last"]
    run(config, tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_full_disk_ends_a_study_not_a_trial(made: tuple[Config, Path], tmp_path: Path) -> None:
    def train(place: Path, values: Any, stop_at: int, resume: bool) -> None:
        raise DiskFull(place, 10, 0)

    plan = Plan(values=[{"training.dropout": 0.1}, {"training.dropout": 0.2}], keep_one_in=1)
    with pytest.raises(DiskFull):
        study(made[0], tmp_path, plan, train)
    state = json.loads((tmp_path / "study.json").read_text())
    assert not [one["failed"] for one in state["trials"] if one["failed"]]
