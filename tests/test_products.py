"""Every shipped config with everything that is done with a config; every family of encoders with every way to train.

Laws hold for products of features, not only for each alone.
"""

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.cli import app
from spacy.cli.debug_config import debug_config
from spacy.cli.debug_data import debug_data
from spacy.cli.evaluate import evaluate as spacy_evaluate
from spacy.cli.init_config import fill_config
from spacy.cli.package import package
from spacy.cli.train import train as spacy_train
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from typer.testing import CliRunner

from house_kit.encoders import KNOWN_FAMILIES, write_encoder
from house_kit.media import with_pictures, with_sounds, write_audio, write_vision
from house_kit.pipelines import moved, network_of, pipeline, scores_of, weights_of
from house_kit.repository import REPOSITORY
from house_kit.runs import assert_same_run, files_of, killed_at, run
from house_kit.texts import LABELS, TEXTS, examples_of, exclusive_examples, multilabel_examples, one_hot
from spacy_transfer.training.adamw import AdamW
from spacy_transfer.training.search.study import Plan, study

pytestmark = pytest.mark.slow

CONFIGS = sorted((REPOSITORY / "configs").glob("*.cfg"))
MULTILABEL = {"imbalanced", "label_query", "multilabel"}
# Those that need a package of an extra.
NEEDS = {"lora": "peft", "shared": "spacy_transformers", "linear_probe": "sklearn", "audio": "soundfile"}
# Close to others: what comes after training is tried on those.
ALONE = {"augmented", "full", "imbalanced"}
# Whose documents have more than a text.
MEDIA = {"audio", "image"}
# A study trains as a run does; it is tried where something is not like the others.
STUDIED = {"features", "linear_probe", "multilabel", "scratch", "shared"}
names = pytest.mark.parametrize("config", CONFIGS, ids=[path.stem for path in CONFIGS])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train, dev and labels of both kinds."""
    folder = tmp_path_factory.mktemp("data")
    nlp = spacy.blank("en")
    for prefix, made, labels in (
        ("", exclusive_examples(nlp), LABELS), ("multilabel_", multilabel_examples(nlp), [*LABELS, "late"])
    ):  # fmt: skip
        docs = [example.reference for example in made]
        DocBin(docs=docs).to_disk(folder / f"{prefix}train.spacy")
        DocBin(docs=docs[:9]).to_disk(folder / f"{prefix}dev.spacy")
        (folder / f"{prefix}labels.json").write_text(json.dumps(labels))
    write_vision(folder / "image-encoder")
    write_audio(folder / "audio-encoder")
    # All documents have a picture, or a sound, and some no text.
    for name, give in (("image", with_pictures), ("audio", with_sounds)):
        Doc.set_extension(name, default=None, force=True)
        docs = [example.reference for example in [*give(nlp, 21), *give(nlp, 3, text="")]]
        DocBin(docs=docs, store_user_data=True).to_disk(folder / f"{name}_train.spacy")
        DocBin(docs=docs[-9:], store_user_data=True).to_disk(folder / f"{name}_dev.spacy")
        (folder / f"{name}_labels.json").write_text(json.dumps(LABELS))
    return folder


@pytest.fixture(scope="module")
def long_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers, and positions for the windows of the shipped configs."""
    return write_encoder(tmp_path_factory.mktemp("long-bert"), "bert", max_position_embeddings=256)


