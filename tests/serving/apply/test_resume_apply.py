"""A run over files that is killed at any moment: what continues it ends with the bytes of a run that was not killed."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from house_kit.applied import numbered, write_texts
from house_kit.kills import every_kill
from house_kit.pipelines import network_of, pipeline
from house_kit.slow import mostly_slow
from house_kit.texts import TEXTS
from spacy_transfer import apply
from spacy_transfer.files import DiskFull
from spacy_transfer.serving.apply.engines.local import digest_of_loaded
from spacy_transfer.serving.apply.unfinished import Unfinished

# Long and short ones, and texts that come again within a block, in the next one and much later.
TEXTS_IN = [f"{text} {'and the money ' * (i % 7)}" for i, text in enumerate([*numbered(40), *numbered(25), *TEXTS])]
OPTIONS: dict[str, Any] = {"look_ahead": 7, "all_scores": True}


class Dead(BaseException):
    """As SIGKILL: nothing may catch it."""


@pytest.fixture(scope="module")
def trained(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "pipeline"
    pipeline(bert).to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def nlp(bert: Path) -> Any:
    return pipeline(bert)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A table with two rows that cannot be used."""
    path = write_texts(tmp_path / "in.csv", TEXTS_IN)
    lines = path.read_text("utf-8").splitlines(keepends=True)
    lines.insert(20, "a,b,c\n")
    lines.insert(60, "90,\n")
    path.write_text("".join(lines), "utf-8")
    return path


def bytes_of(folder: Path, output: str) -> tuple[bytes, bytes]:
    return (folder / output).read_bytes(), (folder / f"{output}.bad.jsonl").read_bytes()


def remove(folder: Path, output: str) -> None:
    (folder / output).unlink(missing_ok=True)
    (folder / f"{output}.bad.jsonl").unlink(missing_ok=True)


def finish(work: Callable[[], Any], patch: pytest.MonkeyPatch, at: int) -> int:
    """Work that dies when the journal is to get a line, each time some lines later. RETURNS (int): How often."""
    n_kills, commit, n_lines = 0, Unfinished.commit, [0]

    def dying(self: Unfinished) -> None:
        if n_lines[0] >= at + n_kills % 3:
            # What was written before is there, and more than the journal says.
            raise Dead
        n_lines[0] += 1
        commit(self)

    patch.setattr(Unfinished, "commit", dying)
    while True:
        n_lines[0] = 0
        try:
            work()
        except Dead:
            n_kills += 1
            continue
        finally:
            if n_kills > 40:
                pytest.fail("it does not come to an end")
        patch.setattr(Unfinished, "commit", commit)
        return n_kills


