"""Files of records become .spacy files: nothing is lost, nothing is guessed, nothing is half written."""

import csv
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from house_kit.kills import every_kill
from spacy_transfer import errors
from spacy_transfer.cli import transfer_cli
from spacy_transfer.corpora.convert import convert
from spacy_transfer.corpora.tables.records import LONGEST_TEXT
from spacy_transfer.files import hold_folder

TEXTS = ["Hello  there,\tyou", " lead and trail \n", "naïve 🙂 日本語", "a", "[SEP] <s>\u2028next\u00a0x"]


def write_jsonl(path: Path, records: list[object]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_docs(path: Path) -> list[tuple[str, dict[str, float]]]:
    vocab = spacy.blank("en").vocab
    return [(doc.text, doc.cats) for doc in DocBin().from_disk(path).get_docs(vocab)]


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(transfer_cli, ["convert", *map(str, arguments)])
    return result.exit_code, result.output


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def test_texts_survive_as_they_are(tmp_path):
    source = write_jsonl(tmp_path / "train.jsonl", [{"text": text, "label": "x"} for text in TEXTS])
    convert([source], tmp_path / "out")
    assert [text for text, _ in read_docs(tmp_path / "out" / "train.spacy")] == TEXTS


def test_splits_of_one_call_share_their_labels(tmp_path):
    train = write_jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    dev = write_jsonl(tmp_path / "dev.jsonl", [{"text": "c", "label": "z"}])
    converted = convert([train, dev], tmp_path / "out")
    assert converted.labels == ["x", "y", "z"]
    assert json.loads((tmp_path / "out" / "labels.json").read_text("utf-8")) == ["x", "y", "z"]
    assert read_docs(tmp_path / "out" / "train.spacy") == [
        ("a", {"x": 1.0, "y": 0.0, "z": 0.0}),
        ("b", {"x": 0.0, "y": 1.0, "z": 0.0}),
    ]
    assert read_docs(tmp_path / "out" / "dev.spacy") == [("c", {"x": 0.0, "y": 0.0, "z": 1.0})]
    assert list(converted.n_texts.values()) == [2, 1]


@pytest.mark.parametrize(
    ("record", "cats"),
    [
        ({"text": "a", "label": "x"}, {"w": 0.0, "x": 1.0, "y": 0.0}),
        ({"text": "a", "label": "  x "}, {"w": 0.0, "x": 1.0, "y": 0.0}),
        ({"text": "a", "labels": ["y", "x"]}, {"w": 0.0, "x": 1.0, "y": 1.0}),
        ({"text": "a", "labels": []}, {"w": 0.0, "y": 0.0}),
        ({"text": "a", "cats": {"x": 0.25, "y": 1}}, {"x": 0.25, "y": 1.0}),
        ({"text": "a", "cats": {"x": True, "y": None}}, {"x": 1.0}),
        ({"text": "a", "label": None, "cats": {"x": 0}}, {"x": 0.0}),
        ({"text": "a", "label": "x", "note": 3}, {"w": 0.0, "x": 1.0, "y": 0.0}),
    ],
)
def test_the_forms_of_a_record(tmp_path, record, cats):
    others = [{"text": "b", "label": "w"}, {"text": "c", "label": "y"}]
    convert([write_jsonl(tmp_path / "train.jsonl", [record, *others])], tmp_path / "out")
    assert read_docs(tmp_path / "out" / "train.spacy")[0] == ("a", cats)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a" "label": "x"}', "invalid JSON"),
        ("[" * 100_000, "invalid JSON"),
        ('{"text": "a", "label": "x"} {}', "invalid JSON"),
        ('["a", "x"]', "JSON object"),
        ('{"text": "a", "label": "x", "label": "y"}', errors.T043_TWICE.format(key="label")),
        ('{"label": "x"}', "no text: the field 'text'"),
        ('{"text": " \\n", "label": "x"}', "no text: the field 'text'"),
        ('{"text": 5, "label": "x"}', errors.T043_TEXT_TYPE.format(field="text", value=5)),
        ('{"text": "a"}', "no label: 'label' or 'labels' or 'cats'"),
        ('{"text": "a", "label": ""}', "no label: 'label'"),
        ('{"text": "a", "labels": ["x", ""]}', "no label: 'labels'"),
        ('{"text": "a", "cats": {}}', "no label: 'cats'"),
        ('{"text": "a", "label": 3}', errors.T043_LABEL_TYPE.format(value=3)),
        ('{"text": "a", "label": true}', errors.T043_LABEL_TYPE.format(value=True)),
        ('{"text": "a", "labels": [3]}', errors.T043_LABEL_TYPE.format(value=3)),
        ('{"text": "a", "labels": "x"}', "'labels' takes"),
        ('{"text": "a", "label": ["x", "y"]}', "'label' takes"),
        ('{"text": "a", "label": "x", "labels": ["y"]}', "'label' and 'labels' at once"),
        ('{"text": "a", "cats": ["x"]}', "'cats' takes"),
        ('{"text": "a", "cats": {"x": NaN}}', "has the value nan"),
        ('{"text": "a", "cats": {"x": Infinity}}', "has the value inf"),
        ('{"text": "a", "cats": {"x": 1.01}}', "has the value 1.01"),
        ('{"text": "a", "cats": {"x": -0.1}}', "has the value -0.1"),
        ('{"text": "a", "cats": {"x": "1"}}', "has the value '1'"),
        ('{"text": "a", "cats": {"x": 1, " x": 0}}', errors.T043_TWICE.format(key="x")),
        ('{"text": "a \\ud83d", "label": "x"}', "half a surrogate pair, '\\ud83d', at character 2"),
        ('{"text": "a", "label": "\\ud83d"}', "half a surrogate pair"),
        ('{"text": "%s", "label": "x"}' % ("a" * (LONGEST_TEXT + 1)), "1,000,001 characters"),
    ],
)
def test_a_bad_line_is_named_and_skipped_only_by_request(tmp_path, line, reason):
    source = write_lines(
        tmp_path / "train.jsonl", '{"text": "a", "label": "x"}', "", line, '{"text": "b", "label": "y"}'
    )
    with pytest.raises(ValueError, match="T043") as caught:
        convert([source], tmp_path / "out")
    assert f"{source}:3: " in str(caught.value)
    assert reason in str(caught.value)
    assert not (tmp_path / "out").exists()
    converted = convert([source], tmp_path / "out", skip_bad=True)
    assert converted.n_bad == {source: 1}
    assert [bad.line for bad in converted.bad_lines] == [3]
    assert [text for text, _ in read_docs(tmp_path / "out" / "train.spacy")] == ["a", "b"]


