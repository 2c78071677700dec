"""One long document in the memory of a micro-batch: the gradients are those of the whole."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from house_kit.gradients import count_runs, gradients_of
from house_kit.pipelines import network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.slow import mostly_slow
from house_kit.texts import examples_of, exclusive_examples, one_hot
from spacy_transfer.training.adamw import AdamW

# 30 rows of 12 pieces.
LONG = "the card login money is late and the box " * 24
WINDOWS = {"length": 12, "stride": 8}
CE = {"@losses": "spacy-transfer.CrossEntropy.v1"}
QUERY = {"@layers": "spacy-transfer.LabelQueryHead.v1", "heads": 2}
POOLINGS: dict[str, dict[str, Any]] = {
    **{
        name: {"pooling": {"@layers": f"spacy-transfer.{name}Pooling.v1"}}
        for name in ("Mean", "Cls", "Max", "Attention")
    },
    "label queries": {"head": QUERY},
}
KINDS: dict[str, dict[str, Any]] = {
    **POOLINGS,
    "frozen below": {"tuning": {"frozen_depth": 1}},
    "frozen below, no cache": {"tuning": {"frozen_depth": 1}, "cache": {"memory": 0}},
    "frozen embeddings": {"tuning": {"frozen_depth": 0}},
    "frozen wholly, attention": {"tuning": {"frozen_depth": "all"}, **POOLINGS["Attention"]},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "R-Drop": {"loss": {"@losses": "spacy-transfer.RDrop.v1", "loss": CE}},
    "contrastive": {"loss": {"@losses": "spacy-transfer.SupervisedContrastive.v1", "loss": CE}},
    "features beside": {"features": {"@layers": "spacy-transfer.AttributeFeatures.v1", "names": ["length"]}},
}  # fmt: skip
SOME = {"Mean", "Attention", "label queries", "frozen below", "R-Drop", "features beside"}


def batch_of(nlp: Any) -> list[Any]:
    """A long document between short ones."""
    return [*exclusive_examples(nlp, 5), *examples_of(nlp, [LONG], [one_hot("login")]), *exclusive_examples(nlp, 9)[5:]]


def make(folder: Path, kind: str, **blocks: Any) -> Any:
    from spacy.tokens import Doc

    if kind == "features beside":
        Doc.set_extension("length", getter=lambda doc: float(len(doc)), force=True)
    return pipeline(folder, windows=WINDOWS, **{**KINDS[kind], **blocks})


@pytest.mark.parametrize("kind", mostly_slow(KINDS, but=SOME))
def test_gradients_are_those_of_the_whole(quiet_bert: Path, kind: str) -> None:
    found = []
    for budget in (48, 100_000):
        nlp = make(quiet_bert, kind, piece_budget=budget)
        if kind != "frozen wholly, attention":
            sizes = count_runs(nlp)
        losses = nlp.update(batch_of(nlp), sgd=False)
        found.append((losses["transfer_textcat"], gradients_of(nlp)))
        if kind not in ("frozen wholly, attention", "frozen below", "R-Drop"):
            assert (max(sizes) <= 48) == (budget == 48)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[1][1].items():
        torch.testing.assert_close(found[0][1][name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", mostly_slow([*POOLINGS, "frozen below", "gradient checkpointing", "features beside"], but=SOME)
)
def test_the_second_run_draws_what_the_first_drew(bert: Path, kind: str) -> None:
    """With dropout: the graph over all parts, computed once, gives the same gradients."""
    found = []
    for again in (True, False):
        nlp = make(bert, kind, piece_budget=48)
        network = network_of(nlp)
        torch.manual_seed(3)
        with pytest.MonkeyPatch.context() as patch:
            if not again:
                # Each part once, all graphs kept.
                patch.setattr("spacy_transfer.nn.row_parts.checkpoint", lambda run, *given, use_reentrant: run(*given))
            nlp.update(batch_of(nlp), drop=0.2, sgd=False)
        found.append((gradients_of(nlp), torch.rand(3)))
        assert network.training
    for name, gradient in found[1][0].items():
        torch.testing.assert_close(found[0][0][name], gradient, atol=1e-6, rtol=1e-5, msg=name)
    # What is drawn next is what would have come after one run.
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("kind", mostly_slow([*POOLINGS, "frozen below", "frozen wholly, attention"], but=SOME))
def test_scores_are_those_of_the_whole(quiet_bert: Path, kind: str) -> None:
    texts, found = ["my card", LONG, "the login is broken"], []
    for budget in (48, 100_000):
        nlp = make(quiet_bert, kind, piece_budget=budget)
        sizes = count_runs(nlp)
        found.append(scores_of(nlp, texts))
        assert (max(sizes) <= 48) == (budget == 48)
        nlp.evaluate(batch_of(nlp))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_what_fits_the_budget_keeps_its_bits(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no document is above the budget nothing runs in parts."""
    monkeypatch.setattr("spacy_transfer.nn.row_parts.last_states", None)
    nlp = make(bert, "Mean", piece_budget=12 * 30)
    nlp.update(batch_of(nlp), sgd=AdamW())
    scores_of(nlp, [LONG])


