"""The checker of blocks: all blocks of the package hold its laws, and it finds blocks that do not."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from catalogue import REGISTRY
from torch import Tensor, nn

import spacy_transfer as st
from spacy_transfer.config.instances import plain_block
from spacy_transfer.nn.losses.loss import WeightedLoss, activated, balanced_documents
from spacy_transfer.nn.pooling import Pooling
from spacy_transfer.testing import check_block
from spacy_transfer.testing.pipelines import TEXTS, tiny_docs

SCRATCH = {"width": 16, "depth": 1, "heads": 2, "feed_forward": 24, "max_pieces": 40}
WORDS = st.WordLevel(min_frequency=1)
CE, BCE = st.CrossEntropy(label_smoothing=0.1), st.BinaryCrossEntropy()
# Each block class, in one form or several.
BLOCKS: list[Any] = [
    CE, BCE, st.CrossEntropy(class_weights=[["card", 2.0]]), st.BinaryCrossEntropy(class_weights="balanced"),
    st.Focal(exclusive=True), st.Focal(exclusive=False), st.Asymmetric(), st.SquaredError(), st.SmoothL1(),
    st.SquaredError(targets="ordinal"), st.SupervisedContrastive(loss=CE), st.RDrop(loss=BCE), st.Mixup(loss=CE),
    st.Temperature(loss=CE), st.Temperature(loss=st.RDrop(loss=BCE), temperature=3.0),
    st.MeanPooling(), st.ClsPooling(), st.LastPooling(), st.MaxPooling(), st.AttentionPooling(), st.AutoPooling(),
    st.MixedPooling(n_largest=2),
    st.Head(), st.Head(hidden=[7], norm=True), st.LabelQueryHead(heads=2),
    st.LoRA(rank=2, targets="all_linear"), st.IA3(),
    st.NoAugmentation(), st.Augmentation(), st.Tuning(frozen_depth=1, lr_decay=0.5), st.RandomInit(),
    st.LinearProbe(folds=2), st.LabelTexts({"card": ["a lost card", "card"]}, weight=2.0),
    st.Windows(length=20, stride=10), st.EncoderCache(), st.Text(),
    st.Normalization(html=True, lower=True), WORDS, st.BPE(size=300), st.Unigram(size=60),
    st.ScratchEncoder(tokenizer=WORDS, char_ngrams=st.CharNGrams(size=50), **SCRATCH),
    {"@layers": "spacy-transfer.NoFeatures.v1"},
    {"@layers": "spacy-transfer.AttributeFeatures.v1", "names": ["_.n_stars"]},
    {"@layers": "spacy-transfer.StaticVectors.v1", "width": 2},
    {"@layers": "spacy-transfer.Tok2VecFeatures.v1", "tok2vec": {
        "@architectures": "spacy.HashEmbedCNN.v2", "width": 8, "depth": 1, "embed_size": 50, "window_size": 1,
        "maxout_pieces": 2, "subword_features": True, "pretrained_vectors": None,
    }},
]  # fmt: skip
# What needs more than a tiny pipeline, and where it is tested.
ELSEWHERE = {
    "StaticEncoder": "a folder of weights: below", "PretrainedEncoder": "a folder of weights: below",
    "SharedEncoder": "a transformer: test_shared.py",
    "ImageFeatures": "a folder of weights: test_image_features.py",
    "AudioFeatures": "a folder of weights: test_audio_features.py",
    "CharNGrams": "a part of ScratchEncoder: above", "PieceRows": "a reader: test_masked_lm.py",
}  # fmt: skip


def name_of(block: Any) -> str:
    return block["@layers"].split(".")[1] if isinstance(block, dict) else type(block).__name__


def docs_with_everything() -> list[Any]:
    """Documents with vectors and an extension attribute."""
    nlp = spacy.blank("xx")
    rng = np.random.default_rng(0)
    for word in {token.text for text in TEXTS for token in nlp.make_doc(text)}:
        nlp.vocab.set_vector(word, rng.normal(size=4).astype(np.float32))
    docs = [nlp.make_doc(text) for text in TEXTS]
    for i, doc in enumerate(docs):
        doc.user_data["._.", "n_stars", None, None] = float(i % 4)
    return docs


@pytest.mark.parametrize("pipeline", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: name_of(block))
def test_every_block_of_the_package_holds_the_laws(block: Any, pipeline: bool) -> None:
    is_read = name_of(block) in ("AttributeFeatures", "StaticVectors")
    check_block(block, docs=docs_with_everything() if is_read else None, pipeline=pipeline)


def test_an_encoder_in_a_folder_holds_the_laws(bert: Path) -> None:
    check_block(st.PretrainedEncoder(name=str(bert)))
    check_block(st.StaticEncoder(name=str(bert), bigrams=20))


def test_every_block_is_checked_here_or_elsewhere() -> None:
    registered = {
        point.name.split(".")[1]
        for group in ("spacy_misc", "thinc_layers", "thinc_losses") for point in entry_points(group=group)
        if point.name.startswith("spacy-transfer.")
    }  # fmt: skip
    functions = {"piece_length", "JoinedFeatures"}
    assert registered - functions - {name_of(block) for block in BLOCKS} - set(ELSEWHERE) == set()


# ---- blocks of one's own that break a law ------------------------------------------------------------------------


class _Sum(Pooling):
    """Forgets the mask."""

    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        return states.float().new_zeros(n_docs, states.shape[2]).index_add(0, owner, states.float().mean(dim=1))


@dataclass(frozen=True)
class Unmasked:
    """A pooling that reads padding."""

    def build(self, width: int) -> nn.Module:
        return _Sum()


class _Noisy(Pooling):
    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        masked = (states.float() * counted[:, :, None]).sum(dim=1)
        return states.new_zeros(n_docs, states.shape[2]).index_add(0, owner, masked) + torch.rand(1)


@dataclass(frozen=True)
class Noisy:
    """A pooling with noise in evaluation."""

    def build(self, width: int) -> nn.Module:
        return _Noisy()


class _Greedy(WeightedLoss):
    def __init__(self, weights: Sequence[float], kind: str) -> None:
        super().__init__(weights, "softmax")
        self.kind = kind

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        values = -(targets * logits.float().log_softmax(dim=1)).sum(dim=1)
        if self.kind == "masked":
            values = -(targets * known * logits.float().log_softmax(dim=1)).sum(dim=1)
        if self.kind == "coupled":
            values = values * known.prod(dim=1) * (1.0 + targets.mean() + logits.detach().sum().sigmoid())
        return -values * known.prod(dim=1) if self.kind == "upward" else values


@dataclass(frozen=True)
class Greedy:
    """A loss with a fault: "unmasked", "coupled", "upward"; "masked" has none."""

    kind: str = "masked"
    class_weights: str = "none"
    exclusive = True

    def balanced(self, positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
        return balanced_documents(positives, n_known)

    def build(self, weights: Sequence[float]) -> WeightedLoss:
        return _Greedy(weights, self.kind)

    def activate(self, logits: Tensor) -> Tensor:
        return activated(logits, "softmax")


@dataclass(frozen=True)
class Careless:
    """An augmentation that draws from the process's random numbers."""

    def draw(self, texts: Sequence[str], targets: Any, n_draws: int) -> list[str]:
        np.random.random()
        return list(texts)