def test_the_longest_text_that_spacy_takes(tmp_path):
    source = write_jsonl(tmp_path / "train.jsonl", [{"text": "a" * LONGEST_TEXT, "label": "x"}])
    convert([source], tmp_path / "out")
    assert len(read_docs(tmp_path / "out" / "train.spacy")[0][0]) == LONGEST_TEXT


def test_all_bad_lines_of_all_files_are_counted(tmp_path):
    sources = [write_lines(tmp_path / f"{name}.jsonl", *["{"] * 8) for name in ("train", "dev")]
    with pytest.raises(ValueError, match=r"T043\] 16 bad line\(s\), 10 shown") as caught:
        convert(sources, tmp_path / "out")
    assert f"{sources[1]}:2: " in str(caught.value)
    assert f"{sources[1]}:3: " not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".CSV"])
def test_tables(tmp_path, suffix):
    source = tmp_path / f"train{suffix}"
    with source.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",")
        writer.writerow(["id", "text", "labels"])
        writer.writerows([number, text, "x|y " if number % 2 else ""] for number, text in enumerate(TEXTS))
    convert([source], tmp_path / "out")
    docs = read_docs(tmp_path / "out" / "train.spacy")
    assert [text for text, _ in docs] == TEXTS
    assert [cats for _, cats in docs[:2]] == [{"x": 0.0, "y": 0.0}, {"x": 1.0, "y": 1.0}]


def test_a_table_with_cats_and_another_separator(tmp_path):
    cats = write_lines(tmp_path / "a.csv", "text,cats", 'one,"{""x"": 0.5}"')
    convert([cats], tmp_path / "out")
    assert read_docs(tmp_path / "out" / "a.spacy") == [("one", {"x": 0.5})]
    labels = write_lines(tmp_path / "b.csv", "text,labels", "one,x;y|z")
    assert convert([labels], tmp_path / "out", separator=";", force=True).labels == ["x", "y|z"]


