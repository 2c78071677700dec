"""How commands fail: one sentence with a code, no traceback, no secret."""

import importlib.util
import io
import json
import os
import re
import shutil
import signal
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from confection import ConfigValidationError
from thinc.api import Config
from typer.testing import CliRunner

from house_kit.repository import REPOSITORY
from house_kit.runs import config_of, write_corpus
from spacy_transfer.cli import transfer_cli
from spacy_transfer.cli.failures import explain
from spacy_transfer.cli.group import TransferGroup
from spacy_transfer.redaction import without_secrets
from spacy_transfer.repository.encoder_copies import _first_line
from spacy_transfer.text_output import printable
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.interrupted import Interrupted
from spacy_transfer.training.loop.rates import WarmupLinear

_spec = importlib.util.spec_from_file_location("fuzz", REPOSITORY / "benchmarks" / "fuzz.py")
assert _spec is not None
assert _spec.loader is not None
fuzz: Any = importlib.util.module_from_spec(_spec)
sys.modules["fuzz"] = fuzz
_spec.loader.exec_module(fuzz)
typer.testing._get_command = fuzz._command_line

COMMANDS = {
    "adapt": ["./x", "x.txt", "o"], "apply": ["x", "x.csv", "--output", "o.csv"],
    "augment": ["x.cfg"], "attach": ["x", "o"], "calibrate": ["x", "x.spacy"], "card": ["x"],
    "check": ["x.spacy"],
    "choose": ["a.cfg", "b.cfg", "--train", "x.spacy", "--output", "o.cfg"], "classify": ["x", "a text"],
    "convert": ["x.csv", "o"], "curve": ["x.spacy"], "detach": ["x", "o"],
    "distill": ["x", "--to", "x.cfg", "--texts", "x.txt", "--output", "o"], "doctor": ["x.spacy"],
    "export": ["x", "o", "--to", "onnx"], "evaluate": ["x", "x.spacy"], "explain": ["x", "a text"],
    "fetch": ["./x", "o"], "import": ["./x", "o"],
    "init": ["x.csv", "o"], "merge": ["x", "o"], "pretrain": ["x.cfg", "x.txt", "o"],
    "report": ["x"], "robustness": ["x", "x.spacy"], "self-train": ["x.cfg", "x.txt", "--output", "o"],
    "serve": ["x", "--port", "0"], "show": ["x.cfg"], "suggest": ["x", "x.txt"],
    "train": ["x.cfg", "--output", "o"],
    "update": ["x", "x.csv", "--output", "o"],
}  # fmt: skip