def test_a_foreign_loss_reaches_all_parts(quiet_bert: Path) -> None:
    """`begin_update` and its backward pass, Thinc's way."""
    found = []
    for budget in (48, 100_000):
        nlp = make(quiet_bert, "Mean", piece_budget=budget)
        pipe = nlp.get_pipe("transfer_textcat")
        examples = batch_of(nlp)
        logits, backprop = pipe.model.begin_update([eg.predicted for eg in examples])
        backprop(pipe.get_loss(examples, logits)[1])
        found.append(gradients_of(nlp))
    for name, gradient in found[1].items():
        torch.testing.assert_close(found[0][name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_training_on_long_documents_from_the_cache(quiet_bert: Path) -> None:
    found = []
    for cache in ({}, {"memory": 0}):
        nlp = make(quiet_bert, "frozen below", piece_budget=48, cache=cache)
        sgd = AdamW(learn_rate=1e-2, eps=1e-3)
        for _ in range(3):
            nlp.update(batch_of(nlp), sgd=sgd)
        assert (shim_of(nlp).pathway is shim_of(nlp).current_pathway.direct) == bool(cache)
        found.append(weights_of(nlp))
    for name, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("at", [1])
def test_masked_lm_of_a_long_document(quiet_bert: Path, at: int) -> None:
    import spacy

    found = []
    for budget in (48, 100_000):
        nlp = spacy.blank("xx")
        model = {"encoder": {"name": str(quiet_bert)}, "windows": WINDOWS, "piece_budget": budget, "precision": "fp32"}
        nlp.add_pipe("transfer_masked_lm", config={"model": model})
        torch.manual_seed(at)
        examples = examples_of(nlp, ["the card is lost", LONG], [{}, {}])
        nlp.initialize(lambda given=examples: given)
        shim = nlp.get_pipe("transfer_masked_lm").model.shims[0]
        sizes: list[int] = []
        shim.network.encoder.body.register_forward_pre_hook(
            lambda _, args, kwargs, sizes=sizes: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True
        )
        nlp.update(examples, sgd=False)
        assert (max(sizes) <= 48) == (budget == 48)
        found.append({name: w.grad.clone() for name, w in shim.network.named_parameters() if w.grad is not None})
    for name, gradient in found[1].items():
        torch.testing.assert_close(found[0][name], gradient, atol=1e-5, rtol=1e-4, msg=name)


class Live(TorchDispatchMode):
    """Within: the most bytes of tensors that were alive at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._seen: set[int] = set()

    def _end(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self._now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
                continue
            storage = value.untyped_storage()
            if storage._cdata not in self._seen:
                self._seen.add(storage._cdata)
                self._now += storage.nbytes()
                self.peak = max(self.peak, self._now)
                weakref.finalize(storage, self._end, storage._cdata, storage.nbytes())
        return out


def peak_of_a_step(folder: Path, texts: list[str], piece_budget: int) -> int:
    nlp = pipeline(folder, windows={"length": 32, "stride": 24}, piece_budget=piece_budget)
    examples = examples_of(nlp, texts, [one_hot("card")] * len(texts))
    nlp.update(examples, sgd=False)
    with Live() as live:
        nlp.update(examples, sgd=False)
    return live.peak


def test_a_long_text_takes_the_memory_of_a_micro_batch(bert: Path) -> None:
    """Eight micro-batches long: 1.18 times the usual batch, and 7.9 times as a whole."""
    usual = peak_of_a_step(bert, ["card " * 30] * 16, 32 * 16)
    long = "card " * (24 * 16 * 8 - 8)
    assert peak_of_a_step(bert, [long], 32 * 16) < 1.3 * usual
    assert peak_of_a_step(bert, [long], 10**6) > 4 * usual
