"""A power law is found where there is one, and its interval holds what comes."""

import json
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin

import spacy_transfer.cli  # noqa: F401 (its commands)
from house_kit.commands import run
from house_kit.texts import CARD, LOGIN, MONEY
from spacy_transfer.analysis.curve.curve import Data, curve, learning_curve
from spacy_transfer.analysis.curve.power_law import Outcome, fit_law, forecast

SIZES = [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]


def test_a_law_is_found_again() -> None:
    for floor, factor, exponent in ((0.05, 2.0, 0.5), (0.0, 1.5, 0.3), (0.1, 0.0, 1.0)):
        scores = np.array([1 - floor - factor * n**-exponent for n in SIZES])
        law = fit_law(SIZES, scores)
        assert [law.score(n) for n in SIZES] == pytest.approx(scores.tolist(), abs=2e-3)
        assert law.score(2000) == pytest.approx(1 - floor - factor * 2000**-exponent, abs=4e-3)
        assert law.floor >= 0
        assert law.factor >= 0
    # Scores that fall have no law but their mean.
    assert fit_law(SIZES, np.linspace(0.9, 0.8, 10)).factor == 0.0


def test_the_interval_holds_what_comes() -> None:
    """Held-out texts that a law decides: in most draws the right value is within, and more texts make it narrower."""
    n_inside, widths = 0, []
    truth = 1 - 0.05 - 2.0 * 2000**-0.5
    for seed in range(20):
        random = np.random.default_rng(seed)
        hard = random.random(1000)
        hits = np.stack([hard > 0.05 + 2.0 * n**-0.5 for n in SIZES]).astype(np.float64)
        (found,) = forecast(SIZES, Outcome(hits, np.ones_like(hits)), 1000, [2000], seed)
        n_inside += found.score.low <= truth <= found.score.high
        widths.append(found.score.high - found.score.low)
        assert found.gain.low <= found.gain.value <= found.gain.high
    assert n_inside >= 14
    assert 0.01 < np.mean(widths) < 0.15


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("has_dev", [pytest.param(True, marks=pytest.mark.slow), False])
def test_more_texts_score_higher(exclusive: bool, has_dev: bool) -> None:
    random = np.random.default_rng(0)
    right = random.integers(0, 4, 400)
    vectors = (random.normal(0, 1, (400, 16)) + 1.5 * np.eye(4, 16)[right]).astype(np.float32)
    gold = np.eye(4, dtype=bool)[right]
    data = Data(vectors, gold, np.ones_like(gold), exclusive=exclusive)
    inside = np.arange(300)
    found = learning_curve(data, inside, np.arange(300, 400) if has_dev else None, steps=5, seed=0)
    sizes = [one.n for one in found.points]
    assert sizes == ([60, 120, 180, 240, 300] if has_dev else [48, 96, 144, 192, 240])
    assert found.points[-1].score.value > found.points[0].score.value
    assert [one.n for one in found.forecasts] == [600, 1200]
    assert found.measure == ("accuracy" if exclusive else "micro F")
    assert found.forecasts[0].score.value >= found.now.score.value
    assert all(0.0 <= one.score.low <= one.score.high <= 1.0 for one in [*found.points, *found.forecasts])
    assert learning_curve(data, inside, np.arange(300, 400) if has_dev else None, steps=5, seed=0) == found


# ---- files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, vocab = tmp_path_factory.mktemp("curve"), spacy.blank("xx").vocab
    texts = [(text, label) for some, label in ((CARD, "card"), (LOGIN, "login"), (MONEY, "money")) for text in some]
    for name, times in (("train", 3), ("dev", 1), ("few", 1)):
        docs = []
        for i in range(times):
            for text, label in texts:
                doc = Doc(vocab, words=[*text.split(" "), *[str(i)] * i])
                doc.cats = {other: float(other == label) for other in ("card", "login", "money")}
                docs.append(doc)
        DocBin(docs=docs).to_disk(folder / f"{name}.spacy")
    blank = Doc(vocab, words=["nothing"])
    DocBin(docs=[blank]).to_disk(folder / "blank.spacy")
    return folder


def test_the_command(data: Path, bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "curve.json"
    options = ("--encoder", bert, "--steps", "4", "--json", out)
    said = run("transfer", "curve", data / "train.spacy", "--dev", data / "dev.spacy", *options)
    for part in ("72 texts, 3 labels", "accuracy", "2 times as many", "4 times as many", "error = "):
        assert part in said
    facts = json.loads(out.read_text("utf-8"))
    assert [one["n"] for one in facts["points"]] == [18, 36, 54, 72]
    assert facts["forecasts"][0]["gain"].keys() == {"value", "low", "high"}
    # An older one is replaced, another file is not.
    run("transfer", "curve", data / "train.spacy", *options)
    out.write_text("{}")
    assert "T376" in run("transfer", "curve", data / "train.spacy", *options, code=1)


def test_what_cannot_be(data: Path) -> None:
    with pytest.raises(ValueError, match=r"T762.*24 labeled texts"):
        curve([data / "few.spacy"])
    with pytest.raises(ValueError, match=r"T396.*--steps 3"):
        curve([data / "train.spacy"], steps=3)
    with pytest.raises(ValueError, match="T763"):
        curve([data / "train.spacy"], dev=data / "blank.spacy", exclusive=True)
