"""The feature cache: the same numbers as without it, whatever happens to its files."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from conftest import (
    TEXTS,
    add_classifier,
    examples_of,
    exclusive_examples,
    multilabel_examples,
    one_hot,
    pipeline,
    scores_of,
    shim_of,
    weights_of,
)
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_transfer.corpora.piece_rows import PieceRows, write_rows
from spacy_transfer.corpora.reader import make_corpus
from spacy_transfer.model.cache.cache import EncoderCache, Features
from spacy_transfer.model.cache.direct import Direct
from spacy_transfer.model.cache.segments import Segments
from spacy_transfer.model.cache.state_cache import StateCache
from spacy_transfer.model.cache.vector_cache import VectorCache
from spacy_transfer.model.features.joining import Inputs
from spacy_transfer.model.shims.evaluating import evaluating
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.loop.batch_order import Order
from spacy_transfer.training.loop.schedules import CountedBatcher

OFF = {"memory": 0}


def train(nlp: Language, n_steps: int = 6, multilabel: bool = False) -> list[float]:
    """Losses of some steps of four texts, over more than one epoch."""
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    # A large eps: the gradient of a key's bias is nothing but rounding, which Adam would blow up.
    optimizer, found = AdamW(learn_rate=1e-2, eps=1e-3), []
    for step in range(n_steps):
        begin = step * 4 % (len(examples) - 3)
        found.append(nlp.update(examples[begin : begin + 4], sgd=optimizer)[nlp.pipe_names[0]])
    return found


def assert_alike(one: Language, other: Language, **options: Any) -> None:
    """Losses, weights and scores of two pipelines after the same training."""
    torch.testing.assert_close(train(one, **options), train(other, **options), atol=1e-5, rtol=1e-4)
    first, second = weights_of(one), weights_of(other)
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-5, rtol=1e-4, msg=name)
    torch.testing.assert_close(scores_of(one, TEXTS), scores_of(other, TEXTS), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["MeanPooling", "AttentionPooling", "ClsPooling"])
@pytest.mark.parametrize("frozen", [1, 2, "all"])
def test_cached_is_uncached(quiet_bert: Path, frozen: Any, pooling: str) -> None:
    blocks = {"tuning": {"frozen_depth": frozen}, "pooling": {"@layers": f"spacy-transfer.{pooling}.v1"}}
    cached = pipeline(quiet_bert, **blocks)
    assert_alike(cached, pipeline(quiet_bert, **blocks, cache=OFF))
    features = shim_of(cached).pathway.features
    assert features.hits > features.misses
    kind = "vectors" if frozen == "all" and pooling != "AttentionPooling" else "states"
    assert kind in features.namespace


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
    """Features in memory, and texts whose pieces are remembered."""
    features = getattr(shim_of(nlp).pathway, "features", None)
    return (0 if features is None else len(features._memory)), len(shim_of(nlp).reader._known)


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


# ---- files -------------------------------------------------------------------------------------------------------


def arrays(n: int, seed: int = 0) -> dict[bytes, np.ndarray]:
    """n arrays of three rows by key."""
    random = np.random.default_rng(seed)
    return {bytes([seed, i] + [0] * 14): random.integers(0, 1000, (3, 4)).astype(np.int32) for i in range(n)}


def segments(folder: Path) -> Segments:
    """A store of arrays of width 4."""
    return Segments(folder, 4, np.dtype(np.int32))


def test_written_arrays_are_read_by_the_writer_and_by_others(tmp_path: Path) -> None:
    store = segments(tmp_path)
    for seed in range(3):
        store.put(arrays(5, seed))
    for reader in (store, segments(tmp_path)):
        for seed in range(3):
            for key, value in arrays(5, seed).items():
                found = reader.get(key)
                assert found is not None
                assert np.array_equal(found, value)
        assert reader.get(b"x" * 16) is None


@pytest.mark.parametrize("suffix", [".index", ".data"])
@pytest.mark.parametrize("cut", [1, 7, 20, 50])
def test_a_file_cut_anywhere_loses_entries_but_gives_no_wrong_ones(tmp_path: Path, suffix: str, cut: int) -> None:
    segments(tmp_path).put(arrays(6))
    file = next(tmp_path.glob(f"*{suffix}"))
    os.truncate(file, file.stat().st_size - cut)
    store = segments(tmp_path)
    found = {key: store.get(key) for key in arrays(6)}
    assert sum(value is None for value in found.values()) in (1, 2)
    for key, value in found.items():
        assert value is None or np.array_equal(value, arrays(6)[key])


@pytest.mark.parametrize("suffix", [".index", ".data"])
def test_a_damaged_byte_is_found_told_once_and_recomputed(
    quiet_bert: Path, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = {"memory": 0, "cache_dir": str(tmp_path)}
    expected = train(pipeline(quiet_bert, tuning={"frozen_depth": 2}, cache=cache))
    file = next(tmp_path.rglob(f"*{suffix}"))
    data = bytearray(file.read_bytes())
    for place in range(0, len(data), 97):
        data[place] ^= 0xFF
    file.write_bytes(data)
    found = train(pipeline(quiet_bert, tuning={"frozen_depth": 2}, cache=cache))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert sum("T076" in message for message in caplog.messages) == (suffix == ".data")


def _write_for_ever(folder: Path) -> None:
    store = segments(folder)
    for seed in range(250):
        store.put(arrays(20, seed))


def test_a_killed_writer_leaves_nothing_wrong(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        writer = context.Process(target=_write_for_ever, args=(tmp_path,))
        writer.start()
        time.sleep(0.05)
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        store = segments(tmp_path)
        for seed in range(250):
            for key, value in arrays(20, seed).items():
                found = store.get(key)
                assert found is None or np.array_equal(found, value)


def test_two_writers_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_for_ever, args=(tmp_path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    store = segments(tmp_path)
    assert len(store) == 250 * 20
    for key, value in arrays(20, 100).items():
        assert np.array_equal(store.get(key), value)


def test_a_full_disk_is_told_once_and_training_goes_on(
    quiet_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: dict[str, Any] = {"tuning": {"frozen_depth": 2}}
    expected = train(pipeline(quiet_bert, **blocks, cache=OFF), n_steps=8)
    nlp = pipeline(quiet_bert, **blocks, cache={"memory": 0, "cache_dir": str(tmp_path)})

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("spacy_transfer.model.cache.segments._write_at", full)
    torch.testing.assert_close(train(nlp, n_steps=8), expected, atol=1e-5, rtol=1e-4)
    assert sum("T075" in message for message in caplog.messages) == 1


def test_room_is_left_on_the_disk(
    quiet_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the checkpoints of the run; where room is made the cache grows again."""
    blocks: dict[str, Any] = {"tuning": {"frozen_depth": 2}}
    expected = train(pipeline(quiet_bert, **blocks, cache=OFF), n_steps=8)
    nlp = pipeline(quiet_bert, **blocks, cache={"memory": 0, "cache_dir": str(tmp_path)})
    weights = list(shim_of(nlp).network.parameters())
    checkpoint = 3 * sum(w.nbytes for w in weights if w.requires_grad)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage._replace(free=2 * checkpoint))
    torch.testing.assert_close(train(nlp, n_steps=8), expected, atol=1e-5, rtol=1e-4)
    assert sum("T360" in message for message in caplog.messages) == 1
    assert not list(tmp_path.rglob("*.data"))
    monkeypatch.undo()
    train(nlp, n_steps=8)
    assert list(tmp_path.rglob("*.data"))


