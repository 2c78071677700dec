"""The faster arithmetic on a CPU gives what torch's own gives."""

import pytest
import torch
import torch.nn.functional as F

from spacy_transfer.nn.kernels import CpuKernels, attention, dropout


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
    from spacy_transfer.nn import kernels

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


def test_evaluation_drops_nothing() -> None:
    states = torch.randn(5, 5)
    with CpuKernels():
        assert torch.equal(F.dropout(states, 0.3, training=False), states)
        assert torch.equal(torch.nn.Dropout(0.3).eval()(states), states)
