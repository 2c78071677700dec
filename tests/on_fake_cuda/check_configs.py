"""Every shipped config on a GPU, by both loops: trained, stopped and resumed, loaded on the other device."""

import json
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.cli.train import train as spacy_train
from spacy.tokens import Doc, DocBin
from thinc.api import Config, require_cpu
from thinc.util import has_cupy_gpu

from house_kit.encoders import write_encoder
from house_kit.media import png, tone, wav, write_audio, write_vision
from house_kit.pipelines import scores_of, shim_of
from house_kit.repository import REPOSITORY
from house_kit.runs import assert_same_run, run
from house_kit.texts import LABELS, TEXTS, one_hot
from spacy_transfer.nn.devices.precision import prefer_device

CONFIGS = sorted((REPOSITORY / "configs").glob("*.cfg"))
MULTILABEL = {"imbalanced", "label_query", "multilabel"}
NAME = "transfer_textcat"
N_STEPS = 2
# As deep, and as long, as the configs need at least.
SIZES = {"num_hidden_layers": 4, "max_position_embeddings": 300}


@pytest.fixture(autouse=True)
def nothing_preferred() -> Any:
    yield
    prefer_device(None)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"), "bert", **SIZES)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Folder of exclusive and of multilabel data."""
    found = {}
    for several in (False, True):
        folder, nlp = tmp_path_factory.mktemp("corpus"), spacy.blank("en")
        labels = [*LABELS, "late"] if several else LABELS
        docs = []
        for name in ("image", "audio"):
            Doc.set_extension(name, default=None, force=True)
        for i, text in enumerate(TEXTS):
            doc = nlp(text)
            doc.cats = one_hot(LABELS[i % 3], labels)
            if several:
                doc.cats["late"] = float("late" in text)
            doc._.image, doc._.audio = png(i % 3, i), wav(tone(i % 3, i))
            docs.append(doc)
        DocBin(docs=docs[:16], store_user_data=True).to_disk(folder / "train.spacy")
        DocBin(docs=docs[16:], store_user_data=True).to_disk(folder / "dev.spacy")
        write_vision(folder / "image-encoder")
        write_audio(folder / "audio-encoder")
        (folder / "labels.json").write_text(json.dumps(labels), "utf-8")
        found[several] = folder
    return found


def prepared(file: Path, encoder: Path, corpus: Path, device: str) -> Config:
    """A shipped config as it is, but short, on a tiny encoder, in fp32 and on a device."""
    config = Config().from_disk(file, interpolate=False)
    config["paths"] |= {name: str(corpus / f"{name}.spacy") for name in ("train", "dev")}
    config["paths"]["labels"] = str(corpus / "labels.json")
    if "encoder" in config["paths"]:
        config["paths"]["encoder"] = str(encoder)
    if f"{file.stem}_encoder" in config["paths"]:
        config["paths"][f"{file.stem}_encoder"] = str(corpus / f"{file.stem}-encoder")
    component = next(name for name in config["components"] if name.startswith(NAME))
    config["components"][component]["model"] |= {"precision": "fp32", "device": device}
    config["training"] |= {"max_steps": N_STEPS, "max_epochs": 0, "eval_frequency": 2}
    # Without CuPy there is no pool to share: whoever asks for it is not bothered.
    config["training"]["gpu_allocator"] = "pytorch"
    # Sizes that do not fit the tiny encoder, or take their time.
    for block in ("features",):
        if "tok2vec" in config["components"][component]["model"].get(block, {}):
            config["components"][component]["model"][block]["tok2vec"] |= {"width": 16, "embed_size": 50}
    return config


@pytest.mark.parametrize("file", [pytest.param(f, id=f.stem) for f in CONFIGS])
def test_a_shipped_config_on_a_gpu(file: Path, encoder: Path, corpora: dict[bool, Path], tmp_path: Path) -> None:
    if file.stem == "audio":
        pytest.importorskip("soundfile")
    corpus = corpora[file.stem in MULTILABEL]
    config = prepared(file, encoder, corpus, "auto")
    unbroken = run(config, tmp_path / "unbroken", gpu_id=0)
    assert shim_of(unbroken.nlp).device.type == "cuda"
    run(config, tmp_path / "broken", gpu_id=0, stop_at=1)
    run(config, tmp_path / "broken", gpu_id=0, resume=True)
    if not (has_cupy_gpu and file.stem == "features"):
        # CuPy's scatter-add of Thinc's tok2vec adds in no fixed order.
        assert_same_run(tmp_path / "unbroken", tmp_path / "broken")
    on_gpu = scores_of(unbroken.nlp, TEXTS)
    # What was trained on a GPU predicts the same on a CPU, where it is loaded next.
    prefer_device(None)
    require_cpu()
    loaded = spacy.load(tmp_path / "unbroken/model-last")
    assert shim_of(loaded).device.type == "cpu"
    if not config["training"]["optimizer"].get("use_averages"):
        # With averages the saved weights are others than those in memory.
        torch.testing.assert_close(scores_of(loaded, TEXTS), on_gpu, atol=1e-4, rtol=1e-3)
    # spaCy's own loop, which has no GPU of Thinc's without CuPy.
    prepared(file, encoder, corpus, "cuda").to_disk(tmp_path / "config.cfg")
    spacy_train(tmp_path / "config.cfg", tmp_path / "spacys", overrides={"training.max_steps": 1})
    assert (tmp_path / "spacys/model-last/meta.json").is_file()


def test_a_run_goes_on_on_another_device_where_somebody_insists(
    encoder: Path, corpora: dict[bool, Path], tmp_path: Path
) -> None:
    file = next(file for file in CONFIGS if file.stem == "full")
    config = prepared(file, encoder, corpora[False], "auto")
    run(config, tmp_path, stop_at=1)
    with pytest.raises(ValueError, match="T167"):
        run(config, tmp_path, gpu_id=0, resume=True)
    trained = run(config, tmp_path, gpu_id=0, resume=True, force=True)
    assert shim_of(trained.nlp).device.type == "cuda"
    assert trained.n_steps == N_STEPS
    # And a pipeline of a CPU's predicts on a GPU.
    loaded = spacy.load(tmp_path / "model-last")
    assert shim_of(loaded).device.type == "cuda"
    torch.testing.assert_close(scores_of(loaded, TEXTS), scores_of(trained.nlp, TEXTS), atol=1e-4, rtol=1e-3)
