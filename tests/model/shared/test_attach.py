"""From a shared encoder to one of its own and back."""

import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from typer.testing import CliRunner

from house_kit.pipelines import moved, pipeline, scores_of, weights_of
from house_kit.shared import (
    NAME,
    add_shared,
    body_of,
    body_weights,
    depth_of,
    shared_pipeline,
    train,
)
from house_kit.texts import TEXTS, exclusive_examples, multilabel_examples

pytest.importorskip("spacy_transformers")


from spacy_transfer.cli import transfer_cli
from spacy_transfer.model.shared.attach import attach, detach
from spacy_transfer.model.show import show
from spacy_transfer.nn.encoders.handing_over import from_body
from spacy_transfer.training.adamw import AdamW


def test_detach(trained: Language, tmp_path: Path) -> None:
    own = detach(trained)
    assert own.pipe_names == [NAME]
    assert torch.allclose(scores_of(own, TEXTS), scores_of(trained, TEXTS), atol=1e-5)
    own.to_disk(tmp_path)
    assert torch.allclose(scores_of(spacy.load(tmp_path), TEXTS), scores_of(trained, TEXTS), atol=1e-5)
    assert trained.pipe_names == ["transformer", NAME]
    before = weights_of(own)
    own.update(exclusive_examples(own), sgd=AdamW(learn_rate=1e-2))
    assert any(name.startswith("encoder.") for name in moved(before, weights_of(own)))


def test_detach_beside_a_tagger(quiet_bert: Path) -> None:
    nlp = train(shared_pipeline(quiet_bert, tagger="after"))
    own = detach(nlp, NAME)
    assert own.pipe_names == nlp.pipe_names
    assert torch.allclose(scores_of(own, TEXTS), scores_of(nlp, TEXTS), atol=1e-5)
    assert [[t.tag_ for t in doc] for doc in own.pipe(TEXTS)] == [[t.tag_ for t in doc] for doc in nlp.pipe(TEXTS)]
    before = body_weights(own)
    own.update(exclusive_examples(own), sgd=AdamW(learn_rate=1e-2))
    assert not moved(before, body_weights(own))


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "distilbert", "electra", "mpnet", "deberta-v3"])
def test_attach_and_back(family: str, encoder_folder: Any, tmp_path: Path) -> None:
    own = pipeline(
        encoder_folder(family), multilabel=True, tuning={"lr_decay": 0.8, "frozen_depth": 1}, windows={"length": 24}
    )
    own.update(multilabel_examples(own), sgd=AdamW(learn_rate=1e-2))
    # A Unigram tokenizer of transformers finds special pieces in texts, ours does not.
    texts = [*TEXTS, *(["my [SEP] card"] if family in ("bert", "distilbert", "electra") else [])]
    random = torch.get_rng_state()
    shared = attach(own)
    assert torch.equal(torch.get_rng_state(), random)
    assert shared.pipe_names == ["transformer", "transfer_textcat_multilabel"]
    assert torch.allclose(scores_of(shared, texts), scores_of(own, texts), atol=1e-5)
    shared.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert torch.allclose(scores_of(loaded, texts), scores_of(own, texts), atol=1e-5)
    before = body_weights(loaded)
    for _ in range(2):
        loaded.update(multilabel_examples(loaded), sgd=AdamW(learn_rate=1e-2))
    n_layers = 3 if family != "xlm-roberta" else 2
    found = {depth_of(loaded, name) for name in moved(before, body_weights(loaded))}
    assert found == set(range(2, n_layers + 1))
    back = detach(shared)
    assert torch.allclose(scores_of(back, texts), scores_of(own, texts), atol=1e-5)


def test_take_over_errors(trained: Language, bert: Path, encoder_folder: Any) -> None:
    with pytest.raises(ValueError, match=r"T207.*'nobody'.*a shared encoder.*transfer_textcat"):
        detach(trained, "nobody")
    with pytest.raises(ValueError, match=r"T207.*none"):
        attach(trained)
    own = pipeline(bert)
    with pytest.raises(ValueError, match=r"T207.*a shared encoder"):
        detach(own)
    with pytest.raises(ValueError, match="T209"):
        attach(own, transformer=NAME)
    with pytest.raises(ValueError, match=r"T208.*'t5'"):
        attach(pipeline(encoder_folder("t5")))


def test_a_slow_tokenizer_is_not_taken_over(trained: Language) -> None:
    with pytest.raises(ValueError, match=r"T210.*'slow'"):
        from_body(body_of(trained), object(), "slow")


def test_without_spacy_transformers(monkeypatch: pytest.MonkeyPatch, bert: Path) -> None:
    own = pipeline(bert)
    # Not the package itself, which every blank pipeline asks for where it is installed.
    for name in ("layers", "layers.transformer_model"):
        monkeypatch.setitem(sys.modules, f"spacy_transformers.{name}", None)
    for name in ("architecture", "listener"):
        monkeypatch.delitem(sys.modules, f"spacy_transfer.model.shared.{name}", raising=False)
    with pytest.raises(ImportError, match="T206"):
        add_shared(spacy.blank("xx"))
    with pytest.raises(ImportError, match="T206"):
        attach(own)


def test_take_over_commands(trained: Language, tmp_path: Path) -> None:
    def run(*args: Any, code: int = 0) -> str:
        result = CliRunner().invoke(transfer_cli, [*map(str, args)])
        assert result.exit_code == code, result.output
        return result.output

    trained.to_disk(tmp_path / "shared")
    assert "transfer_textcat" in run("detach", tmp_path / "shared", tmp_path / "own", "--component", NAME)
    assert "T211" in run("detach", tmp_path / "shared", tmp_path / "own", code=1)
    run("attach", tmp_path / "own", tmp_path / "again", "--transformer", "trf")
    again = spacy.load(tmp_path / "again")
    assert again.pipe_names == ["trf", NAME]
    assert torch.allclose(scores_of(again, TEXTS), scores_of(trained, TEXTS), atol=1e-5)


def test_a_picture_of_it(bert: Path, tmp_path: Path) -> None:
    shared_pipeline(bert, tuning={"frozen_depth": 2}).to_disk(tmp_path)
    drawn = show(tmp_path)
    assert "as the transformer component cuts them" in drawn
    assert [line.split()[-1] for line in drawn.splitlines() if "layer" in line] == ["frozen", "frozen", "trainable"]
