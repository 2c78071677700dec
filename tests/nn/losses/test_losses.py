"""Losses: their gradients, what they are by independent formulas, and what they become at their limits."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spacy_transfer.nn.losses import BinaryCrossEntropy, CrossEntropy, Loss, label_weights
from spacy_transfer.nn.losses.asymmetric import Asymmetric
from spacy_transfer.nn.losses.contrastive import SupervisedContrastive, contrast, overlap
from spacy_transfer.nn.losses.focal import Focal
from spacy_transfer.nn.losses.mixup import Mixup, mix_targets
from spacy_transfer.nn.losses.r_drop import RDrop, divergence
from spacy_transfer.nn.losses.smooth_l1 import SmoothL1
from spacy_transfer.nn.losses.squared_error import SquaredError

N_DOCS, N_LABELS, WIDTH = 6, 4, 5
ONES = [1.0] * N_LABELS
WEIGHTS = [0.5, 2.0, 1.0, 3.0]

EXCLUSIVE: dict[str, Any] = {
    "cross-entropy": CrossEntropy(),
    "smoothed cross-entropy": CrossEntropy(label_smoothing=0.1),
    "focal": Focal(exclusive=True),
    "focal, gamma 0.5": Focal(exclusive=True, gamma=0.5),
    "squared earth mover": SquaredError("ordinal"),
    "smooth L1 of ranks": SmoothL1("ordinal", beta=0.3),
}
INDEPENDENT: dict[str, Any] = {
    "binary cross-entropy": BinaryCrossEntropy(),
    "smoothed binary cross-entropy": BinaryCrossEntropy(label_smoothing=0.1),
    "binary focal": Focal(exclusive=False),
    "binary focal, gamma 0.5": Focal(exclusive=False, gamma=0.5),
    "asymmetric": Asymmetric(),
    "asymmetric, gamma 0.5": Asymmetric(gamma_negative=0.5, gamma_positive=0.0, clip=0.2),
    "asymmetric without clip": Asymmetric(clip=0.0),
    "squared error": SquaredError("scores"),
    "smooth L1": SmoothL1("scores", beta=0.3),
}
PLAIN = {**EXCLUSIVE, **INDEPENDENT}
NAMES = list(PLAIN)


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


def data(exclusive: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and hard targets in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((N_DOCS, N_LABELS), generator=generator, dtype=torch.float64) * 2
    if exclusive:
        return logits, F.one_hot(torch.tensor([0, 1, 2, 3, 0, 2]), N_LABELS).double()
    return logits, torch.randint(0, 2, (N_DOCS, N_LABELS), generator=generator).double()


def some_known(exclusive: bool) -> Tensor:
    """Single labels without annotation, and one document without any; where labels are exclusive only that."""
    known = torch.ones((N_DOCS, N_LABELS), dtype=torch.float64)
    known[3] = 0.0
    if not exclusive:
        known[0, 1] = known[5, 2] = 0.0
    return known


def soft(targets: Tensor, exclusive: bool) -> Tensor:
    values = (targets * 3 + torch.rand(targets.shape, generator=torch.Generator().manual_seed(5))).double()
    return values.softmax(dim=1) if exclusive else values / 4


def vectors_and_head(n_passes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn((n_passes, N_DOCS, WIDTH), generator=generator, dtype=torch.float64)
    return vectors, torch.randn((N_LABELS, WIDTH), generator=generator, dtype=torch.float64)


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


@pytest.mark.parametrize("inner", ["cross-entropy", "squared earth mover", "asymmetric", "squared error"])
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


# ---- by other formulas -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_of_exclusive_labels(gamma: float) -> None:
    logits, targets = data(True)
    right = targets.argmax(dim=1)
    score = logits.softmax(dim=1).gather(1, right[:, None])[:, 0]
    wanted = (1 - score) ** gamma * F.cross_entropy(logits, right, torch.tensor(WEIGHTS).double(), reduction="none")
    found = Focal(exclusive=True, gamma=gamma).build(WEIGHTS)(logits, targets, torch.ones_like(targets))
    torch.testing.assert_close(found, wanted, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_of_independent_labels(gamma: float) -> None:
    """As torchvision's sigmoid_focal_loss has it."""
    logits, targets = data(False)
    scores = logits.sigmoid()
    right = scores * targets + (1 - scores) * (1 - targets)
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weights = torch.tensor(WEIGHTS) * targets + (1 - targets)
    found = Focal(exclusive=False, gamma=gamma).build(WEIGHTS)(logits, targets, torch.ones_like(targets))
    torch.testing.assert_close(found, (weights * plain * (1 - right) ** gamma).mean(dim=1))


