"""Recipes compared by cross-validation on the training texts."""

import signal
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Config

from house_kit.texts import LABELS, TEXTS, one_hot
from spacy_transfer.config.values import put_values
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
