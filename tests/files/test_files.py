"""Whole or not there, whatever happens; one owner at a time."""

# ruff: noqa: PT012 - what raises is within the block that is to be left

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from house_kit.kills import every_kill, killed_at_rename
from spacy_transfer.files import (
    DiskFull,
    InUse,
    all_or_none,
    held,
    hold_folder,
    hold_place,
    new_file,
    new_folder,
    open_regular,
    refuse_same,
    repair,
    sha256_of,
    write_data,
    write_text,
)
from spacy_transfer.files.space import is_full


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- killed ------------------------------------------------------------------------------------------------------


def test_a_file_is_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notes"
    write_text(path, "old")
    n_kills = 0
    for _ in every_kill(monkeypatch, lambda: write_text(path, "new")):
        assert path.read_text() == "old"
        n_kills += 1
        write_text(path, "old")
        assert names(tmp_path) == ["notes"]
    assert n_kills == 1
    assert path.read_text() == "new"


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool) -> None:
    path = tmp_path / "model-best"

    def write(text: str) -> None:
        with new_folder(path) as folder:
            (folder / text).write_text(text)

    write("old")
    n_kills = 0
    for _ in every_kill(monkeypatch, lambda: write("new"), can_exchange=can_exchange):
        repair(tmp_path)
        assert names(tmp_path) == ["model-best"]
        assert names(path) in (["old"], ["new"])
        n_kills += 1
        write("old")
    # Where names cannot be exchanged: the journal, and two renames.
    assert n_kills == (1 if can_exchange else 3)
    assert names(path) == ["new"]


def test_several_files_are_all_old_or_all_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In two folders, some of them new; whichever folder is looked at first."""
    places = [tmp_path / "a" / "train", tmp_path / "a" / "dev", tmp_path / "b" / "labels"]

    def write(text: str) -> None:
        with all_or_none() as stage:
            for place in places:
                stage(place).write_text(text)

    def state() -> list[str]:
        return [place.read_text() if place.exists() else "none" for place in places]

    for order in ("ab", "ba"):
        for begun in ("old", "none"):
            outcomes = set()
            for place in places:
                place.unlink(missing_ok=True)
            if begun == "old":
                write("old")
            for _ in every_kill(monkeypatch, lambda: write("new")):
                for name in order:
                    if (tmp_path / name).exists():
                        repair(tmp_path / name)
                outcomes.add(tuple(state()))
                assert state() in ([begun] * 3, ["new"] * 3)
                for name in order:
                    if (tmp_path / name).exists():
                        assert all(not one.startswith(".") for one in names(tmp_path / name))
                for place in places:
                    place.unlink(missing_ok=True)
                if begun == "old":
                    write("old")
            assert outcomes == {(begun,) * 3, ("new",) * 3}
    assert "T374" in caplog.text
    assert "train" in caplog.text


def test_the_next_write_repairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(text: str) -> None:
        with all_or_none() as stage:
            stage(tmp_path / "a").write_text(text)
            stage(tmp_path / "b").write_text(text)

    write("old")
    # Two links that keep the old ones, the journal, the first file.
    with killed_at_rename(monkeypatch, 4):
        write("new")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("new", "old")
    write_text(tmp_path / "c", "another command")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("new", "new")
    assert names(tmp_path) == ["a", "b", "c"]


CHILD = """
import os, sys, time
from pathlib import Path
from spacy_transfer.files import hold_folder, new_folder
folder = Path(sys.argv[1])
with hold_folder(folder), new_folder(folder / "model") as part:
    (part / "half").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_what_lives_is_left_alone_and_what_is_dead_is_removed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        before = names(tmp_path)
        assert len(before) == 2
        repair(tmp_path)
        with pytest.raises(InUse, match=rf"T370.*process {child.pid} on .* since \d{{4}}-.*-c"), hold_folder(tmp_path):
            pass
        assert names(tmp_path) == before
        child.kill()
    write_text(tmp_path / "other", "x")
    with hold_folder(tmp_path):
        assert "other" in names(tmp_path)
    assert names(tmp_path) == ["other"]


def test_what_others_plant_is_not_obeyed(tmp_path: Path) -> None:
    """A journal may only give names in its own folder to parts beside it."""
    (tmp_path / "kept").write_text("mine")
    moves: list[Any] = [
        [["0", "../kept"]], [["../0", "kept"]], [["0", "a/b"]], "x", [["0"]], [[0, None, 1]],
        [["0", ".."]], [["0", ""]],
    ]  # fmt: skip
    for i, one in enumerate(moves):
        staging = tmp_path / "sub" / f".spacy-transfer-{i:012x}"
        staging.mkdir(parents=True)
        (staging / "0").write_text("planted")
        (staging / "journal.json").write_text(json.dumps({"moves": one, "others": [], "first": None}))
    linked = tmp_path / "sub" / f".spacy-transfer-{99:012x}"
    linked.mkdir()
    (linked / "0").symlink_to(tmp_path / "kept")
    (linked / "journal.json").write_text(json.dumps({"moves": [["0", "stolen"]], "others": [], "first": None}))
    (tmp_path / "sub" / f".spacy-transfer-{100:012x}").symlink_to(tmp_path)
    assert repair(tmp_path / "sub") == []
    assert (tmp_path / "kept").read_text() == "mine"
    assert names(tmp_path / "sub") == [f".spacy-transfer-{100:012x}"]
    assert names(tmp_path) == ["kept", "sub"]


# ---- written -----------------------------------------------------------------------------------------------------


