"""The cache of states: the same numbers as without it, whatever happens to its files."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from house_kit.cached import train
from house_kit.pipelines import add_classifier, pipeline, scores_of, shim_of, weights_of
from house_kit.texts import TEXTS, examples_of, exclusive_examples, one_hot
from spacy_transfer.model.cache.direct import Direct
from spacy_transfer.model.cache.state_cache import StateCache
from spacy_transfer.model.cache.vector_cache import VectorCache
from spacy_transfer.model.features.joining import Inputs
from spacy_transfer.model.shims.evaluating import evaluating
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.loop.batch_order import Order
from spacy_transfer.training.loop.schedules import CountedBatcher

OFF = {"memory": 0}


def assert_alike(one: Language, other: Language, **options: Any) -> None:
    """Losses, weights and scores of two pipelines after the same training."""
    torch.testing.assert_close(train(one, **options), train(other, **options), atol=1e-5, rtol=1e-4)
    first, second = weights_of(one), weights_of(other)
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-5, rtol=1e-4, msg=name)
    torch.testing.assert_close(scores_of(one, TEXTS), scores_of(other, TEXTS), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["MeanPooling", "AttentionPooling", "ClsPooling", "LastPooling"])
@pytest.mark.parametrize("frozen", [1, 2, "all"])
def test_cached_is_uncached(quiet_bert: Path, frozen: Any, pooling: str) -> None:
    blocks = {"tuning": {"frozen_depth": frozen}, "pooling": {"@layers": f"spacy-transfer.{pooling}.v1"}}
    cached = pipeline(quiet_bert, **blocks)
    assert_alike(cached, pipeline(quiet_bert, **blocks, cache=OFF))
    states = shim_of(cached).pathway.cached
    assert states.hits > states.misses
    kind = "vectors" if frozen == "all" and pooling != "AttentionPooling" else "states"
    assert kind in states.namespace


def test_multilabel_and_windows(quiet_bert: Path) -> None:
    blocks = {"tuning": {"frozen_depth": "all"}, "windows": {"length": 8, "stride": 4}}
    cached = pipeline(quiet_bert, multilabel=True, **blocks)
    assert_alike(cached, pipeline(quiet_bert, multilabel=True, **blocks, cache=OFF), multilabel=True)


@pytest.mark.parametrize("family", ["t5", "deberta-v2", "albert", "modernbert"])
def test_families(encoder_folder: Any, family: str) -> None:
    folder = encoder_folder(family)
    blocks = {"tuning": {"frozen_depth": 1 if family != "albert" else "all"}}
    cached, uncached = pipeline(folder, **blocks), pipeline(folder, **blocks, cache=OFF)
    for nlp in (cached, uncached):
        # Without dropout, whose draws depend on the shape of a batch.
        for module in shim_of(nlp).network.modules():
            if isinstance(module, torch.nn.Dropout) or hasattr(module, "drop_prob"):
                module.p = module.drop_prob = 0.0
            for name in ("dropout", "attention_dropout", "dropout_prob"):
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
    assert_alike(cached, uncached)


def test_the_cache_follows_the_boundary(quiet_bert: Path) -> None:
    tuning = {"frozen_depth": "all", "unfreeze_every": 2}
    cached = pipeline(quiet_bert, tuning=tuning)
    assert_alike(cached, pipeline(quiet_bert, tuning=tuning, cache=OFF), n_steps=10)
    assert shim_of(cached).network.boundary == -1
    assert shim_of(cached).pathway is shim_of(cached).current_pathway.direct


@pytest.mark.parametrize(
    ("frozen", "pooling", "cache", "way"),
    [
        (-1, "MeanPooling", {}, Direct),
        (0, "MeanPooling", {}, Direct),
        (1, "MeanPooling", {}, StateCache),
        (1, "MeanPooling", OFF, Direct),
        ("all", "MeanPooling", {}, VectorCache),
        ("all", "AttentionPooling", {}, StateCache),
        ("all", "MeanPooling", OFF, Direct),
    ],
)
def test_boundary_and_cache_choose_the_way(
    quiet_bert: Path, frozen: Any, pooling: str, cache: dict[str, Any], way: type
) -> None:
    layers = {"@layers": f"spacy-transfer.{pooling}.v1"}
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": frozen}, pooling=layers, cache=cache)
    assert type(shim_of(nlp).pathway) is Direct
    train(nlp, n_steps=1)
    assert type(shim_of(nlp).pathway) is way
    nlp.get_pipe("transfer_textcat").clear_cache()
    assert type(shim_of(nlp).pathway) is Direct


def test_a_lower_boundary_replaces_the_way(quiet_bert: Path) -> None:
    """Between the step that lowers it and the next one, nothing is cached."""
    nlp, ways = pipeline(quiet_bert, tuning={"frozen_depth": "all", "unfreeze_every": 2}), []
    for _ in range(6):
        train(nlp, n_steps=1)
        ways.append(type(shim_of(nlp).pathway))
    assert ways == [VectorCache, Direct, StateCache, Direct, StateCache, Direct]


def test_frozen_layers_run_once_per_text(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": 2})
    seen: list[int] = []
    network = shim_of(nlp).network
    original = network.prefix
    network.prefix = lambda batch: seen.append(len(batch.ids)) or original(batch)
    train(nlp, n_steps=20)
    assert sum(seen) == len(set(TEXTS))


def kept(nlp: Language) -> tuple[int, int]:
    """States in memory, and texts whose pieces are remembered."""
    cached = getattr(shim_of(nlp).pathway, "cached", None)
    return (0 if cached is None else len(cached._memory)), len(shim_of(nlp).reader._known)


@pytest.mark.parametrize("frozen", [2, "all"])
def test_evaluations_of_a_loop_use_it(quiet_bert: Path, frozen: Any) -> None:
    """What they computed once they take the next time, in both loops; to the same scores."""
    texts = [f"{text} twice" for text in TEXTS]
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": frozen})
    train(nlp, n_steps=8)
    plain, (before, _) = scores_of(nlp, texts), kept(nlp)
    with evaluating():
        torch.testing.assert_close(scores_of(nlp, texts), plain, atol=1e-5, rtol=1e-4)
        assert kept(nlp)[0] == before + len(texts)
        shim_of(nlp).network.prefix = None
        torch.testing.assert_close(scores_of(nlp, texts), plain, atol=1e-5, rtol=1e-4)
        # Of training it takes what is there.
        scores_of(nlp, TEXTS)


def test_spacys_loop_is_told_apart(quiet_bert: Path) -> None:
    """`spacy train` evaluates by a callback within its loop."""
    from spacy.training.loop import train_while_improving

    nlp = pipeline(quiet_bert, tuning={"frozen_depth": 2})
    new = [f"{text} twice" for text in TEXTS]
    found = []

    def evaluate() -> tuple[float, dict[str, Any]]:
        scores_of(nlp, new)
        found.append(kept(nlp)[0])
        return 1.0, {}

    batches = [(0, exclusive_examples(nlp)[:4])] * 3
    options: dict[str, Any] = {
        "dropout": 0.0, "eval_frequency": 1, "accumulate_gradient": 1, "patience": 0, "max_steps": 0, "exclude": [],
        "annotating_components": [], "before_update": None,
    }  # fmt: skip
    list(train_while_improving(nlp, AdamW(learn_rate=1e-3), iter(batches), evaluate=evaluate, **options))
    assert found == [found[0]] * 3
    assert found[0] >= len(new)


@pytest.mark.parametrize("frozen", [2, "all"])
def test_prediction_after_training_keeps_nothing(quiet_bert: Path, tmp_path: Path, frozen: Any) -> None:
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": frozen}, cache={"cache_dir": str(tmp_path)})
    train(nlp)
    before, size = kept(nlp), sum(file.stat().st_size for file in tmp_path.rglob("*.*"))
    list(nlp.pipe(f"the bill {i}" for i in range(500)))
    nlp.evaluate(exclusive_examples(nlp))
    assert kept(nlp) == before
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.*")) == size
    nlp.get_pipe("transfer_textcat").clear_cache()
    assert kept(nlp) == (0, 0)
    # Training goes on as if nothing had been dropped.
    assert all(np.isfinite(train(nlp)))


def test_clearing_the_cache_changes_no_training(quiet_bert: Path) -> None:
    found = []
    for clears in (False, True):
        nlp = pipeline(quiet_bert, tuning={"frozen_depth": 2})
        train(nlp)
        if clears:
            nlp.get_pipe("transfer_textcat").clear_cache()
        train(nlp)
        found.append(weights_of(nlp))
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, atol=1e-5, rtol=1e-4, msg=name)


# ---- streams -----------------------------------------------------------------------------------------------------


def streaming(folder: Path, **blocks: Any) -> Language:
    """A pipeline whose training data are a stream."""
    nlp = spacy.blank("xx", config={"training": {"max_epochs": -1}})
    add_classifier(nlp, folder, **blocks)
    nlp.initialize(lambda: exclusive_examples(nlp))
    return nlp


@pytest.mark.slow
@pytest.mark.parametrize("cache", [{}, {"memory": 0}])
def test_of_a_stream_nothing_is_remembered(quiet_bert: Path, tmp_path: Path, cache: dict[str, Any]) -> None:
    nlp = streaming(quiet_bert, tuning={"frozen_depth": 1}, cache={**cache, "cache_dir": str(tmp_path)})
    shim, sgd, sizes = shim_of(nlp), AdamW(learn_rate=1e-3), []
    for step in range(200):
        texts = [f"the bill {step} {i}" for i in range(8)]
        nlp.update(examples_of(nlp, texts, [one_hot("money")] * 8), sgd=sgd)
        if step % 50 == 20:
            with evaluating():
                nlp.evaluate(exclusive_examples(nlp))
            state, tensors = shim.checkpoint_state()
            sizes.append((len(json.dumps(state)), sum(t.numel() for t in tensors.values()), *kept(nlp)))
    assert len({size[1:] for size in sizes}) == 1
    # Numbers of steps and documents have more digits.
    assert max(size[0] for size in sizes) - sizes[0][0] < 20
    assert kept(nlp)[0] <= len(TEXTS)
    assert not shim.reader._known


def test_a_stream_without_a_network(quiet_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 texts through all that could remember them."""
    nlp = streaming(quiet_bert, tuning={"frozen_depth": 1})
    shim = shim_of(nlp)
    for begin in range(0, 100_000, 1000):
        shim._draw(Inputs([f"bill {begin + i}" for i in range(1000)]), None)
    assert kept(nlp) == (0, 0)
    assert shim.pathway is shim.current_pathway.direct
    monkeypatch.setattr("spacy_transfer.training.loop.batch_order._MOST_NUMBERS", 100)
    order = Order(nlp, lambda _: (Example(doc, doc) for doc in docs()), CountedBatcher(one_batch, []), -1)

    def docs() -> Iterator[Any]:
        for _ in range(150):
            yield Doc(nlp.vocab, words=["bill"])

    order.read()
    _, batch = next(order)
    assert len(order._numbers) == 100
    assert order.lines(batch) == list(range(51, 151))


