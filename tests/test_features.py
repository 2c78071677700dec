"""Features joined to the document vector: static vectors, a tok2vec, attributes."""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from conftest import (
    LABELS,
    TEXTS,
    add_classifier,
    exclusive_examples,
    multilabel_examples,
    network_of,
    one_hot,
    pipeline,
    read_json,
    scores_of,
    shim_of,
    weights_of,
)  # fmt: skip
from spacy.cli.init_config import fill_config
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus, Example
from thinc.api import Adam, Model

from spacy_transfer.corpora.convert import convert
from spacy_transfer.model.features.attributes import make_attribute_features
from spacy_transfer.model.features.joining import balance
from spacy_transfer.model.features.layer import features_of, join_features, make_no_features
from spacy_transfer.model.features.static_vectors import make_static_vectors
from spacy_transfer.model.features.tok2vec import make_tok2vec_features
from spacy_transfer.model.show import draw
from spacy_transfer.training.adamw import AdamW

STARS = {"@layers": "spacy-transfer.AttributeFeatures.v1", "names": ["_.n_stars"]}
CNN = {
    "@architectures": "spacy.HashEmbedCNN.v2", "width": 8, "depth": 1, "embed_size": 50, "window_size": 1,
    "maxout_pieces": 2, "subword_features": True, "pretrained_vectors": None,
}  # fmt: skip
TOK2VEC = {"@layers": "spacy-transfer.Tok2VecFeatures.v1", "tok2vec": CNN}
VECTORS = {"@layers": "spacy-transfer.StaticVectors.v1"}
SOLVED = {"@misc": "spacy-transfer.LinearProbe.v1"}
ALL = {"tuning": {"frozen_depth": "all"}}


@pytest.fixture(autouse=True)
def extensions() -> Iterator[None]:
    Doc.set_extension("n_stars", default=None, force=True)
    Doc.set_extension("many", default=None, force=True)
    yield
    for name in ("n_stars", "many"):
        Doc.remove_extension(name)


def give(docs: list[Doc], values: list[Any], name: str = "n_stars") -> list[Doc]:
    for doc, value in zip(docs, values, strict=True):
        setattr(doc._, name, value)
    return docs


def starred(nlp: Language, n: int = len(TEXTS)) -> list[Example]:
    """The label shows in the stars alone: texts are all the same."""
    examples = []
    for i in range(n):
        example = Example.from_dict(nlp.make_doc("the card"), {"cats": one_hot(LABELS[i % 3])})
        give([example.predicted, example.reference], [i % 3, i % 3])
        examples.append(example)
    return examples


def with_features(
    folder: Path, features: Any, make: Any = exclusive_examples, seed: int = 0, **blocks: Any
) -> Language:
    # Before the blocks are built: torch's own layers draw their weights there.
    torch.manual_seed(seed)
    np.random.seed(seed)
    nlp = spacy.blank("xx")
    add_classifier(nlp, folder, features=features, **blocks)
    nlp.initialize(lambda: make(nlp))
    return nlp


def layer_of(nlp: Language) -> Model:
    layer = features_of(nlp.get_pipe("transfer_textcat").model)
    assert layer is not None
    return layer


def params(model: Model) -> dict[str, np.ndarray]:
    return {
        f"{i}.{name}": np.array(node.get_param(name))
        for i, node in enumerate(model.walk()) for name in node.param_names if node.has_param(name)
    }  # fmt: skip


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


# ---- without -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "features",
    [
        {"@layers": "spacy-transfer.NoFeatures.v1"},
        {"@layers": "spacy-transfer.JoinedFeatures.v1", "*": {"a": {"@layers": "spacy-transfer.NoFeatures.v1"}}},
        None,
    ],
)
def test_no_features_change_nothing(bert: Path, features: Any) -> None:
    plain, neutral = pipeline(bert), pipeline(bert, features=features)
    for nlp in (plain, neutral):
        torch.manual_seed(1)
        nlp.update(exclusive_examples(nlp), sgd=AdamW(learn_rate=1e-3), drop=0.1)
    one, other = weights_of(plain), weights_of(neutral)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert features_of(neutral.get_pipe("transfer_textcat").model) is None
    assert torch.equal(scores_of(plain, TEXTS), scores_of(neutral, TEXTS))


