"""Folders of sentence-transformers: their pooling, dense layers, normalization and length are followed, or named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from safetensors.torch import save_file

from house_kit.encoders import WIDTH
from house_kit.pipelines import network_of, pipeline, read_json, scores_of, shim_of
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.repository.fetch import fetch
from spacy_transfer.training.adamw import AdamW

NAME = "transfer_textcat"
AUTO = {"@layers": "spacy-transfer.AutoPooling.v1"}
OUT = 6
LEGACY = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}


def sentence_folder(bert: Path, folder: Path, *modes: str, legacy: bool = True, dense: bool = True) -> Path:
    """The tiny BERT as sentence-transformers saves it: pooling by modes, a dense layer, normalization, 24 pieces."""
    shutil.copytree(bert, folder)
    kinds = ["Transformer", "Pooling", *(["Dense"] if dense else []), "Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": False}))
    pooling: dict[str, Any] = {"word_embedding_dimension": WIDTH}
    pooling.update({key: mode in modes for mode, key in LEGACY.items()} if legacy else {"pooling_mode": list(modes)})
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if dense:
        width = WIDTH * len(modes)
        config = {"in_features": width, "out_features": OUT, "bias": True}
        config["activation_function"] = "torch.nn.modules.activation.Tanh"  # type: ignore[assignment]
        (folder / "2_Dense").mkdir()
        (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
        generator = torch.Generator().manual_seed(0)
        weights = {"linear.weight": torch.randn(OUT, width, generator=generator), "linear.bias": torch.ones(OUT) * 0.1}
        save_file(weights, folder / "2_Dense" / "model.safetensors")
    return folder


def vectors_of(nlp: spacy.Language, texts: list[str]) -> torch.Tensor:
    return torch.from_numpy(nlp.get_pipe(NAME).vectors([nlp.make_doc(text) for text in texts]))


@pytest.mark.parametrize(
    ("modes", "legacy"), [(("mean",), True), (("cls",), True), (("cls", "max", "mean"), True), (("mean", "cls"), False)]
)
def test_vectors_are_those_of_the_folder(bert: Path, tmp_path: Path, modes: tuple[str, ...], legacy: bool) -> None:
    nlp = pipeline(sentence_folder(bert, tmp_path / "e", *modes, legacy=legacy), pooling=AUTO)
    found = vectors_of(nlp, TEXTS)
    assert found.shape == (len(TEXTS), OUT)
    parts = {
        mode: vectors_of(pipeline(bert, pooling={"@layers": f"spacy-transfer.{mode.title()}Pooling.v1"}), TEXTS)
        for mode in modes
    }
    weights = network_of(nlp).pooling.after[0].linear.requires_grad_(False)
    wanted = torch.tanh(torch.cat([parts[mode] for mode in modes], dim=1) @ weights.weight.T + weights.bias)
    torch.testing.assert_close(found, torch.nn.functional.normalize(wanted, dim=1), atol=1e-5, rtol=1e-4)
    assert float(weights.bias[0]) == pytest.approx(0.1)


def test_vectors_are_those_of_sentence_transformers(bert: Path, tmp_path: Path) -> None:
    package = pytest.importorskip("sentence_transformers")
    folder = sentence_folder(bert, tmp_path / "e", "cls", "mean")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "model_max_length": 24})
    )
    wanted = package.SentenceTransformer(str(folder), device="cpu").encode(TEXTS[:6], convert_to_tensor=True)
    found = vectors_of(pipeline(folder, pooling=AUTO), TEXTS[:6])
    torch.testing.assert_close(found, wanted.cpu(), atol=1e-5, rtol=1e-4)


def test_the_saved_pipeline_needs_the_folder_no_more(bert: Path, tmp_path: Path) -> None:
    folder = sentence_folder(bert, tmp_path / "e", "cls")
    nlp = pipeline(folder, pooling=AUTO, windows={"length": "auto"}, tuning={"frozen_depth": "all"})
    assert (shim_of(nlp).windows.length, shim_of(nlp).windows.stride) == (24, 20)
    nlp.update(exclusive_examples(nlp, 6), sgd=AdamW(learn_rate=1e-2))
    nlp.to_disk(tmp_path / "saved")
    shutil.rmtree(folder)
    loaded = spacy.load(tmp_path / "saved")
    assert torch.equal(scores_of(loaded, TEXTS), scores_of(nlp, TEXTS))
    assert torch.equal(vectors_of(loaded, TEXTS), vectors_of(nlp, TEXTS))
    assert shim_of(loaded).windows == shim_of(nlp).windows
    assert read_json(tmp_path / "saved" / NAME / "encoder.json")["sentence"]["modes"] == ["cls"]
    # To the next task it goes with its dense layer, as trained.
    other = pipeline(tmp_path / "saved", pooling=AUTO)
    torch.testing.assert_close(vectors_of(other, TEXTS), vectors_of(nlp, TEXTS), atol=1e-6, rtol=1e-5)


def test_fetched_and_direct_agree(bert: Path, tmp_path: Path) -> None:
    folder = sentence_folder(bert, tmp_path / "e", "cls", "max")
    fetch(folder, tmp_path / "fetched")
    assert torch.equal(
        vectors_of(pipeline(tmp_path / "fetched", pooling=AUTO), TEXTS),
        vectors_of(pipeline(folder, pooling=AUTO), TEXTS),
    )


def test_what_is_not_followed_is_named(bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipeline(sentence_folder(bert, tmp_path / "e", "cls"))
    (line,) = [message for message in caplog.messages if "T349" in message]
    for part in ("pooling by cls", "Dense (16 to 6)", "Normalize", "max_seq_length of 24", "AutoPooling"):
        assert part in line
    caplog.clear()
    pipeline(bert, pooling=AUTO)
    assert not [message for message in caplog.messages if "T349" in message]


def _unknown_module(folder: Path) -> None:
    modules = read_json(folder / "modules.json")
    (folder / "modules.json").write_text(json.dumps([*modules, {"path": "9_X", "type": "somebody.Whitening"}]))


def _outside(folder: Path) -> None:
    modules = read_json(folder / "modules.json")
    modules[1]["path"] = "../elsewhere"
    (folder / "modules.json").write_text(json.dumps(modules))


def _pickled(folder: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")


def _infinite(folder: Path) -> None:
    weights = {"linear.weight": torch.full((OUT, WIDTH), torch.inf), "linear.bias": torch.zeros(OUT)}
    save_file(weights, folder / "2_Dense" / "model.safetensors")


def _another_width(folder: Path) -> None:
    config = {"in_features": 10**9, "out_features": OUT, "bias": True}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "change",
    [_unknown_module, _outside, _pickled, _infinite, _another_width, lambda f: (f / "modules.json").write_text("{")],
)
def test_what_cannot_be_followed_is_refused(bert: Path, tmp_path: Path, change: Callable[[Path], Any]) -> None:
    folder = sentence_folder(bert, tmp_path / "e", "mean")
    change(folder)
    with pytest.raises(ValueError, match="T350"):
        pipeline(folder, pooling=AUTO)
    pipeline(folder)


# ---- a trained classifier as encoder -----------------------------------------------------------------------------


def test_a_dropped_head_is_named(bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(bert, tmp_path / "e")
    config = read_json(tmp_path / "e" / "config.json")
    config.update(architectures=["BertForSequenceClassification"], id2label={"0": "good", "1": "bad"})
    (tmp_path / "e" / "config.json").write_text(json.dumps(config))
    pipeline(tmp_path / "e")
    (line,) = [message for message in caplog.messages if "T348" in message]
    assert "good" in line


# ---- windows -----------------------------------------------------------------------------------------------------


def test_windows_follow_the_encoder(bert: Path) -> None:
    nlp = pipeline(bert, windows={"length": "auto", "stride": "auto"})
    assert (shim_of(nlp).windows.length, shim_of(nlp).windows.stride) == (40, 28)
    with pytest.raises(ValueError, match=r'T022.*40 pieces.*length = "auto".*length = 40 and stride = 28'):
        pipeline(bert, windows={"length": 64, "stride": 32})
