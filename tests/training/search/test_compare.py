"""Recipes compared by cross-validation on the training texts."""

import signal
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Config

from house_kit.runs import BOW
from house_kit.texts import LABELS, TEXTS, one_hot
from spacy_transfer.config.values import put_values
from spacy_transfer.docbins import read_docs
from spacy_transfer.projects.config_text import write_config
from spacy_transfer.projects.encoder_facts import look_at_encoder
from spacy_transfer.projects.recipes import RECIPES
from spacy_transfer.training.interrupted import Interrupted
from spacy_transfer.training.loop.loop import Update
from spacy_transfer.training.search import compare
from spacy_transfer.training.search.compare import compare_recipes, time_updates
from spacy_transfer.training.session import Trained
from spacy_transfer.training.train import train

FOLDS = [n // 3 % 2 for n in range(len(TEXTS))]


@pytest.fixture(scope="module")
def docs() -> list[Doc]:
    nlp = spacy.blank("en")
    made = list(nlp.pipe(TEXTS))
    for n, doc in enumerate(made):
        doc.cats = one_hot(LABELS[n % 3])
    return made


@pytest.fixture(scope="module")
def configs(bert: Path) -> dict[str, Config]:
    facts = look_at_encoder(str(bert))
    texts = {
        name: write_config(
            RECIPES[name], exclusive=True, lang="en", encoder=facts, n_texts=len(TEXTS), n_epochs=1, seed=0
        )
        for name in ("linear_probe", "full")
    }
    return {name: Config().from_str(text, interpolate=False) for name, text in texts.items()}


def test_all_recipes_see_the_same_folds_and_the_best_comes_first(docs: list[Doc], configs: dict[str, Config]) -> None:
    found = compare_recipes(configs, docs, FOLDS)
    assert {one.name for one in found} == set(configs)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        assert one.n_texts == len(TEXTS)
        assert len(one.by_fold) == 2
        sizes = [FOLDS.count(fold) for fold in range(2)]
        # Every text is held out once, so the score of all is the mean of the folds by their sizes.
        assert one.score == pytest.approx(sum(s * n for s, n in zip(one.by_fold, sizes, strict=True)) / len(TEXTS))
        assert one.seconds > 0


def test_a_limit_of_time_leaves_folds_out_but_not_the_first(docs: list[Doc], configs: dict[str, Config]) -> None:
    (found,) = compare_recipes({"linear_probe": configs["linear_probe"]}, docs, FOLDS, max_seconds=1e-6)
    assert (len(found.by_fold), found.n_texts) == (1, FOLDS.count(0))


@pytest.fixture(scope="module")
def beside(docs: list[Doc], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All texts in a file, and their labels in another."""
    folder = tmp_path_factory.mktemp("corpus")
    DocBin(docs=docs).to_disk(folder / "train.spacy")
    srsly.write_json(folder / "labels.json", LABELS)
    return folder


def test_no_held_out_text_is_learned_whatever_the_corpora_read(
    docs: list[Doc], configs: dict[str, Config], beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(beside / "train.spacy")
    augmenter = {"@augmenters": "spacy.lower_case.v1", "level": 0.0}
    given = {
        "@readers": "spacy.Corpus.v1",
        "path": path,
        "gold_preproc": False,
        "max_length": 0,
        "augmenter": augmenter,
    }
    config = put_values(configs["full"], {"corpora.train": given, "corpora.dev.path": path})
    seen: list[set[str]] = []

    def looking(config: Config, output: Path, **options: Any) -> Trained:
        block = config.interpolate()["corpora"]["train"]
        # How texts are read is a part of the recipe.
        assert block["augmenter"] == augmenter
        seen.append({doc.text for doc in read_docs(Path(block["path"]))})
        return train(config, output, **options)

    monkeypatch.setattr(compare, "train", looking)
    compare_recipes({"full": config}, docs, FOLDS)
    assert seen == [{doc.text for doc, n in zip(docs, FOLDS, strict=True) if n != fold} for fold in (0, 1)]
    other = put_values(configs["full"], {"corpora.train": {"@readers": "spacy.PlainTextCorpus.v1", "path": path}})
    with pytest.raises(ValueError, match=r"T667.*other cannot.*corpora.train.*PlainTextCorpus"):
        compare_recipes({"other": other}, docs, FOLDS)


def test_what_is_read_besides_the_text_is_there_in_training_and_in_scoring(
    docs: list[Doc], configs: dict[str, Config]
) -> None:
    Doc.set_extension("title", default=None)
    nlp = spacy.blank("en")
    titled = [nlp.make_doc("a text") for _ in docs]
    for n, (doc, other) in enumerate(zip(titled, docs, strict=True)):
        doc._.title, doc.cats = f"all of {LABELS[n % 3]}", other.cats
    readers = {f"corpora.{part}.@readers": "spacy-transfer.Corpus.v1" for part in ("train", "dev")}
    block = "components.transfer_textcat.model.text"
    values = {**readers, f"{block}.sources": ["_.title"], f"{block}.missing": "skip"}
    config = configs["linear_probe"]
    (by_title,) = compare_recipes({"one": put_values(config, values)}, titled, FOLDS)
    (by_text,) = compare_recipes({"one": config}, titled, FOLDS)
    assert by_title.score > 2 * by_text.score


def test_a_classifier_is_compared_beside_other_components_and_with_those_of_spacy(
    docs: list[Doc], configs: dict[str, Config]
) -> None:
    bow = Config().from_str(configs["full"].to_str(), interpolate=False)
    bow["nlp"]["pipeline"] = ["sentencizer", "textcat"]
    bow["components"] = {"sentencizer": {"factory": "sentencizer"}, "textcat": {"factory": "textcat", "model": BOW}}
    bow["initialize"] = {}
    bow["training"]["batcher"] = {"@batchers": "spacy.batch_by_sequence.v1", "size": 4, "get_length": None}
    found = compare_recipes({"bow": bow, "probe": configs["linear_probe"]}, docs, FOLDS)
    assert {one.name: one.n_texts for one in found} == {"bow": len(TEXTS), "probe": len(TEXTS)}


def test_a_label_holds_from_the_threshold_that_its_config_sets(docs: list[Doc], configs: dict[str, Config]) -> None:
    """With one that every score reaches, all three labels of a text count as given, and one of them is right."""
    config = Config().from_str(configs["linear_probe"].to_str(), interpolate=False)
    config["components"]["transfer_textcat"]["factory"] = "transfer_textcat_multilabel"
    config["components"]["transfer_textcat"]["model"].pop("loss", None)
    low = put_values(config, {"components.transfer_textcat.threshold": 0.0})
    (found,) = compare_recipes({"low": low}, docs, FOLDS)
    assert found.score == pytest.approx(2 * (1 / 3) / (1 + 1 / 3))


def test_what_cannot_be_scored_is_refused_before_anything_is_trained(
    docs: list[Doc], configs: dict[str, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "train", lambda *_, **__: pytest.fail("trained"))
    full = configs["full"]
    two, none, many = (Config().from_str(full.to_str(), interpolate=False) for _ in range(3))
    two["nlp"]["pipeline"] = ["transfer_textcat", "second"]
    two["components"]["second"] = two["components"]["transfer_textcat"]
    none["nlp"]["pipeline"] = ["sentencizer"]
    none["components"] = {"sentencizer": {"factory": "sentencizer"}}
    many["components"]["transfer_textcat"] = {"factory": "transfer_textcat_multilabel"}
    sentences = put_values(full, {"components.transfer_textcat.target": "sents"})
    for config, problem in (
        (two, "exactly one.*transfer_textcat, second"), (none, "exactly one.*sentencizer"),
        (many, "any number of labels a text, and full gives exactly one"), (sentences, "'sents'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"T667.*other cannot be compared.*{problem}"):
            compare_recipes({"full": full, "other": config}, docs, FOLDS)


def test_updates_are_timed_and_nothing_is_said_of_how_few_they_are(
    docs: list[Doc], configs: dict[str, Config], caplog: pytest.LogCaptureFixture
) -> None:
    # Six updates of one text do not see all of them, which is no concern of the user's.
    config = put_values(configs["full"], {"training.batcher.docs": 1})
    assert 0 < time_updates(config, docs) < 10
    assert not [record for record in caplog.records if record.name.startswith("spacy_transfer")]


def test_half_a_training_after_a_signal_is_not_scored(
    docs: list[Doc], configs: dict[str, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_updates: list[int] = []

    def ending(nlp: Language) -> Update:
        def update(batch: list[Example], *, drop: float, losses: dict[str, float]) -> None:
            n_updates.append(len(batch))
            signal.raise_signal(signal.SIGTERM)

        return update

    def ended(config: Config, output: Path, **options: Any) -> Trained:
        return train(config, output, **options | {"make_update": ending})

    monkeypatch.setattr(compare, "train", ended)
    with pytest.raises(Interrupted) as caught:
        compare_recipes({"full": configs["full"]}, docs, FOLDS)
    assert caught.value.signal == signal.SIGTERM
    assert len(n_updates) == 1
