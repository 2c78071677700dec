"""An encoder goes on learning from raw texts: whole words, or its vectors of sentences."""

import json
import shutil
from pathlib import Path

import pytest
import spacy
import torch
from spacy.tokens import DocBin

from house_kit.commands import run
from house_kit.encoders import write_encoder
from house_kit.pipelines import moved, pipeline, shim_of, weights_of
from house_kit.runs import killed_at, log_of
from house_kit.texts import TEXTS
from spacy_transfer.model.text.word_pieces import begin_words
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder
from spacy_transfer.nn.masked_lm import draw_key, hide, leave_out
from spacy_transfer.training.pretraining.adapt import adapt
from spacy_transfer.training.pretraining.pretrain import Pretrained

RAW = [f"{text} {word}" for text in TEXTS for word in ("please", "now", "xylophone")]


@pytest.fixture(scope="module")
def sentence_bert(quiet_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT as a sentence encoder."""
    folder = tmp_path_factory.mktemp("sentence") / "bert"
    shutil.copytree(quiet_bert, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    entries = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder


# ---- words ---------------------------------------------------------------------------------------------------------

GENERATOR = torch.Generator().manual_seed(1)
IDS = torch.randint(5, 50, (300, 40), generator=GENERATOR)
BEGINS = torch.rand(IDS.shape, generator=GENERATOR) < 0.6
ELIGIBLE = torch.ones_like(IDS, dtype=torch.bool)
ELIGIBLE[:, 0] = False
# A row of every length.
MASK = (torch.arange(40) < torch.arange(300)[:, None] % 39 + 2).long()


def test_the_pieces_of_a_word_are_hidden_together() -> None:
    options = {"mask_id": 4, "ordinary": torch.arange(5, 50), "share": 0.2, "key": draw_key(0, 0)}
    _, chosen = hide(IDS, ELIGIBLE, **options, begins=BEGINS)
    inside = ~BEGINS[:, 2:]
    assert torch.equal(chosen[:, 2:][inside], chosen[:, 1:-1][inside])
    assert float(chosen.sum() / ELIGIBLE.sum()) == pytest.approx(0.2, abs=0.02)
    # Where every piece is a word it is as it was.
    apart = hide(IDS, ELIGIBLE, **options)
    for one, other in zip(apart, hide(IDS, ELIGIBLE, **options, begins=torch.ones_like(BEGINS)), strict=True):
        assert torch.equal(one, other)
    _, least = hide(IDS, ELIGIBLE, **{**options, "share": 1e-6}, begins=BEGINS, at_least_one=True)
    assert least.any(dim=1).all()
    assert torch.equal(least[:, 2:][inside], least[:, 1:-1][inside])


def test_words_are_left_out() -> None:
    eligible = ELIGIBLE & MASK.bool()
    options = {"pad_id": 0, "share": 0.6, "key": draw_key(0, 1), "begins": BEGINS}
    read, mask = leave_out(IDS, eligible, MASK, **options)
    n_left = mask.sum(dim=1)
    assert torch.equal(mask, (torch.arange(40) < n_left[:, None]).long())
    assert (read[mask == 0] == 0).all()
    # What is never left out, and at least one word.
    assert torch.equal(read[:, 0], IDS[:, 0])
    assert (n_left >= 2).all()
    long = MASK.sum(dim=1) > 30
    assert float((n_left[long] - 1).sum() / eligible[long].sum()) == pytest.approx(0.4, abs=0.04)
    for row, left, n, whole in zip(read.tolist(), n_left.tolist(), MASK.sum(dim=1).tolist(), IDS.tolist(), strict=True):
        rest = iter(whole[:n])
        assert all(piece in rest for piece in row[:left])
    # Padding and other rows change nothing.
    few, few_mask = leave_out(IDS[:5, :20], eligible[:5, :20], MASK[:5, :20], **{**options, "begins": BEGINS[:5, :20]})
    assert torch.equal(few, read[:5, :20])
    assert torch.equal(few_mask, mask[:5, :20])


@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_where_words_begin(family: str, tmp_path: Path) -> None:
    tokenizer = shim_of(pipeline(write_encoder(tmp_path / family, family))).tokenizer
    begins = begin_words(tokenizer)
    (pieces,) = tokenizer.encode(["card xylophone card"])
    # Letters that no word of the vocabulary holds go on with the word that they are in; a text begins without a mark.
    assert begins[pieces][1:].sum() == 2
    assert len(pieces) > 6


# ---- adapting ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapted(sentence_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    target = tmp_path_factory.mktemp("adapted") / "encoder"
    return adapt(str(sentence_bert), RAW, target, steps=40, rows=16, rate=3e-3)


def test_a_sentence_encoder_learns_by_its_vectors(adapted: Pretrained, sentence_bert: Path) -> None:
    assert adapted.loss_after < adapted.loss_before - 0.3
    before, after = PretrainedEncoder(str(sentence_bert)).load(), PretrainedEncoder(str(adapted.folder)).load()
    # Nothing of the decoder stays, and it is a sentence encoder as before.
    assert set(before.encoder.state_dict()) == set(after.encoder.state_dict())
    assert after.record["sentence"] == before.record["sentence"]
    nlp = pipeline(adapted.folder)
    weights = {f"encoder.{name}": weight for name, weight in after.encoder.named_parameters()}
    assert not moved(weights, weights_of(nlp))
    assert moved({f"encoder.{name}": weight for name, weight in before.encoder.named_parameters()}, weights_of(nlp))


def test_a_masked_lm_learns_whole_words(quiet_bert: Path, tmp_path: Path) -> None:
    done = adapt(str(quiet_bert), RAW, tmp_path / "out", steps=40, rows=16, rate=3e-3, work=tmp_path / "work")
    assert done.loss_after < done.loss_before - 0.3
    config = (tmp_path / "work" / "config.cfg").read_text("utf-8")
    assert "whole_words = true" in config
    assert 'objective = "masked_lm"' in config


def test_the_wrong_pairing_warns(
    sentence_bert: Path, quiet_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapt(str(sentence_bert), RAW, tmp_path / "one", steps=1, objective="masked_lm")
    assert "T712" in caplog.text
    assert "T713" not in caplog.text
    adapt(str(quiet_bert), RAW, tmp_path / "two", steps=1, objective="tsdae")
    assert "T713" in caplog.text


def test_it_resumes_exactly(sentence_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def go(target: Path, *, resume: bool = False) -> None:
        adapt(str(sentence_bert), RAW, target, steps=6, rows=8, rate=1e-3, checkpoint_every="2", resume=resume)

    go(tmp_path / "whole")
    with killed_at(monkeypatch, 5):
        go(tmp_path / "killed")
    go(tmp_path / "killed", resume=True)
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "killed")
    one, other = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "killed"))
    assert one == other


def test_texts_that_are_tested_on_are_refused(quiet_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("\n".join(RAW), "utf-8")
    nlp = spacy.blank("xx")
    DocBin(docs=[nlp.make_doc(RAW[3].upper()), nlp.make_doc("another")]).to_disk(tmp_path / "test.spacy")
    command = ["transfer", "adapt", quiet_bert, tmp_path / "raw.txt", tmp_path / "out", "--steps", "1"]
    printed = run(*command, "--test", tmp_path / "test.spacy", code=1)
    assert "T711" in printed
    assert not (tmp_path / "out").exists()
    assert "72 texts in 69 rows" in run(*command, "--show", "none")