@pytest.mark.parametrize(
    ("lines", "bad"),
    [
        (['"two', 'lines",x', "b,x,y", "c"], [4, 5]),
        (["a,x", '"b"c,x', "d,x"], [3]),
        (["a,x", 'b,"x', "c,x"], [3]),
        (["a,x", "b,"], [3]),
    ],
)
def test_bad_lines_of_a_table_have_the_number_an_editor_shows(tmp_path, lines, bad):
    source = write_lines(tmp_path / "train.csv", "text,label", *lines)
    converted = convert([source], tmp_path / "out", skip_bad=True)
    assert [line.line for line in converted.bad_lines] == bad


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("body;label", errors.T046_MISSING.format(fields="'text'")),
        ("text,category", errors.T046_MISSING.format(fields="'label' or 'labels' or 'cats'")),
        ("text,label,labels", "'label' and 'labels' cannot all hold the labels"),
        ("text,label,text", errors.T046_TWICE.format(field="text")),
    ],
)
def test_columns_that_are_unclear(tmp_path, header, problem):
    source = write_lines(tmp_path / "train.csv", header, "a,b,c")
    with pytest.raises(ValueError, match="T046") as caught:
        convert([source], tmp_path / "out")
    assert problem in str(caught.value)


def test_a_long_cell_leaves_the_limit_of_csv_alone(tmp_path):
    source = write_lines(tmp_path / "train.csv", "text,label", f"{'a' * 200_000},x")
    before = csv.field_size_limit(1000)
    try:
        assert convert([source], tmp_path / "out").n_texts[source] == 1
        assert csv.field_size_limit() == 1000
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv"])
def test_any_field_names(tmp_path, name):
    source = tmp_path / name
    if name.endswith("csv"):
        write_lines(source, "body,label,intent", "a,1,x")
    else:
        write_jsonl(source, [{"body": "a", "label": 1, "intent": "x"}])
    assert convert([source], tmp_path / "out", text_field="body", label_field="intent").labels == ["x"]


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    maps = pyarrow.array([[("x", 0.5)], [("y", 1.0)], None], pyarrow.map_(pyarrow.string(), pyarrow.float64()))
    structs = pyarrow.array([{"x": 0.5, "y": None}, {"x": None, "y": 1.0}, None])
    for cats in (maps, structs):
        parquet.write_table(pyarrow.table({"text": ["a", "b", "c"], "cats": cats}), tmp_path / "train.parquet")
        converted = convert([tmp_path / "train.parquet"], tmp_path / "out", skip_bad=True, force=True)
        assert read_docs(tmp_path / "out" / "train.spacy") == [("a", {"x": 0.5}), ("b", {"y": 1.0})]
        assert [bad.line for bad in converted.bad_lines] == [3]
    table = pyarrow.table({"text": ["a", None], "labels": [["x", "y"], []], "n": [1, 2]})
    parquet.write_table(table, tmp_path / "dev.parquet")
    assert convert([tmp_path / "dev.parquet"], tmp_path / "out", skip_bad=True, force=True).labels == ["x", "y"]
    parquet.write_table(pyarrow.table({"text": ["a"], "label": [3]}), tmp_path / "ids.parquet")
    with pytest.raises(ValueError, match=r"ids.parquet:1: the label 3 "):
        convert([tmp_path / "ids.parquet"], tmp_path / "ids")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match=r"T047.*Parquet"):
        convert([tmp_path / "text.parquet"], tmp_path / "text")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "train.parquet").touch()
    with pytest.raises(ImportError, match=r"T081.*spacy-transfer\[parquet\]"):
        convert([tmp_path / "train.parquet"], tmp_path / "out")


