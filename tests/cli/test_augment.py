"""`spacy transfer augment`, and the shipped config with augmentation in spaCy's own loop."""

import json
import random
import shutil
from pathlib import Path

import pytest
import spacy
import torch
from spacy.tokens import DocBin

import spacy_transfer.cli  # noqa: F401  (adds the commands)
from house_kit.commands import run
from house_kit.pipelines import scores_of, shim_of
from house_kit.repository import REPOSITORY
from house_kit.texts import LABELS, TEXTS, exclusive_examples
from spacy_transfer.corpora.noise.augment import augment
from spacy_transfer.corpora.noise.augmentation import Augmentation


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, quiet_bert: Path) -> list[str | Path]:
    """configs/augmented.cfg on tiny data and the tiny encoder: its path, and what replaces its own."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(REPOSITORY / "configs" / "augmented.cfg", folder / "augmented.cfg")
    examples = exclusive_examples(spacy.blank("xx"))
    DocBin(docs=[example.reference for example in examples]).to_disk(folder / "train.spacy")
    (folder / "labels.json").write_text(json.dumps(LABELS))
    paths = {"train": folder / "train.spacy", "dev": folder / "train.spacy", "labels": folder / "labels.json"}
    paths["encoder"] = quiet_bert
    args = [part for key, path in paths.items() for part in (f"--paths.{key}", str(path))]
    return [folder / "augmented.cfg", *args]


WINDOWS = [f"--components.transfer_textcat.model.windows.{key}" for key in ("length", "stride")]
SMALL = [WINDOWS[0], "32", WINDOWS[1], "20"]


def test_spacys_loop_trains_the_shipped_config(project: list[str | Path], tmp_path: Path) -> None:
    config, *paths = project
    run("init", "fill-config", config, tmp_path / "filled.cfg")
    steps = ["--training.max_steps", "3", "--training.eval_frequency", "2", *SMALL]
    run("train", tmp_path / "filled.cfg", "--output", tmp_path / "out", *paths, *steps)
    nlp = spacy.load(tmp_path / "out" / "model-last")
    # spaCy makes one step more than it is told.
    assert shim_of(nlp).n_draws == 4
    assert shim_of(nlp).settings.augmentation == Augmentation()
    assert torch.isfinite(scores_of(nlp, TEXTS)).all()


def test_the_command_shows_ten_samples(project: list[str | Path]) -> None:
    config, *paths = project
    printed = run("transfer", "augment", config, *paths)
    assert printed.count("clean      ") == 10
    n_clean = printed.count("           unchanged\n")
    assert 0 < n_clean < 10
    assert f"10 samples, {n_clean} unchanged" in printed
    assert run("transfer", "augment", config, *paths) == printed
    assert run("transfer", "augment", config, *paths, "--skip", "5") != printed
    assert run("transfer", "augment", config, *paths, "--n", "3").count("clean      ") == 3
    off = "--components.transfer_textcat.model.augmentation.clean"
    assert "10 samples, 10 unchanged" in run("transfer", "augment", config, *paths, off, "1")
    assert "T005" in run("transfer", "augment", config, *paths, off, "2", code=1)


def test_samples_are_data(project: list[str | Path]) -> None:
    config, *paths = project
    overrides = {f"paths.{key}": paths[i] for key, i in (("train", 1), ("dev", 3), ("labels", 5), ("encoder", 7))}
    before = random.getstate()
    samples = augment(Path(config), n=100, component="transfer_textcat", overrides=overrides)
    assert random.getstate() == before
    assert sorted(sample.clean for sample in samples) == sorted(TEXTS)
    for sample in samples:
        assert sample.is_clean == (sample.clean == sample.augmented)
        assert sample.labels == [LABELS[TEXTS.index(sample.clean) % 3]]
    for wrong in ({"n": 0}, {"skip": -1}):
        with pytest.raises(ValueError, match="T005"):
            augment(Path(config), overrides=overrides, **wrong)  # type: ignore[arg-type]


def test_the_command_says_what_is_missing(project: list[str | Path], tmp_path: Path) -> None:
    config, *paths = project
    found = run("transfer", "augment", config, *paths, "--component", "tagger", code=1)
    assert "T125" in found
    assert "transfer_textcat" in found
    plain = spacy.util.load_config(config, interpolate=False)
    plain["components"]["transfer_textcat"]["model"].pop("augmentation")
    plain.to_disk(tmp_path / "plain.cfg")
    assert "T126" in run("transfer", "augment", tmp_path / "plain.cfg", *paths, code=1)
    DocBin().to_disk(tmp_path / "empty.spacy")
    assert "T127" in run("transfer", "augment", config, *paths, "--paths.train", tmp_path / "empty.spacy", code=1)