def one_batch(examples: Iterable[Any]) -> Iterator[list[Any]]:
    """All examples."""
    yield list(examples)


def test_a_pipeline_that_only_predicts_caches_nothing(quiet_bert: Path, tmp_path: Path) -> None:
    pipeline(quiet_bert, tuning={"frozen_depth": 2}).to_disk(tmp_path / "p")
    import spacy

    nlp = spacy.load(tmp_path / "p")
    scores_of(nlp, TEXTS)
    assert shim_of(nlp).pathway is shim_of(nlp).current_pathway.direct


@pytest.mark.parametrize("memory", [0, 2_000, 10**9])
def test_disk(quiet_bert: Path, tmp_path: Path, memory: int) -> None:
    """On disk alone, beyond a small memory, beside a large one; and again by the next run, which computes nothing."""
    blocks: dict[str, Any] = {"tuning": {"frozen_depth": 2}}
    cache = {"memory": memory, "cache_dir": str(tmp_path / "cache")}
    assert_alike(pipeline(quiet_bert, **blocks, cache=cache), pipeline(quiet_bert, **blocks, cache=OFF))
    following = pipeline(quiet_bert, **blocks, cache=cache)
    network = shim_of(following).network

    def never(batch: Any) -> Any:
        raise AssertionError("computed anew")

    network.prefix = never
    train(following)