def test_byte_order_mark_and_line_ends_of_windows(tmp_path):
    source = tmp_path / "train.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"text": "a", "label": "x"}\r\n\r\n{"text": "b", "label": "x"}')
    assert convert([source], tmp_path / "out").n_texts[source] == 2


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_source_is_an_error(tmp_path, content):
    (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(ValueError, match="T044"):
        convert([tmp_path / "train.jsonl"], tmp_path / "out", skip_bad=True)
    assert not (tmp_path / "out").exists()


def test_sources_that_cannot_be_meant(tmp_path):
    source = write_jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}])
    with pytest.raises(FileNotFoundError, match="T440"):
        convert([tmp_path / "dev.jsonl"], tmp_path / "out")
    (tmp_path / "train.docx").touch()
    with pytest.raises(ValueError, match=r"T041.*'\.docx'"):
        convert([tmp_path / "train.docx"], tmp_path / "out")
    with pytest.raises(ValueError, match="T048"):
        convert([source, tmp_path / "train.csv"], tmp_path / "out")
    with pytest.raises(ValueError, match="T049"):
        convert([source], tmp_path / "out", lang="tlh")
    with pytest.raises(FileExistsError, match="T045"):
        convert([source], source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.docx", "train.jsonl"]


@pytest.mark.parametrize("content", ['["x", "y", "spare"]', "x\ny\n\nspare\n"])
def test_a_given_label_set_is_held_to(tmp_path, content):
    labels = tmp_path / "given.txt"
    labels.write_text(content)
    good = write_jsonl(tmp_path / "good.jsonl", [{"text": "a", "label": "x"}])
    assert convert([good], tmp_path / "out", labels=labels).labels == ["spare", "x", "y"]
    assert read_docs(tmp_path / "out" / "good.spacy") == [("a", {"spare": 0.0, "x": 1.0, "y": 0.0})]
    assert labels.read_text() == content
    bad = write_jsonl(tmp_path / "bad.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "X"}])
    with pytest.raises(ValueError, match=r"T043.*\n.*bad.jsonl:2: the label 'X' is not in .*given.txt"):
        convert([bad], tmp_path / "other", labels=labels)


@pytest.mark.parametrize("content", ["[]", "", "{}", '["x", "x"]', "[1]", '["x"'])
def test_a_label_set_that_is_none(tmp_path, content):
    source = write_jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}])
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(ValueError, match=r"T047.*a list of labels"):
        convert([source], tmp_path / "out", labels=tmp_path / "labels.json")


def test_a_label_set_that_is_not_there_is_written_and_holds_later(tmp_path):
    labels = tmp_path / "sets" / "labels.json"
    train = write_jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": "y"}, {"text": "b", "label": "x"}])
    convert([train], tmp_path / "out", labels=labels)
    assert json.loads(labels.read_text()) == ["x", "y"]
    test = write_jsonl(tmp_path / "test.jsonl", [{"text": "a", "label": "z"}])
    with pytest.raises(ValueError, match="'z' is not in"):
        convert([test], tmp_path / "other", labels=labels)


def test_a_split_is_added_to_the_labels_of_its_folder(tmp_path):
    out = tmp_path / "out"
    train = write_jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": "y"}, {"text": "b", "label": "x"}])
    test = write_jsonl(tmp_path / "test.jsonl", [{"text": "a", "label": "x"}])
    convert([train], out, labels=out / "labels.json")
    with pytest.raises(FileExistsError, match=r"T045.*labels\.json"):
        convert([test], out)
    convert([test], out, labels=out / "labels.json")
    assert read_docs(out / "test.spacy") == [("a", {"x": 1.0, "y": 0.0})]
    assert json.loads((out / "labels.json").read_text()) == ["x", "y"]


def test_nothing_is_overwritten_without_force(tmp_path):
    out = tmp_path / "out"
    source = write_jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}])
    convert([source], out)
    before = contents(out)
    write_jsonl(source, [{"text": "b", "label": "y"}])
    with pytest.raises(FileExistsError, match=r"T045.*train\.spacy.*--force"):
        convert([source], out)
    assert contents(out) == before
    convert([source], out, force=True)
    assert read_docs(out / "train.spacy") == [("b", {"y": 1.0})]
    assert sorted(contents(out)) == ["labels.json", "train.spacy"]


@pytest.mark.parametrize("blocked", ["dev.spacy", "labels.json"])
def test_all_files_appear_or_none(tmp_path, blocked):
    out = tmp_path / "out"
    sources = [write_jsonl(tmp_path / f"{name}.jsonl", [{"text": "a", "label": "x"}]) for name in ("train", "dev")]
    convert(sources, out)
    # A folder stands where a file is to go.
    (out / blocked).unlink()
    (out / blocked).mkdir()
    before = (out / "train.spacy").read_bytes()
    write_jsonl(sources[0], [{"text": "changed", "label": "x"}])
    with pytest.raises(OSError, match="directory"):
        convert(sources, out, force=True)
    assert (out / "train.spacy").read_bytes() == before
    assert not list(out.glob(".*"))