@pytest.mark.parametrize("kind", mostly_slow(["csv", "jsonl", "parquet", "spacy"], but=["csv"]))
def test_killed_before_blocks_count(
    kind: str, nlp: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    options = {"look_ahead": 7} if kind == "spacy" else OPTIONS
    done = apply(nlp, source, tmp_path / f"out.{kind}", **options)
    assert (done.n_docs, done.n_bad) == (len(TEXTS_IN), 2)
    want = bytes_of(tmp_path, f"out.{kind}")
    for at in (1, 3):
        n_kills = finish(lambda: apply(nlp, source, tmp_path / f"two.{kind}", resume=True, **options), monkeypatch, at)
        assert n_kills > 2
        assert bytes_of(tmp_path, f"two.{kind}") == want
        remove(tmp_path, f"two.{kind}")
    assert not list(tmp_path.glob("*unfinished*"))


@pytest.mark.parametrize("kind", ["csv", "spacy"])
def test_killed_at_every_rename(
    kind: str, nlp: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the begin and at the end, where files take their places. Once the output is there it is all of it."""
    (tmp_path / "out").mkdir()
    place = tmp_path / "out" / f"out.{kind}"
    apply(nlp, source, place, look_ahead=40)
    want = bytes_of(place.parent, place.name)
    remove(place.parent, place.name)

    def work() -> None:
        apply(nlp, source, place, look_ahead=40, resume=True)

    n_kills = 0
    for _ in every_kill(monkeypatch, work):
        n_kills += 1
        if place.exists():
            assert bytes_of(place.parent, place.name) == want
        # T531 where it had come to its end.
        with suppress(FileExistsError):
            work()
        assert bytes_of(place.parent, place.name) == want
        remove(place.parent, place.name)
        assert not [path for path in place.parent.iterdir() if not path.name.startswith(".spacy-transfer")]
    assert n_kills > 2


@pytest.mark.slow
def test_a_process_that_is_killed(trained: Path, source: Path, tmp_path: Path) -> None:
    apply(trained, source, tmp_path / "out.csv", **OPTIONS)
    command = [
        sys.executable, "-m", "spacy", "transfer", "apply", str(trained), str(source), "-o", str(tmp_path / "two.csv"),
        "--look-ahead", "7", "--all-scores",
    ]  # fmt: skip
    journal = tmp_path / "two.csv.unfinished" / "journal.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while process.poll() is None and not (journal.exists() and journal.stat().st_size) and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(random.random() * 0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What a command began, Python continues. T531 where it had come to its end.
    with suppress(FileExistsError):
        assert apply(trained, source, tmp_path / "two.csv", resume=True, **OPTIONS).n_docs == len(TEXTS_IN)
    assert bytes_of(tmp_path, "two.csv") == bytes_of(tmp_path, "out.csv")
    assert not journal.parent.exists()


def test_a_full_disk(nlp: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(nlp, source, tmp_path / "out.csv", **OPTIONS)
    write = Unfinished._write
    n_written = [0]

    def full(self: Unfinished, name: str, data: bytes) -> None:
        n_written[0] += 1
        if n_written[0] > 11:
            write(self, name, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "_write", full)
        with pytest.raises(DiskFull, match="T372"):
            apply(nlp, source, tmp_path / "two.csv", **OPTIONS)
    assert not (tmp_path / "two.csv").exists()
    done = apply(nlp, source, tmp_path / "two.csv", resume=True, **OPTIONS)
    assert 0 < done.n_before < done.n_docs
    assert bytes_of(tmp_path, "two.csv") == bytes_of(tmp_path, "out.csv")


def stop_after(n_blocks: int, work: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave an unfinished run behind."""
    commit = Unfinished.commit

    def dying(self: Unfinished) -> None:
        if self.position.n_blocks > n_blocks:
            raise Dead
        commit(self)

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "commit", dying)
        with pytest.raises(Dead):
            work()


def test_only_the_same_run_is_continued(
    trained: Path, nlp: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "two.csv"
    stop_after(3, lambda: apply(nlp, source, out, **OPTIONS), monkeypatch)
    with pytest.raises(FileExistsError, match=r"T529.*--resume.*--force"):
        apply(nlp, source, out, **OPTIONS)
    with pytest.raises(ValueError, match=r"T530.*options"):
        apply(nlp, source, out, look_ahead=8, all_scores=True, resume=True)
    with pytest.raises(ValueError, match=r"T530.*pipeline"):
        apply(trained, source, out, resume=True, **OPTIONS)
    times = source.stat()
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    with pytest.raises(ValueError, match=r"T530.*sources"):
        apply(nlp, source, out, resume=True, **OPTIONS)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = apply(nlp, source, out, resume=True, **OPTIONS)
    assert 0 < done.n_before < done.n_docs == len(TEXTS_IN)
    with pytest.raises(FileExistsError, match="T531"):
        apply(nlp, source, out, resume=True, **OPTIONS)
    with pytest.raises(FileExistsError, match="T528"):
        apply(nlp, source, out, **OPTIONS)


def test_a_pipeline_in_memory_is_known_by_its_weights(bert: Path) -> None:
    nlp = pipeline(bert)
    before = digest_of_loaded(nlp)
    list(nlp.pipe(TEXTS))
    assert digest_of_loaded(nlp) == before
    seen = {before}
    with torch.no_grad():
        for weight in (network_of(nlp).head.output.bias, next(network_of(nlp).encoder.parameters())):
            weight.view(-1)[-1] += 1e-3
            seen.add(digest_of_loaded(nlp))
    nlp.get_pipe("transfer_textcat").add_label("new")
    seen.add(digest_of_loaded(nlp))
    nlp.add_pipe("sentencizer")
    seen.add(digest_of_loaded(nlp))
    assert len(seen) == 5


def test_begun_again_by_force(nlp: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "two.csv"
    stop_after(3, lambda: apply(nlp, source, out, **OPTIONS), monkeypatch)
    done = apply(nlp, source, out, look_ahead=9, force=True)
    assert done.n_before == 0
    assert not (tmp_path / "two.csv.unfinished").exists()


def test_damaged_folders(nlp: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, folder = tmp_path / "two.csv", tmp_path / "two.csv.unfinished"
    stop_after(3, lambda: apply(nlp, source, out, **OPTIONS), monkeypatch)
    rows, journal = (folder / "rows").read_bytes(), (folder / "journal.jsonl").read_bytes()
    last = json.loads(journal.splitlines()[-1])
    (folder / "rows").write_bytes(rows[: last["rows_size"] - 1])
    with pytest.raises(ValueError, match=r"T532.*'rows'"):
        apply(nlp, source, out, resume=True, **OPTIONS)
    (folder / "rows").write_bytes(rows)
    (folder / "journal.jsonl").write_bytes(journal.replace(b'"n_docs"', b'"docs"'))
    with pytest.raises(ValueError, match=r"T532.*n_docs"):
        apply(nlp, source, out, resume=True, **OPTIONS)
    # A line that was cut short does not count.
    (folder / "journal.jsonl").write_bytes(journal + journal[: len(journal) // 9])
    kept = (folder / "recent-00000001.npy").read_bytes()
    (folder / "recent-00000001.npy").write_bytes(kept[:-1])
    with pytest.raises(ValueError, match=r"T532.*recent-00000001"):
        apply(nlp, source, out, resume=True, **OPTIONS)
    (folder / "recent-00000001.npy").write_bytes(kept)
    assert apply(nlp, source, out, resume=True, **OPTIONS).n_docs == len(TEXTS_IN)
    other = tmp_path / "three.csv"
    (tmp_path / "three.csv.unfinished").mkdir()
    (tmp_path / "three.csv.unfinished" / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(FileExistsError, match="T535"):
        apply(nlp, source, other, force=True)


def test_an_error_at_the_beginning_leaves_nothing(nlp: Any, source: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match="T524"):
        apply(nlp, source, tmp_path / "two.csv", text_field="nothing")
    assert sorted(tmp_path.iterdir()) == before
