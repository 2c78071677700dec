"""Memory that was freed goes back to the system, and that costs next to nothing."""

import numpy as np
import pytest

from spacy_transfer.model.text.batching import FREED_MEMORY, micro_batches
from spacy_transfer.model.text.windows import Row
from spacy_transfer.nn.devices.freed_memory import FreedMemory


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("cost", [0.001, 0.05, 2.0])
def test_it_takes_at_most_a_two_hundredth_of_the_time(cost):
    clock = Clock()
    spent = [0.0]

    def trim() -> None:
        clock.now += cost
        spent[0] += cost

    memory = FreedMemory(trim, clock)
    for _ in range(200_000):
        clock.now += 0.01
        memory.give_back()
    assert 0 < spent[0] <= clock.now / 200 + cost


def test_without_such_a_function_nothing_happens():
    clock = Clock()
    memory = FreedMemory(None, clock)
    clock.now = 100.0
    memory.give_back()


@pytest.mark.parametrize(("device", "n_expected"), [("cpu", 3), ("cuda", 0)])
def test_it_is_given_back_before_each_micro_batch_on_a_cpu(monkeypatch, device, n_expected):
    given = []
    monkeypatch.setattr(type(FREED_MEMORY), "give_back", lambda self: given.append(self))
    rows = [[Row(np.ones(512, dtype=np.int32), (0, 512))] for _ in range(3)]
    assert len(list(micro_batches(rows, 512, device))) == 3
    assert len(given) == n_expected