def open_files() -> tuple[int, int]:
    """Handles and maps of this process."""
    maps = Path("/proc/self/maps").read_text().count("\n")
    return len(list(Path("/proc/self/fd").iterdir())), maps


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts in /proc")
def test_many_turns_of_put_and_get_take_no_handles(tmp_path: Path) -> None:
    store, value = Segments(tmp_path, 4, np.dtype(np.int16)), np.ones((1, 4), np.int16)
    for i in range(100_000):
        key = i.to_bytes(16, "little")
        store.put({key: value})
        assert store.get(key) is not None
        if i == 100:
            handles, maps = open_files()
    assert open_files()[0] <= handles
    # numpy and the allocator map some blocks of memory.
    assert open_files()[1] < maps + 50


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
def test_a_folder_of_many_segments_takes_few_handles(tmp_path: Path) -> None:
    for seed in range(100):
        segments(tmp_path).put(arrays(3, seed))
    before, store = open_files()[0], segments(tmp_path)
    assert open_files()[0] == before
    for _ in range(2):
        for seed in range(100):
            for key, value in arrays(3, seed).items():
                assert np.array_equal(store.get(key), value)
    assert open_files()[0] <= before + 16
    del store
    assert open_files()[0] == before


@pytest.mark.parametrize("size", [0, 30])
@pytest.mark.parametrize("was_read", [False, True])
def test_a_file_that_is_cut_while_it_is_open(tmp_path: Path, size: int, was_read: bool) -> None:
    """What another program throws away is absent, and what is written afterwards is right."""
    segments(tmp_path).put(arrays(6))
    store = segments(tmp_path)
    store.put(arrays(6, 1))
    if was_read:
        assert all(store.get(key) is not None for key in (*arrays(6), *arrays(6, 1)))
    for file in tmp_path.glob("*.data"):
        os.truncate(file, size)
    store.put(arrays(6, 2))
    for seed, n_lost in ((0, 6), (1, 6), (2, 0)):
        found = {key: store.get(key) for key in arrays(6, seed)}
        assert all(value is None or np.array_equal(value, arrays(6, seed)[key]) for key, value in found.items())
        assert sum(value is None for value in found.values()) == max(0, n_lost - size // 48)
    for file in tmp_path.glob("*.data"):
        file.unlink()
    reader = segments(tmp_path)
    assert all(reader.get(key) is None for key in arrays(6, 2))


def _write_some(store: Segments, first: int) -> None:
    for seed in range(first, first + 20):
        store.put(arrays(10, seed))
        assert all(store.get(key) is not None for key in arrays(10, seed))


def test_threads_and_forked_children_write_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = segments(tmp_path)
    store.put(arrays(10, 255))
    threads = [threading.Thread(target=_write_some, args=(store, 20 * i)) for i in range(4)]
    for thread in threads:
        thread.start()
    context = multiprocessing.get_context("fork")
    # Forked while the threads write.
    children = [context.Process(target=_write_some, args=(store, 80 + 20 * i)) for i in range(3)]
    for child in children:
        child.start()
    for one in (*threads, *children):
        one.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    reader = segments(tmp_path)
    for seed in (*range(140), 255):
        for key, value in arrays(10, seed).items():
            found = reader.get(key)
            assert found is not None
            assert np.array_equal(found, value)
    assert not [message for message in caplog.messages if "T076" in message]


def test_home_is_expanded(quiet_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    train(pipeline(quiet_bert, tuning={"frozen_depth": 2}, cache={"cache_dir": "~/cache"}), n_steps=1)
    assert list((tmp_path / "cache").rglob("*.data"))
    assert not (tmp_path / "~").exists()
    nlp = spacy.blank("xx")
    DocBin(docs=[nlp("card")]).to_disk(tmp_path / "train.spacy")
    assert len(list(make_corpus(path=Path("~/train.spacy"))(nlp))) == 1
    write_rows(tmp_path / "rows", [np.ones(3, np.int32)])
    assert len(PieceRows(path=Path("~/rows"))) == 1


def test_a_folder_that_cannot_be_written_to(quiet_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": 2}, cache={"cache_dir": str(tmp_path / "file" / "cache")})
    with pytest.raises(OSError, match="T074"):
        train(nlp)


def test_memory_stays_within_its_budget() -> None:
    features = Features(EncoderCache(memory=1000), 4, torch.float32, "n")
    features.put({bytes([i] * 16): torch.ones(5, 4) for i in range(50)})
    assert sum(value.numel() * 4 for value in features._memory.values()) <= 1000
    assert features.is_full
    with pytest.raises(ValueError, match="T005"):
        EncoderCache(memory=-1)
