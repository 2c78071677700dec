"""Losses: their gradients, what they are by independent formulas, and what they become at their limits."""

from typing import Any

import pytest
import torch
from torch import Tensor

from house_kit.loss_data import (
    EXCLUSIVE,
    INDEPENDENT,
    N_DOCS,
    N_LABELS,
    NAMES,
    ONES,
    PLAIN,
    WEIGHTS,
    data,
    soft,
    some_known,
    vectors_and_head,
)
from house_kit.slow import mostly_slow
from spacy_transfer.nn.losses import BinaryCrossEntropy, CrossEntropy, Loss, label_weights
from spacy_transfer.nn.losses.asymmetric import Asymmetric
from spacy_transfer.nn.losses.contrastive import SupervisedContrastive
from spacy_transfer.nn.losses.focal import Focal
from spacy_transfer.nn.losses.mixup import Mixup, mix_targets
from spacy_transfer.nn.losses.r_drop import RDrop
from spacy_transfer.nn.losses.smooth_l1 import SmoothL1
from spacy_transfer.nn.losses.squared_error import SquaredError


def wrappers(inner: Any) -> dict[str, Any]:
    """Every wrapper around a block, and some around each other."""
    return {
        "contrastive": SupervisedContrastive(inner, weight=0.7, temperature=0.4),
        "R-Drop": RDrop(inner, alpha=0.8),
        "mixup": Mixup(inner, alpha=0.9),
        "R-Drop of contrastive": RDrop(SupervisedContrastive(inner, weight=0.7)),
        "contrastive of R-Drop of mixup": SupervisedContrastive(RDrop(Mixup(inner, alpha=0.9)), weight=0.7),
        "mixup of contrastive": Mixup(SupervisedContrastive(inner, weight=0.7), alpha=0.9),
    }


WRAPPERS = list(wrappers(CrossEntropy()))


def of_batch(loss: Loss, vectors: Tensor, head: Tensor, targets: Tensor, known: Tensor, seed: int = 3) -> Tensor:
    """Losses of documents, with the same random numbers every time."""
    torch.manual_seed(seed)
    return loss.of_batch(vectors, lambda given: given @ head.T, targets, known)[0]


# ---- gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_differences(name: str, kind: str) -> None:
    builder = PLAIN[name]
    logits, targets = data(builder.exclusive)
    targets = soft(targets, builder.exclusive) if kind == "soft" else targets
    loss = builder.build(WEIGHTS).double()
    known = some_known(builder.exclusive)
    assert torch.autograd.gradcheck(lambda given: loss(given, targets, known), logits.requires_grad_())


@pytest.mark.parametrize(
    "inner",
    mostly_slow(
        ["cross-entropy", "squared earth mover", "asymmetric", "squared error"], but=["cross-entropy", "asymmetric"]
    ),
)
@pytest.mark.parametrize("name", WRAPPERS)
def test_gradients_of_wrappers_are_finite_differences(name: str, inner: str) -> None:
    builder = wrappers(PLAIN[inner])[name]
    loss = builder.build(WEIGHTS).double()
    _, targets = data(builder.exclusive)
    known = some_known(builder.exclusive)
    vectors, head = vectors_and_head(loss.n_passes)
    assert torch.autograd.gradcheck(
        lambda given, weights: of_batch(loss, given, weights, targets, known),
        (vectors.requires_grad_(), head.requires_grad_()),
    )


@pytest.mark.parametrize("name", NAMES)
def test_sure_logits_have_finite_losses_and_gradients(name: str) -> None:
    builder = PLAIN[name]
    for size in (20.0, 90.0, 500.0):
        logits = torch.tensor([[size, -size, -size], [-size, size, 0.0]], requires_grad=True)
        targets = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        value = builder.build([1.0] * 3)(logits, targets, torch.ones_like(targets))
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert value.isfinite().all()
        assert gradient.isfinite().all()
        if not isinstance(builder, SquaredError | SmoothL1) or builder.exclusive:
            # The wrong answer of the second document costs more than the right one of the first.
            assert value[1] > value[0]


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_widened(name: str) -> None:
    builder = PLAIN[name]
    logits, targets = data(builder.exclusive)
    logits = logits.bfloat16()
    loss, known = builder.build(WEIGHTS), torch.ones_like(targets).float()
    assert torch.equal(loss(logits, targets.float(), known), loss(logits.float(), targets.float(), known))
    assert builder.activate(logits).dtype == torch.float32


# ---- limits ------------------------------------------------------------------------------------------------------