def test_focal_by_hand() -> None:
    targets, known = torch.tensor([[1.0, 0.0]]), torch.ones(1, 2)
    for exclusive in (True, False):
        found = Focal(exclusive=exclusive).build([1.0, 1.0])(torch.zeros(1, 2), targets, known)
        assert found.item() == pytest.approx(0.25 * 0.693147, rel=1e-5)


@pytest.mark.parametrize(("negative", "positive", "clip"), [(4.0, 1.0, 0.05), (2.0, 0.0, 0.3), (3.0, 1.5, 0.0)])
def test_asymmetric(negative: float, positive: float, clip: float) -> None:
    """As the authors' AsymmetricLoss has it (github.com/Alibaba-MIIL/ASL), which sums."""
    logits, targets = data(False)
    yes = logits.sigmoid()
    no = (1 - yes + clip).clamp(max=1)
    each = targets * yes.log() + (1 - targets) * no.log()
    right = yes * targets + no * (1 - targets)
    wanted = -(each * (1 - right) ** (positive * targets + negative * (1 - targets))).mean(dim=1)
    builder = Asymmetric(gamma_negative=negative, gamma_positive=positive, clip=clip)
    torch.testing.assert_close(builder.build(ONES)(logits, targets, torch.ones_like(targets)), wanted)


def test_negatives_below_the_clip_have_no_loss() -> None:
    logits = torch.tensor([[-3.0, -2.0]], requires_grad=True)
    value = Asymmetric(clip=0.05).build([1.0, 1.0])(logits, torch.zeros(1, 2), torch.ones(1, 2))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    # sigmoid(-3) is 0.047, sigmoid(-2) is 0.119.
    assert (gradient != 0).tolist() == [[False, True]]


def test_squared_error_and_smooth_l1_of_scores_are_torchs() -> None:
    logits, targets = data(False)
    targets, known = soft(targets, False), torch.ones_like(targets)
    found = SquaredError().build(ONES)(logits, targets, known)
    torch.testing.assert_close(found, F.mse_loss(logits, targets, reduction="none").mean(dim=1))
    for beta in (0.1, 1.0):
        found = SmoothL1(beta=beta).build(ONES)(logits, targets, known)
        wanted = F.huber_loss(logits, targets, reduction="none", delta=beta).mean(dim=1) / beta
        torch.testing.assert_close(found, wanted)


def test_squared_earth_movers_distance_by_hand() -> None:
    """Scores 1/2, 1/4, 1/4: cumulated 1/2, 3/4, 1."""
    logits = torch.tensor([[2.0, 1.0, 1.0]]).log().repeat(3, 1)
    found = SquaredError("ordinal").build([1.0] * 3)(logits, torch.eye(3), torch.ones(3, 3))
    assert found.tolist() == pytest.approx([0.5**2 + 0.25**2, 0.5**2 + 0.25**2, 0.5**2 + 0.75**2])
    # Smooth L1 with beta 1/2: half the square over beta below, distance minus half of beta above.
    found = SmoothL1("ordinal", beta=0.5).build([1.0] * 3)(logits, torch.eye(3), torch.ones(3, 3))
    assert found.tolist() == pytest.approx([0.25 + 0.0625, 0.25 + 0.0625, 0.25 + 0.5])


@pytest.mark.parametrize("builder", [SquaredError("ordinal"), SmoothL1("ordinal")])
def test_a_neighbour_is_less_wrong_than_one_further_away(builder: Any) -> None:
    logits = torch.eye(4) * 8
    right = torch.eye(4)[[0] * 4]
    values = builder.build(ONES)(logits, right, torch.ones(4, 4)).tolist()
    assert values == sorted(values)
    assert values[0] < 0.01 < values[1] < 0.7 * values[2]
    plain = CrossEntropy().build(ONES)(logits, right, torch.ones(4, 4))
    assert plain[1].item() == pytest.approx(plain[3].item())


def naive_contrast(vectors: Sequence[Tensor], alike: Callable[[int, int], float], temperature: float) -> list[Tensor]:
    """Khosla et al., equation 2, in loops, with weights of the positives."""
    points = [vector / vector.norm() for vector in vectors]
    found = []
    for i, anchor in enumerate(points):
        others = [j for j in range(len(points)) if j != i]
        whole = sum(torch.exp(anchor @ points[j] / temperature) for j in others)
        weights = {j: alike(i, j) for j in others}
        total = sum(weights.values())
        terms = [w * torch.log(torch.exp(anchor @ points[j] / temperature) / whole) for j, w in weights.items() if w]
        found.append(-sum(terms, torch.zeros(())) / total if total else torch.zeros((), dtype=torch.float64))
    return found