def run(*args: str) -> Any:
    return CliRunner().invoke(transfer_cli, list(args))


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[BaseException], Any]:
    """Gives what `spacy transfer check` prints where an error comes out of it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def fail(error: BaseException) -> Any:
        monkeypatch.setattr("spacy_transfer.corpora.inspection.check.check", raising(error))
        return run("check", "x.spacy")

    return fail


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_the_exit_status_and_no_failure(failing: Callable[[BaseException], Any], number: int) -> None:
    """As a shell reports it."""
    result = failing(Interrupted(number))
    assert result.exit_code == 128 + number
    assert not result.output


def test_all_commands_are_tried() -> None:
    assert {command.name for command in transfer_cli.registered_commands} == set(COMMANDS)
    assert transfer_cli.info.cls is TransferGroup


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_not_there_is_one_sentence(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(command, *COMMANDS[command])
    assert result.exit_code == 1
    assert "[T" in result.output
    assert "Traceback" not in result.output
    assert "T445" not in result.output
    if command not in ("fetch", "import"):
        assert str(tmp_path) in result.output.replace("\n", ""), "paths are relative to this folder"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_arguments_that_are_no_text(command: str) -> None:
    """What Python makes of bytes that are no UTF-8 under an ASCII locale."""
    for bad in (os.fsdecode(b"\xf6.cfg"), "--corpora.train.path=\udcff"):
        result = run(command, *COMMANDS[command], bad)
        assert result.exit_code == 1
        assert "[T448]" in result.output
        assert "\\udc" in result.output


def test_a_missing_corpus_names_convert(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "train.spacy"))
    assert "spacy transfer convert TABLE" in result.output


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("[T001] ours"), "✘ .T001. ours"),
        (FileNotFoundError(2, "No such file or directory", "a/labels.json"), "T440.*a/labels.json.*convert TABLE a"),
        (ValueError("Can't read file: a/b.json"), "T440.*a/b.json"),
        (PermissionError(13, "Permission denied", b"a/b"), "T441.*a/b: Permission denied"),
        (OSError(5, "Input/output error"), "T441.*Input/output error"),
        (MemoryError(), "T443"), (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate"), "T443"),
        (ModuleNotFoundError("No module named 'peft'", name="peft"), "T446.*pip install peft"),
        (ValueError("[E893] Could not find function 'x'"), "T444.*E893"),
        (OSError("[E050] no model"), "T444.*relative"),
        (ConfigValidationError(errors=[{"loc": ("nlp", "lang"), "msg": "none"}], config={"a": 1}), r"T427.*nlp\.lang"),
    ],
)  # fmt: skip
def test_errors_that_a_user_can_mend(error: Exception, message: str, failing: Any, tmp_path: Path) -> None:
    result = failing(error)
    assert result.exit_code == 1
    assert re.search(message, " ".join(result.output.split()))
    assert not list(tmp_path.iterdir())


def test_a_cause_with_a_code_counts() -> None:
    error = RuntimeError("wrapped")
    error.__cause__ = ValueError("[T005] ours")
    assert explain(error, "train").message == "[T005] ours"


@pytest.mark.parametrize("error", [KeyError("model_type"), RecursionError("deep"), ValueError("a\nb"), RuntimeError()])
def test_a_bug_says_where_it_happened_and_keeps_its_traceback(error: Exception, failing: Any, tmp_path: Path) -> None:
    result = failing(error)
    assert result.exit_code == 1
    assert "[T445]" in result.output
    assert type(error).__name__ in result.output
    assert "test_failures.py" in result.output
    assert "Traceback" not in result.output
    (log,) = tmp_path.glob("spacy-transfer-*.log")
    assert str(log) in result.output.replace("\n", "")
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_tracebacks_are_shown_on_demand(failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACY_TRANSFER_DEBUG", "1")
    assert "Traceback" in failing(ValueError("[T001] ours")).output
    monkeypatch.setenv("SPACY_TRANSFER_DEBUG", "0")
    assert "Traceback" not in failing(ValueError("[T001] ours")).output


def test_ctrl_c_and_a_closed_pipe_are_no_failures(failing: Any) -> None:
    assert failing(KeyboardInterrupt()).exit_code in (1, 130)
    assert "[T4" not in failing(BrokenPipeError(32, "Broken pipe")).output


def test_unknown_options_and_code_that_fails(tmp_path: Path) -> None:
    config = tmp_path / "c.cfg"
    config.write_text("[nlp]\nlang = 'xx'\n")
    result = run("show", str(config), "--nothing")
    assert result.exit_code == 1
    assert "[T430]" in result.output
    code = tmp_path / "code.py"
    for text, reason in (("x = 1\nraise KeyError('mine')", "line 2: KeyError"), ("x = (", "line 1: SyntaxError")):
        code.write_text(text)
        result = run("train", str(config), "--output", str(tmp_path / "o"), "--code", str(code))
        assert "[T428]" in result.output
        assert reason in " ".join(result.output.split())


# ---- secrets -----------------------------------------------------------------------------------------------------

SECRET = "S3cr3t-p@ss/word"


@pytest.mark.parametrize(
    "text",
    [
        f"500 for url: http://user:{SECRET}@127.0.0.1:80/api", f"http://{SECRET.replace('/', '')}@mirror/x",
        f"GET https://h/x?a=1&token={SECRET} failed", f"https://h/x?X-Amz-Signature={SECRET}&b=2",
        f"{{'Authorization': 'Bearer {SECRET}'}}", f"authorization: {SECRET}", f"Bearer {SECRET}",
        f"proxy refused {SECRET}", "401 with hf_S3cr3tS3cr3tS3cr3t", "token my-env-S3cr3t in a message",
    ],
)  # fmt: skip
def test_secrets_are_cut_out(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "my-env-S3cr3t")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:S3cr3t-p%40ss%2Fword@proxy:80")
    for shown in (without_secrets(text), printable(text), _first_line(ValueError(text))):
        assert "S3cr3t" not in shown
        assert "***" in shown


@pytest.mark.parametrize("text", ["a: b@c.de", "https://h/a?b=c&page=2", "12:30 @home", "my token is lost", "a key=b"])
def test_what_is_no_secret_stays(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a")
    assert without_secrets(text) == text


def test_a_traceback_that_is_kept_holds_none(failing: Any, tmp_path: Path) -> None:
    result = failing(KeyError("http://user:S3cr3t@mirror/"))
    (log,) = tmp_path.glob("spacy-transfer-*.log")
    assert "S3cr3t" not in result.output + log.read_text()


def test_an_ascii_terminal_stops_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit):
        transfer_cli(["check", "bücher.spacy"])
    stream.flush()
    assert b"b\\xfccher.spacy" in stream.buffer.getvalue()


# ---- damaged files -----------------------------------------------------------------------------------------------


def test_a_damaged_corpus_is_named_by_every_command(bert: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path)
    config = tmp_path / "c.cfg"
    config_of(bert, tmp_path, "augmented", 2).to_disk(config)
    path = tmp_path / "train.spacy"
    path.write_bytes(zlib.compress(zlib.decompress(path.read_bytes())[:-9]))
    output = str(tmp_path / "o")
    for args in (["show", config], ["augment", config], ["train", config, "--output", output, "--show", "none"]):
        result = run(*map(str, args))
        assert result.exit_code == 1
        assert "[T047]" in result.output, args
        assert "train.spacy" in result.output


def test_a_damaged_label_file_is_named(bert: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path)
    labels = {"@readers": "spacy.read_labels.v1", "path": str(tmp_path / "labels.json")}
    config = config_of(
        bert, tmp_path, "augmented", 2, initialize={"components": {"transfer_textcat": {"labels": labels}}}
    )
    config.to_disk(tmp_path / "c.cfg")
    for data in (b'["card", ', b'["\xe9"]', b"", b"[1e99999999999999999999999999999"):
        (tmp_path / "labels.json").write_bytes(data)
        result = run("train", str(tmp_path / "c.cfg"), "--output", str(tmp_path / "o"), "--show", "none")
        assert "[T047]" in result.output
        assert "labels.json" in result.output


@pytest.fixture(scope="module")
def valid_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("valid")
    fuzz.write_files(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "commands"),
    [("vocab/lookups.bin", ["show"]), ("vocab/vectors", ["evaluate"]), ("tokenizer", ["merge"]),
     ("meta.json", ["show", "evaluate", "merge", "attach", "detach"])],
)  # fmt: skip
def test_a_damaged_pipeline_is_named_by_every_command(
    name: str, commands: list[str], valid_files: Path, tmp_path: Path
) -> None:
    saved = shutil.copytree(valid_files / "pipeline", tmp_path / "p")
    (saved / name).write_bytes(b"\xc1 damaged {")
    rest = {"show": [], "evaluate": [valid_files / "dev.spacy"]}
    for command in commands:
        result = run(command, str(saved), *map(str, rest.get(command, [tmp_path / "o"])))
        assert result.exit_code == 1
        assert re.search(r"\[T\d+\]", result.output), command
        assert "T445" not in result.output, command


def test_half_a_character_in_meta_is_named(valid_files: Path, tmp_path: Path) -> None:
    saved = shutil.copytree(valid_files / "pipeline", tmp_path / "p")
    for value in ("\ud800", float("nan")):
        meta = json.loads((saved / "meta.json").read_text("utf-8"))
        (saved / "meta.json").write_text(json.dumps({**meta, "author": value}))
        assert "[T442]" in run("attach", str(saved), str(tmp_path / "o")).output


def test_a_config_without_a_section_and_numbers_of_any_length(valid_files: Path, tmp_path: Path) -> None:
    whole = Config().from_disk(valid_files / "c.cfg")
    cut = Config({key: part for key, part in whole.items() if key != "training"})
    cut.to_disk(tmp_path / "cut.cfg")
    assert "T445" not in run("show", str(tmp_path / "cut.cfg")).output
    with pytest.raises(ValueError, match="T339"):
        AdamW(learn_rate=10**400)
    with pytest.raises(ValueError, match="T005"):
        WarmupLinear(peak=10**400)


# ---- hostile files: a little of benchmarks/fuzz.py -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "kind", "n"),
    [("convert", "table", 28), ("convert", "labels", 8), ("check", "corpus", 16), ("evaluate", "corpus", 3),
     ("augment", "corpus", 3), ("augment", "config", 6), ("pretrain", "raw", 2), ("train", "checkpoint", 6)],
)  # fmt: skip
def test_changed_files_give_an_error_with_a_code(command: str, kind: str, n: int, valid_files: Path) -> None:
    chosen = [one for one in fuzz.cases(valid_files) if (one.command, one.name) == (command, kind)]
    for number in range(n):
        end, text, output = fuzz.try_once(chosen[number % len(chosen)], valid_files, valid_files / "out", f"s{number}")
        assert end in ("pass", "coded"), f"{number}: {text} {output[-500:]}"