def test_without_focus_they_are_cross_entropies() -> None:
    for exclusive, plain, others in (
        (True, CrossEntropy(), [Focal(exclusive=True, gamma=0.0)]),
        (False, BinaryCrossEntropy(), [Focal(exclusive=False, gamma=0.0), Asymmetric(0.0, 0.0, 0.0)]),
    ):
        logits, targets = data(exclusive)
        targets, known = soft(targets, exclusive), some_known(exclusive)
        wanted = plain.build(WEIGHTS)(logits, targets, known)
        for builder in others:
            torch.testing.assert_close(builder.build(WEIGHTS)(logits, targets, known), wanted)


def test_smooth_l1_with_a_large_beta_is_squared_error() -> None:
    logits, targets = data(True)
    known = torch.ones_like(targets)
    found = SmoothL1("ordinal", beta=1.0).build(ONES)(logits, targets, known)
    torch.testing.assert_close(found, SquaredError("ordinal").build(ONES)(logits, targets, known) / 2)


@pytest.mark.parametrize("name", NAMES)
def test_wrappers_at_their_limits_are_the_inner_loss(name: str) -> None:
    builder = PLAIN[name]
    _, targets = data(builder.exclusive)
    known = some_known(builder.exclusive)
    vectors, head = vectors_and_head(1)
    wanted = builder.build(WEIGHTS)(vectors[0] @ head.T, targets, known)
    for outer in (SupervisedContrastive(builder, weight=0.0), Mixup(builder, alpha=0.0)):
        assert torch.equal(of_batch(outer.build(WEIGHTS), vectors, head, targets, known), wanted)
    # Without dropout both passes are the same.
    for alpha in (0.0, 2.0):
        loss = RDrop(builder, alpha=alpha).build(WEIGHTS)
        assert torch.equal(of_batch(loss, vectors.repeat(2, 1, 1), head, targets, known), wanted)


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("inner", ["focal", "asymmetric"])
def test_on_logits_alone_a_wrapper_is_the_inner_loss(name: str, inner: str) -> None:
    builder = PLAIN[inner]
    logits, targets = data(builder.exclusive)
    outer, known = wrappers(builder)[name], some_known(builder.exclusive)
    assert torch.equal(outer.build(WEIGHTS)(logits, targets, known), builder.build(WEIGHTS)(logits, targets, known))
    assert torch.equal(outer.activate(logits), builder.activate(logits))
    assert outer.exclusive == builder.exclusive