def overrides_of(config: Path, data: Path, encoder: Path, *, short: bool = True) -> dict[str, Any]:
    """Paths, and for a quick run few steps; a vision encoder stands next to the data."""
    if (package_name := NEEDS.get(config.stem)) is not None:
        pytest.importorskip(package_name)
    prefix = "multilabel_" if config.stem in MULTILABEL else f"{config.stem}_" if config.stem in MEDIA else ""
    values: dict[str, Any] = {
        f"paths.{name}": str(data / f"{prefix}{file}")
        for name, file in (("train", "train.spacy"), ("dev", "dev.spacy"), ("labels", "labels.json"))
    }
    if config.stem != "scratch":
        values["paths.encoder"] = str(encoder)
    if config.stem in MEDIA:
        values[f"paths.{config.stem}_encoder"] = str(data / f"{config.stem}-encoder")
    if short and config.stem != "linear_probe":
        values |= {"training.max_epochs": 2, "training.eval_frequency": 2, "training.batcher.docs": 12}
    return values


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within: what a stock command prints is not shown, and how it exits is an error."""
    try:
        yield
    except SystemExit as error:
        if error.code:
            pytest.fail(f"the command failed with status {error.code}")


def component_of(config: Path) -> str:
    return "transfer_textcat_multilabel" if config.stem in MULTILABEL else "transfer_textcat"


@names
def test_stock_commands_take_a_shipped_config(
    config: Path, data: Path, long_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """init fill-config, and of what it writes, as these commands want it: debug config, debug data, debug model."""
    values = overrides_of(config, data, long_bert)
    filled = tmp_path / "filled.cfg"
    # Fewer training texts than this are an error of debug data.
    monkeypatch.setattr(sys.modules[debug_data.__module__], "BLANK_MODEL_MIN_THRESHOLD", 1)
    with quietly():
        fill_config(filled, config)
        debug_config(filled, overrides=values)
        debug_data(filled, config_overrides=values)
    options = [part for key, value in values.items() for part in (f"--{key}", str(value))]
    done = CliRunner().invoke(app, ["debug", "model", str(filled), component_of(config), "-P3", *options])
    if config.stem == "gradual":
        # The command trains outside of any loop, so nobody says which epoch it is.
        assert "[T063]" in str(done.exception)
    elif config.stem == "shared":
        # It trains both, then predicts without the transformer, where stock listeners make do with states of zero.
        assert "[T202]" in str(done.exception)
    else:
        assert done.exit_code == 0, done.output


@names
def test_a_shipped_config_trains_stops_and_resumes(
    config: Path, data: Path, long_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under spacy train and in our loop, to the same weights; killed and resumed to the same bytes; as of two seeds."""
    values = overrides_of(config, data, long_bert)
    ours, theirs, parts = (tmp_path / name for name in ("ours", "theirs", "parts"))
    whole = run(config, ours, overrides=values)
    assert whole.n_steps == (1 if config.stem == "linear_probe" else 4)
    with quietly():
        # Its loop makes a step more than max_steps.
        spacy_train(config, theirs, overrides=values)
    if config.stem != "linear_probe":
        assert files_of(ours / "model-last") == files_of(theirs / "model-last")
        with killed_at(monkeypatch, 3):
            run(config, parts, overrides=values, checkpoint_every="2")
        run(config, parts, overrides=values, resume=True)
        assert_same_run(ours, parts)

    def train_one(folder: Path, own: Any, stop_at: int, resume: bool) -> None:
        run(config, folder, overrides=own, stop_at=stop_at, resume=resume)

    if config.stem in ALONE:
        # What follows differs in no other way than these do.
        return
    if config.stem in STUDIED:
        studied = study(config, tmp_path / "study", Plan(seeds=(0, 1)), train_one, overrides=values)
        assert len(studied.best.scores) == 2
        assert files_of(tmp_path / "study" / "model-best") in [
            files_of(tmp_path / "study" / f"seed-{seed}" / "model-best") for seed in (0, 1)
        ]
    _is_handed_on(ours / "model-last", values, tmp_path)
    _learns_on(ours / "model-last", config)