def test_a_pipeline_saved_before_there_were_features_loads(bert: Path, tmp_path: Path) -> None:
    nlp = pipeline(bert)
    nlp.to_disk(tmp_path)
    config = spacy.util.load_config(tmp_path / "config.cfg")
    del config["components"]["transfer_textcat"]["model"]["features"]
    config.to_disk(tmp_path / "config.cfg")
    cfg = tmp_path / "transfer_textcat" / "cfg"
    state = read_json(cfg)
    del state["network"]["n_features"]
    cfg.write_text(json.dumps(state))
    assert torch.equal(scores_of(spacy.load(tmp_path), TEXTS), scores_of(nlp, TEXTS))


# ---- gradients ---------------------------------------------------------------------------------------------------


def _learned(model: Model, docs: list[Doc], is_train: bool) -> Any:
    at = [int(doc.user_data.get("place", 0)) for doc in docs]

    def backprop(d_out: Any) -> list[Any]:
        gradient = np.zeros_like(model.get_param("E"))
        np.add.at(gradient, at, d_out)
        model.inc_grad("E", gradient)
        return []

    return model.get_param("E")[at], backprop


@spacy.registry.layers("test.Learned.v1")
def make_learned(n_docs: int, width: int) -> Model:
    """A layer whose features are its one weight, by the place of the document: its gradient is that of the features."""
    values = np.random.default_rng(0).normal(size=(n_docs, width)).astype("f")
    return Model("learned", _learned, params={"E": values}, dims={"nO": width})


LEARNED = {"@layers": "test.Learned.v1", "n_docs": len(TEXTS), "width": 3}


def placed(nlp: Language) -> list[Example]:
    examples = exclusive_examples(nlp)
    for i, example in enumerate(examples):
        example.predicted.user_data["place"] = i
        example.reference.user_data["place"] = i
    return examples


@pytest.mark.parametrize("budget", [2048, 32])
@pytest.mark.parametrize("frozen", [-1, 1, "all"])
@pytest.mark.parametrize("hidden", [None, [5]])
def test_the_gradient_of_features_is_that_of_finite_differences(
    quiet_bert: Path, budget: int, frozen: Any, hidden: Any
) -> None:
    nlp = with_features(
        quiet_bert, LEARNED, placed, piece_budget=budget, tuning={"frozen_depth": frozen}, head={"hidden": hidden}
    )
    examples, node = placed(nlp), layer_of(nlp).layers[0]
    with torch.no_grad():
        for weight in network_of(nlp).head.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    nlp.update(examples, sgd=False)
    gradient = node.get_grad("E").copy()
    base = node.get_param("E").copy()
    pipe = nlp.get_pipe("transfer_textcat")

    def loss() -> float:
        logits = pipe.model.predict([example.predicted for example in examples])
        return pipe.get_loss(examples, logits)[0] * len(examples)

    for place in ((0, 0), (5, 2), (23, 1)):
        sides = []
        for sign in (1.0, -1.0):
            shifted = base.copy()
            shifted[place] += sign * 1e-2
            node.set_param("E", shifted)
            sides.append(loss())
        assert gradient[place] == pytest.approx((sides[0] - sides[1]) / 2e-2, rel=2e-2, abs=2e-4)


def test_a_loop_of_ones_own_gets_the_same_gradient(quiet_bert: Path) -> None:
    nlp = with_features(quiet_bert, LEARNED, placed)
    examples, node = placed(nlp), layer_of(nlp).layers[0]
    pipe = nlp.get_pipe("transfer_textcat")
    nlp.update(examples, sgd=False)
    summed = node.get_grad("E").copy()
    node.get_grad("E")[...] = 0.0
    logits, backprop = pipe.model.begin_update([example.predicted for example in examples])
    backprop(pipe.get_loss(examples, logits)[1])
    np.testing.assert_allclose(node.get_grad("E") * len(examples), summed, atol=1e-5)