def test_links_are_replaced_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("private")
    (tmp_path / "out").symlink_to(secret)
    write_text(tmp_path / "out", "report")
    assert secret.read_text() == "private"
    assert not (tmp_path / "out").is_symlink()
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "kept").write_text("kept")
    (tmp_path / "model").symlink_to(tmp_path / "away")
    with new_folder(tmp_path / "model") as folder:
        (folder / "new").write_text("new")
    assert names(tmp_path / "model") == ["new"]
    assert names(tmp_path / "away") == ["kept"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a", "x")
        with new_file(tmp_path / "b") as part:
            # As safetensors' own writer leaves it.
            os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
        with new_folder(tmp_path / "c"):
            pass
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "abc"] == [0o666 & ~umask] * 2 + [0o777 & ~umask]


def test_the_longest_names(tmp_path: Path) -> None:
    for name in ("x" * 255, "ö" * 127):
        write_text(tmp_path / name, "x")
        with new_folder(tmp_path / f"{name[:-2]}d"):
            pass
        with hold_place(tmp_path / name):
            pass
    assert len(names(tmp_path)) == 4


def test_errors_leave_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with new_folder(tmp_path / "f") as folder:
        (folder / "old").touch()
    with pytest.raises(RuntimeError), all_or_none() as stage:
        stage(tmp_path / "a").write_text("new")
        stage(tmp_path / "made" / "b").write_text("new")
        raise RuntimeError
    with pytest.raises(RuntimeError), new_folder(tmp_path / "f"):
        raise RuntimeError
    with pytest.raises(FileExistsError), new_folder(tmp_path / "a"):
        pass
    (tmp_path / "d").mkdir()
    with pytest.raises(IsADirectoryError), all_or_none() as stage:
        stage(tmp_path / "a").write_text("new")
        stage(tmp_path / "d").write_text("new")
    assert names(tmp_path) == ["a", "d", "f"]
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path / "f") == ["old"]


def test_a_rename_that_fails_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path / name for name in ("new", "old", "last")]
    places[1].write_text("old")
    places[2].write_text("old")
    replace = os.replace

    def fail(one: Path, other: Path) -> None:
        if Path(other).name == "last" and Path(one).name == "2":
            raise PermissionError(errno.EPERM, "not allowed")
        replace(one, other)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PermissionError), all_or_none() as stage:
        for place in places:
            stage(place).write_text("new")
    assert names(tmp_path) == ["last", "old"]
    assert places[1].read_text() == places[2].read_text() == "old"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError('I/O error: Os { code: 28, kind: StorageFull, message: "No space left on device" }'),
        RuntimeError("No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_sentence(tmp_path: Path, error: Exception) -> None:
    said = r"^\[T372\] .*model.* needs at least 3.0 MB, and [\d.,]+ MB are free.*run"
    with pytest.raises(DiskFull, match=said) as told, new_folder(tmp_path / "model", needs=3_000_000) as folder:
        (folder / "half").write_bytes(b"half")
        raise error
    assert names(tmp_path) == []
    assert told.value.__cause__ is error
    assert "continue with:\nspacy" in str(told.value.going_on("spacy"))
    assert not is_full(OSError(errno.EACCES, "x"))


# ---- refused -----------------------------------------------------------------------------------------------------


def test_only_regular_files_are_digested(tmp_path: Path) -> None:
    assert sha256_of(write_and_name(tmp_path / "a", b"x")) == write_data(tmp_path / "b", b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert sha256_of(tmp_path / "link") == sha256_of(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "a device"), (tmp_path, "a folder")):
        with pytest.raises(OSError, match=f"T375.*{kind}"):
            sha256_of(path)
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"x"


def write_and_name(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_outputs_are_neither_inputs_nor_each_other(tmp_path: Path) -> None:
    data, folder = write_and_name(tmp_path / "t.spacy", b""), tmp_path / "corpus"
    folder.mkdir()
    within = write_and_name(folder / "dev.spacy", b"")
    (tmp_path / "link").symlink_to(data)
    os.link(data, tmp_path / "hard")
    for output in (data, tmp_path / "corpus" / ".." / "t.spacy", tmp_path / "link", tmp_path / "hard", within):
        with pytest.raises(ValueError, match=r"T373.*reads"):
            refuse_same([output], [data, folder])
    with pytest.raises(ValueError, match=r"T373.*another output"):
        refuse_same([tmp_path / "new", tmp_path / "corpus" / ".." / "new"])
    with pytest.raises(ValueError, match="T373"), all_or_none() as stage:
        stage(tmp_path / "twice")
        stage(tmp_path / "twice")
    refuse_same([tmp_path / "new", tmp_path / "other", folder / "report"], [data, folder, tmp_path / "absent"])
    with pytest.raises(ValueError, match=r"T373.*reads"):
        refuse_same([folder], [within])


# ---- owners ------------------------------------------------------------------------------------------------------


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    folder, told = tmp_path / "a" / "b", list[str]()

    def second() -> None:
        try:
            with hold_folder(folder):
                told.append("held")
        except InUse as error:
            told.append(str(error))

    def in_a_thread() -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    with hold_folder(folder):
        with hold_folder(folder):
            pass
        in_a_thread()
        assert f"process {os.getpid()}" in told[0]
        with held(folder):
            in_a_thread()
    assert told[1] == "held"
    assert not (tmp_path / "a").exists()
    in_a_thread()
    assert told[2] == "held"


def test_a_lock_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("private")
    (tmp_path / ".spacy-transfer.lock").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic"), hold_folder(tmp_path):
        pass
    assert (tmp_path / "secret").read_text() == "private"