@dataclass
class Changeable:
    """Not frozen."""

    def draw(self, texts: Sequence[str], targets: Any, n_draws: int) -> Sequence[str]:
        return list(texts)


@pytest.fixture
def registered() -> Any:
    """Registers classes as a third party does, for one test."""
    before = dict(REGISTRY)

    def register(group: str, builder: type) -> None:
        getattr(spacy.registry, group).register(f"test.{builder.__name__}.v1", func=builder)

    yield register
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.mark.parametrize(
    ("group", "block", "law"),
    [
        ("layers", Unmasked(), "T501.*Unmasked.*padding"), ("layers", Noisy(), "T501.*same each time"),
        ("losses", Greedy("unmasked"), "T501.*not annotated"), ("losses", Greedy("coupled"), "T501.*its batch"),
        ("losses", Greedy("upward"), "T501.*right labels"), ("misc", Careless(), "T501.*random numbers of its own"),
        ("misc", Changeable(), "T501.*cannot be changed"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)  # fmt: skip
def test_a_block_that_breaks_a_law_is_found(registered: Any, group: str, block: Any, law: str) -> None:
    registered(group, type(block))
    with pytest.raises(AssertionError, match=law):
        check_block(block)


def test_a_block_of_ones_own_passes(registered: Any) -> None:
    registered("losses", Greedy)
    check_block(Greedy())


def test_a_class_that_is_not_registered_and_no_block_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"T493.*Greedy"):
        check_block(Greedy())
    with pytest.raises(ValueError, match="T502"):
        check_block(object())


def test_the_tiny_texts_take_more_than_one_window() -> None:
    assert max(len(doc) for doc in tiny_docs()) > 30


def test_a_class_that_was_read_again_is_the_registered_one() -> None:
    """As when a notebook's cell runs twice: an instance made before is of another class than the registry's."""
    source = "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Twice:\n    size: int = 3\n"
    first: dict[str, Any] = {"__name__": "cell"}
    second: dict[str, Any] = {"__name__": "cell"}
    exec(source, first)
    exec(source, second)
    spacy.registry.misc("test.Twice.v1")(second["Twice"])
    assert plain_block(first["Twice"](size=5)) == {"@misc": "test.Twice.v1", "size": 5}