# ---- mixup -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cross-entropy", "binary cross-entropy"])
def test_mixup_of_a_cross_entropy_mixes_losses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-entropies are linear in their targets: Zhang et al. compute it so. Missing annotations too."""
    builder = PLAIN[name]
    _, targets = data(builder.exclusive)
    known = some_known(builder.exclusive)
    vectors, head = vectors_and_head(1)
    loss, inner = Mixup(builder, alpha=0.5).build(WEIGHTS).double(), builder.build(WEIGHTS).double()
    share, partner = torch.tensor([0.3, 1.0, 0.5, 0.2, 0.9, 0.0]).double(), torch.tensor([1, 2, 0, 3, 5, 4])
    monkeypatch.setattr(loss, "_draw", lambda known: (share, partner))
    mixed = (share[:, None] * vectors[0] + (1 - share)[:, None] * vectors[0, partner]) @ head.T
    wanted = share * inner(mixed, targets, known) + (1 - share) * inner(mixed, targets[partner], known[partner])
    torch.testing.assert_close(of_batch(loss, vectors, head, targets, known), wanted)


def test_a_share_of_one_mixes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for builder in (PLAIN["focal"], PLAIN["squared error"]):
        _, targets = data(builder.exclusive)
        known = some_known(builder.exclusive)
        vectors, head = vectors_and_head(1)
        loss = Mixup(builder).build(WEIGHTS)
        monkeypatch.setattr(loss, "_draw", lambda known: (torch.ones(N_DOCS), torch.tensor([1, 2, 3, 4, 5, 0])))
        wanted = builder.build(WEIGHTS)(vectors[0] @ head.T, targets, known)
        torch.testing.assert_close(of_batch(loss, vectors, head, targets, known), wanted)


def test_mixed_targets_by_hand() -> None:
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    known = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    share, partner = torch.tensor([0.75, 0.75]), torch.tensor([1, 0])
    mixed, sure = mix_targets(targets, known, share, partner)
    torch.testing.assert_close(mixed, torch.tensor([[0.75, 0.0, 0.0], [0.25, 0.0, 0.0]]))
    torch.testing.assert_close(sure, torch.tensor([[1.0, 0.75, 0.0], [1.0, 0.25, 0.0]]))


def test_mixup_draws() -> None:
    known = torch.ones(2000, 3)
    known[::4] = 0.0
    blank = known[:, 0] == 0
    for alpha, low, high in ((0.001, 0.98, 1.0), (0.2, 0.58, 0.73), (1.0, 0.15, 0.25), (8.0, 0.0, 0.01)):
        loss: Any = Mixup(CrossEntropy(), alpha=alpha).build([1.0] * 3)
        torch.manual_seed(1)
        share, partner = loss._draw(known)
        assert share.isfinite().all()
        assert share.min() >= 0
        assert share.max() <= 1
        assert share.mean().item() == pytest.approx(0.5, abs=0.05)
        # Share of documents that stay within a tenth of one of the two; by Beta's distribution function.
        assert low <= ((share < 0.1) | (share > 0.9)).float().mean().item() <= high
        # A permutation, in which documents without annotation mix among themselves.
        assert sorted(partner.tolist()) == list(range(2000))
        assert torch.equal(blank[partner], blank)
        assert (partner == torch.arange(2000)).float().mean() < 0.01
        torch.manual_seed(1)
        again = loss._draw(known)
        assert torch.equal(again[0], share)
        assert torch.equal(again[1], partner)


def test_both_passes_are_mixed_alike() -> None:
    """Mixed differently, two passes without dropout would disagree."""
    vectors, head = vectors_and_head(1)
    _, targets = data(True)
    known = torch.ones_like(targets)
    plain = of_batch(Mixup(CrossEntropy(), 1.0).build(ONES), vectors, head, targets, known)
    for builder in (RDrop(Mixup(CrossEntropy(), 1.0)), Mixup(RDrop(CrossEntropy()), 1.0)):
        found = of_batch(builder.build(ONES), vectors.repeat(2, 1, 1), head, targets, known)
        torch.testing.assert_close(found, plain)


# ---- masks and weights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_missing_labels_have_no_gradient(name: str) -> None:
    builder = PLAIN[name]
    logits, targets = data(builder.exclusive)
    known = some_known(builder.exclusive)
    # Above the clip of every asymmetric loss, below which negatives have no gradient anyway.
    logits = (logits.abs() + 0.1).requires_grad_()
    loss = builder.build(WEIGHTS)
    value = loss(logits, targets, known)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert ((gradient == 0) == (known == 0)).all()
    assert value[3] == 0
    # What stands at a missing place plays no part.
    assert torch.equal(loss(logits, torch.where(known == 0, 1 - targets, targets), known), value)


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("inner", ["cross-entropy", "squared earth mover", "binary cross-entropy", "squared error"])
def test_wrapped_documents_without_annotation_have_no_gradient(name: str, inner: str) -> None:
    builder = wrappers(PLAIN[inner])[name]
    loss = builder.build(WEIGHTS)
    _, targets = data(builder.exclusive)
    known = some_known(builder.exclusive)
    vectors, head = vectors_and_head(loss.n_passes)
    value = of_batch(loss, vectors.requires_grad_(), head, targets, known)
    (gradient,) = torch.autograd.grad(value.sum(), vectors)
    assert value[3] == 0
    assert (gradient[:, 3] == 0).all()
    # In every pass all others have one; mixup may leave a document hardly any part.
    assert (gradient[:, [0, 1, 2, 4, 5]].abs().amax(dim=2) > 0).all()
    assert torch.equal(of_batch(loss, vectors, head, torch.where(known == 0, 1 - targets, targets), known), value)


@pytest.mark.parametrize("name", EXCLUSIVE)
def test_weights_of_exclusive_labels_weigh_documents(name: str) -> None:
    logits, targets = data(True)
    plain, weighed = (EXCLUSIVE[name].build(w)(logits, targets, torch.ones_like(targets)) for w in (ONES, WEIGHTS))
    if "smoothed" in name:
        assert not torch.allclose(plain, weighed)
    else:
        torch.testing.assert_close(weighed, plain * (targets @ torch.tensor(WEIGHTS).double()))


@pytest.mark.parametrize("name", INDEPENDENT)
def test_weights_of_independent_labels(name: str) -> None:
    """They weigh positives; of scores, which are no positives, the label's whole loss."""
    builder = INDEPENDENT[name]
    logits, _ = data(False)
    yes, no = torch.ones_like(logits), torch.zeros_like(logits)
    for targets, both in ((yes, True), (no, isinstance(builder, SquaredError | SmoothL1))):
        for j in range(N_LABELS):
            known = torch.zeros_like(logits)
            known[:, j] = 1.0
            plain, weighed = (builder.build(w)(logits, targets, known) for w in (ONES, WEIGHTS))
            if "smoothed" not in name:
                torch.testing.assert_close(weighed, plain * (WEIGHTS[j] if both else 1.0))