def test_half_precision_on_disk_is_close(quiet_bert: Path, tmp_path: Path) -> None:
    cache = {"memory": 0, "cache_dir": str(tmp_path), "disk_precision": "half"}
    blocks: dict[str, Any] = {"tuning": {"frozen_depth": 2}}
    half, full = pipeline(quiet_bert, **blocks, cache=cache), pipeline(quiet_bert, **blocks, cache=OFF)
    torch.testing.assert_close(train(half), train(full), atol=1e-2, rtol=1e-2)
    size = sum(file.stat().st_size for file in tmp_path.rglob("*.data"))
    exact = {"memory": 0, "cache_dir": str(tmp_path / "exact")}
    train(pipeline(quiet_bert, **blocks, cache=exact))
    assert sum(file.stat().st_size for file in (tmp_path / "exact").rglob("*.data")) == 2 * size


@pytest.mark.parametrize("change", [{"frozen_depth": 1}, {"other": True}])
def test_other_weights_or_depths_share_nothing(quiet_bert: Path, bert: Path, tmp_path: Path, change: Any) -> None:
    cache = {"cache_dir": str(tmp_path)}
    train(pipeline(quiet_bert, tuning={"frozen_depth": 2}, cache=cache))
    before = set(tmp_path.iterdir())
    if "other" in change:
        nlp = pipeline(quiet_bert, tuning={"frozen_depth": 2}, cache=cache)
        with torch.no_grad():
            next(shim_of(nlp).network.encoder.parameters())[5, 0] += 1.0
        train(nlp)
    else:
        train(pipeline(quiet_bert, tuning=change, cache=cache))
    assert len(set(tmp_path.iterdir()) - before) == 1


def test_a_full_memory_is_told_once_and_changes_nothing(quiet_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocks: dict[str, Any] = {"tuning": {"frozen_depth": 2}}
    assert_alike(pipeline(quiet_bert, **blocks, cache={"memory": 3000}), pipeline(quiet_bert, **blocks, cache=OFF))
    assert sum("T077" in message for message in caplog.messages) == 1
