"""Running out of memory, wherever it happens: what fits is found once, kept, and goes into the checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch

from house_kit.pipelines import pipeline, scores_of, shim_of
from house_kit.texts import exclusive_examples
from spacy_transfer.model.learning.memory import PieceBudget, is_out_of_memory
from spacy_transfer.training.adamw import AdamW

SMALL: dict[str, Any] = {"piece_budget": 256, "windows": {"length": 16, "stride": 12}}
CPU = torch.device("cpu")


class CuPysError(MemoryError):
    """As `cupy.cuda.memory.OutOfMemoryError` derives."""


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous"
        ),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
        CuPysError("Out of memory allocating 512 bytes"),
        MemoryError(),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), ValueError("out of memory"), OSError()])
def test_what_does_not(error: Exception) -> None:
    assert not is_out_of_memory(error)
    room, tried = PieceBudget(64, 8), []

    def work(budget: int) -> None:
        tried.append(budget)
        raise error

    with pytest.raises(type(error)):
        room.run(CPU, work)
    assert tried == [64]
    assert room.limit is None


def test_a_budget_halves_down_to_a_window_and_no_further() -> None:
    room, tried, forgotten = PieceBudget(100, 30), [], []

    def work(budget: int) -> None:
        tried.append(budget)
        raise MemoryError

    with pytest.raises(MemoryError):
        room.run(CPU, work, lambda: forgotten.append(1))
    assert tried == [100, 50, 30]
    assert len(forgotten) == 3


class Small:
    """A device whose memory holds micro-batches of so many pieces; stands before the encoder."""

    def __init__(self, nlp: Any, n_pieces: int) -> None:
        self.n_pieces, self.tried = n_pieces, list[int]()
        shim_of(nlp).network.encoder.register_forward_pre_hook(self)

    def __call__(self, module: Any, args: Any) -> None:
        self.tried.append(args[0].numel())
        if args[0].numel() > self.n_pieces:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def test_what_fits_is_kept_for_the_rest_of_the_run(quiet_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    nlp = pipeline(quiet_bert, **SMALL)
    device = Small(nlp, 64)
    for _ in range(3):
        nlp.update(exclusive_examples(nlp), sgd=AdamW())
    assert sum("T078" in message for message in caplog.messages) == 2
    failed = [n for n in device.tried if n > 64]
    assert len(failed) == 2
    assert shim_of(nlp).room.on(CPU) == 64


def test_a_checkpoint_has_it(quiet_bert: Path) -> None:
    nlp, other = pipeline(quiet_bert, **SMALL), pipeline(quiet_bert, **SMALL)
    Small(nlp, 64)
    nlp.update(exclusive_examples(nlp), sgd=AdamW())
    shim_of(other).restore_state(*shim_of(nlp).checkpoint_state())
    assert shim_of(other).room.on(CPU) == 64


def test_predictions_are_made_in_smaller_parts(quiet_bert: Path) -> None:
    plain, failing = pipeline(quiet_bert, **SMALL), pipeline(quiet_bert, **SMALL)
    Small(failing, 64)
    texts = [example.reference.text for example in exclusive_examples(plain)]
    torch.testing.assert_close(scores_of(plain, texts), scores_of(failing, texts), atol=1e-5, rtol=1e-4)
    assert shim_of(failing).room.limit == 64


def test_another_device_begins_anew(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, **SMALL)
    shim_of(nlp).room.limit = 32
    nlp.get_pipe("transfer_textcat").model.to_cpu()
    assert shim_of(nlp).room.on(CPU) == 256


@pytest.mark.parametrize(("n_threads", "wanted"), [(1, 1024), (4, 2048), (64, 4096)])
def test_what_is_only_predicted_on_a_cpu_has_room_by_threads(
    monkeypatch: pytest.MonkeyPatch, n_threads: int, wanted: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    room = PieceBudget("auto", 8)
    assert room.for_prediction(CPU) == wanted
    assert room.for_prediction(torch.device("cuda")) == room.on(torch.device("cuda"))
    assert PieceBudget(300, 8).for_prediction(CPU) == 300
    room.limit = 100
    assert room.for_prediction(CPU) == 100
