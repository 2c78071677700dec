"""The cache's files: cut, damaged, killed, full and shared, they lose entries and give no wrong ones."""

import errno
import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import DocBin

from house_kit.cached import train
from house_kit.pipelines import pipeline, shim_of
from spacy_transfer.corpora.reading.piece_rows import PieceRows, write_rows
from spacy_transfer.corpora.reading.reader import make_corpus
from spacy_transfer.model.cache.cache import CachedStates, EncoderCache
from spacy_transfer.model.cache.segments import Segments

OFF = {"memory": 0}


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


@pytest.mark.slow
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
    cached = CachedStates(EncoderCache(memory=1000), 4, torch.float32, "n")
    cached.put({bytes([i] * 16): torch.ones(5, 4) for i in range(50)})
    assert sum(value.numel() * 4 for value in cached._memory.values()) <= 1000
    assert cached.is_full
    with pytest.raises(ValueError, match="T005"):
        EncoderCache(memory=-1)
