"""The folder in which an update works: whose it is, and what it is resumed with."""

import json
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import DocBin

from house_kit.pipelines import pipeline
from house_kit.runs import everything, killed_at
from house_kit.texts import LABELS, TEXTS
from spacy_transfer.training.output.marker import Kind, Marker
from spacy_transfer.training.updating.update import Updating, update_pipeline

NEW = ["when can you help", "how and when please", "can it be when", "when is this and that", "when and how is it"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def known(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("known") / "pipeline"
    pipeline(bert).to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("new") / "new.jsonl", [{"text": text, "label": "question"} for text in NEW])


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"text": text, "label": LABELS[i % 3]} for i, text in enumerate(TEXTS)]
    return write(tmp_path_factory.mktemp("old") / "old.jsonl", rows)


def update(known: Path, new: Path, folder: Path, **options: Any) -> Path:
    chosen = {"plan": Updating(epochs=1), "max_forgetting": 1.0, **options}
    return update_pipeline(known, new, folder / "more", work=folder / "work", **chosen).folder


@pytest.mark.parametrize("kind", [None, "run", "study", "pretraining", "self-training"])
def test_what_another_command_wrote_is_refused_and_stays(
    known: Path, new: Path, old: Path, tmp_path: Path, kind: Kind | None
) -> None:
    work = tmp_path / "work"
    for name in ("checkpoints", "model-best", "start"):
        (work / name).mkdir(parents=True)
        (work / name / "notes").write_text("theirs")
    for name in ("config.cfg", "result.json"):
        (work / name).write_text("theirs")
    if kind is not None:
        Marker.write(work, kind)
    before = everything(work)
    code = "T371" if kind is None else "T380"
    with pytest.raises(
        FileExistsError, match=f"{code}.*start, config.cfg, checkpoints, result.json, model-best.*--force"
    ):
        update(known, new, tmp_path, replay=old)
    assert everything(work) == before
    update(known, new, tmp_path, replay=old, force=True)
    assert b"theirs" not in everything(work).values()
    # Of an update that was killed before it could be resumed, nothing would be lost.
    (work / "update.json").unlink()
    (tmp_path / "more").rename(tmp_path / "before")
    update(known, new, tmp_path, replay=old)


def test_other_attributes_of_texts_are_not_resumed(
    known: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = spacy.blank("xx")
    docs = [nlp(text) for text in TEXTS]
    for i, doc in enumerate(docs):
        doc.cats = {LABELS[i % 3]: 1.0}
    replay = tmp_path / "old.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(replay)
    with killed_at(monkeypatch, 0):
        update(known, new, tmp_path, replay=replay)
    docs[0].user_data["price"] = 3.0
    DocBin(docs=docs, store_user_data=True).to_disk(replay)
    with pytest.raises(ValueError, match=r"T167[\s\S]*replay texts"):
        update(known, new, tmp_path, replay=replay, resume=True)


@pytest.mark.filterwarnings("ignore:.*T346")
def test_another_classifier_is_not_resumed(
    known: Path, bert: Path, new: Path, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = spacy.load(known)
    nlp.add_pipe(nlp.pipe_names[0], name="other", source=pipeline(bert, seed=1))
    nlp.to_disk(tmp_path / "both")
    with killed_at(monkeypatch, 0):
        update(tmp_path / "both", new, tmp_path, replay=old, component="transfer_textcat")
    with pytest.raises(ValueError, match=r"T167[\s\S]*classifier: 'transfer_textcat' then, 'other' now"):
        update(tmp_path / "both", new, tmp_path, replay=old, component="other", resume=True)


# ---- settings and columns ------------------------------------------------------------------------------------------


def test_settings_out_of_range_are_refused() -> None:
    """No epochs at all would be a training without end."""
    for settings in (
        {"epochs": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"frozen_depth": -2}, {"keep": 1.5}, {"keep_old": -0.1},
        {"most_repeats": 0}, {"held_share": 1.0}, {"seed": -1},
    ):  # fmt: skip
        (name,) = settings
        with pytest.raises(ValueError, match=f"T005.*update: {name}"):
            Updating(**settings)


def test_settings_without_effect_are_said(
    known: Path, new: Path, old: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = Updating(epochs=1, rate=1e-3)
    update(known, new, tmp_path, plan=plan, new_test=new, max_forgetting=None)
    assert "T736" in caplog.text
    assert "--epochs, --rate have no effect" in caplog.text
    caplog.clear()
    # These train, though there are no old texts either; and here nothing was set.
    for number, (texts, chosen) in enumerate([(old, plan), (new, Updating())]):
        (tmp_path / str(number)).mkdir()
        update(known, texts, tmp_path / str(number), plan=chosen, new_test=texts, max_forgetting=None)
    assert "T736" not in caplog.text


def test_the_column_of_texts_without_labels_is_found_in_each_file(known: Path, new: Path, tmp_path: Path) -> None:
    raw = [
        write(tmp_path / "raw.jsonl", [{"id": i, "message": f"{text} please"} for i, text in enumerate(TEXTS[:6])]),
        tmp_path / "raw.tsv",
        tmp_path / "raw.txt",
    ]
    raw[1].write_text("Kunde\tFrage\n" + "".join(f"{i}\t{text} now\n" for i, text in enumerate(TEXTS[6:12])), "utf-8")
    raw[2].write_text("\n".join(TEXTS[12:]), "utf-8")
    done = update_pipeline(known, new, tmp_path / "more", texts=raw, work=tmp_path / "work", plan=Updating(epochs=1))
    docs = DocBin().from_disk(tmp_path / "work" / "texts" / "train.spacy").get_docs(spacy.blank("xx").vocab)
    wanted = {f"{t} please" for t in TEXTS[:6]} | {f"{t} now" for t in TEXTS[6:12]} | set(TEXTS[12:])
    assert {doc.text for doc in docs} - set(NEW) == wanted
    assert f"{raw[0]}: texts: column 'message', by its name" in done.notes
    assert f"{raw[1]}: texts: column 'Frage', the only one that holds texts" in done.notes
    unclear = write(tmp_path / "unclear.jsonl", [{"review": text, "comment": f"{text} now"} for text in TEXTS[:4]])
    with pytest.raises(ValueError, match=r"T613.*unclear.jsonl.*--text-field"):
        update_pipeline(known, new, tmp_path / "another", texts=[unclear])
