"""Numbers of documents as features."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus

from house_kit.features import ALL, SOLVED, STARS, give, layer_of, starred, with_features
from house_kit.pipelines import add_classifier
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.corpora.convert import convert
from spacy_transfer.model.features.attributes import make_attribute_features
from spacy_transfer.training.adamw import AdamW


def docs_with(values: list[Any], name: str = "n_stars") -> list[Doc]:
    nlp = spacy.blank("xx")
    return give([nlp.make_doc("a card") for _ in values], values, name)


def test_attributes_are_standardized_by_the_training_data() -> None:
    model = make_attribute_features(["_.n_stars"])
    model.initialize(X=docs_with([1, 2.0, True, np.float32(4), np.int64(5)]))
    found = model.predict(docs_with([1, 2, 1, 4, 5]))
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(0, abs=1e-6)
    assert found.std() == pytest.approx(1, abs=1e-6)
    # Later documents are measured by the old ones.
    mean, deviation = 13 / 5, np.std([1, 2, 1, 4, 5])
    np.testing.assert_allclose(model.predict(docs_with([100])), [[(100 - mean) / deviation]], rtol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1.7e9, 1e-30, 0, True])
def test_a_constant_attribute_says_nothing(value: Any) -> None:
    model = make_attribute_features(["n_stars"])
    model.initialize(X=docs_with([value] * 7))
    np.testing.assert_allclose(model.predict(docs_with([value])), [[0.0]], atol=1e-6)


def test_large_numbers_keep_their_digits() -> None:
    """Seconds since 1970: a float32 steps by two minutes there."""
    model = make_attribute_features(["n_stars"])
    model.initialize(X=docs_with([1.7e9 + i for i in range(5)]))
    wanted = (np.arange(5) - 2) / np.std(range(5))
    np.testing.assert_allclose(model.predict(docs_with([1.7e9 + i for i in range(5)]))[:, 0], wanted, rtol=1e-5)


def test_lists_and_arrays_of_numbers() -> None:
    docs = docs_with([1, 2, 3])
    give(docs, [[1, 2], (3, 4), np.array([5.0, 9.0])], "many")
    model = make_attribute_features(["n_stars", "_.many"])
    model.initialize(X=docs)
    assert model.get_dim("nO") == 3
    values = np.array([[1, 1, 2], [2, 3, 4], [3, 5, 9]], dtype=float)
    np.testing.assert_allclose(model.predict(docs), (values - values.mean(0)) / values.std(0), atol=1e-6)


@pytest.mark.parametrize("value", [None, math.nan, [], [None], "", " ", "nan"])
def test_missing_values(value: Any) -> None:
    train = docs_with([1, 2, value, 3])
    mean = make_attribute_features(["n_stars"], missing="mean")
    mean.initialize(X=train)
    deviation = np.std([1, 2, 3])
    wanted = [[-1 / deviation, 0], [0, 0], [0, 1], [1 / deviation, 0]]
    np.testing.assert_allclose(mean.predict(train), wanted, atol=1e-6)
    number = make_attribute_features(["n_stars"], missing=10)
    number.initialize(X=train)
    np.testing.assert_allclose(number.predict(train)[2], [(10 - 2) / deviation, 1], rtol=1e-6)
    strict = make_attribute_features(["n_stars"])
    with pytest.raises(ValueError, match=r"T216.*n_stars.*this document"):
        strict.initialize(X=train)
    strict.initialize(X=docs_with([1, 2]))
    with pytest.raises(ValueError, match="T216"):
        strict.predict(docs_with([value]))


@pytest.mark.parametrize("missing", ["error", "mean", 0.0])
def test_an_attribute_that_does_not_exist_or_is_empty(missing: Any) -> None:
    nlp = spacy.blank("xx")
    with pytest.raises(ValueError, match=r"T215.*'typo'"):
        make_attribute_features(["typo"], missing=missing).initialize(X=[nlp.make_doc("a"), nlp.make_doc("b")])
    with pytest.raises(ValueError, match=r"T216.*n_stars"):
        make_attribute_features(["n_stars"], missing=missing).initialize(X=docs_with([None, None]))


@pytest.mark.parametrize("value", ["five", {"a": 1}, math.inf, [1, "x"], [[1]], 1j, "inf", 10**400])
def test_an_attribute_that_is_no_number(value: Any) -> None:
    for missing in ("error", "mean"):
        model = make_attribute_features(["n_stars"], missing=missing)
        with pytest.raises(ValueError, match=r"T217.*n_stars"):
            model.initialize(X=docs_with([1, value]))


def test_a_list_of_another_length() -> None:
    model = make_attribute_features(["n_stars"])
    model.initialize(X=docs_with([[1, 2], [3, 4]]))
    with pytest.raises(ValueError, match=r"T218.*3 numbers, but 2"):
        model.predict(docs_with([[1, 2, 3]]))


@pytest.mark.parametrize("names", [[], ["a", "_.a"], ["_."], [""], ["a b"], [1]])
def test_names_that_are_none(names: Any) -> None:
    with pytest.raises(ValueError, match=r"T005.*names"):
        make_attribute_features(names)


@pytest.mark.parametrize("missing", ["skip", math.nan, math.inf, "nan"])
def test_a_default_that_is_none(missing: Any) -> None:
    with pytest.raises(ValueError, match=r"T005.*missing"):
        make_attribute_features(["a"], missing=missing)


def test_a_getter_is_an_attribute(quiet_bert: Path) -> None:
    Doc.set_extension("n_stars", getter=lambda doc: len(doc), force=True)
    nlp = with_features(quiet_bert, STARS)
    layer = layer_of(nlp)
    lengths = np.array([len(nlp.make_doc(text)) for text in TEXTS], dtype=float)
    found = layer.predict([nlp.make_doc(text) for text in TEXTS])[:, 0]
    np.testing.assert_allclose(found, (lengths - lengths.mean()) / lengths.std(), atol=1e-6)


def test_attributes_come_from_files(quiet_bert: Path, tmp_path: Path) -> None:
    """Not even registered: the file brings them, `Corpus.v1` carries them, without it there is an error."""
    nlp = spacy.blank("xx")
    docs = [example.reference for example in starred(nlp)]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "train.spacy")
    Doc.remove_extension("n_stars")
    try:
        nlp = spacy.blank("xx")
        add_classifier(nlp, quiet_bert, features=STARS, head_init=SOLVED, **ALL)
        read = spacy.registry.readers.get("spacy-transfer.Corpus.v1")(path=tmp_path / "train.spacy")
        nlp.initialize(lambda: read(nlp))
        examples = list(read(nlp))
        nlp.update(examples, sgd=AdamW(learn_rate=1e-3))
        assert nlp.evaluate(examples)["cats_macro_f"] > 0.8
        bare = Corpus(tmp_path / "train.spacy")
        with pytest.warns(UserWarning, match=r"T113.*_\.n_stars"), pytest.raises(ValueError, match="T215"):
            nlp.initialize(lambda: bare(nlp))
    finally:
        Doc.set_extension("n_stars", default=None)


def test_numbers_come_through_convert(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": "xy"[i % 2], "n_stars": v} for i, v in enumerate([1, 2.5, True, None, [3]])]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "b.csv").write_text("text,label,n_stars\na,x,1\nb,y,2.5\nc,y,\n")
    convert([tmp_path / "a.jsonl", tmp_path / "b.csv"], tmp_path / "out", attribute_fields=["n_stars"])
    read = {}
    for name in "ab":
        docs = list(DocBin().from_disk(tmp_path / "out" / f"{name}.spacy").get_docs(spacy.blank("xx").vocab))
        read[name] = [doc._.n_stars for doc in docs]
        model = make_attribute_features(["n_stars"], missing="mean")
        model.initialize(X=docs)
        known = [i for i, value in enumerate(read[name]) if value not in (None, "")]
        np.testing.assert_allclose(model.predict(docs)[known, 0].mean(), 0, atol=1e-6)
    assert read["a"] == [1, 2.5, True, None, (3,)]
    assert read["b"] == ["1", "2.5", ""]


def test_the_text_block_and_features_may_read_the_same_attributes(quiet_bert: Path) -> None:
    nlp = spacy.blank("xx")
    Doc.set_extension("title", default="login", force=True)
    text = {"sources": ["_.title", "text"]}
    add_classifier(nlp, quiet_bert, features={**STARS, "names": ["n_stars"]}, text=text)
    assert nlp.get_pipe("transfer_textcat")._sources == ["_.title", "text", "_.n_stars"]
    nlp.initialize(lambda: starred(nlp))
    nlp.update(starred(nlp), sgd=AdamW(learn_rate=1e-3))


def test_a_component_before_may_write_them(quiet_bert: Path) -> None:
    @Language.component("test_stars")
    def stars(doc: Doc) -> Doc:
        doc._.n_stars = len(doc)
        return doc

    nlp = spacy.blank("xx")
    nlp.config["training"]["annotating_components"] = ["test_stars"]
    nlp.add_pipe("test_stars")
    add_classifier(nlp, quiet_bert, features=STARS)
    nlp.initialize(lambda: exclusive_examples(nlp))
    nlp.update(exclusive_examples(nlp), sgd=AdamW(learn_rate=1e-3), annotates=["test_stars"])
    assert len(nlp("the card").cats) == 3
