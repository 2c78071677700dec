"""Losses that look at a whole batch or at two passes: exact in the memory of a micro-batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch

from house_kit.gradients import Exhausted, count_runs, gradients_of
from house_kit.losses import CE, CONTRAST, COUPLED, FEW, WHOLE, assert_alike, block, make, train
from house_kit.pipelines import moved, network_of, pipeline, shim_of, weights_of
from house_kit.slow import mostly_slow
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.model.learning import grad_cache
from spacy_transfer.model.learning.grad_cache import is_plain
from spacy_transfer.model.text import batching
from spacy_transfer.model.text.document_batch import DocumentBatch
from spacy_transfer.training.adamw import AdamW


@pytest.mark.parametrize(
    ("name", "frozen"), [*((name, -1) for name in WHOLE), *((name, depth) for name in FEW for depth in (1, "all"))]
)
def test_budgets_change_no_step(quiet_bert: Path, name: str, frozen: Any) -> None:
    """Mixup draws once for the batch, so its numbers do not depend on micro-batches either."""
    found = []
    for budget in (32, 100_000):
        nlp, examples = make(quiet_bert, name, piece_budget=budget, tuning={"frozen_depth": frozen})
        found.append((train(nlp, examples), weights_of(nlp)))
    for loss, weights in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert_alike(found[0][1], weights)


@pytest.mark.parametrize("name", WHOLE)
def test_one_micro_batch_runs_once_and_others_twice(name: str, bert: Path) -> None:
    nlp, examples = make(bert, name)
    sizes = count_runs(nlp)
    train(nlp, examples, 1)
    assert len(sizes) == 1
    nlp, examples = make(bert, name, piece_budget=64)
    sizes = count_runs(nlp)
    documents = shim_of(nlp).reader.read(TEXTS, remember=False)
    n_groups = len(list(shim_of(nlp).pathway.groups(documents, 64 // shim_of(nlp).loss.n_passes)))
    train(nlp, examples, 1)
    assert n_groups > 2
    if name in COUPLED:
        # The last ones, together within the budget, keep their graphs.
        n_kept = next(n for n in range(n_groups, 0, -1) if n == 1 or sum(sizes[n_groups - n : n_groups]) <= 64)
        assert n_kept < n_groups
        assert len(sizes) == 2 * n_groups - n_kept
    else:
        assert len(sizes) == n_groups
    assert max(sizes) <= 64


@pytest.mark.parametrize("name", COUPLED)
def test_micro_batches_that_fit_together_run_once(name: str, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are apart for their lengths alone; the gradients, dropout included, are those of a second run."""
    monkeypatch.setattr(batching, "_BUSY", {"cpu": 1})
    found = []
    for n_kept in (None, 1):
        if n_kept:
            monkeypatch.setattr(grad_cache, "_n_kept", lambda *_: 1)
        nlp, examples = make(bert, name)
        sizes = count_runs(nlp)
        torch.manual_seed(5)
        nlp.update(examples, drop=0.3, sgd=False)
        found.append((len(sizes), gradients_of(nlp), torch.rand(3)))
    (once, its, after), (twice, others, after_others) = found
    assert once > 1
    assert twice == 2 * once - 1
    assert_alike(its, others)
    assert torch.equal(after, after_others)


