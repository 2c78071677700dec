"""Arithmetic of low precision: few shapes on a CPU, and copies of weights that follow every change."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch

from house_kit.encoders import KNOWN_FAMILIES
from house_kit.pipelines import network_of, pipeline, scores_of, shim_of
from house_kit.slow import mostly_slow
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.model.text.batching import micro_batches
from spacy_transfer.model.text.collating import collate
from spacy_transfer.model.text.windows import Row
from spacy_transfer.nn.devices import few_shapes, shape_sizes
from spacy_transfer.nn.encoders.encoder import Encoder
from spacy_transfer.nn.network import Network
from spacy_transfer.training.adamw import AdamW

MIXED = [*TEXTS, "", " ".join(TEXTS), "card", "!"]


def row(length: int) -> Row:
    return Row(np.arange(5, 5 + length, dtype=np.int32), (0, length))


# ---- few shapes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_docs", mostly_slow([1, 7, 16, 256], but=[7, 256]))
def test_shapes_are_few_whatever_the_lengths(n_docs: int) -> None:
    """Thousands of texts of windows of 256: at most 75 shapes, and little padding in large batches."""
    rng, shapes, read, filled = random.Random(n_docs), set(), 0, 0
    for _ in range(6000 // n_docs):
        documents = [[row(rng.randint(2, 256)) for _ in range(rng.choice([1, 1, 1, 2]))] for _ in range(n_docs)]
        groups = list(micro_batches(documents, 4096, few_shapes=True))
        assert sorted(i for group in groups for i in group) == list(range(n_docs))
        for group in groups:
            batch = collate([documents[i] for i in group], 0, torch.device("cpu"))
            ids, mask = few_shapes.filled_up(batch.ids, batch.mask, 0, 512)
            assert ids.shape == mask.shape
            assert ids.numel() <= 4096
            assert mask.sum(dim=1).min() > 0
            assert torch.equal(ids[: len(batch.ids), : batch.ids.shape[1]], batch.ids)
            shapes.add(tuple(ids.shape))
            read, filled = read + int(batch.mask.sum()), filled + ids.numel()
    assert len(shapes) <= 75
    assert n_docs < 256 or filled < 1.3 * read


def test_lengths_keep_to_the_positions_and_values_to_their_octave() -> None:
    assert [shape_sizes.few_pieces(n) for n in (1, 8, 9, 64, 65, 81, 129, 257)] == [8, 8, 16, 64, 80, 96, 160, 320]
    assert [shape_sizes.few_pieces(n, 40) for n in (33, 39, 40)] == [40, 40, 40]
    assert shape_sizes.few_pieces(250, 250) == 250
    assert [shape_sizes.few_rows(n, 256) for n in (1, 2, 5, 9, 37)] == [1, 4, 8, 16, 40]
    values = {shape_sizes.few_values(n) for n in range(1, 5000)}
    assert all(shape_sizes.few_values(n) >= n for n in range(1, 5000))
    assert len(values) < 70


@pytest.mark.parametrize("frozen", [-1, 1, "all"])
def test_encoders_see_few_shapes_in_training_caching_and_prediction(
    bert: Path, monkeypatch: pytest.MonkeyPatch, frozen: Any
) -> None:
    nlp = pipeline(bert, precision="bf16", tuning={"frozen_depth": frozen})
    # From here on: the trial at initialization runs in fp32.
    seen = set()
    for name in ("forward", "prefix", "resume"):
        original = getattr(Encoder, name)

        def watched(self: Encoder, ids: torch.Tensor, *args: Any, _run: Any = original, **more: Any) -> torch.Tensor:
            seen.add(tuple(ids.shape))
            return _run(self, ids, *args, **more)

        monkeypatch.setattr(Encoder, name, watched)
    optimizer, examples = AdamW(learn_rate=1e-3), exclusive_examples(nlp)
    for n in (1, 5, 11, len(examples)):
        nlp.update(examples[:n], sgd=optimizer)
        scores_of(nlp, MIXED[:n])
    assert all(n_rows in shape_sizes.ROWS and n_pieces % 8 == 0 for n_rows, n_pieces in seen)
    seen.clear()
    nlp = pipeline(bert, precision="fp32")
    scores_of(nlp, MIXED)
    assert any(n_pieces % 8 for _, n_pieces in seen)


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_filling_up_changes_no_score(
    family: str, encoder_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32, where it would show, and for every kind of mask and position."""
    nlp = pipeline(encoder_folder(family), windows={"length": 38, "stride": 20})
    wanted = scores_of(nlp, MIXED)
    monkeypatch.setattr(few_shapes, "are_wanted", lambda device, precision: True)
    torch.testing.assert_close(scores_of(nlp, MIXED), wanted, atol=2e-5, rtol=0.0)