def test_balanced_weights() -> None:
    counts: Any = ([6.0, 3.0, 1.0], [10.0] * 3)
    documents, positives = CrossEntropy().balanced(*counts), BinaryCrossEntropy().balanced(*counts)
    assert documents != positives
    for builder in (Focal(True), SquaredError("ordinal"), SmoothL1("ordinal"), RDrop(Mixup(Focal(True)))):
        assert builder.balanced(*counts) == documents
    for builder in (Focal(False), Asymmetric(), SupervisedContrastive(Asymmetric())):
        assert builder.balanced(*counts) == positives
    wrapped = RDrop(Focal(True, class_weights="balanced"))
    assert label_weights(wrapped, ["a", "b", "c"], *counts) == documents
    wrapped = RDrop(Focal(True, class_weights=[("b", 2.0)]))
    assert label_weights(wrapped, ["a", "b", "c"], *counts) == [1.0, 2.0, 1.0]


# ---- activations and blocks --------------------------------------------------------------------------------------


def test_activations() -> None:
    logits = torch.tensor([[-0.5, 0.25, 1.5]])
    assert SquaredError().activate(logits).tolist() == [[0.0, 0.25, 1.0]]
    assert torch.equal(SmoothL1("ordinal").activate(logits), logits.softmax(dim=1))
    assert torch.equal(Focal(False).activate(logits), logits.sigmoid())
    assert torch.equal(Focal(True).activate(logits), logits.softmax(dim=1))
    assert torch.equal(Asymmetric().activate(logits), logits.sigmoid())


@pytest.mark.parametrize(
    ("builder", "values", "field"),
    [
        (Focal, {"exclusive": True, "gamma": -1.0}, "gamma"), (Focal, {"exclusive": True, "gamma": "nan"}, "gamma"),
        (Asymmetric, {"gamma_negative": -0.1}, "gamma_negative"), (Asymmetric, {"clip": 1.0}, "clip"),
        (Asymmetric, {"gamma_positive": float("inf")}, "gamma_positive"), (SmoothL1, {"beta": 0.0}, "beta"),
        (SquaredError, {"class_weights": "balanced"}, "class_weights"),
        (SmoothL1, {"class_weights": [["a", "b"]]}, "class_weights"),
        (SupervisedContrastive, {"loss": CrossEntropy(), "weight": -1.0}, "weight"),
        (SupervisedContrastive, {"loss": CrossEntropy(), "temperature": 0.0}, "temperature"),
        (RDrop, {"loss": CrossEntropy(), "alpha": -1.0}, "alpha"),
        (Mixup, {"loss": CrossEntropy(), "alpha": float("inf")}, "alpha"),
    ],
)  # fmt: skip
def test_values_out_of_range(builder: Any, values: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=rf"T005.*{field}"):
        builder(**values)


@pytest.mark.parametrize("builder", [Focal(False), Asymmetric(), SquaredError(), SmoothL1()])
def test_weights_out_of_range(builder: Any) -> None:
    values = {"exclusive": False} if isinstance(builder, Focal) else {}
    with pytest.raises(ValueError, match=r"T035.*'a'"):
        type(builder)(class_weights=[("a", 0.0)], **values)


def test_numbers_in_quotes() -> None:
    assert Focal(True, gamma="0.5").gamma == 0.5  # type: ignore[arg-type]
    assert RDrop(CrossEntropy(), alpha="2").alpha == 2.0  # type: ignore[arg-type]


def test_wrappers_take_a_loss_and_each_counts_once() -> None:
    for builder in (SupervisedContrastive, RDrop, Mixup):
        for other in (None, "CrossEntropy", torch.nn.CrossEntropyLoss()):
            with pytest.raises(ValueError, match=rf"T001.*'loss'.*spacy-transfer.{builder.__name__}.v1"):
                builder(other)
        with pytest.raises(ValueError, match=rf"T101.*{builder.__name__}"):
            builder(RDrop(builder(CrossEntropy())) if builder is not RDrop else Mixup(RDrop(CrossEntropy())))


def test_with_views_a_label_with_one_text_has_a_pair_too() -> None:
    vectors, targets = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)), torch.eye(4)
    inner = CrossEntropy()
    plain = inner.build([1.0] * 4)

    def of_batch(loss: Loss) -> Tensor:
        values, _ = loss.of_batch(vectors[: loss.n_passes], lambda given: given[:, :4], targets, torch.ones(4, 4))
        return values

    once, often = (SupervisedContrastive(inner, views=n).build([1.0] * 4) for n in (1, 3))
    assert (once.n_passes, often.n_passes) == (1, 3)
    torch.testing.assert_close(of_batch(once), of_batch(plain))
    assert (of_batch(often) > 0).all()
    assert RDrop(SupervisedContrastive(inner, views=3)).build([1.0] * 4).n_passes == 3
    assert RDrop(SupervisedContrastive(inner)).build([1.0] * 4).n_passes == 2
    with pytest.raises(ValueError, match="T005"):
        SupervisedContrastive(inner, views=0)
