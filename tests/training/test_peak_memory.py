"""The most memory of a training."""

import sys

import numpy as np
import pytest
import torch

from spacy_transfer.training.peak_memory import forget_peak, peak_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells, and forgets")
def test_what_was_held_counts_until_it_is_forgotten() -> None:
    forget_peak()
    before = peak_memory(CPU)
    np.ones(50_000_000)
    held = peak_memory(CPU)
    assert before is not None
    assert held is not None
    assert held - before > 300
    forget_peak()
    after = peak_memory(CPU)
    # Where a container does not let the peak be forgotten, it stays.
    assert after is not None
    assert after < held - 300 or after >= held


def test_a_gpu_that_was_not_used_has_no_peak() -> None:
    if not torch.cuda.is_initialized():
        assert peak_memory(torch.device("cuda")) is None
