"""What is compared on few texts."""

import json
from pathlib import Path
from typing import Any

import pytest
from thinc.api import Config

from spacy_transfer.config.reading import read_config
from spacy_transfer.projects.config_text import write_config
from spacy_transfer.projects.encoder_facts import EncoderFacts, look_at_encoder
from spacy_transfer.projects.few.candidates import candidates, clearly_best, read_label_texts
from spacy_transfer.projects.recipes import RECIPES
from spacy_transfer.training.search.compare import Compared

FACTS = EncoderFacts("assets/encoder", Path(), "sentence encoder", 6, 384, 22_700_000, 256, "as the shipped configs")


def test_names_are_a_candidate_where_each_label_has_a_word_or_a_text() -> None:
    assert any(one.reads_names for one in candidates(["card", "login"], {}))
    assert not any(one.reads_names for one in candidates(["card", "3"], {}))
    assert any(one.reads_names for one in candidates(["card", "3"], {"3": "a refund"}))
    names = [one.name for one in candidates(["card", "login"], {})]
    files = [one.file for one in candidates(["card", "login"], {})]
    assert len(set(names)) == len(set(files)) == len(names)


def test_abbreviations_are_no_candidate(bert: Path) -> None:
    """The tiny vocabulary knows "card" and "login", and letters."""
    tokenizer = look_at_encoder(str(bert)).tokenizer
    assert any(one.reads_names for one in candidates(["card", "login"], {}, tokenizer=tokenizer))
    short = candidates(["ABBR", "ENTY", "card"], {}, tokenizer=tokenizer)
    assert not any(one.reads_names for one in short)
    # A text of the user's is taken as it is.
    described = {"ABBR": "what letters stand for", "ENTY": "a thing"}
    assert any(one.reads_names for one in candidates(["ABBR", "ENTY", "card"], described, tokenizer=tokenizer))


def test_a_comparison_is_expected_to_take_as_long_as_its_updates() -> None:
    found = {one.name: one.seconds(1.0, 48, 3) for one in candidates(["card", "login"], {})}
    assert found["linear_probe"] == found["linear_probe + label texts"] < found["probe_then_tune"]
    assert found["probe_then_tune"] < found["few_contrastive"]


@pytest.mark.parametrize("exclusive", [True, False])
def test_texts_of_labels_go_into_the_config_as_they_are(exclusive: bool) -> None:
    texts: dict[str, str | list[str]] = {"card": 'a "card" for $5, ${nlp.lang}', "über": ["one", "two"]}
    text = write_config(
        RECIPES["few_contrastive"], exclusive=exclusive, lang="en", encoder=FACTS, n_texts=48, n_epochs=15, seed=0,
        label_texts=texts, has_dev=False,
    )  # fmt: skip
    config = read_config(Config().from_str(text, interpolate=False)).interpolate()
    (component,) = config["nlp"]["pipeline"]
    assert config["components"][component]["model"]["label_texts"]["texts"] == texts
    assert config["paths"]["dev"] == config["paths"]["train"]
    assert config["training"]["eval_frequency"] == 45


@pytest.mark.parametrize(
    ("score", "n_texts", "chosen"), [(0.8, 48, "rule"), (0.8, 400, "other"), (1.0, 48, "other"), (0.7, 400, "rule")]
)
def test_what_chance_may_have_made_better_is_not_chosen(score: float, n_texts: int, chosen: str) -> None:
    """0.05 is less than the standard error of 48 texts, and more than that of 400."""
    every = [Compared("rule", 0.75, [], n_texts, 1.0), Compared("other", score, [], n_texts, 1.0)]
    every.sort(key=lambda one: -one.score)
    assert clearly_best(every, "rule").name == chosen
    assert clearly_best(every, "not compared").name == every[0].name


def test_texts_of_labels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"card": "a card", "login": ["one", "two"]}), "utf-8")
    assert read_label_texts(path, ["card", "login", "money"]) == {"card": "a card", "login": ["one", "two"]}
    assert read_label_texts(None, ["3"]) == {}


@pytest.mark.parametrize(
    ("content", "error"),
    [({"card": 3}, "T664.*'card'"), ({"card": ["a", 3]}, "T664"), ({"card": " "}, "T005"), ({"cart": "a"}, "T660"),
     ({"card": "a"}, "T661.*'3'")],
)  # fmt: skip
def test_what_is_no_text_of_a_label_is_refused(tmp_path: Path, content: Any, error: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=error):
        read_label_texts(path, ["card", "3"])
