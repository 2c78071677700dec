"""A run in workers of a Ray cluster writes the bytes of a run in one process, whichever worker is lost on the way.

About a minute: `.ci/run` runs it, and `pytest tests/serving/apply/check_ray.py` where Ray is installed.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.tokens import DocBin

from house_kit.applied import numbered, write_texts
from house_kit.pipelines import add_classifier, pipeline
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer import apply

ray = pytest.importorskip("ray")

# A component that one worker does not survive, at the first text of this kind; spaCy's sentencizer goes with it.
CODE = """
import os
import signal
from pathlib import Path

from spacy.language import Language


@Language.factory("fragile", default_config={"mark": ""})
def make_fragile(nlp, name, mark):
    def run(doc):
        if "fatal" in doc.text and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        doc.user_data["n_tokens"] = len(doc)
        return doc

    return run
"""
TEXTS_IN = [f"{text} {'and the money ' * (i % 7)}" for i, text in enumerate([*numbered(40), *numbered(25), *TEXTS])]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two cores, each with one worker."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def folder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pipelines, the code of one of them, and a table with two rows that cannot be used."""
    folder = tmp_path_factory.mktemp("ray")
    pipeline(bert).to_disk(folder / "alone")
    (folder / "code.py").write_text(CODE, "utf-8")
    spacy.util.import_file("python_code", folder / "code.py")
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("fragile", config={"mark": str(folder / "mark")})
    add_classifier(nlp, bert)
    torch.manual_seed(0)
    nlp.initialize(lambda: exclusive_examples(nlp))
    nlp.to_disk(folder / "together")
    texts = TEXTS_IN.copy()
    texts[50] = "the fatal card"
    lines = write_texts(folder / "in.csv", texts).read_text("utf-8").splitlines(keepends=True)
    lines.insert(20, "a,b,c\n")
    lines.insert(60, "90,\n")
    (folder / "in.csv").write_text("".join(lines), "utf-8")
    docs = [spacy.blank("xx").make_doc(text) for text in texts[:20]]
    for doc in docs:
        doc.cats = {"old": 0.5}
        doc.user_data["kept"] = "here"
    DocBin(attrs=["ORTH", "SENT_START"], docs=docs, store_user_data=True).to_disk(folder / "in.spacy")
    return folder


def files_of(folder: Path, name: str) -> dict[str, bytes]:
    return {path.name.removeprefix(name): path.read_bytes() for path in folder.glob(f"{name}*")}


@pytest.mark.usefixtures("cluster")
def test_the_same_bytes_as_in_one_process_though_a_worker_is_lost(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [folder / "in.csv", folder / "in.spacy"]
    jobs: list[tuple[str, str, int, dict[str, Any]]] = [
        ("alone", "csv", 1, {"all_scores": True}),
        ("together", "spacy", 2, {"code": folder / "code.py"}),
    ]
    for name, kind, n_workers, options in jobs:
        (folder / "mark").touch()
        here = apply(folder / name, sources, tmp_path / f"here.{kind}", look_ahead=7, **options)
        (folder / "mark").unlink()
        there = apply(
            folder / name, sources, tmp_path / f"there.{kind}", look_ahead=7, engine="ray", workers=n_workers, **options
        )
        # The worker that met the text is gone, and left this.
        assert (folder / "mark").exists() == (name == "together")
        assert (there.n_docs, there.n_bad, there.n_repeated) == (here.n_docs, here.n_bad, here.n_repeated)
        assert here.n_bad == 2
        want = files_of(tmp_path, f"here.{kind}")
        assert len(want) == 2
        assert files_of(tmp_path, f"there.{kind}") == want
    # Ray says that a worker was lost, on standard output.
    assert not capsys.readouterr().out
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.usefixtures("cluster")
def test_what_a_worker_cannot_load(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"T602.*fragile.*--code"):
        apply(folder / "together", folder / "in.csv", tmp_path / "out.csv", engine="ray")
    with pytest.raises(ValueError, match=r"T600.*10\.9\.8\.7"):
        apply(folder / "alone", folder / "in.csv", tmp_path / "out.csv", engine="ray", address="10.9.8.7:6379")
    assert not list(tmp_path.iterdir())


def test_a_driver_that_is_killed(folder: Path, tmp_path: Path) -> None:
    """The one process of this file: what it began in a cluster of its own, this one continues without."""
    (folder / "mark").touch()
    options = ["--look-ahead", "7", "--show", "none"]
    command = [
        sys.executable, "-m", "spacy", "transfer", "apply", str(folder / "alone"), str(folder / "in.csv"),
        "-o", str(tmp_path / "two.csv"), *options, "--engine", "ray", "--workers", "1",
    ]  # fmt: skip
    journal = tmp_path / "two.csv.unfinished" / "journal.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    end = time.monotonic() + 120
    while process.poll() is None and not (journal.exists() and journal.stat().st_size) and time.monotonic() < end:
        time.sleep(0.001)
    process.kill()
    said = process.communicate()[0]
    # Not a word of Ray's.
    assert not said.strip() or "documents" in said
    apply(folder / "alone", folder / "in.csv", tmp_path / "one.csv", look_ahead=7)
    with suppress(FileExistsError):
        apply(folder / "alone", folder / "in.csv", tmp_path / "two.csv", look_ahead=7, resume=True)
    assert files_of(tmp_path, "two.csv") == files_of(tmp_path, "one.csv")
    assert json.loads((tmp_path / "two.csv.bad.jsonl").read_text("ascii").splitlines()[0])["line"] == 21
