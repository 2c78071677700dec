"""Static vectors as features."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language

from house_kit.features import layer_of, params, with_features
from house_kit.pipelines import add_classifier, scores_of
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.model.features.static_vectors import make_static_vectors
from spacy_transfer.training.adamw import AdamW

VECTORS = {"@layers": "spacy-transfer.StaticVectors.v1"}


def with_vectors(nlp: Language, width: int = 4) -> Language:
    generator = np.random.default_rng(0)
    for word in ("card", "login", "password", "money", "paid"):
        nlp.vocab.set_vector(word, generator.normal(size=width).astype("f"))
    return nlp


def vectored(folder: Path, features: Any = VECTORS, width: int = 4, **blocks: Any) -> Language:
    nlp = with_vectors(spacy.blank("xx"), width)
    add_classifier(nlp, folder, features=features, **blocks)
    torch.manual_seed(0)
    nlp.initialize(lambda: exclusive_examples(nlp))
    return nlp


def test_static_vectors_are_the_mean_over_tokens_that_have_one() -> None:
    nlp = with_vectors(spacy.blank("xx"))
    docs = [nlp.make_doc(text) for text in ["", "card", "the card paid", "nothing here", "login login money"]]
    model = make_static_vectors(normalize="none")
    model.initialize(X=docs)
    v = nlp.vocab.get_vector
    zero = np.zeros(4, dtype="f")
    wanted = [zero, v("card"), (v("card") + v("paid")) / 2, zero, (2 * v("login") + v("money")) / 3]
    np.testing.assert_allclose(model.predict(docs), wanted, atol=1e-6)
    length = make_static_vectors(normalize="length")
    length.initialize(X=docs)
    sizes = np.linalg.norm(length.predict(docs), axis=1)
    np.testing.assert_allclose(sizes, [0, 1, 1, 0, 1], atol=1e-6)
    deviation = make_static_vectors(normalize="deviation")
    deviation.initialize(X=docs)
    found = deviation.predict(docs)
    assert not found[[0, 3]].any()
    np.testing.assert_allclose(found[[1, 2, 4]].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found[[1, 2, 4]].std(axis=0), 1, atol=1e-5)
    assert model.predict([]).shape == (0, 4)


def test_static_vectors_projected() -> None:
    nlp = with_vectors(spacy.blank("xx"), 6)
    docs = [nlp.make_doc(text) for text in TEXTS]
    full, part = make_static_vectors(normalize="none"), make_static_vectors(normalize="none", width=2)
    for model in (full, part):
        model.initialize(X=docs)
    values = full.predict(docs)
    known = values.any(axis=1)
    centered = values[known] - values[known].mean(axis=0)
    # The best two directions: what they leave out is what the singular values after the second one hold.
    left = np.linalg.svd(centered)[1][2:]
    kept = part.predict(docs)[known]
    assert kept.shape == (known.sum(), 2)
    assert (centered**2).sum() - (kept**2).sum() == pytest.approx((left**2).sum(), rel=1e-3)
    whitened = make_static_vectors(width=2)
    whitened.initialize(X=docs)
    np.testing.assert_allclose(np.cov(whitened.predict(docs)[known].T, bias=True), np.eye(2), atol=1e-4)
    with pytest.raises(ValueError, match=r"T005.*width.*at most 6"):
        make_static_vectors(width=7).initialize(X=docs)
    with pytest.raises(ValueError, match=r"T005.*width"):
        make_static_vectors(width=0)


def test_floret_vectors() -> None:
    nlp = spacy.blank("xx")
    data = np.random.default_rng(0).normal(size=(20, 5)).astype("f")
    nlp.vocab.vectors = spacy.vectors.Vectors(
        strings=nlp.vocab.strings, data=data, mode="floret", minn=2, maxn=3, hash_count=2, bow="<", eow=">"
    )
    docs = [nlp.make_doc(text) for text in [*TEXTS, ""]]
    model = make_static_vectors(normalize="none")
    model.initialize(X=docs)
    found = model.predict(docs)
    wanted = [np.mean([token.vector for token in doc], axis=0) if len(doc) else np.zeros(5) for doc in docs]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_pipeline_with_static_vectors(quiet_bert: Path, tmp_path: Path) -> None:
    nlp = vectored(quiet_bert)
    before = params(layer_of(nlp))
    nlp.update(exclusive_examples(nlp), sgd=AdamW(learn_rate=1e-2))
    assert all(np.array_equal(before[name], value) for name, value in params(layer_of(nlp)).items())
    nlp.to_disk(tmp_path)
    torch.testing.assert_close(scores_of(spacy.load(tmp_path), TEXTS), scores_of(nlp, TEXTS), atol=1e-6, rtol=0)
    # Without the table, or with another one.
    bare = spacy.load(tmp_path)
    bare.vocab.vectors = spacy.vectors.Vectors(strings=bare.vocab.strings, shape=(3, 7))
    with pytest.raises(ValueError, match=r"T220.*width 4.*has 7"):
        bare("card")


def test_no_static_vectors(quiet_bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T219.*width is 0"):
        with_features(quiet_bert, VECTORS)
