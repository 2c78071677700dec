"""The faster arithmetic on a CPU gives what torch's own gives."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from thinc.api import Adam

from house_kit.encoders import KNOWN_FAMILIES
from house_kit.pipelines import network_of, pipeline, weights_of
from house_kit.texts import exclusive_examples
from spacy_transfer.nn.devices.cpu_kernels import CpuKernels, attention, dropout
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder
from spacy_transfer.training.adamw import AdamW


def _inputs(dtype: torch.dtype, n_rows: int = 3, n_pieces: int = 7) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n_rows, 2, n_pieces, 4, generator=generator, dtype=torch.float32).to(dtype) for _ in range(3)]


def _mask(kind: str, n_rows: int = 3, n_pieces: int = 7) -> torch.Tensor | None:
    inside = torch.arange(n_pieces)[None, :] < torch.tensor([n_pieces, 2, 5])[:n_rows, None]
    allowed = inside[:, None, None, :].expand(n_rows, 1, n_pieces, n_pieces)
    if kind == "none":
        return None
    return allowed if kind == "boolean" else torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo().min)


@pytest.mark.parametrize("kind", ["none", "boolean", "added"])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("backward", [True, False])
def test_attention_is_torchs(kind: str, dtype: torch.dtype, atol: float, backward: bool) -> None:
    mask = _mask(kind)
    ours, theirs = _inputs(dtype), _inputs(dtype)
    for tensor in [*ours, *theirs]:
        tensor.requires_grad_(backward)
    expected = F.scaled_dot_product_attention(*theirs, attn_mask=None if mask is None else mask.to(
        mask.dtype if mask.dtype == torch.bool else dtype))  # fmt: skip
    with CpuKernels():
        found = F.scaled_dot_product_attention(*ours, attn_mask=mask)
    torch.testing.assert_close(found, expected, atol=atol, rtol=1e-3)
    if backward:
        found.float().square().sum().backward()
        expected.float().square().sum().backward()
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one.grad, other.grad, atol=10 * atol, rtol=1e-2)


def test_attention_in_parts_is_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    from spacy_transfer.nn.devices import cpu_kernels as kernels

    monkeypatch.setattr(kernels, "_MOST_WEIGHTS", 2 * 7 * 7)
    inputs, mask = _inputs(torch.bfloat16), _mask("boolean")
    with torch.no_grad(), CpuKernels():
        found = F.scaled_dot_product_attention(*inputs, attn_mask=mask)
    torch.testing.assert_close(found, attention(*inputs, mask, 0.0, None))


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    states = torch.ones(1000, 333, dtype=dtype, requires_grad=True)
    found = dropout(states, rate)
    assert float((found == 0).float().mean()) == pytest.approx(rate, abs=4e-3)
    assert float(found.float().mean()) == pytest.approx(1.0, abs=6e-3)
    found.backward(torch.ones_like(found))
    # What was dropped has no gradient, what was kept the factor it was scaled by.
    assert torch.equal(states.grad, found.detach())


def test_dropout_follows_torchs_seed_and_differs_from_call_to_call() -> None:
    states = torch.ones(64, 64)
    with CpuKernels():
        torch.manual_seed(1)
        first, second = F.dropout(states, 0.3), F.dropout(states, 0.3)
        torch.manual_seed(1)
        again = F.dropout(states, 0.3)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_nothing_to_drop_out_of() -> None:
    states = torch.zeros((0, 4), requires_grad=True)
    with CpuKernels():
        found = torch.nn.functional.dropout(states, 0.5)
    found.sum().backward()
    assert found.shape == (0, 4)


def test_evaluation_drops_nothing() -> None:
    states = torch.randn(5, 5)
    with CpuKernels():
        assert torch.equal(F.dropout(states, 0.3, training=False), states)
        assert torch.equal(torch.nn.Dropout(0.3).eval()(states), states)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.9])
def test_dropped_neighbors_are_independent(rate: float) -> None:
    """Across the eight bytes of one draw too; and the expectation is that of the share really drawn."""
    torch.manual_seed(0)
    found = dropout(torch.ones(1_000_003), rate)
    kept = (found != 0).float()
    share = float(kept.mean())
    assert float(found.max()) == pytest.approx(1 / share, rel=0.01)
    for distance in (1, 2, 7, 8, 9):
        assert float((kept[:-distance] * kept[distance:]).mean()) == pytest.approx(share**2, abs=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backward", [True, False])
def test_pieces_that_see_nothing_stay_finite(dtype: torch.dtype, backward: bool) -> None:
    """Padding, whose window of local attention holds nothing but padding: as NaN it would spread."""
    near = torch.ones((7, 7)).triu(-1).tril(1).bool()
    mask = near & (torch.arange(7) < torch.tensor([7, 2, 4])[:, None])[:, None, None, :]
    seeing = mask.any(dim=-1).expand(3, 2, 7)
    assert not seeing.all()
    inputs = [tensor.requires_grad_(backward) for tensor in _inputs(dtype)]
    with CpuKernels():
        found = F.scaled_dot_product_attention(*inputs, attn_mask=mask)
    expected = F.scaled_dot_product_attention(*_inputs(torch.float32), attn_mask=mask)
    assert found.isfinite().all()
    torch.testing.assert_close(found[seeing].float(), expected[seeing], atol=2e-2, rtol=2e-2)
    if backward:
        found[seeing].float().sum().backward()
        assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in inputs)


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_every_family_computes_the_same(family: str, encoder_folder: Callable[[str], Path]) -> None:
    """States and gradients, with rows that are mostly padding."""
    plain = PretrainedEncoder(str(encoder_folder(family))).load().encoder.eval()
    ids = torch.randint(6, 60, (3, 24), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(24) < torch.tensor([[24], [7], [1]])).long()
    ids = torch.where(mask == 1, ids, plain.pad_id)
    faster = copy.deepcopy(plain)
    wanted = plain(ids, mask)
    with CpuKernels():
        found = faster(ids, mask)
    inside = mask.bool()
    torch.testing.assert_close(
        found[inside], wanted[inside], atol=1e-5 * max(1.0, float(wanted[inside].detach().abs().max())), rtol=1e-4
    )
    wanted[inside].square().sum().backward()
    found[inside].square().sum().backward()
    # The gradient of a key's bias is zero but for rounding.
    whole = max(float(weight.grad.norm()) for weight in plain.parameters() if weight.grad is not None)
    for (name, one), other in zip(plain.named_parameters(), faster.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            assert (other.grad - one.grad).norm() <= 1e-4 * one.grad.norm() + 1e-6 * whole, name


# ---- gradients of large embeddings -------------------------------------------------------------------------------


def test_large_embeddings_get_sparse_gradients_with_the_same_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    from spacy_transfer.nn.devices import cpu_kernels as kernels

    monkeypatch.setattr(kernels, "_LARGE", 10)
    ids = torch.tensor([[1, 2, 2, 0], [3, 1, 0, 0]])
    ours = torch.nn.Embedding(5, 4, padding_idx=0)
    theirs = copy.deepcopy(ours)
    factors = torch.randn(2, 4, 4)
    with CpuKernels():
        (ours(ids) * factors).sum().backward()
    (theirs(ids) * factors).sum().backward()
    assert ours.weight.grad is not None
    assert ours.weight.grad.is_sparse
    torch.testing.assert_close(ours.weight.grad.to_dense(), theirs.weight.grad)


@pytest.mark.parametrize("optimizer", ["ours", "thinc"])
def test_sparse_gradients_train_as_dense_ones(
    quiet_bert: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spacy_transfer.nn.devices import cpu_kernels as kernels

    found = []
    for large in (10, 10**9):
        monkeypatch.setattr(kernels, "_LARGE", large)
        nlp = pipeline(quiet_bert, piece_budget=64, windows={"length": 16, "stride": 12})
        examples = exclusive_examples(nlp)
        # A large eps: the gradient of a key bias is nothing but rounding.
        sgd = AdamW(learn_rate=1e-2, eps=1e-3) if optimizer == "ours" else Adam(1e-2, eps=1e-3)
        for step in range(3):
            # Two sub-batches a step; each step sees other pieces, so rows touched before must be zero again.
            nlp.update(examples[6 * step : 6 * step + 4], sgd=False)
            assert network_of(nlp).encoder.body.embeddings.word_embeddings.weight.grad.is_sparse == (large == 10)
            nlp.update(examples[6 * step + 4 : 6 * step + 6], sgd=sgd)
        found.append(weights_of(nlp))
    for name, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][name], atol=1e-5, rtol=1e-4, msg=name)