def recorded(nlp: Language, batches: list[list[Example]]) -> dict[str, np.ndarray]:
    """The gradients of the features that an optimizer gets."""
    found: dict[int, Any] = {}
    layer = layer_of(nlp)
    names = {(node.id, name): f"{i}.{name}" for i, node in enumerate(layer.walk()) for name in node.param_names}

    class Watching(AdamW):
        def __call__(self, key: Any, weights: Any, gradient: Any, **options: Any) -> Any:
            found[names[key]] = np.array(gradient)
            return super().__call__(key, weights, gradient, **options)

    for batch in batches:
        nlp.update(batch, sgd=False)
    nlp.get_pipe("transfer_textcat").finish_update(Watching(learn_rate=1e-3))
    return found


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_tok2vec_learns_by_the_mean_gradient(quiet_bert: Path, pooling: str) -> None:
    features = {**TOK2VEC, "pooling": pooling}
    nlp = with_features(quiet_bert, features)
    examples = exclusive_examples(nlp)
    before = params(layer_of(nlp))
    data = nlp.to_bytes()
    one = recorded(nlp, [examples])
    after = params(layer_of(nlp))
    assert {name for name in before if not np.array_equal(before[name], after[name])} >= set(one)
    nlp.from_bytes(data)
    other = recorded(nlp, [examples[:5], examples[5:]])
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)
    assert max(np.abs(value).max() for value in one.values()) > 1e-4


def test_the_rate_holds_for_the_tok2vec_alone(quiet_bert: Path) -> None:
    moves = []
    for rate in (1.0, 10.0):
        nlp = with_features(quiet_bert, {**TOK2VEC, "lr_factor": rate}, **ALL)
        before, head = params(layer_of(nlp)), weights_of(nlp)["head.output.bias"]
        optimizer = Adam(1e-3, L2=0.0, grad_clip=0.0)
        nlp.update(exclusive_examples(nlp), sgd=optimizer)
        assert optimizer.learn_rate == pytest.approx(1e-3)
        after = params(layer_of(nlp))
        size = max(np.abs(after[name] - before[name]).max() for name in before)
        moves.append((size, weights_of(nlp)["head.output.bias"] - head))
    assert moves[1][0] == pytest.approx(10 * moves[0][0], rel=1e-2)
    torch.testing.assert_close(moves[0][1], moves[1][1])


def test_dropout_of_the_tok2vec(quiet_bert: Path) -> None:
    nlp = with_features(quiet_bert, TOK2VEC, **ALL)
    examples = exclusive_examples(nlp)
    losses = [nlp.update(examples, sgd=False, drop=drop)["transfer_textcat"] for drop in (0.0, 0.0, 0.5, 0.5)]
    assert losses[0] == losses[1]
    assert losses[2] != losses[3]


def test_a_torch_layer_among_the_features(quiet_bert: Path) -> None:
    """Thinc wraps torch's LSTM in a shim: its gradients are divided as well, once."""
    lstm = {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2", "width": 8, "attrs": ["NORM"], "rows": [50],
            "include_static_vectors": False,
        },
        "encode": {"@architectures": "spacy.TorchBiLSTMEncoder.v1", "width": 8, "depth": 1, "dropout": 0.0},
    }  # fmt: skip
    moved = []
    for sizes in ([24], [7, 17]):
        nlp = with_features(quiet_bert, {**TOK2VEC, "tok2vec": lstm}, **ALL)
        weights = [w for node in layer_of(nlp).walk() for shim in node.shims for w in shim._model.parameters()]
        assert weights
        examples, at = exclusive_examples(nlp), 0
        for size in sizes:
            nlp.update(examples[at : at + size], sgd=False)
            at += size
        nlp.get_pipe("transfer_textcat").finish_update(Adam(1.0, eps=1e3, L2=0.0, grad_clip=0.0))
        moved.append(torch.cat([w.detach().flatten() for w in weights]))
    torch.testing.assert_close(moved[0], moved[1], atol=1e-7, rtol=1e-5)


# ---- learning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_frozen_encoder_with_a_tok2vec_learns(quiet_bert: Path, multilabel: bool) -> None:
    nlp = spacy.blank("xx")
    add_classifier(nlp, quiet_bert, multilabel=multilabel, features={**TOK2VEC, "lr_factor": 3.0}, **ALL)
    make = multilabel_examples if multilabel else exclusive_examples
    torch.manual_seed(0)
    nlp.initialize(lambda: make(nlp))
    before = {name: w for name, w in weights_of(nlp).items() if name.startswith("encoder.")}
    optimizer = AdamW(learn_rate=1e-2)
    for _ in range(40):
        nlp.update(make(nlp), sgd=optimizer)
    after = weights_of(nlp)
    assert all(torch.equal(w, after[name]) for name, w in before.items())
    assert nlp.evaluate(make(nlp))["cats_macro_f"] > 0.8