@pytest.mark.parametrize("frozen", [-1, 1])
def test_filling_up_changes_no_gradient(quiet_bert: Path, monkeypatch: pytest.MonkeyPatch, frozen: int) -> None:
    def gradients() -> dict[str, torch.Tensor]:
        nlp = pipeline(quiet_bert, tuning={"frozen_depth": frozen})
        nlp.update(exclusive_examples(nlp)[:13], sgd=False)
        return {name: w.grad.to_dense() for name, w in network_of(nlp).named_parameters() if w.grad is not None}

    wanted = gradients()
    monkeypatch.setattr(few_shapes, "are_wanted", lambda device, precision: True)
    found = gradients()
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


# ---- copies ------------------------------------------------------------------------------------------------------


def by_autocast(nlp: Any, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(Network, "_mobile", lambda self: self.encoder)
        return scores_of(nlp, MIXED)


@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_predictions_are_those_of_autocast(
    family: str, encoder_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: the weights of linear layers are cast once in place of at every call."""
    nlp = pipeline(encoder_folder(family), precision="bf16")
    assert torch.equal(scores_of(nlp, MIXED), by_autocast(nlp, monkeypatch))


CHANGES: dict[str, Callable[[Any], object]] = {
    "in place": lambda network: [w.zero_() for w in network.encoder.parameters()],
    "load_state_dict": lambda network: network.load_state_dict(
        {name: value * 0.5 for name, value in network.state_dict().items()}
    ),
    "other tensors": lambda network: network.load_state_dict(
        {name: value * 0.5 for name, value in network.state_dict().items()}, assign=True
    ),
    "data": lambda network: [setattr(w, "data", w.data * 0.5) for w in network.encoder.parameters()],
    "one weight": lambda network: list(network.encoder.parameters())[5].add_(1.0),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("frozen", mostly_slow([-1, 1, "all"], but=[1]))
def test_copies_follow_the_weights(bert: Path, frozen: Any, change: str, tmp_path: Path) -> None:
    """What is in memory and what is saved of it never differ."""
    nlp = pipeline(bert, precision="bf16", tuning={"frozen_depth": frozen})
    before = scores_of(nlp, TEXTS)
    with torch.no_grad():
        CHANGES[change](network_of(nlp))
    after = scores_of(nlp, TEXTS)
    assert not torch.equal(before, after)
    nlp.to_disk(tmp_path)
    assert torch.equal(scores_of(spacy.load(tmp_path), TEXTS), after)


@pytest.mark.parametrize("optimizer", ["AdamW", "Adam"])
def test_copies_follow_every_step_and_averages(bert: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from thinc.api import Adam

    nlp = pipeline(bert, precision="bf16")
    make: Any = AdamW if optimizer == "AdamW" else Adam
    sgd = make(learn_rate=1e-2, use_averages=True)
    examples = exclusive_examples(nlp)
    for _ in range(3):
        nlp.update(examples, sgd=sgd)
        assert torch.equal(scores_of(nlp, MIXED), by_autocast(nlp, monkeypatch))
        with nlp.use_params(sgd.averages):
            assert torch.equal(scores_of(nlp, MIXED), by_autocast(nlp, monkeypatch))
        assert torch.equal(scores_of(nlp, MIXED), by_autocast(nlp, monkeypatch))


@pytest.mark.parametrize("frozen", [-1, "all"])
def test_hooks_that_come_later_run(bert: Path, frozen: Any) -> None:
    nlp = pipeline(bert, precision="bf16", tuning={"frozen_depth": frozen})
    scores_of(nlp, TEXTS)
    seen = []
    handle = next(
        module for module in network_of(nlp).encoder.modules() if isinstance(module, torch.nn.LayerNorm)
    ).register_forward_hook(lambda module, args, output: seen.append(output.shape))
    scores_of(nlp, TEXTS)
    n = len(seen)
    assert n
    handle.remove()
    scores_of(nlp, TEXTS)
    assert len(seen) == n


def test_what_a_copy_costs(bert: Path) -> None:
    """Half of the linear weights' memory; the others are the encoder's own."""
    nlp = pipeline(bert, precision="bf16")
    scores_of(nlp, TEXTS)
    network = shim_of(nlp).network
    own = {id(weight) for weight in network.encoder.parameters()}
    low = network._prediction_copy._made[1]
    extra = [weight for weight in low.parameters() if id(weight) not in own]
    linear = [m for m in network.encoder.modules() if isinstance(m, torch.nn.Linear)]
    assert sum(w.numel() for w in extra) == sum(w.numel() for m in linear for w in m.parameters())
    assert {w.dtype for w in extra} == {torch.bfloat16}
