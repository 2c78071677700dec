"""What cannot be classified is listed or refused, the rest is not lost; and the command around it."""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli import app
from spacy.language import Language
from typer.testing import CliRunner

import spacy_transfer.cli  # noqa: F401  (adds the command group)
from house_kit.applied import numbered, read_rows, write_texts
from house_kit.commands import run
from house_kit.pipelines import add_classifier, pipeline
from house_kit.texts import TEXTS
from spacy_transfer import apply


@pytest.fixture(scope="module")
def nlp(bert: Path) -> Language:
    return pipeline(bert)


@pytest.fixture(scope="module")
def trained(nlp: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "pipeline"
    nlp.to_disk(folder)
    return folder


def bad_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


# ---- rows --------------------------------------------------------------------------------------------------------


def test_bad_rows_are_listed_and_the_rest_is_not_lost(nlp: Language, tmp_path: Path) -> None:
    long = "card " * 1_000_000
    lines = [
        '{"text": "my card"}', '{"text": ', '{"text": 3}', '{"text": "x", "text": "y"}', "[1]", '{"text": " "}', "{}",
        json.dumps({"text": long}), '{"text": "half \\ud83d"}', '{"text": "a\\u0000b"}', "",
        '{"text": "the money", "n": "\\ud800"}',
    ]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    done = apply(nlp, tmp_path / "in.jsonl", tmp_path / "out.jsonl", look_ahead=3)
    assert (done.n_docs, done.n_bad) == (3, 8)
    assert [row["text"] for row in read_rows(tmp_path / "out.jsonl")] == ["my card", "a\0b", "the money"]
    bad = bad_of(tmp_path / "out.jsonl.bad.jsonl")
    assert [one["line"] for one in bad] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert {one["source"] for one in bad} == {str(tmp_path / "in.jsonl")}
    assert "5,000,000 characters" in bad[6]["reason"]
    assert all(len(one["reason"]) < 300 for one in bad)
    # A table has no way to write half a character.
    done = apply(nlp, tmp_path / "in.jsonl", tmp_path / "out.csv", look_ahead=3)
    assert (done.n_docs, done.n_bad) == (2, 9)
    assert bad_of(tmp_path / "out.csv.bad.jsonl")[-1]["line"] == 12


def test_bad_rows_of_tables(nlp: Language, tmp_path: Path) -> None:
    rows = [
        "id,text",
        "1,my card",
        "2,the,money",
        '3,"pay',
        "my bill",
        "4,the login",
        "5,the password",
        '6,"lost"',
        "7,x",
    ]
    (tmp_path / "in.csv").write_text("\n".join(rows) + "\n", "utf-8")
    done = apply(nlp, tmp_path / "in.csv", tmp_path / "out.csv")
    assert done.n_docs + done.n_bad >= 4
    found = bad_of(tmp_path / "out.csv.bad.jsonl")
    assert found[0]["line"] == 3
    assert (found[1]["line"], found[1]["last_line"] > 4) == (4, True)
    # What is a row is in one of the two places.
    lost = {line for one in found for line in range(one["line"], one.get("last_line", one["line"]) + 1)}
    assert {row["id"] for row in read_rows(tmp_path / "out.csv")} == {
        row.split(",")[0] for line, row in enumerate(rows, start=1) if line > 1 and line not in lost
    }
    assert len(done.bad_lines) == len(found)


def test_a_field_with_the_name_of_a_new_column(nlp: Language, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,label\nmy card,x\n", "utf-8")
    with pytest.raises(ValueError, match=r"T533.*'label'.*--prefix"):
        apply(nlp, tmp_path / "in.csv", tmp_path / "out.csv")
    apply(nlp, tmp_path / "in.csv", tmp_path / "out.csv", prefix="predicted_")
    assert list(read_rows(tmp_path / "out.csv")[0]) == ["text", "label", "predicted_label", "predicted_score"]
    lines = [{"text": f"my card {i}"} for i in range(200)] + [{"text": "the money", "score": 1}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert apply(nlp, tmp_path / "in.jsonl", tmp_path / "out.jsonl").n_bad == 1


# ---- sources, outputs, pipelines ---------------------------------------------------------------------------------


def test_sources_that_cannot_be_read(nlp: Language, tmp_path: Path) -> None:
    def refused(name: str, data: bytes, code: str, **options: Any) -> None:
        (tmp_path / name).write_bytes(data)
        before = sorted(tmp_path.iterdir())
        with pytest.raises((ValueError, OSError), match=code) as caught:
            apply(nlp, tmp_path / name, tmp_path / "out.csv", **options)
        assert name in str(caught.value)
        assert sorted(tmp_path.iterdir()) == before

    refused("a.csv", b"", "T521.*empty")
    refused("b.csv", b"text\n", "T521.*no rows")
    refused("c.csv", b"a,b\n1,2\n", "T524.*'a', 'b'.*--text-field")
    refused("d.csv", b"a,text\n1,2\n", "T524.*'body' is none", text_field="body")
    refused("e.csv", b"text,x,x\nmy card,2,3\n", "T525.*'x'")
    refused("f.csv", b"text\nmy card\n\xff\xfe\x81\n", r"T042.*line 3")
    refused("g.csv", b"text\nmy card\n\xe4\n", r"T042.*line 3", layout=_encoded("utf-8"))
    refused("h.csv.gz", gzip.compress(b"text\n" + b"my card\n" * 99)[:-9], "T523.*gzip")
    refused("i.jsonl.gz", b"no gzip", "T523")
    refused("j.spacy", b"\x78\x9cnone", "T047")
    refused("k.xyz", b"text", "T041")
    pytest.importorskip("pyarrow")
    refused("l.parquet", b"PAR1", "T047.*Parquet")
    refused("m.csv.zst", b"no zstd", "T523.*zstd")
    with pytest.raises(FileNotFoundError, match="T440"):
        apply(nlp, tmp_path / "nowhere.csv", tmp_path / "out.csv")
    with pytest.raises(ValueError, match=r"T521.*no file has such a name"):
        apply(nlp, tmp_path / "*.txt", tmp_path / "out.csv")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"T521.*folder"):
        apply(nlp, tmp_path / "folder", tmp_path / "out.csv")


def _encoded(name: str) -> Any:
    from spacy_transfer.corpora.tables.table_format import TableFormat

    return TableFormat(encoding=name)


def test_outputs_that_cannot_be_written(nlp: Language, tmp_path: Path) -> None:
    source = write_texts(tmp_path / "in.csv", TEXTS)
    content = source.read_bytes()
    for given in (source, tmp_path):
        with pytest.raises(ValueError, match="T373"):
            apply(nlp, given, source, force=True)
    with pytest.raises(ValueError, match="T373"):
        apply(nlp, tmp_path, tmp_path / "new.csv")
    with pytest.raises(ValueError, match=r"T534.*\.xyz.*--format"):
        apply(nlp, source, tmp_path / "out.xyz")
    (tmp_path / "there.csv").write_text("mine", "utf-8")
    with pytest.raises(FileExistsError, match=r"T528.*--force"):
        apply(nlp, source, tmp_path / "there.csv")
    (tmp_path / "new.csv.bad.jsonl").write_text("mine", "utf-8")
    with pytest.raises(FileExistsError, match=r"T528.*bad"):
        apply(nlp, source, tmp_path / "new.csv")
    for options in ({"top": 2}, {"min_score": 0.5}, {"prefix": "x"}):
        with pytest.raises(ValueError, match="T520"):
            apply(nlp, source, tmp_path / "out.spacy", **options)
    wrong = [
        {"top": 0},
        {"above": 2.0},
        {"min_score": float("nan")},
        {"look_ahead": 0},
        {"min_score": 0.1, "abstain": "card"},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match="T396"):
            apply(nlp, source, tmp_path / "out.csv", **options)
    with pytest.raises(ValueError, match="T520"):
        apply(nlp, source, tmp_path / "out.csv", top=2, above=0.5)
    assert source.read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "new.csv.bad.jsonl", "there.csv"]


def test_pipelines_that_cannot_classify(bert: Path, tmp_path: Path) -> None:
    source = write_texts(tmp_path / "in.csv", TEXTS)
    other = spacy.blank("xx")
    other.add_pipe("sentencizer")
    with pytest.raises(ValueError, match=r"T527.*sentencizer"):
        apply(other, source, tmp_path / "out.csv")
    add_classifier(other, bert)
    with pytest.raises(ValueError, match="T006"):
        apply(other, source, tmp_path / "out.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv"]


# ---- the command -------------------------------------------------------------------------------------------------


def test_the_command(trained: Path, tmp_path: Path) -> None:
    source = write_texts(tmp_path / "in.csv", [*numbered(30), *numbered(5)])
    text = run("transfer", "apply", trained, source, "-o", tmp_path / "out.csv", "--top", "2", "--show", "none")
    assert "35 documents, 5 of them with a text that had come before" in text
    assert len(read_rows(tmp_path / "out.csv")) == 35
    with source.open("a") as file:
        file.write("1,2,3\n")
    text = run("transfer", "apply", trained, source, "-o", tmp_path / "two.csv", "--bad", tmp_path / "b.jsonl", code=3)
    assert "1 rows could not be used" in text
    assert bad_of(tmp_path / "b.jsonl")[0]["line"] == 37
    assert "T528" in run("transfer", "apply", trained, source, "-o", tmp_path / "two.csv", code=1)


def test_options_of_the_other_engine(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_texts(tmp_path / "in.csv", TEXTS)
    command = ["transfer", "apply", trained, source, "-o", tmp_path / "out.csv"]
    assert "T600" in run(*command, "--workers", "2", code=1)
    assert "T600" in run(*command, "--address", "auto", code=1)
    assert "T396" in run(*command, "--engine", "ray", "--workers", "0", code=1)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "spacy-transfer[ray]" in run(*command, "--engine", "ray", code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_standard_input_and_output(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{text}\n" for text in TEXTS)
    command = ["transfer", "apply", str(trained), "-", "--input-format", "txt", "-o"]
    done = CliRunner().invoke(app, [*command, "-", "--format", "jsonl"], input=lines)
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == TEXTS
    done = CliRunner().invoke(app, [*command, "out.csv"], input=lines)
    assert done.exit_code == 0, done.output
    assert [row["text"] for row in read_rows(tmp_path / "out.csv")] == TEXTS
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert "T522" in CliRunner().invoke(app, [*command[:4], "-o", "two.csv"], input=lines).output
    assert "T521" in CliRunner().invoke(app, [*command, "two.csv"], input="").output
    assert "T520" in CliRunner().invoke(app, [*command, "-", "--format", "csv", "--resume"], input=lines).output


def test_progress_says_how_fast_it_is(nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spacy_transfer.serving.apply import progress

    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    apply(nlp, write_texts(tmp_path / "in.csv", numbered(40)), tmp_path / "out.csv", look_ahead=10, show="lines")
    said = out.getvalue().splitlines()
    assert len(said) == 4
    assert said[0].startswith("10 documents, ")
    assert "a second, about 0.0 min left" in said[0]
    apply(nlp, tmp_path / "in.csv", tmp_path / "bar.csv", look_ahead=10, show="bar")
    assert "doc/s" in out.getvalue()
