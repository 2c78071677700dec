"""Decoders as encoders: which piece sees which, both directions by choice, and what follows for pooling and storage."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch

from house_kit.encoders import DECODERS, POSITIONS
from house_kit.pipelines import moved, network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.nn.encoders.encoder import Encoder
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder, build_encoder
from spacy_transfer.nn.encoders.trial import try_encoder
from spacy_transfer.nn.pooling import LastPooling
from spacy_transfer.nn.sentence_pooling import AutoPooling, SentenceModules, SentencePooling
from spacy_transfer.serving.export.export import export
from spacy_transfer.serving.export.huggingface import write_huggingface
from spacy_transfer.training.adamw import AdamW

Folders = Callable[[str], Path]
BOTH = [family for family in DECODERS if family != "gpt2"]
LAST = {"@layers": "spacy-transfer.LastPooling.v1"}


def first_state_changes(encoder: Encoder) -> bool:
    """Whether the state of the first piece depends on the last piece."""
    ids = torch.arange(9)[None] * 5 + 7
    other = ids.clone()
    other[0, -1] = 8
    mask = torch.ones_like(ids)
    with torch.no_grad():
        return not torch.equal(encoder(ids, mask)[0, 0], encoder(other, mask)[0, 0])


@pytest.mark.parametrize("family", DECODERS)
def test_a_piece_sees_to_the_left_only(family: str, encoder_folder: Folders) -> None:
    """Whatever a row is padded with, and wherever its states are cached."""
    encoder = PretrainedEncoder(str(encoder_folder(family))).load().encoder.eval()
    assert not first_state_changes(encoder)
    assert try_encoder(encoder, family, *range(encoder.n_layers + 1)) < 1e-5


@pytest.mark.parametrize("family", DECODERS)
def test_each_family_trains_frozen_with_its_last_piece(family: str, encoder_folder: Folders, tmp_path: Path) -> None:
    nlp = pipeline(encoder_folder(family), pooling=LAST, tuning={"frozen_depth": 1})
    before, network = weights_of(nlp), network_of(nlp)
    nlp.update(exclusive_examples(nlp, 6), sgd=AdamW(learn_rate=1e-2))
    assert {network.depth_of(name) for name in moved(before, weights_of(nlp))} == {2, 3, 4}
    texts = [*TEXTS[:5], "", "card " * 40]
    alone = torch.cat([scores_of(nlp, [text]) for text in texts])
    torch.testing.assert_close(scores_of(nlp, texts), alone, atol=1e-5, rtol=0.0)
    nlp.to_disk(tmp_path)
    assert torch.equal(scores_of(spacy.load(tmp_path), texts), scores_of(nlp, texts))


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("attention", ["auto", "eager"])
def test_both_directions(family: str, attention: Any, encoder_folder: Folders) -> None:
    """Every piece sees every other, padding none, at every depth where states are cached; built again, the same."""
    block = PretrainedEncoder(str(encoder_folder(family)), attention=attention, bidirectional=True)
    loaded = block.load()
    encoder = loaded.encoder.eval()
    assert first_state_changes(encoder)
    assert not encoder.is_causal
    assert try_encoder(encoder, family, *range(encoder.n_layers + 1)) < 1e-5
    if family in ("mistral", "qwen2", "gemma2", "gemma3"):
        # Beyond its sliding window a layer would see what it was never trained on.
        assert encoder.max_pieces == 4
    else:
        assert encoder.max_pieces == POSITIONS
    again = build_encoder(loaded.record)
    again.load_state_dict(encoder.state_dict())
    assert first_state_changes(again.eval())


@pytest.mark.parametrize(("family", "value"), [("gpt2", True), ("bert", False)])
def test_other_families_have_no_choice(family: str, value: bool, encoder_folder: Folders) -> None:
    with pytest.raises(ValueError, match=rf"T780.*bidirectional = {str(value).lower()}.*'{family}'"):
        PretrainedEncoder(str(encoder_folder(family)), bidirectional=value).load()


def test_attention_that_would_compute_something_else_is_refused(encoder_folder: Folders) -> None:
    gemma = str(encoder_folder("gemma2"))
    assert PretrainedEncoder(gemma).load().encoder.attention == "eager"
    with pytest.raises(ValueError, match=r"T781.*sdpa.*cap"):
        PretrainedEncoder(gemma, attention="sdpa").load()
    with pytest.raises(ValueError, match=r"T781.*flash_attention_2.*bidirectional"):
        PretrainedEncoder(str(encoder_folder("llama")), attention="flash_attention_2", bidirectional=True).load()


def test_a_trial_finds_the_wrong_direction(encoder_folder: Folders) -> None:
    encoder = PretrainedEncoder(str(encoder_folder("llama"))).load().encoder
    encoder.is_causal = False
    with pytest.raises(ValueError, match=r"T473.*does not see those to its right"):
        try_encoder(encoder, "it")


# ---- pooling -----------------------------------------------------------------------------------------------------


def test_the_last_piece_is_the_last_of_the_text() -> None:
    states = torch.arange(24.0).reshape(3, 4, 2)
    counted = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]])
    pooling = LastPooling().build(2)
    assert torch.equal(pooling(states, counted, torch.arange(3), 3), states[[0, 1, 2], [1, 2, 3]])
    # A document in two windows: the mean of both.
    both = pooling(states, counted, torch.tensor([0, 0, 1]), 2)
    assert torch.equal(both, torch.stack([(states[0, 1] + states[1, 2]) / 2, states[2, 3]]))


def test_auto_follows_the_direction_and_the_folder() -> None:
    auto = AutoPooling()
    assert auto.following(None, is_causal=True) == LastPooling()
    said = SentenceModules(["lasttoken"])
    assert auto.following(said, is_causal=True) == SentencePooling(["lasttoken"], [])
    states, counted = torch.randn(2, 3, 4), torch.tensor([[1, 1, 0], [1, 1, 1]])
    vectors = auto.following(said).build(4)(states, counted, torch.arange(2), 2)
    assert torch.equal(vectors, states[[0, 1], [1, 2]])


@pytest.mark.parametrize("pooling", ["ClsPooling", "AutoPooling"])
def test_the_first_piece_of_a_decoder_is_refused(pooling: str, encoder_folder: Folders, tmp_path: Path) -> None:
    block, folder = {"@layers": f"spacy-transfer.{pooling}.v1"}, encoder_folder("llama")
    if pooling == "AutoPooling":
        assert isinstance(network_of(pipeline(folder, pooling=block)).pooling, type(LastPooling().build(1)))
        return
    with pytest.raises(ValueError, match=r"T782.*ClsPooling.*'llama'.*LastPooling"):
        pipeline(folder, pooling=block)
    pipeline(folder, pooling=block, encoder={"bidirectional": True})


# ---- in a pipeline -----------------------------------------------------------------------------------------------


def test_the_choice_is_stored_and_taken_over(encoder_folder: Folders, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(encoder_folder("qwen3"), folder)
    blocks: dict[str, Any] = {"pooling": LAST, "tuning": {"frozen_depth": 1}}
    nlp = pipeline(folder, encoder={"bidirectional": True}, **blocks)
    before = weights_of(nlp)
    nlp.update(exclusive_examples(nlp, 6), sgd=AdamW(learn_rate=1e-2))
    assert {network_of(nlp).depth_of(name) for name in moved(before, weights_of(nlp))} == {2, 3, 4}
    nlp.to_disk(tmp_path / "nlp")
    shutil.rmtree(folder)
    again = spacy.load(tmp_path / "nlp")
    assert torch.equal(scores_of(again, TEXTS[:5]), scores_of(nlp, TEXTS[:5]))
    place = str(tmp_path / "nlp" / "transfer_textcat")
    for value, changes in ((None, True), (True, True), (False, False)):
        encoder = PretrainedEncoder(place, bidirectional=value).load().encoder.eval()
        assert first_state_changes(encoder) == changes
    with pytest.raises(ValueError, match=r"T560.*both directions.*'qwen3'"):
        write_huggingface(again, tmp_path)
    config = shim_of(pipeline(place, **blocks)).record["config"]
    assert config["bidirectional"] is True


def test_hidden_pieces_are_not_for_decoders(encoder_folder: Folders) -> None:
    nlp = spacy.blank("xx")
    model = {"encoder": {"name": str(encoder_folder("llama"))}, "windows": {"length": 32, "stride": 20}}
    nlp.add_pipe("transfer_masked_lm", config={"model": model})
    with pytest.raises(ValueError, match=r"T792.*'llama'"):
        nlp.initialize(lambda: exclusive_examples(nlp))


@pytest.mark.parametrize(("family", "both"), [("llama", True)])
def test_exported_to_onnx(family: str, both: bool, encoder_folder: Folders, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    nlp = pipeline(encoder_folder(family), pooling=LAST, encoder={"bidirectional": True} if both else {})
    nlp.to_disk(tmp_path / "nlp")
    export(tmp_path / "nlp", tmp_path / "onnx", to="onnx")
    found = spacy.load(tmp_path / "onnx")
    texts = [*TEXTS[:5], "card " * 60]
    torch.testing.assert_close(scores_of(found, texts), scores_of(nlp, texts), atol=1e-4, rtol=0.0)
