"""Running out of memory and fp16: what is summed stays right. The GPU's part is in test_gpu.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from house_kit.gradients import Exhausted, gradients_of
from house_kit.pipelines import network_of, pipeline, shim_of, weights_of
from house_kit.runs import CNN
from house_kit.texts import exclusive_examples
from spacy_transfer.model.features.layer import features_of
from spacy_transfer.model.learning.accumulation import Gradients
from spacy_transfer.training.adamw import AdamW


@pytest.mark.parametrize("fails", [{1}, {2}, {1, 2}])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_step_that_ran_out_of_memory_is_run_again_in_smaller_parts(
    quiet_bert: Path, fails: set[int], earlier: bool, caplog: pytest.LogCaptureFixture
) -> None:
    blocks: dict[str, Any] = {"piece_budget": 64, "windows": {"length": 16, "stride": 12}}
    plain, failing = pipeline(quiet_bert, **blocks), pipeline(quiet_bert, **blocks)
    examples = exclusive_examples(plain)
    if earlier:
        for nlp in (plain, failing):
            nlp.update(examples[12:18], sgd=False)
    Exhausted(failing, fails)
    losses = [nlp.update(examples[:12], sgd=False)["transfer_textcat"] for nlp in (plain, failing)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    expected, found = gradients_of(plain), gradients_of(failing)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4, msg=name)
    assert sum("T078" in message for message in caplog.messages) == len(fails)
    assert shim_of(failing).gradients.n_docs == shim_of(plain).gradients.n_docs


def test_one_window_at_a_time_that_is_still_too_much_is_an_error_and_loses_nothing(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, piece_budget=64, windows={"length": 16, "stride": 12})
    examples = exclusive_examples(nlp)
    nlp.update(examples[12:], sgd=False)
    before = gradients_of(nlp)
    Exhausted(nlp, set(range(1, 100)))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        nlp.update(examples[:12], sgd=False)
    after = gradients_of(nlp)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("n_parts", [1, 3])
def test_a_loss_scale_changes_nothing(quiet_bert: Path, n_parts: int) -> None:
    """Also over several sub-batches: Thinc's own scaler unscales earlier ones again."""
    plain, scaled = pipeline(quiet_bert), pipeline(quiet_bert)
    gradients = shim_of(scaled).gradients
    gradients.half, gradients.loss_scale = True, 1024.0
    examples = exclusive_examples(plain)[:12]
    for nlp in (plain, scaled):
        optimizer = AdamW(learn_rate=1e-2, eps=1e-3)
        for _ in range(3):
            for begin in range(0, 12, 12 // n_parts):
                nlp.update(examples[begin : begin + 12 // n_parts], sgd=False)
            nlp.get_pipe("transfer_textcat").finish_update(optimizer)
    expected, found = weights_of(plain), weights_of(scaled)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=1e-4, msg=name)


def test_an_overflow_skips_the_step_and_halves_the_scale(quiet_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    nlp = pipeline(quiet_bert)
    gradients = shim_of(nlp).gradients
    gradients.half, gradients.loss_scale = True, 1024.0
    before = weights_of(nlp)
    examples = exclusive_examples(nlp)[:4]
    nlp.update(examples, sgd=False)
    next(network_of(nlp).parameters()).grad[0, 0] = float("inf")
    nlp.get_pipe("transfer_textcat").finish_update(AdamW(learn_rate=1e-2))
    assert all(torch.equal(before[name], value) for name, value in weights_of(nlp).items())
    assert gradients.loss_scale == 512.0
    assert any("T079" in message for message in caplog.messages)
    nlp.update(examples, sgd=AdamW(learn_rate=1e-2))
    assert not all(torch.equal(before[name], value) for name, value in weights_of(nlp).items())


def test_the_first_scale_is_for_a_mean_and_none_is_zero(quiet_bert: Path) -> None:
    """Gradients are those of sums: with so many documents they are so much larger."""
    nlp = pipeline(quiet_bert)
    shim = shim_of(nlp)
    shim.gradients = gradients = Gradients(half=True)
    nlp.update(exclusive_examples(nlp)[:12], sgd=False)
    assert gradients.loss_scale == 4096.0
    other = Gradients(half=True)
    other.restore(gradients.state())
    shim.gradients = other
    nlp.update(exclusive_examples(nlp)[:2], sgd=False)
    assert other.loss_scale == 4096.0
    weight = torch.nn.Parameter(torch.zeros(1))
    for _ in range(100):
        weight.grad = torch.full((1,), float("nan"))
        assert not other.accept({"weight": weight})
    assert other.loss_scale > 0.0
    assert other.factor() < float("inf")


def test_a_step_that_is_left_out_moves_no_features_either(quiet_bert: Path) -> None:
    """Neither one that overflows in fp16, nor one whose gradient is NaN."""
    for half in (True, False):
        features = {"@layers": "spacy-transfer.Tok2VecFeatures.v1", "tok2vec": CNN}
        nlp = pipeline(quiet_bert, features=features, tuning={"frozen_depth": "all"})
        pipe, shim, sgd = nlp.get_pipe("transfer_textcat"), shim_of(nlp), AdamW(learn_rate=1e-2)
        layer = features_of(pipe.model)
        assert layer is not None

        def values(layer: Any = layer) -> list[Any]:
            return [node.get_param(name).copy() for node in layer.walk() for name in node.param_names]

        before = values()
        if half:
            shim.gradients = Gradients(half=True)
        examples = exclusive_examples(nlp)[:6]
        for spoils in (True, False):
            nlp.update(examples, sgd=False)
            if spoils:
                next(w for w in network_of(nlp).parameters() if w.grad is not None).grad.view(-1)[0] = float("nan")
            pipe.finish_update(sgd)
            same = all((a == b).all() for a, b in zip(before, values(), strict=True))
            assert same == spoils
            assert all(np.isfinite(value).all() for value in values())


def test_gradient_checkpointing_changes_nothing(bert: Path) -> None:
    """Dropout included: the second computation draws what the first drew."""
    found = []
    for checkpointing in (False, True):
        nlp = pipeline(bert, gradient_checkpointing=checkpointing)
        torch.manual_seed(3)
        nlp.update(exclusive_examples(nlp), sgd=False)
        found.append(gradients_of(nlp))
    for name in found[0]:
        torch.testing.assert_close(found[1][name], found[0][name], atol=1e-6, rtol=1e-4, msg=name)
