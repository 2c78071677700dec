"""`spacy transfer update`: a trained pipeline learns new texts and labels and keeps what it knows."""

import json
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin

from house_kit.commands import run
from house_kit.pipelines import moved, pipeline, scores_of, weights_of
from house_kit.runs import files_of, killed_at
from house_kit.shared import shared_pipeline
from house_kit.texts import LABELS, TEXTS, exclusive_examples, multilabel_examples
from spacy_transfer.errors import T733
from spacy_transfer.nn.losses import CrossEntropy
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.linear_probe import fit
from spacy_transfer.training.updating.new_rows import _lead
from spacy_transfer.training.updating.update import Updating, update_pipeline

NEW = ["when can you help", "how and when please", "can it be when", "when is this and that", "when and how is it"]
LABEL = "question"
PLAN = Updating(epochs=15, rate=5e-3)
SHORT = Updating(epochs=1)
Rows = list[dict[str, Any]]


def write(path: Path, rows: Rows) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def train(bert: Path, folder: Path, *, multilabel: bool) -> Path:
    nlp = pipeline(bert, multilabel=multilabel, tuning={"frozen_depth": 0})
    examples = (multilabel_examples if multilabel else exclusive_examples)(nlp)
    sgd = AdamW(learn_rate=3e-3)
    for _ in range(12):
        nlp.update(examples, sgd=sgd)
    nlp.to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def known(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained pipeline; nobody changes it."""
    return train(bert, tmp_path_factory.mktemp("known") / "pipeline", multilabel=False)


@pytest.fixture(scope="module")
def any_number(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for any number of labels."""
    return train(bert, tmp_path_factory.mktemp("any") / "pipeline", multilabel=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Texts of every kind."""
    folder = tmp_path_factory.mktemp("texts")
    return {
        "new": write(folder / "new.jsonl", [{"text": text, "label": LABEL} for text in NEW]),
        "old": write(folder / "old.jsonl", [{"text": t, "label": LABELS[i % 3]} for i, t in enumerate(TEXTS)]),
        "lists": write(folder / "lists.jsonl", [
            *({"text": text, "labels": [LABEL]} for text in NEW), {"text": "the price is late", "labels": []},
        ]),
        "raw": write(folder / "raw.jsonl", [{"text": f"{text} please"} for text in TEXTS]),
    }  # fmt: skip


# ---- what comes of it ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def updated(known: Path, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """An update with old texts, and its folder of work."""
    folder = tmp_path_factory.mktemp("updated")
    done = update_pipeline(
        known, files["new"], folder / "more", replay=files["old"], old_test=files["old"], new_test=files["new"],
        max_forgetting=1.0, plan=PLAN, work=folder / "work",
    )  # fmt: skip
    return done, folder / "work"


def test_the_new_label_is_learned_and_the_old_pipeline_is_as_it_was(updated: tuple[Any, Path], known: Path) -> None:
    done, work = updated
    before, after = spacy.load(known), spacy.load(done.folder)
    name = before.pipe_names[0]
    assert list(after.get_pipe(name).labels) == [*LABELS, LABEL]
    assert list(before.get_pipe(name).labels) == LABELS
    assert after.config["components"] == before.config["components"]
    assert done.labels == [LABEL]
    # Measured: 0.29 against 0.08.
    assert scores_of(after, NEW)[:, 3].mean() > 1.5 * scores_of(after, TEXTS)[:, 3].mean()
    # The lower half of the three layers, which was not frozen in the training before.
    changed = moved(weights_of(before), {k: v[:3] if "head" in k else v for k, v in weights_of(after).items()})
    assert changed
    assert not [one for one in changed if "embeddings" in one or "layer.0." in one]
    assert (work / "config.cfg").read_text("utf-8").startswith("# An update of")


def test_scores_before_and_after_are_those_of_the_pipelines(updated: tuple[Any, Path], known: Path) -> None:
    done, _ = updated
    for measured, folder in ((done.before[0], known), (done.after[0], done.folder)):
        right = scores_of(spacy.load(folder), TEXTS).argmax(dim=1) == torch.arange(len(TEXTS)) % 3
        assert (measured.n_texts, measured.measure) == (len(TEXTS), "accuracy")
        assert measured.score == pytest.approx(float(right.double().mean()))
    assert done.before[1].score is None or done.before[1].score == 0
    first = done.by_label[0]
    assert (first.label, first.is_new, first.n_texts, first.before) == (LABEL, True, len(NEW), None)
    assert {one.label for one in done.by_label} == {*LABELS, LABEL}


@pytest.mark.slow
def test_a_killed_update_is_resumed_to_the_same_weights(
    updated: tuple[Any, Path], known: Path, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, _ = updated
    options: dict[str, Any] = {
        "replay": files["old"], "old_test": files["old"], "new_test": files["new"], "max_forgetting": 1.0,
        "plan": PLAN, "checkpoint_every": "1",
    }  # fmt: skip
    target = tmp_path / "more"
    with killed_at(monkeypatch, 2):
        update_pipeline(known, files["new"], target, **options)
    assert not target.exists()
    with pytest.raises(ValueError, match=r"T728.*--resume"):
        update_pipeline(known, files["new"], target, **options)
    others = write(tmp_path / "others.jsonl", [{"text": "my card please", "label": "card"}])
    with pytest.raises(ValueError, match=r"T167[\s\S]*replay texts"):
        update_pipeline(known, files["new"], target, **{**options, "replay": others}, resume=True)
    update_pipeline(known, files["new"], target, **options, resume=True)
    assert files_of(target) == files_of(done.folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more", "others.jsonl"]


def test_without_old_texts_its_own_scores_are_what_it_learns(
    any_number: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    done = update_pipeline(any_number, files["lists"], tmp_path / "more", texts=[files["raw"]], plan=SHORT, work=work)
    before = spacy.load(any_number)
    learned = {doc.text: doc.cats for doc in DocBin().from_disk(work / "texts" / "train.spacy").get_docs(before.vocab)}
    for text, cats in learned.items():
        own = before(text).cats
        # Annotated are the new label, and nothing else.
        assert cats[LABEL] == (1.0 if text in NEW else cats[LABEL])
        assert {label: cats[label] for label in own} == pytest.approx(own, abs=1e-5)
    assert cats_of(spacy.load(done.folder), NEW[0]) >= {LABEL}


def test_an_old_text_teaches_its_label_and_half_of_what_the_pipeline_said(
    updated: tuple[Any, Path], known: Path
) -> None:
    _, work = updated
    before = spacy.load(known)
    learned = {doc.text: doc.cats for doc in DocBin().from_disk(work / "texts" / "train.spacy").get_docs(before.vocab)}
    for i, text in enumerate(TEXTS):
        own = {**before(text).cats, LABEL: 0.0}
        expected = {label: 0.5 * value + 0.5 * (label == LABELS[i % 3]) for label, value in own.items()}
        assert {label: learned[text].get(label, 0.0) for label in own} == pytest.approx(expected, abs=1e-3)


def test_a_text_without_labels_is_an_old_one_unless_the_probe_says_new(
    known: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    raw = write(tmp_path / "raw.jsonl", [{"text": f"{text} please"} for text in (*TEXTS, *NEW)])
    work = tmp_path / "work"
    update_pipeline(known, files["new"], tmp_path / "more", texts=[raw], plan=SHORT, work=work)
    before, start = spacy.load(known), spacy.load(work / "start")
    learned = {doc.text: doc.cats for doc in DocBin().from_disk(work / "texts" / "train.spacy").get_docs(before.vocab)}
    n_old = 0
    for text in (f"{text} please" for text in (*TEXTS, *NEW)):
        own, probed = {**before(text).cats, LABEL: 0.0}, start(text).cats
        seems_new = probed[LABEL] > 0.5
        n_old += not seems_new
        expected = probed if seems_new else own
        assert {label: learned[text].get(label, 0.0) for label in own} == pytest.approx(expected, abs=1e-3)
    assert n_old


@pytest.mark.parametrize(("n_new", "most", "expected"), [(5, 4, 1), (40, 1, 1), (40, 3, 3), (40, 9, 4)])
def test_few_old_texts_are_seen_as_often_as_new_labels_ask(
    known: Path, tmp_path: Path, n_new: int, most: int, expected: int
) -> None:
    # Ten of each old label.
    raw = write(tmp_path / "raw.jsonl", [{"text": f"{TEXTS[i % len(TEXTS)]} {i}"} for i in range(30)])
    new = write(tmp_path / "new.jsonl", [{"text": f"{NEW[i % 5]} {i}", "label": LABEL} for i in range(n_new)])
    test = write(tmp_path / "test.jsonl", [{"text": NEW[0], "label": LABEL}])
    plan = Updating(epochs=1, most_repeats=most)
    update_pipeline(known, new, tmp_path / "more", texts=[raw], new_test=test, plan=plan, work=tmp_path / "work")
    docs = list(DocBin().from_disk(tmp_path / "work" / "texts" / "train.spacy").get_docs(spacy.blank("en").vocab))
    assert len(docs) == n_new + 30 * expected
    # They hold old labels in place as old texts with labels do.
    assert "peak = 0.0002" in (tmp_path / "work" / "config.cfg").read_text("utf-8")


def cats_of(nlp: Language, text: str) -> set[str]:
    return set(nlp(text).cats)


def test_probing_leaves_old_labels_as_they_are_among_themselves(
    known: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    update_pipeline(
        known, files["new"], tmp_path / "more", texts=[files["raw"]], plan=SHORT, work=tmp_path / "work",
        old_test=files["old"], max_forgetting=1.0,
    )  # fmt: skip
    before, start = spacy.load(known), spacy.load(tmp_path / "work" / "start")
    old, probed = scores_of(before, TEXTS).log(), scores_of(start, TEXTS).log()
    # Among themselves.
    difference = (probed[:, :3] - old) - (probed[:, :1] - old[:, :1])
    assert difference.abs().max() < 1e-3


def test_new_rows_are_fitted_next_to_old_logits() -> None:
    torch.manual_seed(0)
    middles = 3.0 * torch.eye(4)[:3]
    labels = torch.arange(3).repeat(20)
    x = middles[labels] + 0.3 * torch.randn(60, 4)
    targets = torch.eye(3)[labels]
    fixed = 2.0 * x[:, :2]
    loss = CrossEntropy().build([1.0] * 3)
    weight, bias = fit(x, targets, torch.ones_like(targets), loss, 10.0, None, fixed)
    assert (weight.shape, bias.shape) == ((1, 4), (1,))
    logits = torch.cat([fixed, x @ weight.T + bias], dim=1)
    assert (logits.argmax(dim=1) == labels).all()
    # Held back, it keeps all but a fifth of its own.
    held_back = torch.cat([fixed, logits[:, 2:] - _lead(logits, targets, 2)], dim=1)
    assert 1 <= int((held_back[labels == 2].argmax(dim=1) < 2).sum()) <= 6


def test_with_new_texts_alone_old_labels_are_not_touched(
    known: Path, any_number: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    for folder, new in ((known, files["new"]), (any_number, files["lists"])):
        target = tmp_path / new.stem
        update_pipeline(folder, new, target)
        before, after = spacy.load(folder), spacy.load(target)
        n_old = len(before.get_pipe(before.pipe_names[0]).labels)
        kept = {key: value[:n_old] if "head" in key else value for key, value in weights_of(after).items()}
        assert not moved(weights_of(before), kept)
        asked, old = (scores_of(after, texts)[:, -1].mean() for texts in (NEW, TEXTS))
        assert asked > old
    # Independent labels do not take texts from each other.
    assert scores_of(after, TEXTS)[:, :n_old].equal(scores_of(before, TEXTS))


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_a_pipeline_that_forgot_too_much_is_not_saved(known: Path, files: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "more"
    printed = run(
        "transfer", "update", known, files["new"], "--output", target, "--old-test", files["old"], "--rate", "0.3",
        "--texts", files["raw"], "--epochs", "20", "--max-forgetting", "0.02", "--show", "none", code=1,
    )  # fmt: skip
    assert "T726" in printed
    assert "F before" in printed
    assert not target.exists()
    assert (tmp_path / "more.work" / "config.cfg").is_file()


ROWS: dict[str, tuple[str, Rows]] = {
    "no texts": ("T044|T720", []),
    "several labels": ("T721.*'card', 'question'", [
        {"text": "a b", "labels": ["question", "card"]}, {"text": "b", "labels": []},
    ]),
    "an old label in another spelling": ("T724.*'Card' like 'card'", [
        {"text": "my box", "label": "Card"}, {"text": "to help", "label": "question"},
    ]),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
def test_new_texts_that_cannot_be_learned_from(known: Path, tmp_path: Path, kind: str) -> None:
    code, rows = ROWS[kind]
    with pytest.raises(ValueError, match=code):
        update_pipeline(known, write(tmp_path / "new.jsonl", rows), tmp_path / "more")
    assert [path.name for path in tmp_path.iterdir()] == ["new.jsonl"]


def test_spellings_are_merged_where_asked(known: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "label": "CARD" if i % 2 else LABEL} for i, text in enumerate(NEW)]
    done = update_pipeline(
        known, write(tmp_path / "new.jsonl", rows), tmp_path / "more", merge_labels=True, plan=SHORT
    )  # fmt: skip
    assert done.labels == [LABEL]


def other_texts(files: dict[str, Path], tmp_path: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    strange = write(tmp_path / "strange.jsonl", [{"text": "is it", "label": "cart"}])
    leaked = write(tmp_path / "leaked.jsonl", [{"text": TEXTS[0].upper()}])
    return {
        "old texts with unknown labels": ("T723.*'cart'.*card", {"replay": strange}),
        "a test with unknown labels": ("T723.*'cart'", {"old_test": strange}),
        "raw texts of the test": ("T727.*old.jsonl", {"texts": [leaked], "old_test": files["old"]}),
        "a limit with nothing to measure on": (T733[:6].strip("[]"), {"max_forgetting": 0.1}),
        "no such classifier": ("T642", {"component": "parser"}),
    }


def test_other_texts_that_do_not_fit(known: Path, files: dict[str, Path], tmp_path: Path) -> None:
    for code, options in other_texts(files, tmp_path).values():
        with pytest.raises(ValueError, match=code):
            update_pipeline(known, files["new"], tmp_path / "more", **options)
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="T137"):
        update_pipeline(known, files["new"], tmp_path / "there")
    with pytest.raises(ValueError, match="T729"):
        update_pipeline(known, files["new"], tmp_path / "more", resume=True)


def test_labels_of_another_kind(any_number: Path, files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"T722.*one label per text"):
        update_pipeline(any_number, files["new"], tmp_path / "more")
    always = write(tmp_path / "always.jsonl", [{"text": text, "labels": [LABEL]} for text in NEW])
    with pytest.raises(ValueError, match=f"T732.*'{LABEL}'"):
        update_pipeline(any_number, always, tmp_path / "more")


def test_a_shared_encoder_is_refused(bert: Path, files: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("spacy_transformers")
    shared_pipeline(bert).to_disk(tmp_path / "shared")
    with pytest.raises(ValueError, match=r"T725.*detach"):
        update_pipeline(tmp_path / "shared", files["new"], tmp_path / "more")


# ---- the command ---------------------------------------------------------------------------------------------------


def test_the_command_shows_every_label(known: Path, files: dict[str, Path], tmp_path: Path) -> None:
    printed = run(
        "transfer", "update", known, files["new"], "--output", tmp_path / "more", "--replay", files["old"],
        "--rate", "1e-3", "--epochs", "1", "--max-forgetting", "1.0", "--training.dropout", "0.0", "--show", "none",
    )  # fmt: skip
    for label in (*LABELS, LABEL):
        assert label in printed
    assert "old texts: accuracy" in printed
    assert spacy.load(tmp_path / "more").pipe_names == spacy.load(known).pipe_names
