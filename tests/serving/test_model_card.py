"""The model card: in meta.json, and so in the README and the metadata of the wheel that spaCy builds."""

import importlib
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import spacy
from packaging.version import Version
from spacy.tokens import DocBin

from house_kit.commands import run
from house_kit.pipelines import pipeline, read_json, scores_of
from house_kit.texts import LABELS, TEXTS, exclusive_examples
from spacy_transfer.repository.licenses import whole_text
from spacy_transfer.serving.model_card import card

NAME = "transfer_textcat"


@pytest.fixture(scope="module")
def made(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose encoder names its license, in a folder with the data it was trained on."""
    folder = tmp_path_factory.mktemp("made")
    encoder = shutil.copytree(bert, folder / "tiny-encoder")
    (encoder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", "utf-8")
    nlp = pipeline(encoder)
    docs = [example.reference for example in exclusive_examples(nlp)]
    for split, chosen in (("train", docs), ("dev", docs[:9]), ("test", docs[:6])):
        DocBin(docs=chosen).to_disk(folder / f"{split}.spacy")
    nlp.meta["performance"] = {"cats_score": 0.25}
    nlp.meta["author"] = "Ada"
    nlp.to_disk(folder / "pipeline")
    return folder


@pytest.fixture(scope="module")
def carded(made: Path) -> Path:
    """The same with a card."""
    args: list[Any] = ["--train", made / "train.spacy", "--dev", made / "dev.spacy", "--test", made / "test.spacy"]
    printed = run("transfer", "card", made / "pipeline", *args, "--license", "MIT", "--output", made / "carded")
    assert "train 24, dev 9, test 6" in printed
    return made / "carded"


def test_meta_says_it_all(made: Path, carded: Path) -> None:
    meta = read_json(carded / "meta.json")
    wanted = spacy.load(made / "pipeline").evaluate(exclusive_examples(spacy.blank("xx"), 6))
    assert meta["performance"]["cats_score"] == pytest.approx(wanted["cats_score"])
    assert not {"n_docs", "components"} & set(meta["performance"])
    assert "on 6 documents" in meta["notes"]
    said = meta["model_card"]
    assert said["n_docs"] == {"train": 24, "dev": 9, "test": 6}
    assert (said["scored_on"], said["dev_performance"]) == ("test.spacy", {"cats_score": 0.25})
    assert said["encoders"] == [{"component": NAME, "name": "tiny-encoder", "revision": None}]
    assert (meta["license"], meta["author"], meta["labels"]) == ("MIT", "Ada", {NAME: LABELS})
    assert meta["sources"] == [{"name": "tiny-encoder"}]
    assert "exactly one of 3 labels" in meta["description"]
    for part in ("END OF TERMS AND CONDITIONS", "| train | 24 |", "| login |", "`test.spacy`"):
        assert part in meta["notes"]
    assert "END OF TERMS AND CONDITIONS" in (carded / "LICENSES_SOURCES").read_text("utf-8")
    # The pipeline itself is as it was.
    assert "notes" not in read_json(made / "pipeline" / "meta.json")
    assert (scores_of(spacy.load(carded), TEXTS) == scores_of(spacy.load(made / "pipeline"), TEXTS)).all()


def test_again_in_place(carded: Path, made: Path, tmp_path: Path) -> None:
    """A second card replaces the first; what people have filled in stays, and so do the scores on test data."""
    folder = shutil.copytree(carded, tmp_path / "nlp")
    nlp = spacy.load(folder)
    nlp.meta["description"] = "Mine."
    nlp.to_disk(folder)
    done = card(folder, dev=made / "dev.spacy")
    meta = read_json(folder / "meta.json")
    assert (done.n_docs, done.scores) == ({"dev": 9, "test": 6}, {})
    assert meta["performance"] == read_json(carded / "meta.json")["performance"]
    assert (meta["description"], len(meta["sources"])) == ("Mine.", 1)
    assert meta["notes"].count("END OF TERMS") == 1


def test_the_wheel(carded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args: list[Any] = ["--name", "card", "--version", "1.2.3", "--build", "none"]
    run("package", carded, tmp_path, *args)
    root = tmp_path / "xx_card-1.2.3"
    readme = (root / "README.md").read_text("utf-8")
    for part in ("`xx_card`", "`1.2.3`", "tiny-encoder", "`login`", "END OF TERMS AND CONDITIONS", "| train | 24 |"):
        assert part in readme
    if Version(version("setuptools")) < Version("70.1"):
        pytest.skip("setuptools before 70.1 builds no wheel by itself")
    # What `--build wheel` does, without an environment of its own, which needs the network.
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (root / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        files.extractall(tmp_path / "installed")
    data = "xx_card/xx_card-1.2.3"
    assert {f"{data}/LICENSES_SOURCES", f"{data}/{NAME}/LICENSE.encoder", f"{data}/README.md"} <= set(names)
    (metadata,) = (tmp_path / "installed").glob("*.dist-info/METADATA")
    assert "| `CATS_SCORE` |" in metadata.read_text("utf-8")
    assert "Requires-Dist: spacy-transfer" in metadata.read_text("utf-8")
    assert read_json(tmp_path / "installed" / "xx_card" / "meta.json")["model_card"]["n_docs"]["test"] == 6
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    assert set(importlib.import_module("xx_card").load()("card").cats) == set(LABELS)
    with pytest.raises(ValueError, match=r"T568"):
        card("xx_card")
    card("xx_card", output=tmp_path / "copy")
    assert read_json(tmp_path / "copy" / "meta.json")["name"] == "card"


def test_what_a_package_would_lack(bert: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    adapter = {"@misc": "spacy-transfer.LoRA.v1", "rank": 2, "save": "adapter"}
    pipeline(bert, tuning={"adapter": adapter, "frozen_depth": 0}).to_disk(tmp_path / "nlp")
    alone, unlicensed = card(tmp_path / "nlp").warnings
    assert "T569" in alone
    assert "spacy transfer merge" in alone
    assert "license" in unlicensed


def test_what_is_refused(made: Path, tmp_path: Path) -> None:
    spacy.blank("xx").to_disk(tmp_path / "empty")
    before = (made / "pipeline" / "meta.json").read_bytes()
    for args, code in (
        ([tmp_path / "empty"], "T527"),
        ([made / "pipeline", "--test", tmp_path / "nothing.spacy"], "T440"),
        ([made / "pipeline", "--train", made / "nothing.spacy"], "T440"),
        ([made / "pipeline", "--output", made], "T163"),
        ([made / "pipeline", "--output", made / "pipeline", "--force"], "T373"),
    ):
        assert code in run("transfer", "card", *args, code=1)
    assert (made / "pipeline" / "meta.json").read_bytes() == before


def test_the_apache_license_is_completed_and_no_other() -> None:
    assert "END OF TERMS" in whole_text("License of the encoder, as its model card names it: apache-2.0\n")
    assert whole_text("MIT License\n\nCopyright (c) 2026 Ada\n") == "MIT License\n\nCopyright (c) 2026 Ada\n"
    once = whole_text("Licensed under the Apache License, Version 2.0")
    assert whole_text(once) == once
