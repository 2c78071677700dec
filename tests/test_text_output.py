"""What commands print of the user's data never steers the terminal."""

import ast
import json
import logging
import sys
from pathlib import Path

import pytest
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab
from typer.testing import CliRunner

from house_kit.repository import REPOSITORY
from spacy_transfer.cli import transfer_cli
from spacy_transfer.log import _StandardError
from spacy_transfer.text_output import DataPrinter, echo, printable, printable_lines

STEERING = [*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u2028\u2029\u202e\u2066\u200b\ufeff", "\ud800"]
PACKAGE = REPOSITORY / "spacy_transfer"


@pytest.mark.parametrize("character", STEERING, ids=lambda character: f"U+{ord(character):04X}")
def test_what_steers_a_terminal_is_shown_as_an_escape(character: str) -> None:
    shown = printable(f"a{character}b")
    assert shown.isprintable()
    assert shown[0] == "a"
    assert shown[-1] == "b"
    # The escape is Python's: it says which character it was.
    assert ast.literal_eval(f'"{shown}"') == f"a{character}b"


@pytest.mark.parametrize("text", ["naïve 🙂 日本語", "می‌خواهم", "👩‍👩‍👧", "a\u00a0b", "\\x1b"])
def test_what_can_be_read_stays(text: str) -> None:
    assert printable(text) == printable_lines(text) == text


def test_a_message_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    echo("one\n\ttwo\x1b[2J\rthree")
    assert capsys.readouterr().out == "one\n\ttwo\\x1b[2J\\rthree\n"


def test_every_way_of_the_printer(capsys: pytest.CaptureFixture[str]) -> None:
    printer = DataPrinter(pretty=False)
    bad = "x\x1b]0;owned\x07\r"
    for say in (printer.good, printer.fail, printer.warn, printer.info, printer.text):
        say(bad, bad)
    printer.divider(bad)
    printer.table([[bad, 1]], header=[bad, "n"], footer=[bad, ""])
    printer.table({bad: bad})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\r" not in out
    assert out.count(r"x\x1b]0;owned\x07\r") == 16


@pytest.mark.parametrize(
    ("terminal", "no_color", "colored"), [(True, None, True), (True, "1", False), (False, None, False)]
)
def test_colors_are_for_a_terminal(
    terminal: bool,
    no_color: str | None,
    colored: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    printer = DataPrinter()
    printer.good("good")
    printer.divider("title")
    assert ("\x1b" in capsys.readouterr().out) == colored


def test_the_log_is_shown_in_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("spacy_transfer", logging.INFO, "", 0, "label %s", ("a\x1bb",), None)
    _StandardError().handle(record)
    assert capsys.readouterr().err == "label a\\x1bb\n"


def test_commands_show_labels_as_escapes(tmp_path: Path) -> None:
    labels = ["\x1b]0;owned\x07\x1b[2Jx", "bad\rgood"]
    docs = DocBin(attrs=["ORTH"])
    for number in range(12):
        doc = Doc(Vocab(), words=[f"word{number}"])
        doc.cats = {label: float(label == labels[number % 2]) for label in labels}
        docs.add(doc)
    docs.to_disk(tmp_path / "train.spacy")
    rows = [{"text": f"t {number}", "label": labels[number % 2]} for number in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for arguments in (["check", tmp_path / "train.spacy"], ["convert", tmp_path / "rows.jsonl", tmp_path / "o\x1bx"]):
        output = CliRunner().invoke(transfer_cli, list(map(str, arguments))).output
        assert "\\x1b" in output
        assert not set("\x1b\x07\r") & set(output)


def test_no_command_prints_past_it() -> None:
    """Commands take `echo` and `msg` from text_output; print, typer.echo and wasabi's own printer know no escapes."""
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names = {alias.name for alias in node.names}
                assert not (node.module == "typer" and "echo" in names), path
                assert not (node.module == "wasabi" and "msg" in names), path
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("print", "typer.echo", "sys.stdout.write"), path


def test_it_is_light() -> None:
    source = (PACKAGE / "text_output.py").read_text("utf-8")
    imported = [ast.unparse(node) for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all("spacy" not in line for line in imported)
    assert "wasabi" in sys.modules
