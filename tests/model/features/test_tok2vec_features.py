"""A tok2vec as features: empty documents, listeners."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.training import Example

from house_kit.features import ALL, TOK2VEC, layer_of, params, with_features
from house_kit.pipelines import add_classifier, scores_of, shim_of
from house_kit.runs import CNN
from house_kit.texts import TEXTS, exclusive_examples, one_hot
from spacy_transfer.model.features.layer import make_no_features
from spacy_transfer.model.features.tok2vec import make_tok2vec_features
from spacy_transfer.training.adamw import AdamW


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("texts", [[""], ["", "a card"], ["a card", ""], ["a card", "", "the login"], []])
def test_empty_documents_have_features_of_zeros(pooling: Any, texts: list[str]) -> None:
    nlp = spacy.blank("xx")
    cnn = spacy.registry.resolve({"cnn": CNN})["cnn"]
    model = make_tok2vec_features(cnn, pooling=pooling)
    model.initialize(X=[nlp.make_doc("a card"), nlp.make_doc("")])
    docs = [nlp.make_doc(text) for text in texts]
    values, backprop = model.begin_update(docs)
    assert values.shape == (len(texts), 8)
    for row, text in zip(values, texts, strict=True):
        states = cnn.predict([nlp.make_doc(text)])[0] if text else np.zeros((1, 8))
        np.testing.assert_allclose(row, getattr(states, pooling)(axis=0), atol=1e-5)
    backprop(np.ones_like(values))
    assert any(node.has_grad(name) for node in model.walk() for name in node.param_names) == any(texts)


def test_an_empty_document_in_a_pipeline(quiet_bert: Path) -> None:
    nlp = with_features(quiet_bert, TOK2VEC)
    examples = [*exclusive_examples(nlp, 5), Example.from_dict(nlp.make_doc(""), {"cats": one_hot("card")})]
    nlp.update(examples, sgd=AdamW(learn_rate=1e-3))
    assert scores_of(nlp, ["", "a card", ""]).isfinite().all()
    nlp.update(examples[-1:], sgd=AdamW(learn_rate=1e-3))
    alone = scores_of(nlp, [""])
    torch.testing.assert_close(scores_of(nlp, ["", "a card"])[:1], alone, atol=1e-6, rtol=0)


def listening(folder: Path, *, frozen: bool = False, **blocks: Any) -> Language:
    nlp = spacy.blank("xx")
    nlp.add_pipe("tok2vec", config={"model": CNN})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 8, "upstream": "tok2vec"}
    add_classifier(nlp, folder, features={**TOK2VEC, "tok2vec": listener}, **blocks)
    torch.manual_seed(0)
    nlp.initialize(lambda: exclusive_examples(nlp))
    return nlp


def test_a_listener_hands_the_mean_gradient_to_the_shared_tok2vec(quiet_bert: Path) -> None:
    nlp = listening(quiet_bert, **ALL)
    examples = exclusive_examples(nlp)
    examples.append(Example.from_dict(nlp.make_doc(""), {"cats": one_hot("card")}))
    tok2vec = nlp.get_pipe("tok2vec").model
    own = with_features(quiet_bert, TOK2VEC, **ALL)
    copied = layer_of(own).layers[0].layers[0]
    for mine, theirs in zip(copied.walk(), tok2vec.walk(), strict=True):
        for name in mine.param_names:
            mine.set_param(name, theirs.get_param(name))
    shim_of(own).from_bytes(shim_of(nlp).to_bytes())
    nlp.update(examples, sgd=False)
    own.update(examples, sgd=False)
    for mine, theirs in zip(copied.walk(), tok2vec.walk(), strict=True):
        for name in mine.param_names:
            if mine.has_grad(name):
                np.testing.assert_allclose(mine.get_grad(name) / len(examples), theirs.get_grad(name), atol=1e-6)
    before = params(tok2vec)
    nlp.update(examples, sgd=AdamW(learn_rate=1e-2))
    assert any(not np.array_equal(before[name], value) for name, value in params(tok2vec).items())


def test_a_frozen_annotating_tok2vec(quiet_bert: Path) -> None:
    nlp = listening(quiet_bert, **ALL)
    before = params(nlp.get_pipe("tok2vec").model)
    examples = exclusive_examples(nlp)
    examples.append(Example.from_dict(nlp.make_doc(""), {"cats": one_hot("card")}))
    for listener in nlp.get_pipe("tok2vec").listeners:
        assert listener._batch_id is None
    for _ in range(2):
        nlp.update(examples, sgd=AdamW(learn_rate=1e-2), exclude=["tok2vec"], annotates=["tok2vec"])
    assert all(np.array_equal(before[name], value) for name, value in params(nlp.get_pipe("tok2vec").model).items())
    assert scores_of(nlp, ["a card", ""]).isfinite().all()


def test_a_listener_survives_saving(quiet_bert: Path, tmp_path: Path) -> None:
    nlp = listening(quiet_bert, **ALL)
    nlp.update(exclusive_examples(nlp), sgd=AdamW(learn_rate=1e-2))
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    torch.testing.assert_close(scores_of(loaded, TEXTS), scores_of(nlp, TEXTS), atol=1e-6, rtol=0)
    loaded.update(exclusive_examples(loaded), sgd=AdamW(learn_rate=1e-2))
    replaced = spacy.load(tmp_path)
    replaced.replace_listeners("tok2vec", "transfer_textcat", ["model.features.tok2vec"])
    replaced.remove_pipe("tok2vec")
    torch.testing.assert_close(scores_of(replaced, TEXTS), scores_of(nlp, TEXTS), atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [0, -1.0, math.inf, "0"])
def test_a_rate_that_is_none(rate: Any) -> None:
    with pytest.raises(ValueError, match=r"T005.*lr_factor"):
        make_tok2vec_features(make_no_features(), lr_factor=rate)
