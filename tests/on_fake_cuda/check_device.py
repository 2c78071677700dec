"""The device itself: what tests on it rest on."""

from typing import Any

import pytest
import torch


def test_tensors_say_where_they_are() -> None:
    there = torch.ones(2, device="cuda")
    assert there.device == torch.device("cuda", 0)
    assert there.is_cuda
    assert (there + 1).device.type == "cuda"
    assert (there + 1).cpu().tolist() == [2.0, 2.0]


def test_two_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(2, device="cuda") + torch.ones(2)
    with pytest.raises((RuntimeError, TypeError)):
        torch.ones(2, device="cuda").numpy()


def test_a_layer_learns_and_its_random_numbers_are_its_own() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5)).to("cuda")
    host = torch.get_rng_state()
    layer(torch.ones(4, 3, device="cuda")).sum().backward()
    assert torch.equal(host, torch.get_rng_state())
    before = layer[0].weight.detach().clone()
    torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True).step()
    assert not torch.equal(before.cpu(), layer[0].weight.detach().cpu())


def test_autocast_computes_in_bf16() -> None:
    layer, inputs = torch.nn.Linear(3, 2).to("cuda"), torch.ones(4, 3, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        assert layer(inputs).dtype == torch.bfloat16


def test_waits_are_counted_with_what_waits(gpu: Any) -> None:
    there, host = torch.ones(3, device="cuda"), torch.ones(3)
    with gpu.counting() as counts:
        there.to("cuda").add(1)
        host.pin_memory().to("cuda", non_blocking=True)
    assert not counts.waits
    assert not counts.slow
    assert (counts.launches, counts.copies) == (1, 1)
    for what in (
        lambda: float(there.sum()), lambda: there.cpu(), lambda: host.to("cuda"), lambda: there[there > 0],
        lambda: there[torch.tensor([0])], lambda: there.nonzero(),
    ):  # fmt: skip
        with gpu.counting() as counts:
            what()
        assert len(counts.waits) == 1
    with gpu.counting() as counts:
        host.to("cuda", non_blocking=True)
    assert len(counts.slow) == 1
