"""What only a CUDA device can show; skipped without one (`test_on_fake_cuda.py` runs it on one that is not there)."""

from pathlib import Path
from typing import Any

import pytest
import spacy
import torch

from house_kit.pipelines import network_of, pipeline, scores_of, shim_of
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.training.adamw import AdamW

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def losses_of(nlp: Any, n_steps: int = 5) -> list[float]:
    examples, optimizer = exclusive_examples(nlp), AdamW(learn_rate=1e-3)
    return [float(nlp.update(examples, sgd=optimizer)["transfer_textcat"]) for _ in range(n_steps)]


@pytest.mark.parametrize("frozen", [-1, 1, "all"])
def test_a_gpu_learns_what_a_cpu_learns(quiet_bert: Path, frozen: Any) -> None:
    found = []
    for device in ("cpu", "cuda"):
        nlp = pipeline(quiet_bert, device=device, precision="fp32", tuning={"frozen_depth": frozen})
        found.append(losses_of(nlp))
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precisions_learn_what_fp32_learns(quiet_bert: Path, precision: str) -> None:
    """But for rounding: the first loss, and what a few steps take off it."""
    wanted, found = (losses_of(pipeline(quiet_bert, device="cuda", precision=p), 8) for p in ("fp32", precision))
    assert found[0] == pytest.approx(wanted[0], rel=0.05)
    # fp16 may leave out the first steps, until its scale fits.
    assert found[-1] < found[0]
    assert found[-1] == pytest.approx(wanted[-1], rel=0.15)


def test_a_pipeline_trained_on_a_gpu_predicts_on_a_cpu(quiet_bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(quiet_bert, device="cuda", precision="fp32")
    losses_of(nlp)
    nlp.to_disk(tmp_path)
    config = {"components": {"transfer_textcat": {"model": {"device": "cpu"}}}}
    other = spacy.load(tmp_path, config=config)
    assert network_of(other).device.type == "cpu"
    torch.testing.assert_close(scores_of(nlp, TEXTS), scores_of(other, TEXTS), atol=1e-4, rtol=1e-3)


def test_running_out_of_memory_halves_the_budget(quiet_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    nlp = pipeline(quiet_bert, device="cuda", precision="fp32", piece_budget=64, windows={"length": 16, "stride": 12})
    original, calls = shim_of(nlp).gradients.backward, []

    def backward(loss: torch.Tensor) -> None:
        calls.append(1)
        if len(calls) == 1:
            torch.empty(2**45, dtype=torch.uint8, device="cuda")
        original(loss)

    shim_of(nlp).gradients.backward = backward
    losses_of(nlp, 1)
    assert any("T078" in message for message in caplog.messages)
