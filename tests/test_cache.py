"""The feature cache: the same numbers as without it, whatever happens to its files."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TEXTS, exclusive_examples, multilabel_examples, pipeline, scores_of, shim_of, weights_of
from spacy.language import Language

from spacy_transfer.model.features import FeatureCache, Features
from spacy_transfer.model.segments import Segments
from spacy_transfer.training.adamw import AdamW

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
    features = shim_of(cached).pathway._features
    assert features is not None
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
    assert shim_of(cached).pathway._features is None


def test_frozen_layers_run_once_per_text(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": 2})
    seen: list[int] = []
    network = shim_of(nlp).network
    original = network.prefix
    network.prefix = lambda batch: seen.append(len(batch.ids)) or original(batch)
    train(nlp, n_steps=20)
    assert sum(seen) == len(set(TEXTS))


def test_evaluation_uses_it(quiet_bert: Path) -> None:
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": 2})
    examples = exclusive_examples(nlp)
    train(nlp, n_steps=8)
    features = shim_of(nlp).pathway._features
    misses = features.misses
    nlp.evaluate(examples)
    assert features.misses == misses


def test_a_pipeline_that_only_predicts_caches_nothing(quiet_bert: Path, tmp_path: Path) -> None:
    pipeline(quiet_bert, tuning={"frozen_depth": 2}).to_disk(tmp_path / "p")
    import spacy

    nlp = spacy.load(tmp_path / "p")
    scores_of(nlp, TEXTS)
    assert shim_of(nlp).pathway._features is None


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_once_and_training_goes_on(
    quiet_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocks: dict[str, Any] = {"tuning": {"frozen_depth": 2}}
    expected = train(pipeline(quiet_bert, **blocks, cache=OFF), n_steps=8)
    nlp = pipeline(quiet_bert, **blocks, cache={"memory": 0, "cache_dir": str(tmp_path)})
    shim = shim_of(nlp)
    shim.network.train()
    shim.pathway.open()
    disk = shim.pathway._features._disk
    # Every write to this device says that the disk is full.
    (disk.folder / f"{disk._name}.data").symlink_to("/dev/full")
    torch.testing.assert_close(train(nlp, n_steps=8), expected, atol=1e-5, rtol=1e-4)
    assert sum("T075" in message for message in caplog.messages) == 1


def test_a_folder_that_cannot_be_written_to(quiet_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nlp = pipeline(quiet_bert, tuning={"frozen_depth": 2}, cache={"cache_dir": str(tmp_path / "file" / "cache")})
    with pytest.raises(OSError, match="T074"):
        train(nlp)


def test_memory_stays_within_its_budget() -> None:
    features = Features(FeatureCache(memory=1000), 4, torch.float32, "n")
    features.put({bytes([i] * 16): torch.ones(5, 4) for i in range(50)})
    assert sum(value.numel() * 4 for value in features._memory.values()) <= 1000
    assert features.is_full
    with pytest.raises(ValueError, match="T005"):
        FeatureCache(memory=-1)
