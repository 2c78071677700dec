"""Losses are what independent formulas say."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from house_kit.loss_data import (
    N_DOCS,
    N_LABELS,
    NAMES,
    ONES,
    PLAIN,
    WEIGHTS,
    WIDTH,
    data,
    soft,
    some_known,
    vectors_and_head,
)
from spacy_transfer.nn.losses import CrossEntropy
from spacy_transfer.nn.losses.asymmetric import Asymmetric
from spacy_transfer.nn.losses.contrastive import contrast, overlap
from spacy_transfer.nn.losses.focal import Focal
from spacy_transfer.nn.losses.r_drop import RDrop, divergence
from spacy_transfer.nn.losses.smooth_l1 import SmoothL1
from spacy_transfer.nn.losses.squared_error import SquaredError


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
def test_a_neighbor_is_less_wrong_than_one_further_away(builder: Any) -> None:
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
