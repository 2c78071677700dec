"""From files as people have them to a project that trains."""

import csv
import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
import yaml
from weasel.util import load_project_config

import spacy_transfer.cli  # noqa: F401  (adds the commands)
from house_kit.commands import run
from house_kit.slow import mostly_slow
from house_kit.texts import CARD, LABELS, LOGIN, TEXTS
from spacy_transfer.projects import plan
from spacy_transfer.projects.encoder_facts import EncoderFacts, other_language
from spacy_transfer.projects.few.candidates import candidates
from spacy_transfer.projects.init import Initialized, init
from spacy_transfer.training.search.compare import Compared

ROWS = [(text, LABELS[n % 3]) for n, text in enumerate(TEXTS)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def semicolons(folder: Path) -> Path:
    path = folder / "Meine Mails.csv"
    with path.open("w", encoding="cp1252", newline="") as file:
        csv.writer(file, delimiter=";").writerows(
            [
                ["Betreff", "Nachricht", "Kategorie"],
                *([f"Nr. {n}", f"{text} für Köln", label] for n, (text, label) in enumerate(ROWS)),
            ]
        )
    return path


def headless(folder: Path) -> Path:
    path = folder / "mails.tsv"
    path.write_text("".join(f"{label}\t{text}, please\n" for text, label in ROWS), "utf-8")
    return path


def lists(folder: Path) -> Path:
    rows = [{"utterance": text, "tags": [label, *(["late"] if "late" in text else [])]} for text, label in ROWS]
    return jsonl(folder / "lists.jsonl", rows)


def numbers(folder: Path) -> Path:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = folder / "numbers.parquet"
    columns = {"text": [text for text, _ in ROWS], "label": [LABELS.index(label) for _, label in ROWS]}
    parquet.write_table(pa.table(columns), path)
    return path


def splits(folder: Path) -> Path:
    made = folder / "given"
    jsonl(made / "my_train.jsonl", [{"text": text, "label": label} for text, label in ROWS[:18]])
    jsonl(made / "my_test.jsonl", [{"text": text, "label": label} for text, label in ROWS[18:]])
    (made / "labels.json").write_text(json.dumps(LABELS), "utf-8")
    return made


def workbook(folder: Path) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [("Question", "Intent"), *ROWS]:
        book.active.append(row)
    book.save(folder / "book.xlsx")
    return folder / "book.xlsx"


SHAPES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "semicolons, cp1252": (semicolons, {"text_field": "Nachricht", "label_field": "Kategorie"}),
    "no header": (headless, {}), "lists of labels": (lists, {}), "numbers for labels": (numbers, {}),
    "a folder of splits": (splits, {}), "a workbook": (workbook, {}),
}  # fmt: skip


def commands(folder: Path) -> Iterator[list[str]]:
    """What the project runs, `spacy package` aside, which takes a process."""
    config = yaml.safe_load((folder / "project.yml").read_text("utf-8"))
    assert load_project_config(folder)["title"] == config["title"]
    named = {command["name"]: command for command in config["commands"]}
    for step in config["workflows"]["all"]:
        for line in named[step]["script"]:
            for name, value in config["vars"].items():
                line = line.replace(f"${{vars.{name}}}", str(value))
            if " package " not in line:
                assert line.startswith("python -m spacy ")
                yield shlex.split(line)[3:]


@pytest.mark.parametrize("shape", mostly_slow(SHAPES, but=["lists of labels"]))
def test_the_project_trains_whatever_the_file_looks_like(
    shape: str, tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, options = SHAPES[shape]
    folder = tmp_path / "project"
    recipe = "multilabel" if write is lists else "half_frozen"
    made = init(write(tmp_path), folder, encoder=str(bert), recipe=recipe, **options)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.cfg",
        "data",
        "init.json",
        "project.yml",
    ]
    assert sum(made.n_texts.values()) == len(ROWS)
    assert all(made.n_texts.values())
    wanted = {"lists of labels": [*LABELS[:1], "late", *LABELS[1:]], "numbers for labels": ["0", "1", "2"]}
    assert made.labels == wanted.get(shape, LABELS)
    # A few steps are enough to see that it does.
    config = (folder / "config.cfg").read_text("utf-8").replace(f"max_epochs = {made.n_epochs}", "max_epochs = 2")
    (folder / "config.cfg").write_text(config, "utf-8")
    monkeypatch.chdir(folder)
    for command in commands(folder):
        # What comes after the training is the same for all of them.
        if write in (lists, semicolons) or command[1] in ("convert", "check", "train"):
            run(*command)
    nlp = spacy.load(folder / "training" / "model-best")
    assert sorted(nlp("my card is lost").cats) == sorted(made.labels)
    if write not in (lists, semicolons):
        return
    assert (folder / "report.html").is_file()
    assert srsly.read_json(folder / "metrics" / "test.json")["n_docs"] == made.n_texts["test"]
    answers = list(srsly.read_jsonl(folder / "predictions" / "predictions.jsonl"))
    assert {row["predicted_label"] for row in answers} <= set(made.labels)


