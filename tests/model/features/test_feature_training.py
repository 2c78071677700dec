"""Features learn by the right gradients, whatever else is trained, cached, averaged or solved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam

from house_kit.features import (
    ALL,
    LEARNED,
    LSTM,
    SOLVED,
    STARS,
    TOK2VEC,
    layer_of,
    params,
    placed,
    starred,
    with_features,
)
from house_kit.pipelines import add_classifier, network_of, scores_of, weights_of
from house_kit.texts import TEXTS, exclusive_examples, multilabel_examples
from spacy_transfer.model.text.document_batch import DocumentBatch
from spacy_transfer.model.text.reader import Document
from spacy_transfer.nn.joined import NOTHING, JoinedValues
from spacy_transfer.training.adamw import AdamW

# ---- gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
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
    moved = []
    for sizes in ([24], [7, 17]):
        nlp = with_features(quiet_bert, LSTM, **ALL)
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


@pytest.mark.parametrize("places", [[0], [2, 0], [1, 1, 2], []])
def test_selected_documents_keep_what_is_joined_to_them(places: list[int]) -> None:
    documents, values = [Document([], text) for text in "abc"], torch.arange(6.0).view(3, 2)
    chosen = DocumentBatch(documents, [True, False, True], JoinedValues(values)).of(places)
    assert [document.text for document in chosen.documents] == ["abc"[i] for i in places]
    assert chosen.lasting == [[True, False, True][i] for i in places]
    assert torch.equal(chosen.joined.join(torch.zeros(len(places), 0)), values[places])
    assert torch.equal(NOTHING.of(places).join(values), values)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_balanced_features_have_the_scale_of_vectors(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, joined = torch.randn(50, 6, generator=generator) * 0.3 + 1, torch.randn(50, 2, generator=generator) * scale
    both, factors = JoinedValues(joined).balance(vectors)
    assert float(both[:, 6:].var()) == pytest.approx(float(vectors.var()), rel=0.3)
    weight = torch.randn(3, 8, generator=generator)
    raw = JoinedValues(joined).join(vectors) @ (weight * factors).T
    torch.testing.assert_close(both @ weight.T, raw, atol=1e-4, rtol=1e-4)
    assert torch.equal(NOTHING.balance(vectors)[0], vectors)
    constant, factors = JoinedValues(torch.ones(50, 2)).balance(vectors)
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


@pytest.mark.slow
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
