"""From texts without labels to a pipeline and a first batch to annotate."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import spacy
import yaml
from weasel.util import load_project_config

from house_kit.commands import run
from house_kit.texts import CARD, LABELS, LOGIN, MONEY, TEXTS
from spacy_transfer import init, zero_shot
from spacy_transfer.projects.unlabeled.label_file import read_label_file

MEANINGS = {"card": ["card", "lost card"], "login": "login, password", "money": ["money", "refund", "bill"]}


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), "utf-8")
    return path


def raw(path: Path, texts: list[str] = TEXTS) -> Path:
    path.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return path


def test_a_project_of_raw_texts_classifies_and_says_what_to_annotate(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = write(tmp_path / "labels.json", MEANINGS)
    source = raw(tmp_path / "mails.txt", [*TEXTS, TEXTS[0].upper(), ""])
    folder = tmp_path / "project"
    shown = run("transfer", "init", source, folder, "--labels", labels, "--encoder", bert, "--annotate", 9)
    assert "to_annotate.jsonl" in shown
    nlp = spacy.load(folder / "zero_shot")
    for doc in nlp.pipe(TEXTS):
        assert set(doc.cats) == set(LABELS)
        assert sum(doc.cats.values()) == pytest.approx(1.0, abs=1e-5)
    rows = [json.loads(line) for line in (folder / "data" / "to_annotate.jsonl").read_text("utf-8").splitlines()]
    assert len({row["text"] for row in rows}) == len(rows) == 9
    for row in rows:
        cats = nlp(row["text"]).cats
        assert row["label"] == ""
        assert row["suggestion"] == max(cats, key=lambda label: cats[label])
        assert row["score"] == pytest.approx(max(cats.values()), abs=1e-3)
    # A text in other letters is the same text.
    assert json.loads((folder / "init.json").read_text("utf-8"))["n_texts"] == len(TEXTS)
    assert "1 of 25 texts" in (folder / "README.md").read_text("utf-8")
    config = yaml.safe_load((folder / "project.yml").read_text("utf-8"))
    assert load_project_config(folder)["title"] == "mails"
    monkeypatch.chdir(folder)
    (line,) = config["commands"][0]["script"]
    for name, value in config["vars"].items():
        line = line.replace(f"${{vars.{name}}}", str(value))
    run(*shlex.split(line)[3:])
    answers = (folder / "predictions" / "predictions.jsonl").read_text("utf-8").splitlines()
    assert len(answers) == len(TEXTS)


def test_annotated_texts_become_a_project_that_trains(tmp_path: Path, bert: Path) -> None:
    labels = write(tmp_path / "labels.json", LABELS)
    zero_shot(raw(tmp_path / "mails.txt"), labels, tmp_path / "one", encoder=str(bert), n_annotate=24)
    place = tmp_path / "one" / "data" / "to_annotate.jsonl"
    rows = [json.loads(line) for line in place.read_text("utf-8").splitlines()]
    for row in rows:
        text = row["text"]
        row["label"] = "card" if text in CARD else "login" if text in LOGIN else "money" if text in MONEY else ""
    rows[0]["label"] = ""
    place.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    made = init(place, tmp_path / "two", encoder=str(bert), recipe="half_frozen", skip_bad=True)
    assert made.labels == LABELS
    assert sum(made.n_texts.values()) == len(rows) - 1


def test_the_project_trains_on_the_annotations_alone_with_its_encoder_and_language(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tmp_path / "an encoder"
    shutil.copytree(bert, encoder)
    labels, folder = write(tmp_path / "labels.json", LABELS), tmp_path / "one"
    zero_shot(raw(tmp_path / "mails.txt"), labels, folder, encoder=str(encoder), lang="de", n_annotate=24)
    config = load_project_config(folder)
    (line,) = next(one["script"] for one in config["commands"] if one["name"] == "train")
    monkeypatch.chdir(folder)
    command = [*shlex.split(line)[3:], "--recipe", "linear_probe"]
    # Nobody has annotated anything: what the classifier guessed is no label.
    assert "T044" in run(*command, code=1)
    place = folder / "data" / "to_annotate.jsonl"
    rows = [json.loads(line) for line in place.read_text("utf-8").splitlines()]
    own = {text: f"my {name}" for name, texts in (("a", TEXTS[:7]), ("b", TEXTS[7:15])) for text in texts}
    place.write_text("".join(json.dumps(row | {"label": own.get(row["text"], "")}) + "\n" for row in rows), "utf-8")
    run(*command)
    made = json.loads((folder / "trained" / "init.json").read_text("utf-8"))
    assert made["labels"] == ["my a", "my b"]
    assert sum(made["n_texts"].values()) == len(own)
    chosen = {choice["what"]: choice["value"] for choice in made["choices"]}
    assert (chosen["language"], chosen["encoder"]) == ("de", str(encoder))


def test_the_column_of_the_texts_is_found(tmp_path: Path, bert: Path) -> None:
    labels = write(tmp_path / "labels.json", LABELS)
    table = tmp_path / "mails.csv"
    table.write_text("id;message\n" + "".join(f"{i};{text}\n" for i, text in enumerate(TEXTS)), "utf-8")
    made = zero_shot(table, labels, tmp_path / "one", encoder=str(bert))
    assert any("message" in note for note in made.notes)
    assert made.n_texts == len(TEXTS)
    # Three labels: no more than there are texts.
    assert 1 <= made.n_chosen <= len(TEXTS)
    # The first row is a text, too, where there is no header.
    table.write_text("".join(f"inbox;{text}\n" for text in TEXTS), "utf-8")
    made = zero_shot(table, labels, tmp_path / "two", encoder=str(bert))
    assert made.n_texts == len(TEXTS)
    assert any("no header" in note for note in made.notes)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("x", "T686"), (["one"], "T686"), ([1, 2], "T686"), ({"a": 1, "b": "x"}, "T686"), (["", "b"], "T686"),
        (["17", "18"], "T686"),
        (["refund", "refund"], "T687"), (["Refund", "refund"], "T687"), (["late_order", "late order"], "T687"),
        ({"a": "the same", "b": ["The  same"]}, "T687"), ({"late": "slow", "slow": "late"}, "T687"),
    ],
)  # fmt: skip
def test_labels_that_say_nothing_or_the_same_are_refused(given: object, code: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=code):
        read_label_file(write(tmp_path / "labels.json", given))


def test_what_cannot_be_is_refused(tmp_path: Path, bert: Path) -> None:
    labels, source = write(tmp_path / "labels.json", LABELS), raw(tmp_path / "mails.txt")
    with pytest.raises(ValueError, match="T688"):
        zero_shot(raw(tmp_path / "few.txt", TEXTS[:5]), labels, tmp_path / "one", encoder=str(bert))
    (tmp_path / "bad.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match="T686"):
        zero_shot(source, tmp_path / "bad.json", tmp_path / "one", encoder=str(bert))
    with pytest.raises(FileNotFoundError, match="T440"):
        zero_shot(source, tmp_path / "none.json", tmp_path / "one", encoder=str(bert))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("", "utf-8")
    with pytest.raises(FileExistsError, match="T611"):
        zero_shot(source, labels, tmp_path / "full", encoder=str(bert), force=True)
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--labels", "l.json", "--budget", "1m"], "T689.*--budget"),
        (["--labels", "l.json", "--label-texts", "t.json"], "T689.*--label-texts"),
        (["--labels", "l.json", "--dev-share", "0.1"], "T689.*--dev-share"),
        (["--labels", "l.json", "--test-share", "0.1"], "T689.*--test-share"),
        (["--annotate", "20"], "T690.*--annotate.*--labels"),
    ],
)  # fmt: skip
def test_options_that_would_do_nothing_are_refused(options: list[str], code: str, tmp_path: Path) -> None:
    said = run("transfer", "init", raw(tmp_path / "m.txt"), tmp_path / "o", *options, code=1)
    assert re.search(code, " ".join(said.split()))
    assert not (tmp_path / "o").exists()