def plain(path: Path, rows: list[tuple[str, str]] | None = None) -> Path:
    return jsonl(path, [{"text": text, "label": label} for text, label in (ROWS if rows is None else rows)])


def quick(data: Path, folder: Path, bert: Path, **options: Any) -> Initialized:
    return init(data, folder, encoder=str(bert), **{"recipe": "linear_probe", **options})


def test_every_choice_has_its_reason_in_the_readme_and_nothing_else_is_needed(tmp_path: Path, bert: Path) -> None:
    made = quick(plain(tmp_path / "mails.jsonl"), tmp_path / "project", bert)
    text = (tmp_path / "project" / "README.md").read_text("utf-8")
    assert {choice.what for choice in made.choices} >= {
        "labels",
        "splits",
        "language",
        "encoder",
        "window",
        "recipe",
        "length",
    }
    for choice in made.choices:
        assert choice.value in text
        assert choice.reason in text
    kept = srsly.read_json(tmp_path / "project" / "init.json")
    assert kept["n_texts"] == made.n_texts == {"train": 18, "dev": 3, "test": 3}


def test_the_same_data_give_the_same_project(tmp_path: Path, bert: Path) -> None:
    data = plain(tmp_path / "mails.jsonl")
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        quick(data, folder, bert)
    for name in ("config.cfg", "project.yml", "README.md", "data/train.jsonl", "data/test.jsonl"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_near_duplicates_stay_on_one_side(tmp_path: Path, bert: Path) -> None:
    rows = [(f"{text}{mark}", label) for text, label in ROWS for mark in ("", "!")]
    quick(plain(tmp_path / "mails.jsonl", rows), tmp_path / "p", bert, dev_share=0.25, test_share=0.25)
    parts = {
        part: {row["text"].rstrip("!") for row in srsly.read_jsonl(tmp_path / "p" / "data" / f"{part}.jsonl")}
        for part in ("train", "dev", "test")
    }
    assert not parts["train"] & parts["dev"]
    assert not parts["train"] & parts["test"]
    assert not parts["dev"] & parts["test"]


@pytest.mark.slow
def test_few_texts_are_compared_and_the_table_is_shown(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared(configs: dict[str, Any], docs: list[Any], folds: list[int], **_: Any) -> list[Compared]:
        # So few that none is spared for dev.
        assert len(docs) == len(folds) == 21
        assert set(folds) == {0, 1, 2}
        return [Compared(name, 0.5, [0.4, 0.5, 0.6], 18, 1.0) for name in configs]

    monkeypatch.setattr(plan, "compare_recipes", compared)
    monkeypatch.setattr(plan, "time_updates", lambda *_, **__: 1e-3)
    made = quick(plain(tmp_path / "mails.jsonl"), tmp_path / "p", bert, recipe="auto")
    assert made.compared[0].name == f"{made.recipe} + label texts"
    assert {one.name for one in made.compared} == {one.name for one in candidates(LABELS, {})}
    assert {path.name for path in (tmp_path / "p" / "candidates").iterdir()} == {
        one.file for one in candidates(LABELS, {})
    }
    assert set(made.n_texts) == {"train", "test"}
    project = yaml.safe_load((tmp_path / "p" / "project.yml").read_text("utf-8"))
    steps = {one["name"]: one for one in project["commands"]}
    assert steps["train"]["outputs"] == ["training/model-last"]
    assert "choose candidates --train corpus/train.spacy" in steps["choose"]["script"][0]
    assert not any("dev" in line for one in steps.values() for line in one["script"])
    # The project runs without dev, and may choose again.
    for name in ("config.cfg", "candidates/few_contrastive_label_texts.cfg"):
        text = (tmp_path / "p" / name).read_text("utf-8").replace(f"max_epochs = {made.n_epochs}", "max_epochs = 1")
        (tmp_path / "p" / name).write_text(text, "utf-8")
    for name in ("few_contrastive", "probe_then_tune"):
        (tmp_path / "p" / "candidates" / f"{name}.cfg").unlink()
    monkeypatch.chdir(tmp_path / "p")
    for command in commands(tmp_path / "p"):
        if command[1] in ("convert", "check", "train", "evaluate"):
            run(*command)
    assert srsly.read_json("metrics/test.json")["n_docs"] == made.n_texts["test"]
    before = Path("config.cfg").read_bytes()
    run("transfer", "choose", "candidates", "--train", "corpus/train.spacy", "--output", "config.cfg", "--folds", "2")
    assert before in [path.read_bytes() for path in Path("candidates").iterdir()]
    assert Path("config.cfg").read_bytes() in [path.read_bytes() for path in Path("candidates").iterdir()]
    assert "What was compared" in (tmp_path / "p" / "README.md").read_text("utf-8")


# ---- the folder --------------------------------------------------------------------------------------------------


def test_a_folder_that_is_there_is_only_replaced_if_it_is_such_a_project(tmp_path: Path, bert: Path) -> None:
    data, folder = plain(tmp_path / "mails.jsonl"), tmp_path / "p"
    quick(data, folder, bert)
    with pytest.raises(FileExistsError, match="T610"):
        quick(data, folder, bert)
    quick(data, folder, bert, force=True, lang="de")
    assert 'lang = "de"' in (folder / "config.cfg").read_text("utf-8")
    (folder / "mine.txt").write_text("", "utf-8")
    with pytest.raises(FileExistsError, match=r"T611.*mine\.txt"):
        quick(data, folder, bert, force=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("", "utf-8")
    with pytest.raises(FileExistsError, match="T611"):
        quick(data, other, bert, force=True)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
    (folder / "mine.txt").unlink()
    with pytest.raises(FileExistsError, match=r"T611.*holds the data"):
        quick(folder / "data" / "train.jsonl", folder, bert, force=True)


def test_what_is_refused_leaves_nothing(tmp_path: Path, bert: Path) -> None:
    with pytest.raises(ValueError, match="T617"):
        quick(plain(tmp_path / "mails.jsonl"), tmp_path / "p", bert, recipe="full", budget=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == ["mails.jsonl"]


def test_without_texts_to_evaluate_on_there_is_no_project(tmp_path: Path, bert: Path) -> None:
    data = plain(tmp_path / "mails.jsonl")
    for dev_share in (None, 0.0, 0.2):
        with pytest.raises(ValueError, match=r"T622.*test_share = 0"):
            quick(data, tmp_path / "p", bert, test_share=0.0, dev_share=dev_share)
    assert not (tmp_path / "p").exists()
    # With a file for them no share is needed.
    for part, rows in (("train", ROWS[:18]), ("test", ROWS[18:])):
        plain(tmp_path / "d" / f"{part}.jsonl", rows)
    for dev_share, sizes in ((0.2, {"train": 15, "dev": 3, "test": 6}), (0.0, {"train": 18, "test": 6})):
        made = quick(tmp_path / "d", tmp_path / "p", bert, test_share=0.0, dev_share=dev_share, force=True)
        assert made.n_texts == sizes
    (split,) = (choice for choice in made.choices if choice.what == "splits")
    assert split.reason == "as the files are named; no dev: as asked for"
    made = quick(data, tmp_path / "q", bert, dev_share=0.0)
    assert "no dev: as asked for" in next(choice.reason for choice in made.choices if choice.what == "splits")


def test_what_the_readme_says_to_run_leaves_a_project_that_can_be_replaced(tmp_path: Path, bert: Path) -> None:
    data, folder = plain(tmp_path / "mails.jsonl"), tmp_path / "p"
    quick(data, folder, bert)
    text = (folder / "README.md").read_text("utf-8")
    for place in re.findall(r"--output (\S+)", text):
        (folder / place).mkdir(parents=True)
    assert (folder / "training" / "seeds").is_dir()
    quick(data, folder, bert, force=True)


# ---- bad data ----------------------------------------------------------------------------------------------------


def test_one_text_a_label_or_one_label_is_too_little(tmp_path: Path, bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T615.*3 texts.*'card' 1"):
        quick(plain(tmp_path / "a.jsonl", ROWS[:3]), tmp_path / "p", bert)
    with pytest.raises(ValueError, match=r"(?s)T618.*only label is 'card'"):
        quick(plain(tmp_path / "b.jsonl", [(text, "card") for text in TEXTS]), tmp_path / "p", bert)


def test_a_label_without_a_training_text_is_refused(tmp_path: Path, bert: Path) -> None:
    plain(tmp_path / "d" / "train.jsonl")
    plain(tmp_path / "d" / "test.jsonl", [("i am happy", "happy"), ("the box is broken", "card")])
    with pytest.raises(ValueError, match=r"(?s)T618.*cannot be learned: happy"):
        quick(tmp_path / "d", tmp_path / "p", bert)


def test_leaks_and_contradictions_are_counted_and_told(tmp_path: Path, bert: Path) -> None:
    plain(tmp_path / "d" / "train.jsonl", [*ROWS, (TEXTS[0], "money")])
    plain(tmp_path / "d" / "test.jsonl", [(CARD[1], "card"), (LOGIN[1].upper(), "login"), ("a new text", "money")])
    made = quick(tmp_path / "d", tmp_path / "p", bert)
    found = {one.code: one.message for one in made.findings}
    assert found["overlap"].startswith("2 text(s) in test are also in train")
    assert found["contradiction"].startswith("1 text(s)")
    assert found["overlap"] in (tmp_path / "p" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("names", "reason"),
    [(["a.jsonl", "b.jsonl"], "do not say"), (["dev.jsonl", "test.jsonl"], "called train"),
     (["train.jsonl", "train_2.jsonl"], "several are called"), (["train.jsonl", "b.jsonl"], "b.jsonl do not say")],
)  # fmt: skip
def test_files_whose_part_is_unclear_are_refused(tmp_path: Path, bert: Path, names: list[str], reason: str) -> None:
    paths = [plain(tmp_path / name) for name in names]
    with pytest.raises(ValueError, match=f"T612.*{reason}"):
        init(paths, tmp_path / "p", encoder=str(bert))


@pytest.mark.parametrize("parts", [("",), ("train", "test"), ("neg", "train", "valid")])
def test_folders_of_text_files_by_label_are_read(tmp_path: Path, bert: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        for n, (text, label) in enumerate(ROWS):
            file = tmp_path / "d" / part / label / f"{n}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text} {part}", "utf-8")
    made = quick(tmp_path / "d", tmp_path / "p", bert)
    assert made.labels == sorted(LABELS)
    assert any("a folder for each of 3 labels" in note for note in made.notes)
    own = {"": "train", "train": "train", "test": "test", "valid": "dev"}
    for part in set(parts) & set(own):
        rows = [json.loads(line) for line in (tmp_path / "p" / "data" / f"{own[part]}.jsonl").open(encoding="utf-8")]
        assert all((row["text"].removesuffix(f" {part}"), row["label"]) in ROWS for row in rows)


def test_an_encoder_of_another_language_is_said(tmp_path: Path) -> None:
    facts = EncoderFacts("sentence-transformers/all-MiniLM-L6-v2", tmp_path, "sentence encoder", 6, 384, 1, 256, "")
    assert "trained on texts in 'en' and these are in 'de'" in other_language(facts, "de")
    assert not other_language(facts, "en")
    assert not other_language(facts, "xx")
    assert not other_language(replace(facts, name="mine"), "de")


@pytest.mark.parametrize("names", [["pos/1.txt"], ["train.txt", "test.txt"], [f"{n}.txt" for n in range(9)]])
def test_text_files_that_name_no_labels_are_refused(tmp_path: Path, bert: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text("a text\n" * (1 if name[0].isdigit() else 9), "utf-8")
    with pytest.raises(FileNotFoundError, match=r"T880.*one table with a column of texts"):
        init(tmp_path / "d", tmp_path / "p", encoder=str(bert))
    with pytest.raises(FileNotFoundError, match="T440"):
        init(tmp_path / "e", tmp_path / "p", encoder=str(bert))


@pytest.mark.parametrize(
    ("options", "error"),
    [({"recipe": "best"}, "T616"), ({"recipe": "multilabel"}, "T616"), ({"budget": "soon"}, "T617"),
     ({"dev_share": 1.5}, "T005"), ({"lang": "qq"}, "T049")],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(tmp_path: Path, bert: Path, options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        quick(plain(tmp_path / "a.jsonl"), tmp_path / "p", bert, **options)


def test_the_command_says_what_was_chosen(tmp_path: Path, bert: Path) -> None:
    plain(tmp_path / "a.jsonl")
    shown = run(
        "transfer",
        "init",
        tmp_path / "a.jsonl",
        tmp_path / "p",
        "--encoder",
        bert,
        "--recipe",
        "frozen",
        "--lang",
        "en",
    )
    assert "recipe: frozen" in shown
    assert f"python -m spacy project run all {tmp_path / 'p'}" in shown.replace("\n", " ")