@pytest.mark.parametrize("frozen", [1, "all"])
def test_cached_is_uncached(quiet_bert: Path, frozen: Any) -> None:
    found = []
    for memory in (0, 2_000_000_000):
        nlp = with_features(quiet_bert, TOK2VEC, tuning={"frozen_depth": frozen}, cache={"memory": memory})
        optimizer = AdamW(learn_rate=1e-3)
        for _ in range(3):
            nlp.update(exclusive_examples(nlp), sgd=optimizer)
        found.append(scores_of(nlp, TEXTS))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)


def test_averages_hold_for_features(quiet_bert: Path) -> None:
    nlp = with_features(quiet_bert, TOK2VEC, **ALL)
    optimizer = AdamW(learn_rate=1e-2, use_averages=True)
    for _ in range(3):
        nlp.update(exclusive_examples(nlp), sgd=optimizer)
    now = params(layer_of(nlp))
    with nlp.use_params(optimizer.averages):
        averaged = params(layer_of(nlp))
    again = params(layer_of(nlp))
    assert any(not np.array_equal(now[name], averaged[name]) for name in now)
    assert all(np.array_equal(now[name], again[name]) for name in now)


def test_the_head_is_solved_on_features_too(quiet_bert: Path) -> None:
    nlp = with_features(quiet_bert, STARS, starred, head_init=SOLVED, **ALL)
    assert nlp.evaluate(starred(nlp))["cats_macro_f"] > 0.8
    assert network_of(nlp).head.output.weight.shape == (3, 17)
    plain = with_features(quiet_bert, None, starred, head_init=SOLVED, **ALL)
    assert plain.evaluate(starred(plain))["cats_macro_f"] < 0.5


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_balanced_features_have_the_scale_of_vectors(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, joined = torch.randn(50, 6, generator=generator) * 0.3 + 1, torch.randn(50, 2, generator=generator) * scale
    both, factors = balance(vectors, joined)
    assert float(both[:, 6:].var()) == pytest.approx(float(vectors.var()), rel=0.3)
    weight = torch.randn(3, 8, generator=generator)
    raw = torch.cat([vectors, joined], dim=1) @ (weight * factors).T
    torch.testing.assert_close(both @ weight.T, raw, atol=1e-4, rtol=1e-4)
    assert torch.equal(balance(vectors, None)[0], vectors)
    constant, factors = balance(vectors, torch.ones(50, 2))
    assert torch.isfinite(constant).all()
    assert torch.equal(factors, torch.ones(8))


CE = {"@losses": "spacy-transfer.CrossEntropy.v1", "label_smoothing": 0.0, "class_weights": "none"}


def learned_gradient(folder: Path, **blocks: Any) -> np.ndarray:
    nlp = with_features(folder, LEARNED, placed, **blocks)
    with torch.no_grad():
        network_of(nlp).head.output.weight.mul_(10)
    nlp.update(placed(nlp), sgd=False)
    found: np.ndarray = layer_of(nlp).layers[0].get_grad("E")
    assert np.abs(found).max() > 1e-3
    return found


@pytest.mark.parametrize(
    ("name", "neutral"), [("SupervisedContrastive", "weight"), ("Mixup", "alpha"), ("RDrop", "alpha")]
)
@pytest.mark.parametrize("frozen", [-1, "all"])
def test_losses_of_a_whole_batch_join_features(quiet_bert: Path, name: str, neutral: str, frozen: Any) -> None:
    tuning = {"frozen_depth": frozen}
    loss = {"@losses": f"spacy-transfer.{name}.v1", "loss": CE}
    plain = learned_gradient(quiet_bert, tuning=tuning)
    np.testing.assert_allclose(
        learned_gradient(quiet_bert, tuning=tuning, loss={**loss, neutral: 0.0}), plain, atol=1e-5
    )
    whole, parts = (learned_gradient(quiet_bert, tuning=tuning, loss=loss, piece_budget=n) for n in (2048, 64))
    np.testing.assert_allclose(whole, parts, atol=1e-5)
    # Without dropout two passes of a document are the same, and R-Drop is silent.
    assert np.allclose(whole, plain, atol=1e-4) == (name == "RDrop")


@pytest.mark.parametrize("frozen", [1, "all"])
def test_changed_texts_keep_their_features(quiet_bert: Path, frozen: Any) -> None:
    """Half of a batch comes from the cache and half is drawn anew: each document still has its own features."""
    changed = {"@misc": "spacy-transfer.Augmentation.v1", "clean": 0.5, "drop": 0.5}
    found = [
        learned_gradient(
            quiet_bert, tuning={"frozen_depth": frozen}, augmentation=changed, cache={"memory": memory},
        )
        for memory in (0, 2_000_000_000)
    ]  # fmt: skip
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert not np.allclose(found[0], learned_gradient(quiet_bert, tuning={"frozen_depth": frozen}), atol=1e-5)


def test_a_head_that_reads_states_takes_no_features(quiet_bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T222.*LabelQueryHead"):
        with_features(quiet_bert, TOK2VEC, head={"@layers": "spacy-transfer.LabelQueryHead.v1"})


# ---- attributes --------------------------------------------------------------------------------------------------


def docs_with(values: list[Any], name: str = "n_stars") -> list[Doc]:
    nlp = spacy.blank("xx")
    return give([nlp.make_doc("a card") for _ in values], values, name)


def test_attributes_are_standardised_by_the_training_data() -> None:
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


# ---- static vectors ----------------------------------------------------------------------------------------------


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
    centred = values[known] - values[known].mean(axis=0)
    # The best two directions: what they leave out is what the singular values after the second one hold.
    left = np.linalg.svd(centred)[1][2:]
    kept = part.predict(docs)[known]
    assert kept.shape == (known.sum(), 2)
    assert (centred**2).sum() - (kept**2).sum() == pytest.approx((left**2).sum(), rel=1e-3)
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


# ---- tok2vec -----------------------------------------------------------------------------------------------------


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


# ---- several, foreign and wrong ones -----------------------------------------------------------------------------


def test_several_side_by_side(quiet_bert: Path) -> None:
    block = {"@layers": "spacy-transfer.JoinedFeatures.v1", "*": {"cnn": TOK2VEC, "stars": STARS, "learned": LEARNED}}
    nlp = spacy.blank("xx")
    add_classifier(nlp, quiet_bert, features=block)
    nlp.initialize(lambda: starred(nlp))
    docs = [example.predicted for example in starred(nlp)]
    layer = layer_of(nlp)
    parts = [part.predict(docs) for part in layer.layers[0].layers]
    assert [part.shape[1] for part in parts] == [8, 1, 3]
    np.testing.assert_array_equal(layer.predict(docs), np.hstack(parts))
    _, backprop = layer.begin_update(docs)
    gradient = np.zeros((len(docs), 12), dtype="f")
    gradient[0, 9:] = [1, 2, 3]
    backprop(gradient)
    np.testing.assert_array_equal(layer.layers[0].layers[2].get_grad("E")[0], [1, 2, 3])
    nlp.update(starred(nlp), sgd=AdamW(learn_rate=1e-2))
    copied = spacy.blank("xx").from_config(nlp.config)
    copied.from_bytes(nlp.to_bytes())
    one, other = (np.array([list(pipe(doc.copy()).cats.values()) for doc in docs]) for pipe in (nlp, copied))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_layers_of_others_will_do(quiet_bert: Path) -> None:
    """A plain chain of spaCy's and Thinc's layers, and one of ours inside."""
    reduce = {
        "@layers": "chain.v1",
        "*": {
            "cnn": CNN, "ragged": {"@layers": "list2ragged.v1"}, "mean": {"@layers": "reduce_mean.v1"},
        },
    }  # fmt: skip
    squeezed = {
        "@layers": "chain.v1",
        "*": {"stars": STARS, "linear": {"@layers": "Relu.v1", "nO": 4}},
    }
    for block, width in ((reduce, 8), (squeezed, 4)):
        nlp = with_features(quiet_bert, block, starred)
        assert layer_of(nlp).get_dim("nO") == width
        nlp.update(starred(nlp), sgd=AdamW(learn_rate=1e-2))


def test_layers_that_are_none(quiet_bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T001.*'features'.*layer of Thinc"):
        with_features(quiet_bert, {"@layers": "spacy-transfer.Head.v1"})
    with pytest.raises(ValueError, match="T221"):
        with_features(quiet_bert, CNN)
    with pytest.raises(ValueError, match="T221"):
        with_features(quiet_bert, {**TOK2VEC, "tok2vec": LEARNED})
    with pytest.raises(ValueError, match="T221"):
        join_features("text")  # type: ignore[arg-type]


# ---- storage -----------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(quiet_bert: Path) -> Language:
    nlp = with_features(
        quiet_bert,
        {"@layers": "spacy-transfer.JoinedFeatures.v1", "*": {"cnn": TOK2VEC, "stars": {**STARS, "missing": "mean"}}},
        starred,
    )
    nlp.update(starred(nlp), sgd=AdamW(learn_rate=1e-2))
    return nlp


def cats(nlp: Language) -> torch.Tensor:
    docs = [example.predicted for example in starred(nlp, 6)]
    return torch.tensor([list(nlp(doc).cats.values()) for doc in docs])


def test_saved_and_loaded(trained: Language, tmp_path: Path) -> None:
    wanted = cats(trained)
    trained.to_disk(tmp_path)
    folder = tmp_path / "transfer_textcat"
    assert (folder / "features.msgpack").is_file()
    loaded = spacy.load(tmp_path)
    assert torch.equal(cats(loaded), wanted)
    mine, theirs = params(layer_of(trained)), params(layer_of(loaded))
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    copies = [spacy.blank("xx").from_config(trained.config).from_bytes(trained.to_bytes())]
    copies.append(copy.deepcopy(trained))
    for other in copies:
        assert torch.equal(cats(other), wanted)
    # Another state is learned apart.
    loaded.update(starred(loaded), sgd=AdamW(learn_rate=1e-2))
    assert torch.equal(cats(trained), wanted)
    assert not torch.equal(cats(loaded), wanted)


def test_a_model_is_copied_with_its_features(trained: Language) -> None:
    model = trained.get_pipe("transfer_textcat").model
    docs = [example.predicted for example in starred(trained, 6)]
    twin = model.copy()
    np.testing.assert_allclose(twin.predict(docs), model.predict(docs), atol=1e-6)
    assert features_of(twin) is not features_of(model)


def test_a_damaged_file_of_features(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path)
    path = tmp_path / "transfer_textcat" / "features.msgpack"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"T082.*features\.msgpack"):
        spacy.load(tmp_path)


@pytest.mark.parametrize("features", [{"@layers": "spacy-transfer.NoFeatures.v1"}, STARS, TOK2VEC])
def test_other_features_than_were_saved(trained: Language, tmp_path: Path, features: Any) -> None:
    trained.to_disk(tmp_path)
    config = spacy.util.load_config(tmp_path / "config.cfg")
    config["components"]["transfer_textcat"]["model"]["features"] = features
    config.to_disk(tmp_path / "config.cfg")
    with pytest.raises(ValueError, match="T223"):
        spacy.load(tmp_path)


def test_features_where_none_were_saved(quiet_bert: Path, tmp_path: Path) -> None:
    pipeline(quiet_bert).to_disk(tmp_path)
    config = spacy.util.load_config(tmp_path / "config.cfg")
    config["components"]["transfer_textcat"]["model"]["features"] = STARS
    config.to_disk(tmp_path / "config.cfg")
    with pytest.raises(ValueError, match="T223"):
        spacy.load(tmp_path)


def test_new_labels_leave_old_logits_alone(trained: Language) -> None:
    pipe = trained.get_pipe("transfer_textcat")
    docs = [example.predicted for example in starred(trained, 6)]
    before = pipe.model.predict(docs)
    pipe.add_label("new")
    np.testing.assert_allclose(pipe.model.predict(docs)[:, :3], before, atol=1e-6)
    trained.update(starred(trained), sgd=AdamW(learn_rate=1e-2))


def test_processes(trained: Language) -> None:
    docs = [example.predicted for example in starred(trained, 6)]
    alone = [list(doc.cats.values()) for doc in trained.pipe([doc.copy() for doc in docs])]
    several = [list(doc.cats.values()) for doc in trained.pipe([doc.copy() for doc in docs], n_process=2, batch_size=3)]
    np.testing.assert_allclose(several, alone, atol=1e-6)


def test_threads_and_batches_do_not_matter(trained: Language) -> None:
    docs = [example.predicted for example in starred(trained, 6)]
    pipe = trained.get_pipe("transfer_textcat")
    whole = pipe.predict(docs)
    np.testing.assert_allclose([pipe.predict([doc])[0] for doc in docs], whole, atol=1e-6)


# ---- on a shared encoder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [None, SOLVED])
def test_features_beside_a_shared_encoder(quiet_bert: Path, tmp_path: Path, start: Any) -> None:
    pytest.importorskip("spacy_transformers")
    from test_shared import add_shared, add_transformer

    from spacy_transfer.model.shared.attach import attach, detach

    torch.manual_seed(0)
    nlp = spacy.blank("xx")
    add_transformer(nlp, quiet_bert)
    block = {"@layers": "spacy-transfer.JoinedFeatures.v1", "*": {"learned": LEARNED, "cnn": TOK2VEC}}
    add_shared(nlp, features=block, **({"head_init": start} if start else {}))
    nlp.initialize(lambda: placed(nlp))
    own = detach(nlp)
    examples, others = placed(nlp), placed(own)
    losses = [one.update(two, sgd=False)["transfer_textcat"] for one, two in ((nlp, examples), (own, others))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    mine, theirs = (list(layer_of(one).walk()) for one in (nlp, own))
    compared = 0
    for one, two in zip(mine, theirs, strict=True):
        for name in one.param_names:
            if one.has_grad(name):
                np.testing.assert_allclose(one.get_grad(name), two.get_grad(name), atol=1e-5)
                compared += 1
    assert compared > 3
    pipe = nlp.get_pipe("transfer_textcat")
    before = params(layer_of(nlp))
    pipe.finish_update(AdamW(learn_rate=1e-2))
    assert any(not np.array_equal(before[name], value) for name, value in params(layer_of(nlp)).items())
    nlp.to_disk(tmp_path)
    wanted = scores_of(nlp, TEXTS)
    for other in (spacy.load(tmp_path), detach(nlp), attach(detach(nlp))):
        torch.testing.assert_close(scores_of(other, TEXTS), wanted, atol=1e-5, rtol=0)
    docs = [nlp.get_pipe("transformer")(example.predicted) for example in examples]
    logits, _ = pipe.model.begin_update(docs)
    np.testing.assert_allclose(logits, pipe.model.predict(docs), atol=1e-5)


# ---- the shipped config ------------------------------------------------------------------------------------------


def test_the_shipped_config_trains_a_step(quiet_bert: Path, tmp_path: Path) -> None:
    DocBin(docs=[example.reference for example in exclusive_examples(spacy.blank("xx"))]).to_disk(tmp_path / "a.spacy")
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    config = spacy.util.load_config(
        Path(__file__).parent.parent / "configs" / "features.cfg",
        overrides={
            "paths.train": str(tmp_path / "a.spacy"), "paths.dev": str(tmp_path / "a.spacy"),
            "paths.labels": str(tmp_path / "labels.json"), "paths.encoder": str(quiet_bert),
            "training.max_steps": 2, "training.eval_frequency": 1,
        },
        interpolate=False,
    )  # fmt: skip
    config["components"]["transfer_textcat"]["model"]["windows"] = {
        "@misc": "spacy-transfer.Windows.v1", "length": 32, "stride": 20,
    }  # fmt: skip
    config.to_disk(tmp_path / "config.cfg")
    fill_config(tmp_path / "filled.cfg", tmp_path / "config.cfg")
    train(tmp_path / "filled.cfg", tmp_path / "out")
    nlp = spacy.load(tmp_path / "out" / "model-last")
    layer = layer_of(nlp)
    assert layer.get_dim("nO") == 96
    assert network_of(nlp).head.output.in_features == 16 + 96
    assert scores_of(nlp, TEXTS).isfinite().all()
    assert "features       96 numbers" in draw("transfer_textcat", nlp)