def _is_handed_on(model: Path, values: dict[str, Any], tmp_path: Path) -> None:
    """Loaded, evaluated, packaged: everywhere the same scores."""
    nlp = spacy.load(model)
    before = scores_of(nlp, TEXTS)
    assert before.isfinite().all()
    nlp.to_disk(tmp_path / "again")
    assert torch.equal(scores_of(spacy.load(tmp_path / "again"), TEXTS), before)
    found = spacy_evaluate(str(model), Path(values["paths.dev"]), silent=True)
    assert math.isfinite(found["cats_score"])
    with quietly():
        package(model, tmp_path, name="product", version="0.0.1", create_sdist=False, create_wheel=False, silent=True)
    (packed,) = (tmp_path / "en_product-0.0.1" / "en_product").glob("en_product-*")
    assert torch.equal(scores_of(spacy.load(packed), TEXTS), before)


def _learns_on(model: Path, config: Path) -> None:
    """What the config's optimizer does in Python: the highest rate, not where a warm-up begins."""
    nlp = spacy.load(model)
    make = multilabel_examples if config.stem in MULTILABEL else exclusive_examples
    optimizer = nlp.resume_training()
    block = nlp.config["training"]["optimizer"]["learn_rate"]
    assert optimizer.learn_rate == (block["peak"] if isinstance(block, dict) else block)
    nlp.get_pipe(component_of(config)).set_epoch(0)
    before = weights_of(nlp, component_of(config))
    losses = nlp.update(make(nlp), sgd=optimizer)
    nlp.rehearse(make(nlp), sgd=optimizer)
    assert math.isfinite(losses[component_of(config)])
    assert bool(moved(before, weights_of(nlp, component_of(config)))) == (config.stem != "linear_probe")
    assert nlp.create_optimizer().learn_rate == optimizer.learn_rate


# ---- families ----------------------------------------------------------------------------------------------------

LONG = " ".join(TEXTS[:12])


def _learned(nlp: Language) -> torch.Tensor:
    """Two steps on short texts and one of several windows; scores afterwards, twice the same texts."""
    cats = [one_hot(LABELS[i % 3]) for i in range(5)]
    examples = examples_of(nlp, [*TEXTS[:4], LONG], cats)
    torch.manual_seed(1)
    sgd = AdamW(learn_rate=3e-3)
    for _ in range(2):
        nlp.update(examples, sgd=sgd)
    return scores_of(nlp, [*TEXTS[4:8], LONG])


@pytest.mark.parametrize("way", ["each depth", "LoRA"])
@pytest.mark.parametrize("family", KNOWN_FAMILIES)
def test_every_family_at_every_depth_with_every_cache(
    family: str, way: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Frozen weights stay; what is cached, in memory or on disk, changes nothing; stored and loaded it is the same."""
    folder = tmp_path_factory.mktemp(family) / "encoder"
    write_encoder(folder, family)
    tuning: dict[str, Any] = {}
    if way == "LoRA":
        pytest.importorskip("peft")
        tuning = {"adapter": {"@misc": "spacy-transfer.LoRA.v1", "rank": 2}}
    n_layers = network_of(pipeline(folder)).n_layers
    depths = [-1, *range(n_layers + 1)]
    if tuning:
        # ALBERT's layers share their weights: an adapter in the last one sits in all of its group.
        depths = [0] if family.startswith("albert") else [0, n_layers - 1]
    for depth in depths:
        blocks: dict[str, Any] = {"tuning": {**tuning, "frozen_depth": depth}, "encoder": {"dropout": 0.0}}
        nlp = pipeline(folder, **blocks)
        network, before = network_of(nlp), weights_of(nlp)
        scores = _learned(nlp)
        changed = {network.depth_of(name) for name in moved(before, weights_of(nlp))}
        assert changed
        assert min(changed) > depth
        for cache in ({"memory": 0}, {"memory": 0, "cache_dir": str(tmp_path / f"cache{depth}")}):
            if depth >= 1:
                other = _learned(pipeline(folder, cache=cache, **blocks))
                torch.testing.assert_close(other, scores, atol=1e-4, rtol=1e-3)
    nlp.to_disk(tmp_path / "saved")
    assert torch.equal(scores_of(spacy.load(tmp_path / "saved"), [*TEXTS[4:8], LONG]), scores)
