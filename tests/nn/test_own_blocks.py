"""Losses and poolings of one's own: checked when the network is built, with everything that is missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.util import registry
from torch import Tensor, nn

from house_kit.encoders import WIDTH
from house_kit.pipelines import network_of, pipeline, scores_of, shim_of
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.nn.losses import Loss
from spacy_transfer.nn.losses.cross_entropy import CrossEntropy
from spacy_transfer.nn.pooling import MaxPooling, MeanPooling, Pooling
from spacy_transfer.training.adamw import AdamW


class _Own(Loss):
    def __init__(self, reduce: str) -> None:
        super().__init__()
        self.reduce = reduce

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        values = nn.functional.cross_entropy(logits, targets, reduction="none")
        if self.reduce == "mean":
            return values.mean()
        if self.reduce == "labels":
            return -(targets * logits.log_softmax(dim=1))
        if self.reduce == "detached":
            return values.detach()
        return values * torch.nan if self.reduce == "nan" else values


@dataclass(frozen=True)
class OwnLoss(CrossEntropy):
    """Cross-entropy, reduced as nobody should."""

    reduce: str = "none"

    def build(self, weights: Any) -> Loss:
        return _Own(self.reduce)


class _Bare(nn.Module):
    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets, reduction="none")


@dataclass(frozen=True)
class BareLoss(CrossEntropy):
    """Builds any module of torch."""

    def build(self, weights: Any) -> Any:
        return _Bare()


class NoLoss:
    """Has but two of what a block needs."""

    exclusive = True

    def build(self, weights: Any) -> Any:
        return _Bare()


class _Joined(Pooling):
    def __init__(self, width: int, dims: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList([MeanPooling().build(width), MaxPooling().build(width)])
        self.dims = dims

    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        vectors = torch.cat([part(states, counted, owner, n_docs) for part in self.parts], dim=1)
        return vectors if self.dims == 2 else vectors.mean(dim=0) if self.dims == 1 else states


@dataclass(frozen=True)
class MeanAndMax:
    """Twice as wide as the states."""

    dims: int = 2

    def build(self, width: int) -> Pooling:
        return _Joined(width, self.dims)


@pytest.fixture(autouse=True)
def registered() -> None:
    """As --code does it."""
    places = [(registry.losses, OwnLoss), (registry.losses, BareLoss), (registry.losses, NoLoss)]
    for place, block in [*places, (registry.layers, MeanAndMax)]:
        place.register(f"own.{block.__name__}", func=block)


@pytest.mark.parametrize("reduce", ["mean", "labels", "detached", "nan"])
def test_a_loss_gives_one_value_for_each_document(bert: Path, reduce: str) -> None:
    """The mean of a batch used to train silently, too weak by the size of the batch."""
    with pytest.raises(ValueError, match=r"T353.*OwnLoss"):
        pipeline(bert, loss={"@losses": "own.OwnLoss", "reduce": reduce})


def test_a_loss_of_ones_own_trains(bert: Path) -> None:
    nlp = pipeline(bert, loss={"@losses": "own.OwnLoss"})
    plain = pipeline(bert)
    for one in (nlp, plain):
        torch.manual_seed(1)
        one.update(exclusive_examples(one, 6), sgd=AdamW(learn_rate=1e-2))
    torch.testing.assert_close(scores_of(nlp, TEXTS), scores_of(plain, TEXTS), atol=1e-5, rtol=1e-4)


def test_all_that_is_missing_is_named(bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T001.*NoLoss.*class_weights, balanced, activate"):
        pipeline(bert, loss={"@losses": "own.NoLoss"})
    with pytest.raises(ValueError, match=r"T001.*RDrop.*NoLoss.*class_weights, balanced, activate"):
        pipeline(bert, loss={"@losses": "spacy-transfer.RDrop.v1", "loss": {"@losses": "own.NoLoss"}})
    with pytest.raises(ValueError, match=r"T352.*BareLoss.*couples, n_passes, activation, of_batch"):
        pipeline(bert, loss={"@losses": "own.BareLoss"})


@pytest.mark.parametrize("frozen", [-1, "all"])
def test_a_pooling_of_another_width(bert: Path, tmp_path: Path, frozen: Any) -> None:
    nlp = pipeline(bert, pooling={"@layers": "own.MeanAndMax"}, tuning={"frozen_depth": frozen})
    assert network_of(nlp).head.output.in_features == 2 * WIDTH
    nlp.update(exclusive_examples(nlp, 6), sgd=AdamW(learn_rate=1e-2))
    assert nlp.get_pipe("transfer_textcat").vectors([nlp.make_doc("card")]).shape == (1, 2 * WIDTH)
    nlp.to_disk(tmp_path)
    assert torch.equal(scores_of(spacy.load(tmp_path), TEXTS), scores_of(nlp, TEXTS))


@pytest.mark.parametrize("dims", [1, 3])
def test_a_pooling_gives_one_vector_for_each_document(bert: Path, dims: int) -> None:
    with pytest.raises(ValueError, match=r"T354.*MeanAndMax.*shape"):
        pipeline(bert, pooling={"@layers": "own.MeanAndMax", "dims": dims})


def test_trying_blocks_draws_nothing_from_training(bert: Path) -> None:
    nlp = pipeline(
        bert, loss={"@losses": "spacy-transfer.Mixup.v1", "loss": {"@losses": "spacy-transfer.CrossEntropy.v1"}}
    )
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    shim_of(nlp)._set_label_weights([1.0] * 3)
    assert torch.equal(torch.rand(3), wanted)