@pytest.mark.parametrize("n_passes", [1, 2])
@pytest.mark.parametrize("exclusive", [True, False])
def test_contrast_is_khoslas(exclusive: bool, n_passes: int) -> None:
    _, targets = data(exclusive)
    vectors, _ = vectors_and_head(n_passes)
    sets = [{j for j in range(N_LABELS) if row[j]} for row in targets]
    assert any(len(one) > 1 for one in sets) != exclusive

    def alike(i: int, j: int) -> float:
        one, other = sets[i % N_DOCS], sets[j % N_DOCS]
        return 1.0 if i % N_DOCS == j % N_DOCS else len(one & other) / max(len(one | other), 1)

    wanted = torch.stack(naive_contrast(vectors.flatten(0, 1), alike, 0.3)).view(n_passes, N_DOCS).mean(dim=0)
    found = contrast(vectors, targets, torch.ones_like(targets), 0.3)
    torch.testing.assert_close(found, wanted)
    assert (found > 0).any()
    if exclusive and n_passes == 1:
        # Documents 1 and 3 are the only ones of their labels.
        assert (found == 0).tolist() == [False, True, False, True, False, False]


def test_overlap_by_hand() -> None:
    targets = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 1.0]])
    alike, comparable = overlap(targets, torch.ones_like(targets))
    assert comparable.all()
    wanted = [[1, 0.5, 0, 0.5 / 3], [0.5, 1, 0, 0.5 / 2], [0, 0, 1, 0], [0.5 / 3, 0.5 / 2, 0, 1]]
    torch.testing.assert_close(alike, torch.tensor(wanted))
    known = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    alike, comparable = overlap(targets, known)
    assert alike[0, 1] == 1.0
    assert comparable.tolist() == [
        [True, True, False, False], [True, True, True, False], [False, True, True, False], [False] * 4,
    ]  # fmt: skip


@pytest.mark.parametrize("exclusive", [True, False])
def test_documents_without_annotation_are_not_contrasted(exclusive: bool) -> None:
    _, targets = data(exclusive)
    vectors, _ = vectors_and_head(2)
    known = torch.ones_like(targets)
    known[4:] = 0.0
    vectors.requires_grad_()
    found = contrast(vectors, targets, known, 0.3)
    torch.testing.assert_close(found[:4], contrast(vectors[:, :4], targets[:4], known[:4], 0.3))
    assert (found[4:] == 0).all()
    (gradient,) = torch.autograd.grad(found.sum(), vectors)
    assert (gradient[:, 4:] == 0).all()
    assert (gradient[:, :4] != 0).any()


@pytest.mark.parametrize("n_docs", [1, 2])
def test_contrast_of_documents_that_are_like_no_other(n_docs: int) -> None:
    vectors = torch.randn(1, n_docs, WIDTH, requires_grad=True)
    value = contrast(vectors, torch.eye(2)[:n_docs], torch.ones(n_docs, 2), 0.1)
    (gradient,) = torch.autograd.grad(value.sum(), vectors)
    assert value.tolist() == [0.0] * n_docs
    assert (gradient == 0).all()


def test_divergence_is_torchs() -> None:
    one, other = data(False)[0], data(False, seed=1)[0]
    known = torch.ones_like(one)
    logs = one.log_softmax(dim=1), other.log_softmax(dim=1)
    both = [F.kl_div(a, b, reduction="none", log_target=True).sum(dim=1) for a, b in (logs, logs[::-1])]
    torch.testing.assert_close(divergence(one, other, known, "softmax"), (both[0] + both[1]) / 2)
    for activation, kind in (("sigmoid", "Bernoulli"), ("linear", "Normal")):
        if kind == "Bernoulli":
            pair: Any = [torch.distributions.Bernoulli(logits=values) for values in (one, other)]
        else:
            pair = [torch.distributions.Normal(values, torch.ones_like(values)) for values in (one, other)]
        both = [torch.distributions.kl_divergence(*pair), torch.distributions.kl_divergence(*pair[::-1])]
        found = divergence(one, other, known, activation)  # type: ignore[arg-type]
        torch.testing.assert_close(found, (both[0] + both[1]).mean(dim=1) / 2)


@pytest.mark.parametrize("name", NAMES)
def test_r_drop_is_the_mean_of_both_passes_and_their_divergence(name: str) -> None:
    builder = PLAIN[name]
    one, targets = data(builder.exclusive)
    other = data(builder.exclusive, seed=1)[0]
    known = some_known(builder.exclusive)
    inner, loss = builder.build(WEIGHTS), RDrop(builder, alpha=0.3).build(WEIGHTS)
    found, logits = loss.of_batch(torch.stack([one, other]), lambda given: given, targets, known)
    mean = (inner(one, targets, known) + inner(other, targets, known)) / 2
    torch.testing.assert_close(found, mean + 0.3 * divergence(one, other, known, loss.activation))
    assert torch.equal(logits, torch.stack([one, other]))
    # A document without annotation has no loss at all.
    assert found[3] == 0


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
