"""Stored, copied, sourced and packaged without the encoder, which the `transformer` has."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
from spacy.cli import app
from spacy.language import Language
from typer.testing import CliRunner

from house_kit.pipelines import moved, pipeline, scores_of, weights_of
from house_kit.shared import (
    LONG,
    NAME,
    body_weights,
    shared_pipeline,
    tagged,
    train,
)
from house_kit.texts import TEXTS

pytest.importorskip("spacy_transformers")


from spacy_transfer.model.shared.attach import detach
from spacy_transfer.serving.model_card import card
from spacy_transfer.training.adamw import AdamW


def test_saved_without_an_encoder(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    files = {path.name for path in (tmp_path / NAME).iterdir()}
    assert files == {"cfg", "weights.safetensors", "vocab"} - ({"vocab"} - files)
    assert (tmp_path / NAME / "weights.safetensors").stat().st_size < 1000
    loaded = spacy.load(tmp_path)
    assert torch.equal(scores_of(loaded, [*TEXTS, LONG]), scores_of(trained, [*TEXTS, LONG]))
    train(loaded)
    with pytest.raises(ValueError, match="T018"):
        pipeline(tmp_path)


@pytest.mark.parametrize("how", ["bytes", "deepcopy", "pickle"])
def test_copies(how: str, trained: Language) -> None:
    expected = scores_of(trained, TEXTS)
    if how == "bytes":
        copied = spacy.util.load_model_from_config(trained.config, auto_fill=True).from_bytes(trained.to_bytes())
    else:
        copied = copy.deepcopy(trained) if how == "deepcopy" else pickle.loads(pickle.dumps(trained))
    assert torch.equal(scores_of(copied, TEXTS), expected)
    train(copied)
    assert not torch.equal(scores_of(copied, TEXTS), expected)
    assert torch.equal(scores_of(trained, TEXTS), expected)


def test_a_copied_model_still_listens(trained: Language) -> None:
    from spacy_transfer.model.shared.listener import StatesListener

    copied = trained.get_pipe(NAME).model.copy()
    assert isinstance(copied.layers[0], StatesListener)
    assert copied.layers[0] is not trained.get_pipe(NAME).model.layers[0]
    doc = trained("my card is lost")
    assert np.array_equal(copied.predict([doc]), trained.get_pipe(NAME).model.predict([doc]))


def test_sourced_both(trained: Language) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("transformer", source=trained)
    nlp.add_pipe(NAME, source=trained)
    assert torch.equal(scores_of(nlp, TEXTS), scores_of(trained, TEXTS))
    # The very objects are shared: linked to the new pipeline, they still train.
    copied = copy.deepcopy(nlp)
    before = body_weights(copied)
    train(copied)
    assert moved(before, body_weights(copied))


def test_averages_are_those_of_head_and_encoder(quiet_bert: Path) -> None:
    nlp, sgd = shared_pipeline(quiet_bert), AdamW(learn_rate=1e-2, use_averages=True)
    for _ in range(6):
        nlp.update(tagged(nlp), sgd=sgd)
    raw, body, head = scores_of(nlp, TEXTS), body_weights(nlp), weights_of(nlp)
    with nlp.use_params(sgd.averages):
        averaged = detach(nlp)
        found = scores_of(nlp, TEXTS)
        assert moved(head, weights_of(nlp)) == set(head)
        assert {name for name in body if not name.startswith("pooler")} == moved(body, body_weights(nlp))
    assert torch.allclose(scores_of(averaged, TEXTS), found, atol=1e-5)
    assert torch.equal(scores_of(nlp, TEXTS), raw)
    assert not moved(body, body_weights(nlp))


def test_two_processes(trained: Language) -> None:
    expected = scores_of(trained, TEXTS)
    assert torch.allclose(scores_of(trained, TEXTS, n_process=2, batch_size=6), expected, atol=1e-6)


def test_package(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "model")
    (tmp_path / "out").mkdir()
    name = Path(trained.get_pipe_config("transformer")["model"]["name"]).name
    assert card(tmp_path / "model").encoders == [{"component": NAME, "name": name, "revision": None, "license": None}]
    args = ["package", str(tmp_path / "model"), str(tmp_path / "out"), "--build", "none", "--name", "shared"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "out").glob("xx_shared-*/xx_shared/xx_shared-*")
    assert torch.equal(scores_of(spacy.load(folder), TEXTS), scores_of(trained, TEXTS))