def test_killed_at_any_rename(tmp_path, monkeypatch):
    """All files are the old ones or the new ones, once the next command has looked."""
    out, labels = tmp_path / "out", tmp_path / "sets" / "all.json"
    sources = [tmp_path / f"{name}.jsonl" for name in ("train", "dev")]

    def make(text: str) -> None:
        for source in sources:
            write_jsonl(source, [{"text": text, "label": text}])
        convert(sources, out, force=True, labels=None if labels.exists() else labels)

    make("old")
    before, n_kills = contents(out), 0
    labels.unlink()
    for _ in every_kill(monkeypatch, lambda: make("new")):
        with pytest.raises(FileExistsError, match="T045"):
            convert(sources, out)
        after = contents(out)
        texts = {read_docs(out / f"{name}.spacy")[0][0] for name in ("train", "dev")}
        assert {*json.loads((out / "labels.json").read_text()), *texts} in ({"old"}, {"new"})
        assert (labels.exists() and json.loads(labels.read_text()) == ["new"]) == (texts == {"new"})
        assert sorted(after) == ["dev.spacy", "labels.json", "train.spacy"]
        assert after == before or texts == {"new"}
        n_kills += 1
        make("old")
        labels.unlink(missing_ok=True)
    assert n_kills > 5


def test_outputs_are_neither_sources_nor_each_other(tmp_path):
    source = write_jsonl(tmp_path / "t.jsonl", [{"text": "a", "label": "x"}])
    for labels in (tmp_path / "o" / "t.spacy", tmp_path / "o" / ".." / "o" / "t.spacy", source):
        with pytest.raises(ValueError, match=r"T373|T047"):
            convert([source], tmp_path / "o", labels=labels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.jsonl"]
    assert json.loads(source.read_text()) == {"text": "a", "label": "x"}


def test_a_report_replaces_reports_alone(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    convert([tmp_path / "train.jsonl"], tmp_path)
    data, other = tmp_path / "train.spacy", tmp_path / "notes.json"
    before = data.read_bytes()
    other.write_text("{}")
    for path, code in ((data, "T373"), (other, "T376"), (tmp_path / "train.jsonl", "T376")):
        result = CliRunner().invoke(transfer_cli, ["check", str(data), "--json", str(path)])
        assert result.exit_code == 1
        assert code in result.output
    assert (data.read_bytes(), other.read_text()) == (before, "{}")
    for _ in range(2):
        CliRunner().invoke(transfer_cli, ["check", str(data), "--json", str(tmp_path / "new" / "report.json")])
    assert json.loads((tmp_path / "new" / "report.json").read_text())["findings"]


def test_a_target_has_one_owner(tmp_path):
    source = write_jsonl(tmp_path / "t.jsonl", [{"text": "a", "label": "x"}])
    told = []

    def second() -> None:
        try:
            convert([source], tmp_path / "o")
        except OSError as error:
            told.append(str(error))

    with hold_folder(tmp_path / "o"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "[T370]" in told[0]
    assert not (tmp_path / "o").exists()


def test_the_same_sources_make_the_same_bytes(tmp_path):
    source = write_jsonl(tmp_path / "train.jsonl", [{"text": text, "label": text} for text in TEXTS])
    for name in ("one", "two"):
        convert([source], tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_command(tmp_path):
    train = write_jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    dev = write_lines(tmp_path / "dev.csv", "text,label", "c,x", "d")
    status, output = run(train, dev, tmp_path / "out")
    assert status == 1
    assert "[T043]" in output
    assert f"{dev}:3: {errors.T043_COLUMNS.format(n_cells=1, n_columns=2)}" in output
    assert "Traceback" not in output
    status, output = run(train, dev, tmp_path / "out", "--skip-bad")
    assert status == 0
    assert "1 bad line(s) left out" in output
    assert "2 labels" in output
    status, output = run(train, tmp_path / "out", "--force", "--label-field", "nope", "--lang", "xx")
    assert status == 1
    assert "no label: 'nope'" in output


def test_the_group_stands_in_spacys_own_app():
    from spacy.cli._util import app

    assert "transfer" in [group.name for group in app.registered_groups]


def test_importing_the_commands_is_light():
    heavy = ["transformers", "huggingface_hub", "pyarrow", "spacy_transfer.corpora", "spacy_transfer.nn"]
    code = f"import sys, spacy_transfer.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