@pytest.mark.parametrize(("name", "checkpointing"), [*((name, False) for name in COUPLED), ("nested", True)])
def test_the_second_run_draws_what_the_first_drew(name: str, bert: Path, checkpointing: bool) -> None:
    """Gradients with dropout are those of one graph over all micro-batches."""
    nlp, examples = make(bert, name, piece_budget=64, gradient_checkpointing=checkpointing)
    pipe, shim = nlp.get_pipe(nlp.pipe_names[0]), shim_of(nlp)
    torch.manual_seed(5)
    nlp.update(examples, drop=0.3, sgd=False)
    found = gradients_of(nlp)
    after = torch.rand(3)
    network_of(nlp).zero_grad()
    gold = pipe._gold(examples)
    documents = shim.reader.read(TEXTS, remember=True)
    groups = list(shim.pathway.groups(documents, 64 // shim.loss.n_passes))
    batch = DocumentBatch(documents, [True] * len(TEXTS))
    torch.manual_seed(5)
    with shim.network.headless():
        parts = [shim.pathway.learn(batch.of(group * shim.loss.n_passes)) for group in groups]
    parts = [part.unflatten(0, (shim.loss.n_passes, -1)) for part in parts]
    vectors = torch.cat(parts, dim=1)[:, np.argsort(np.concatenate(groups))]
    targets, known = torch.from_numpy(gold.targets), torch.from_numpy(gold.known)
    shim.loss.of_batch(vectors, shim.network.classify, targets, known)[0].sum().backward()
    assert_alike(gradients_of(nlp), found, atol=1e-5)
    # What is drawn next is what would have come after one run.
    assert torch.equal(after, torch.rand(3))
    # With other draws it is another gradient: there was dropout.
    network_of(nlp).zero_grad()
    torch.manual_seed(6)
    nlp.update(examples, drop=0.3, sgd=False)
    other = gradients_of(nlp)["encoder.body.embeddings.word_embeddings.weight"]
    assert not torch.allclose(other, found["encoder.body.embeddings.word_embeddings.weight"], atol=1e-3)


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("frozen", [1, "all"])
@pytest.mark.parametrize("cache", [pytest.param({}, marks=pytest.mark.slow), {"memory": 1000}])
def test_cached_is_uncached(name: str, quiet_bert: Path, frozen: Any, cache: dict[str, Any]) -> None:
    found = []
    for memory in (cache, {"memory": 0}):
        nlp, examples = make(quiet_bert, name, cache=memory, tuning={"frozen_depth": frozen}, piece_budget=200)
        train(nlp, examples, 3)
        found.append((weights_of(nlp), getattr(shim_of(nlp).pathway, "cached", None)))
    assert found[0][1] is not None
    assert found[1][1] is None
    if not cache:
        assert found[0][1].hits > found[0][1].misses
    assert_alike(found[0][0], found[1][0], atol=1e-5)


@pytest.mark.parametrize("pooling", ["AttentionPooling", "MaxPooling", "ClsPooling"])
def test_contrast_moves_a_pooling_with_weights(pooling: str, quiet_bert: Path) -> None:
    found = []
    for weight in (0.0, 1.0):
        nlp = pipeline(
            quiet_bert, loss={**CONTRAST, "weight": weight}, tuning={"frozen_depth": "all"}, piece_budget=64,
            pooling={"@layers": f"spacy-transfer.{pooling}.v1"},
        )  # fmt: skip
        nlp.update(exclusive_examples(nlp), sgd=False)
        found.append(gradients_of(nlp))
    names = {name for name in found[0] if not torch.allclose(found[0][name], found[1][name], atol=1e-6)}
    assert all(name.startswith("pooling.") for name in names)
    assert bool(names) == (pooling == "AttentionPooling")


def test_contrast_draws_labels_together(quiet_bert: Path) -> None:
    """More than cross-entropy alone does."""
    found = []
    for weight in (0.0, 2.0):
        nlp = pipeline(quiet_bert, loss={**CONTRAST, "weight": weight})
        train(nlp, exclusive_examples(nlp), 20, learn_rate=1e-3)
        shim = shim_of(nlp)
        network_of(nlp).eval()
        points = torch.nn.functional.normalize(shim.pathway.vectors(TEXTS), dim=1)
        same = torch.arange(len(TEXTS))[:, None] % 3 == torch.arange(len(TEXTS)) % 3
        cosines = points @ points.T
        found.append(float(cosines[same].mean() - cosines[~same].mean()))
    # 0.30 and 0.42 on 2 cores of an AMD EPYC.
    assert found[1] > found[0] + 0.05


def test_r_drop_makes_passes_agree(bert: Path) -> None:
    """The head's dropout alone is enough for a difference."""
    found = []
    for alpha in (0.0, 5.0):
        nlp = pipeline(bert, loss=block("RDrop", CE, alpha=alpha), head={"dropout": 0.3})
        train(nlp, exclusive_examples(nlp), 20, learn_rate=3e-3)
        network, shim = network_of(nlp), shim_of(nlp)
        network.train()
        documents = shim.reader.read(TEXTS, remember=True)
        torch.manual_seed(0)
        with torch.no_grad():
            batch = DocumentBatch(documents * 20, [True] * len(documents) * 20)
            logits = shim.pathway.learn(batch)
        found.append(float(logits.softmax(dim=1).view(20, len(TEXTS), 3).std(dim=0).mean()))
    assert found[1] < 0.7 * found[0]


# ---- memory, scale, accumulation, repeatability ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["contrastive", "R-Drop"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_step_that_ran_out_of_memory_is_run_again(name: str, quiet_bert: Path, earlier: bool) -> None:
    blocks: dict[str, Any] = {"piece_budget": 64, "windows": {"length": 16, "stride": 12}}
    (plain, examples), (failing, _) = make(quiet_bert, name, **blocks), make(quiet_bert, name, **blocks)
    if earlier:
        for nlp in (plain, failing):
            nlp.update(examples[12:18], sgd=False)
    Exhausted(failing, {1})
    losses = [nlp.update(examples[:12], sgd=False)["transfer_textcat"] for nlp in (plain, failing)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert_alike(gradients_of(plain), gradients_of(failing), atol=1e-5)


@pytest.mark.parametrize("name", ["contrastive", "R-Drop", "mixup"])
def test_a_loss_scale_changes_nothing(name: str, quiet_bert: Path) -> None:
    found = []
    for scale in (1.0, 1024.0):
        nlp, examples = make(quiet_bert, name, piece_budget=64)
        gradients = shim_of(nlp).gradients
        gradients.half, gradients.loss_scale = scale != 1.0, scale
        sgd = AdamW(learn_rate=1e-2, eps=1e-3)
        torch.manual_seed(1)
        # Two parts of a step: each is a batch of its own, both are counted once.
        for begin in (0, 12):
            nlp.update(examples[begin : begin + 12], sgd=False)
        nlp.get_pipe(nlp.pipe_names[0]).finish_update(sgd)
        found.append(weights_of(nlp))
    assert_alike(found[0], found[1])


@pytest.mark.parametrize("name", ["nested", "mixup", "R-Drop"])
def test_the_same_seed_gives_the_same_weights(name: str, bert: Path) -> None:
    found = []
    for _ in range(2):
        nlp, examples = make(bert, name, piece_budget=64)
        spacy.util.fix_random_seed(3)
        sgd = AdamW(learn_rate=1e-2)
        for _ in range(3):
            nlp.update(examples, sgd=sgd, drop=0.2)
        found.append(weights_of(nlp))
    assert not moved(found[0], found[1])


def test_neutral_wrappers_change_no_bit_of_a_step(quiet_bert: Path) -> None:
    found = []
    for loss in (CE, block("SupervisedContrastive", CE, weight=0.0), block("Mixup", CE, alpha=0.0)):
        nlp = pipeline(quiet_bert, loss=loss)
        assert is_plain(shim_of(nlp).loss) == (loss is CE)
        train(nlp, exclusive_examples(nlp), 3)
        found.append(weights_of(nlp))
    for other in found[1:]:
        assert_alike(found[0], other, atol=1e-7)


# ---- heads -------------------------------------------------------------------------------------------------------


QUERY = {"@layers": "spacy-transfer.LabelQueryHead.v1", "heads": 2}


@pytest.mark.parametrize("name", COUPLED)
def test_a_head_that_reads_states_goes_with_no_coupled_loss(name: str, bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T100.*LabelQueryDecoder"):
        make(bert, name, head=QUERY)


@pytest.mark.parametrize("name", ["R-Drop", "R-Drop of several labels"])
def test_r_drop_with_a_head_that_reads_states(name: str, quiet_bert: Path) -> None:
    found = []
    for budget in (64, 100_000):
        nlp, examples = make(quiet_bert, name, piece_budget=budget, head=QUERY)
        found.append((train(nlp, examples), weights_of(nlp)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert_alike(found[0][1], found[1][1])


@pytest.mark.parametrize("frozen", mostly_slow([-1, 1, "all"], but=[1]))
@pytest.mark.parametrize("name", FEW)
def test_with_augmented_texts(name: str, frozen: Any, quiet_bert: Path) -> None:
    """Both runs of a micro-batch read the texts that were drawn once; what is drawn for one step is not cached."""
    found = []
    for budget in (64, 100_000):
        drawn = {"@misc": "spacy-transfer.Augmentation.v1", "drop": 0.3, "clean": 0.5}
        tuning = {"frozen_depth": frozen}
        nlp, examples = make(quiet_bert, name, piece_budget=budget, augmentation=drawn, tuning=tuning)
        found.append((train(nlp, examples), weights_of(nlp)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert_alike(found[0][1], found[1][1])


@pytest.mark.parametrize("name", ["contrastive", "nested"])
def test_hidden_layers_and_dropout_of_the_head(name: str, quiet_bert: Path) -> None:
    found = []
    for budget in (64, 100_000):
        nlp, examples = make(quiet_bert, name, piece_budget=budget, head={"hidden": [8], "dropout": 0.4})
        torch.manual_seed(2)
        found.append((nlp.update(examples, sgd=False), gradients_of(nlp)))
    # The head draws once for the whole batch, in the order of the documents.
    assert found[0][0]["transfer_textcat"] == pytest.approx(found[1][0]["transfer_textcat"], rel=1e-5)
    assert_alike(found[0][1], found[1][1], atol=1e-5)
