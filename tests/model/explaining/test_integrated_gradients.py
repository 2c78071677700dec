"""Integrated gradients: complete for every network, and about the text alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from spacy.language import Language

from house_kit import scratches
from house_kit.adapters import LORA
from house_kit.encoders import KNOWN_FAMILIES
from house_kit.features import STARS, give
from house_kit.pipelines import network_of, pipeline
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.nn import integrated_gradients
from spacy_transfer.pipeline.explanations.attribution import Exactness
from spacy_transfer.pipeline.explanations.explanation import Explanation
from spacy_transfer.training.adamw import AdamW

TEXT = "my card is lost, please help"
# Of three windows.
LONG = " ".join(TEXTS[:14])
NAME = "transfer_textcat"


def explained(nlp: Language, text: str = TEXT, **options: Any) -> Explanation:
    """The first explanation of a text."""
    doc = nlp.make_doc(text)
    return nlp.get_pipe(nlp.pipe_names[-1]).explain([doc], **{"method": "gradients", **options})[0][0]


def lively(nlp: Language) -> Language:
    """With a head far from zero."""
    network = network_of(nlp)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in network.head.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.5)
    network.forget_copies()
    return nlp


def assert_complete(found: Explanation) -> None:
    """Words sum to the difference of the logits, within 1 %, and each says something."""
    assert found.difference is not None
    assert found.gap is not None
    assert found.gap <= 0.01
    total = sum(one.value for one in found.words) + sum(found.elsewhere.values())
    assert total == pytest.approx(found.difference, rel=0.011, abs=1e-4)
    assert abs(found.difference) > 1e-3
    assert any(one.value for one in found.words)


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_complete_for_every_family(encoder_folder: Callable[[str], Path], family: str) -> None:
    found = explained(lively(pipeline(encoder_folder(family))))
    assert_complete(found)
    assert [one.text for one in found.words] == ["my", "card", "is", "lost", ",", "please", "help"]
    # The logit is that of the score.
    nlp_score = torch.sigmoid(torch.tensor(found.difference)).item()
    assert 0.0 < nlp_score < 1.0


BLOCKS: dict[str, dict[str, Any]] = {
    "all frozen": {"tuning": {"frozen_depth": "all"}},
    "half frozen": {"tuning": {"frozen_depth": 1}},
    "label queries": {"head": {"@layers": "spacy-transfer.LabelQueryHead.v1", "heads": 2}},
    "attention": {"pooling": {"@layers": "spacy-transfer.AttentionPooling.v1"}},
    "hidden layer": {"head": {"hidden": [8], "norm": True}},
    "bf16": {"precision": "bf16", "tuning": {"frozen_depth": 1}},
}


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("text", [TEXT, LONG], ids=["short", "windows"])
def test_complete_for_every_kind_of_network(bert: Path, kind: str, text: str) -> None:
    nlp = pipeline(bert, **BLOCKS[kind])
    if "queries" not in kind:
        lively(nlp)
    found = explained(nlp, text, exactness=Exactness(most_steps=3000))
    assert_complete(found)
    assert len(found.windows) == (0 if text == TEXT else 3)
    if found.windows:
        assert sum(one.value for one in found.windows) == pytest.approx(sum(one.value for one in found.words))


def test_parts_of_a_document_above_the_budget_are_the_same(bert: Path) -> None:
    """One window at a time, or all of them together."""
    found = [explained(lively(pipeline(bert, piece_budget=budget)), LONG) for budget in (32, 4096)]
    values = [torch.tensor([one.value for one in each.words]) for each in found]
    torch.testing.assert_close(values[0], values[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n_grams", [None, {"@misc": "spacy-transfer.CharNGrams.v1"}])
@pytest.mark.parametrize("multilabel", [False, True])
def test_complete_for_encoders_from_scratch(n_grams: Any, multilabel: bool) -> None:
    nlp = lively(scratches.classifier(multilabel=multilabel, encoder={"char_ngrams": n_grams}))
    assert_complete(explained(nlp, labels=["card"]))


def test_complete_with_an_adapter(bert: Path) -> None:
    pytest.importorskip("peft")
    nlp = lively(pipeline(bert, tuning={"adapter": LORA, "frozen_depth": 1}))
    assert_complete(explained(nlp))


def test_features_stay_as_they_are(bert: Path) -> None:
    """What the text adds depends on them only through the head, which is linear here."""
    nlp = lively(pipeline_with_stars(bert))
    pipe = nlp.get_pipe(NAME)
    docs = give([nlp.make_doc(TEXT) for _ in range(2)], [0, 5])
    one, other = (found[0] for found in pipe.explain(docs, labels=["card"], method="gradients"))
    assert_complete(one)
    assert_complete(other)
    assert one.score != pytest.approx(other.score, abs=1e-6)


def pipeline_with_stars(bert: Path) -> Language:
    """Its head also reads a number."""
    from house_kit.features import starred, with_features
    from spacy_transfer.pipeline.sources import register_attributes

    register_attributes(["_.n_stars"])
    return with_features(bert, STARS, starred)


def test_explaining_changes_nothing(bert: Path) -> None:
    nlp = pipeline(bert)
    network = network_of(nlp)
    before = nlp(TEXT).cats
    explained(nlp)
    assert nlp(TEXT).cats == before
    assert not any(weight.grad is not None for weight in network.parameters())
    # And it can still be trained.
    nlp.update(exclusive_examples(nlp), sgd=AdamW(learn_rate=1e-3))
    assert nlp(TEXT).cats != before


def test_more_steps_where_few_do_not_add_up(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = lively(pipeline(bert))
    usual = explained(nlp)
    monkeypatch.setattr(integrated_gradients, "_N_NODES", 1)
    monkeypatch.setattr(integrated_gradients, "_N_BEGIN", 1)
    assert explained(nlp, exactness=Exactness(tolerance=10.0)).n_runs == 1
    found = explained(nlp, exactness=Exactness(tolerance=1e-3))
    assert found.n_runs > 1
    assert found.gap is not None
    assert found.gap <= 1e-3
    for one, other in zip(found.words, usual.words, strict=True):
        assert one.value == pytest.approx(other.value, abs=0.02)


def test_a_gap_that_stays_is_told(bert: Path) -> None:
    with pytest.warns(UserWarning, match="T747"):
        found = explained(lively(pipeline(bert)), exactness=Exactness(tolerance=1e-12, most_steps=30))
    assert found.gap is not None
    assert found.gap > 1e-12
    assert found.n_runs <= 30


def test_the_middle_that_nobody_reads_adds_nothing(bert: Path) -> None:
    nlp = lively(pipeline(bert, windows={"keep": "head_tail"}))
    with pytest.warns(UserWarning, match="T025"):
        found = explained(nlp, " ".join(["card"] * 20 + ["refund"] * 20 + ["bill"] * 40))
    silent = [one.value for one in found.words if one.text == "refund"]
    assert silent == [0.0] * 20
    assert_complete(found)


def test_a_label_that_waits_for_training_has_no_logit(bert: Path) -> None:
    nlp = pipeline(bert)
    nlp.get_pipe(NAME).add_label("new")
    with pytest.raises(ValueError, match="T743"):
        explained(nlp, labels=["new"])
    assert_complete(explained(lively(nlp), labels=["card"]))
