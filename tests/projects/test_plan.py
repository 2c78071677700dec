"""What a project trains and how long: recipes, lengths, budgets."""

from dataclasses import replace
from pathlib import Path

import pytest
import spacy
from thinc.api import Config

from house_kit.repository import REPOSITORY
from spacy_transfer.config.reading import read_config
from spacy_transfer.projects import plan
from spacy_transfer.projects.budget import n_epochs_for, parse_seconds
from spacy_transfer.projects.config_text import write_config
from spacy_transfer.projects.encoder_facts import EncoderFacts, look_at_encoder
from spacy_transfer.projects.plan import Task, make_plan
from spacy_transfer.projects.recipes import RECIPES

FACTS = EncoderFacts("assets/encoder", Path(), "sentence encoder", 6, 384, 22_700_000, 256, "as the shipped configs")


def task(n_texts: int, *, exclusive: bool = True, facts: EncoderFacts = FACTS) -> Task:
    doc = spacy.blank("en")("a text")
    doc.cats = {"a": 1.0, "b": 0.0}
    counts = {"a": n_texts // 2, "b": n_texts // 2}
    return Task([doc] * n_texts, ["a", "b"] * (n_texts // 2), counts, exclusive, "en", facts, 0, -1)


@pytest.mark.parametrize("name", [name for name in RECIPES if (REPOSITORY / "configs" / f"{name}.cfg").is_file()])
def test_a_recipe_is_the_shipped_config_of_its_name(name: str) -> None:
    recipe = RECIPES[name]
    exclusive = recipe.form != "multilabel"
    text = write_config(recipe, exclusive=exclusive, lang="en", encoder=FACTS, n_texts=980, n_epochs=6, seed=0)
    own = read_config(Config().from_str(text, interpolate=False))
    shipped = read_config(REPOSITORY / "configs" / f"{name}.cfg")
    (component,) = own["nlp"]["pipeline"]
    assert own["nlp"] == shipped["nlp"]
    model = dict(own["components"][component]["model"])
    # The shipped ones are for any encoder with 256 positions.
    del model["windows"]
    assert model == shipped["components"][component]["model"]
    assert own["training"]["optimizer"] == shipped["training"]["optimizer"]
    for key in ("dropout", "patience", "seed"):
        assert own["training"][key] == shipped["training"][key]
    assert own["training"]["batcher"]["docs"] == shipped["training"]["batcher"]["docs"]


def test_recipes_are_as_long_as_measured_on_the_demo() -> None:
    assert n_epochs_for(RECIPES["half_frozen"], 980) == 6
    assert n_epochs_for(RECIPES["frozen"], 980) == 19
    assert n_epochs_for(RECIPES["multilabel"], 120) == 13
    assert n_epochs_for(RECIPES["probe_then_tune"], 96) == 15
    # So few that 15 passes would be 15 updates.
    assert [n_epochs_for(RECIPES["probe_then_tune"], n) for n in (16, 32, 48)] == [45, 23, 15]
    assert [n_epochs_for(RECIPES["full"], n) for n in (10_000, 50_000, 500_000)] == [5, 3, 1]
    assert n_epochs_for(RECIPES["linear_probe"], 980) == 0


@pytest.mark.parametrize(
    ("given", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (7.5, 7.5), (None, 0)]
)
def test_times_are_read(given: str | float | None, seconds: float) -> None:
    assert parse_seconds(given) == seconds


@pytest.mark.parametrize("given", ["", "0", "-1", "ten", "10 minutes", "nan"])
def test_what_is_no_time_is_refused(given: str) -> None:
    if given:
        with pytest.raises(ValueError, match=r"T617.*90s, 10m or 2h"):
            parse_seconds(given)


def test_many_texts_go_by_a_stated_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "time_updates", lambda *_, **__: pytest.fail("nothing is measured without a budget"))
    for facts, exclusive, name in (
        (FACTS, True, "full"), (replace(FACTS, kind="masked LM"), True, "full"), (FACTS, False, "multilabel"),
    ):  # fmt: skip
        made = make_plan(task(400, exclusive=exclusive, facts=facts))
        assert made.recipe.name == name
        assert not made.compared
        assert {choice.what for choice in made.choices} == {"recipe", "length"}


def test_a_budget_is_turned_into_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 texts are 25 updates of 16: at 1 s each a pass takes 25 s."""
    monkeypatch.setattr(plan, "time_updates", lambda *_, **__: 1.0)
    free = make_plan(task(400))
    assert (free.n_epochs, free.max_seconds) == (15, 0)
    # Where all passes of `full` do not fit, the upper half alone is tuned: frozen layers are computed once.
    for budget, recipe, n_epochs in ((1000.0, "full", 15), (60.0, "half_frozen", 2), (30.0, "half_frozen", 1)):
        made = make_plan(task(400), budget=budget)
        assert (made.recipe.name, made.n_epochs) == (recipe, n_epochs)
        assert made.max_seconds == pytest.approx(budget, abs=0.5)
    small = make_plan(task(400), budget=20.0)
    assert small.recipe.name == "linear_probe"
    assert any("too small for one pass of half_frozen" in choice.reason for choice in small.choices)
    assert any("more than the budget" in choice.reason for choice in make_plan(task(400), budget=1.0).choices)
    with pytest.raises(ValueError, match=r"T617.*one pass of full.*25 s.*20 s"):
        make_plan(task(400), name="full", budget=20.0)


@pytest.mark.parametrize("update", [10.0, 0.6])
def test_no_comparison_that_would_not_end_in_time(update: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one among others than what is taken by rule, which would end in time with the second: two probes, of a few
    seconds each, say nothing of it."""
    monkeypatch.setattr(plan, "time_updates", lambda *_, **__: update)
    made = make_plan(task(48))
    assert (made.recipe.name, made.reads_names) == ("few_contrastive", False)
    assert not made.compared
    assert "comparing it with another one would take about" in made.choices[0].reason
    assert "--no-compare" in make_plan(task(48), compare=False).choices[0].reason


def test_nothing_is_compared_where_no_text_of_a_label_can_be_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "compare_recipes", lambda *_, **__: pytest.fail("there is nothing to compare on"))
    alone = replace(task(48), strata=[f"label {n}" for n in range(48)])
    assert "single text" in make_plan(alone).choices[0].reason


def test_the_encoder_is_looked_at(bert: Path) -> None:
    facts = look_at_encoder(str(bert))
    assert (facts.n_layers, facts.width, facts.window) == (3, 16, 40)
    assert facts.name == str(bert)
    assert "positions" in facts.why_window
    with pytest.raises(OSError, match="T620"):
        look_at_encoder("nobody/nothing")
