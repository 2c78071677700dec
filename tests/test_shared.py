"""One encoder for several components: states from a `transformer` component, gradients back to it."""

import copy
import json
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from conftest import (
    LABELS,
    TEXTS,
    exclusive_examples,
    merged,
    moved,
    multilabel_examples,
    network_of,
    pipeline,
    scores_of,
    shim_of,
    weights_of,
)  # fmt: skip
from runs import config_of, files_of, killed_at, log_of, write_corpus
from runs import run as run_training
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from thinc.api import Adam, Config
from thinc.types import Ragged
from typer.testing import CliRunner

pytest.importorskip("spacy_transformers")

from spacy_transformers.data_classes import TransformerData, WordpieceBatch
from transformers.utils import ModelOutput

from spacy_transfer.cli import transfer_cli
from spacy_transfer.model.shared.attach import attach, detach
from spacy_transfer.model.shared.states import counted_ranges, gather, scatter
from spacy_transfer.model.show import show
from spacy_transfer.nn.encoders.handing_over import from_body
from spacy_transfer.nn.encoders.shared_encoder import SharedEncoder
from spacy_transfer.training.adamw import AdamW

NAME = "transfer_textcat"
# Of the transformer: in tokens.
WINDOW, STRIDE = 16, 12
LONG = " ".join(TEXTS[:6])


def add_transformer(nlp: Language, folder: Path, *, name: str = "transformer", **options: Any) -> Any:
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": str(folder),
        "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1", "window": WINDOW, "stride": STRIDE},
    }
    return nlp.add_pipe("transformer", name=name, config={"model": model}, **options)


def add_shared(nlp: Language, *, multilabel: bool = False, name: str = NAME, encoder: Any = None, **blocks: Any) -> Any:
    base = {
        "encoder": {"@misc": "spacy-transfer.SharedEncoder.v1", **(encoder or {})},
        "windows": {"length": 32, "stride": 20},
    }
    factory = "transfer_textcat_multilabel" if multilabel else "transfer_textcat"
    return nlp.add_pipe(factory, name=name, config={"model": merged(base, blocks)})


def add_tagger(nlp: Language, **options: Any) -> Any:
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    return nlp.add_pipe(
        "tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}}, **options
    )


def shared_pipeline(folder: Path, *, tagger: str = "", multilabel: bool = False, **blocks: Any) -> Language:
    """transformer, tagger "before" or "after" or none, classifier; initialised."""
    nlp = spacy.blank("xx")
    add_transformer(nlp, folder)
    add_shared(nlp, multilabel=multilabel, **blocks)
    if tagger:
        add_tagger(nlp, **{tagger: nlp.pipe_names[-1]})
    torch.manual_seed(0)
    examples = tagged(nlp, multilabel=multilabel)
    nlp.initialize(lambda: examples)
    return nlp


def tagged(nlp: Language, *, multilabel: bool = False) -> list[Example]:
    """Examples with cats and tags."""
    found = []
    for example in (multilabel_examples if multilabel else exclusive_examples)(nlp):
        tags = ["AB"[len(token) % 2] for token in example.reference]
        found.append(Example.from_dict(example.predicted, {"tags": tags, "cats": example.reference.cats}))
    return found


def body_of(nlp: Language) -> torch.nn.Module:
    return nlp.get_pipe("transformer").model.transformer


def body_weights(nlp: Language) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in body_of(nlp).named_parameters()}


def body_gradients(nlp: Language) -> dict[str, torch.Tensor]:
    return {n: w.grad.clone() for n, w in body_of(nlp).named_parameters() if w.grad is not None}


def depth_of(nlp: Language, name: str) -> int:
    if ".layer." in name:
        return int(name.split(".layer.")[1].split(".")[0]) + 1
    return 0


def train(nlp: Language, n_steps: int = 3, rate: float = 1e-2) -> Language:
    sgd = AdamW(learn_rate=rate)
    for _ in range(n_steps):
        nlp.update(tagged(nlp, multilabel="late" in nlp.get_pipe(nlp.pipe_names[1]).labels), sgd=sgd)
    return nlp


@pytest.fixture(scope="module")
def trained(quiet_bert: Path) -> Language:
    """transformer and classifier after some steps; tests leave it as it is."""
    return train(shared_pipeline(quiet_bert))


# ---- the same as with an encoder of one's own --------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["MeanPooling", "ClsPooling", "MaxPooling", "AttentionPooling"])
def test_scores_and_gradients_are_those_of_an_encoder_of_its_own(pooling: str, quiet_bert: Path) -> None:
    block = {"@layers": f"spacy-transfer.{pooling}.v1"}
    own = pipeline(quiet_bert, pooling=block, head={"hidden": [8]})
    shared = shared_pipeline(quiet_bert, pooling=block, head={"hidden": [8]})
    head = {k: v for k, v in network_of(own).state_dict().items() if not k.startswith("encoder.")}
    network_of(shared).load_state_dict(head)
    assert torch.allclose(scores_of(shared, TEXTS), scores_of(own, TEXTS), atol=1e-6)
    for nlp in (own, shared):
        nlp.update(tagged(nlp)[:7], sgd=False, losses=(losses := {}))
    expected = {n: w.grad.to_dense() / 7 for n, w in network_of(own).named_parameters()}
    found = body_gradients(shared)
    assert len(found) == len([n for n in expected if n.startswith("encoder.")])
    for name, gradient in found.items():
        assert torch.allclose(gradient, expected[f"encoder.body.{name}"], atol=1e-5), name
    for name, weight in network_of(shared).named_parameters():
        assert torch.allclose(weight.grad / 7, expected[name], atol=1e-5), name
    assert losses[NAME] > 0


def test_gradients_of_cut_documents_are_those_of_finite_differences(quiet_bert: Path) -> None:
    nlp = shared_pipeline(quiet_bert, multilabel=True)
    examples = multilabel_examples(nlp, 3)
    examples.append(Example.from_dict(nlp.make_doc(LONG), {"cats": dict(examples[0].reference.cats)}))
    pipe, weight = nlp.get_pipe(NAME), body_of(nlp).encoder.layer[1].output.dense.weight
    nlp.update(examples, sgd=False)
    gradient = weight.grad.clone()

    def mean_loss() -> float:
        docs = list(nlp.pipe([example.text for example in examples]))
        again = [Example(doc, example.reference) for doc, example in zip(docs, examples, strict=True)]
        return float(pipe.get_loss(again, pipe.model.predict(docs))[0])

    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    values = []
    for sign in (1.0, -1.0):
        weight.data.add_(direction, alpha=sign * 2e-3)
        values.append(mean_loss())
        weight.data.sub_(direction, alpha=sign * 2e-3)
    assert (values[0] - values[1]) / 4e-3 == pytest.approx(float((gradient * direction).sum()), rel=0.02)


def test_training_is_that_of_an_encoder_of_its_own(quiet_bert: Path) -> None:
    own, shared = pipeline(quiet_bert), shared_pipeline(quiet_bert)
    network_of(shared).head.load_state_dict(network_of(own).head.state_dict())
    before, found = body_weights(shared), []
    for nlp in (own, shared):
        sgd, losses = Adam(5e-3, L2=0.0), []
        for _ in range(8):
            # As spacy train does it: all components step after all of them have learnt.
            losses.append(nlp.update(tagged(nlp), sgd=False, losses={})[NAME])
            for _, pipe in nlp.pipeline:
                pipe.finish_update(sgd)
        found.append(torch.tensor(losses))
    assert torch.allclose(found[0], found[1], rtol=1e-3)
    assert found[0][-1] < 0.9 * found[0][0]
    assert {name for name in before if not name.startswith("pooler")} == moved(before, body_weights(shared))


def test_documents_without_any_annotation_give_no_gradient(quiet_bert: Path) -> None:
    nlp = shared_pipeline(quiet_bert, multilabel=True)
    known = multilabel_examples(nlp, 4)
    nlp.update(known, sgd=False)
    expected = body_gradients(nlp)
    body_of(nlp).zero_grad()
    nlp.update([*known, *[Example(nlp.make_doc(text), nlp.make_doc(text)) for text in TEXTS[4:8]]], sgd=False)
    found = body_gradients(nlp)
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)
    body_of(nlp).zero_grad()
    nlp.update([Example(nlp.make_doc(text), nlp.make_doc(text)) for text in TEXTS[4:8]], sgd=False)
    assert all(not gradient.any() for gradient in body_gradients(nlp).values())


# ---- several components on one encoder ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["before", "after"])
def test_gradients_add_up_with_a_taggers(place: str, quiet_bert: Path) -> None:
    # A new tagger's output is zero, and so is its gradient.
    both = train(shared_pipeline(quiet_bert, tagger=place))
    body_of(both).zero_grad()
    data = both.to_bytes()
    tagger = shared_pipeline(quiet_bert, tagger=place, encoder={"grad_factor": 0.0}).from_bytes(data)
    alone = shared_pipeline(quiet_bert).from_bytes(data, exclude=["tagger"])
    found = []
    for nlp in (both, tagger, alone):
        nlp.update(tagged(nlp), sgd=False)
        found.append(body_gradients(nlp))
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name] + found[2][name], atol=1e-5), name
        assert found[1][name].any() or "pooler" in name
    assert any(not torch.allclose(found[0][name], found[1][name], atol=1e-5) for name in found[0])


def test_two_classifiers_freeze_what_either_wants(quiet_bert: Path) -> None:
    nlp = spacy.blank("xx")
    add_transformer(nlp, quiet_bert)
    add_shared(nlp, tuning={"frozen_depth": 1})
    add_shared(nlp, name="second")
    nlp.initialize(lambda: exclusive_examples(nlp))
    before, sgd = body_weights(nlp), AdamW(learn_rate=1e-2)
    for _ in range(3):
        nlp.update(exclusive_examples(nlp), sgd=sgd)
    assert {depth_of(nlp, name) for name in moved(before, body_weights(nlp))} == {2, 3}


# ---- freezing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tagger", ["", "after"])
@pytest.mark.parametrize("frozen", [0, 2, "all"])
def test_frozen_depths_do_not_move(frozen: Any, tagger: str, bert: Path) -> None:
    nlp = shared_pipeline(bert, tagger=tagger, tuning={"frozen_depth": frozen})
    before, head = body_weights(nlp), weights_of(nlp)
    train(nlp)
    limit = 3 if frozen == "all" else frozen
    found = {depth_of(nlp, name) for name in moved(before, body_weights(nlp))}
    assert found == set(range(limit + 1, 4))
    assert moved(head, weights_of(nlp)) == set(head)


def test_frozen_after_loading_too(bert: Path, tmp_path: Path) -> None:
    train(shared_pipeline(bert, tuning={"frozen_depth": 2})).to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    before = body_weights(nlp)
    train(nlp)
    assert {depth_of(nlp, name) for name in moved(before, body_weights(nlp))} == {3}


def test_biases_and_norms_alone(bert: Path) -> None:
    nlp = shared_pipeline(bert, tuning={"trainable": "bias_and_norm"})
    before = body_weights(nlp)
    train(nlp)
    found = moved(before, body_weights(nlp))
    assert found
    assert all(before[name].ndim == 1 for name in found)


def test_unfreezing_counts_our_steps_and_moments_do_not_move_what_is_frozen(bert: Path) -> None:
    nlp = shared_pipeline(bert, tuning={"frozen_depth": "all", "unfreeze_every": 2, "unfreeze_down_to": 1})
    sgd, seen = AdamW(learn_rate=1e-2), []
    for _ in range(6):
        before = body_weights(nlp)
        nlp.update(tagged(nlp), sgd=sgd)
        seen.append(min((depth_of(nlp, name) for name in moved(before, body_weights(nlp))), default=4))
    # nlp.update steps the transformer before the classifier's gradients arrive: a step late, as for every listener.
    assert seen == [4, 4, 4, 3, 3, 2]


def test_frozen_depths_run_without_dropout_and_frozen_wholly_the_transformer_is_as_in_prediction(bert: Path) -> None:
    nlp = shared_pipeline(bert, tuning={"frozen_depth": "all"})
    docs = [nlp.make_doc(text) for text in TEXTS[:4]]
    model = nlp.get_pipe("transformer").model
    learned, _ = model.begin_update(docs)
    predicted = model.predict(docs)
    a, b = (out.model_output.last_hidden_state for out in (learned, predicted))
    assert torch.allclose(a, b, atol=1e-6)
    half = shared_pipeline(bert, tuning={"frozen_depth": 2})
    half.get_pipe("transformer").model.begin_update(docs)
    layers = body_of(half).encoder.layer
    assert [layer.output.dropout.training for layer in layers] == [False, False, True]


def test_a_frozen_transformer_has_to_annotate(quiet_bert: Path) -> None:
    nlp = shared_pipeline(quiet_bert)
    before, head = body_weights(nlp), weights_of(nlp)
    with pytest.raises(ValueError, match=r"T202.*annotating_components"):
        nlp.update(tagged(nlp), exclude=["transformer"])
    sgd = AdamW(learn_rate=1e-2)
    nlp.update(tagged(nlp), exclude=["transformer"], annotates=["transformer"], sgd=sgd)
    assert not moved(before, body_weights(nlp))
    assert moved(head, weights_of(nlp)) == set(head)


@pytest.mark.parametrize("annotating", [True, False])
def test_frozen_components_in_the_config(annotating: bool, quiet_bert: Path, tmp_path: Path) -> None:
    source = spacy.blank("xx")
    add_transformer(source, quiet_bert)
    source.initialize()
    source.to_disk(tmp_path / "source")
    nlp = spacy.blank("xx")
    nlp.add_pipe("transformer", source=spacy.load(tmp_path / "source"))
    add_shared(nlp)
    docs = DocBin(docs=[example.reference for example in exclusive_examples(nlp)])
    docs.to_disk(tmp_path / "train.spacy")
    config = nlp.config.copy()
    config["components"]["transformer"] = {"source": str(tmp_path / "source")}
    config["corpora"] = {"train": {"@readers": "spacy.Corpus.v1", "path": str(tmp_path / "train.spacy")}}
    config["corpora"]["dev"] = config["corpora"]["train"]
    config["training"]["frozen_components"] = ["transformer"]
    config["training"]["annotating_components"] = ["transformer"] if annotating else []
    if not annotating:
        with pytest.raises(ValueError, match=r"T202.*'transformer' is frozen.*annotating_components"):
            init_nlp(config)
        return
    out = init_nlp(config)
    out.to_disk(tmp_path / "out")
    assert scores_of(out, TEXTS).shape == (len(TEXTS), 3)


# ---- errors ------------------------------------------------------------------------------------------------------


def test_order_and_upstream(quiet_bert: Path) -> None:
    def start(nlp: Language) -> None:
        nlp.initialize(lambda: exclusive_examples(nlp))

    nlp = spacy.blank("xx")
    add_shared(nlp)
    with pytest.raises(ValueError, match=r"T201.*no transformer component named '\*'"):
        start(nlp)
    add_transformer(nlp, quiet_bert, last=True)
    with pytest.raises(ValueError, match=r"T201.*\['transfer_textcat', 'transformer'\]"):
        start(nlp)
    nlp = spacy.blank("xx")
    add_transformer(nlp, quiet_bert)
    add_shared(nlp, encoder={"upstream": "other"})
    with pytest.raises(ValueError, match=r"T201.*named 'other'"):
        start(nlp)
    add_transformer(nlp, quiet_bert, name="other", first=True)
    start(nlp)
    nlp = spacy.blank("xx")
    add_transformer(nlp, quiet_bert)
    add_transformer(nlp, quiet_bert, name="other")
    add_shared(nlp)
    with pytest.raises(ValueError, match=r"T201.*leaves open which of \['transformer', 'other'\]"):
        start(nlp)
    with pytest.raises(ValueError, match=r"T201.*call nlp.initialize"):
        nlp.get_pipe(NAME).initialize(lambda: exclusive_examples(nlp))
    nlp = spacy.blank("xx")
    add_transformer(nlp, quiet_bert)
    pipe = add_shared(nlp)
    with pytest.raises(ValueError, match=r"T201.*'transformer' has no weights yet"):
        pipe.initialize(lambda: exclusive_examples(nlp), nlp=nlp)


@pytest.mark.parametrize(
    "blocks",
    [
        {"tuning": {"lr_decay": 0.9}},
        {"tuning": {"embeddings_lr_factor": 2.0}},
        {"gradient_checkpointing": True},
        {"precision": "bf16"},
        {"text": {"sources": ["_.title"]}},
        {"augmentation": {"@misc": "spacy-transfer.Augmentation.v1"}},
        {"tuning": {"adapter": {"@misc": "spacy-transfer.LoRA.v1"}}},
        {"head": {"@layers": "spacy-transfer.LabelQueryHead.v1", "init": "names", "heads": 2}},
    ],
)
def test_what_a_shared_encoder_cannot_follow(blocks: Any) -> None:
    with pytest.raises(ValueError, match="T205"):
        add_shared(spacy.blank("xx"), **blocks)


def test_a_brick_out_of_range_and_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"T005.*grad_factor"):
        SharedEncoder(grad_factor=-1)
    assert SharedEncoder(grad_factor="0.5").grad_factor == 0.5
    for call in (SharedEncoder().load, lambda: SharedEncoder().rebuild({})):
        with pytest.raises(ValueError, match="T200"):
            call()


def test_too_many_frozen_layers(quiet_bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T061.*'the transformer' has 3"):
        shared_pipeline(quiet_bert, tuning={"frozen_depth": 4})


def test_prediction_without_states(trained: Language) -> None:
    with trained.select_pipes(disable=["transformer"]), pytest.raises(ValueError, match=r"T202.*'my card is lost'"):
        trained("my card is lost")


def test_another_batch_and_another_order(quiet_bert: Path) -> None:
    nlp = shared_pipeline(quiet_bert)
    examples = exclusive_examples(nlp, 4)
    transformer, pipe = nlp.get_pipe("transformer"), nlp.get_pipe(NAME)
    transformer.update(examples)
    with pytest.raises(ValueError, match=r"T203.*another batch"):
        pipe.update(examples[:2])
    transformer.update(examples)
    with pytest.raises(ValueError, match=r"T203.*the order is another"):
        pipe.update(sorted(examples, key=lambda example: len(example.predicted)))


def test_another_width(trained: Language, encoder_folder: Any, tmp_path: Path) -> None:
    from conftest import write_encoder

    wide = shared_pipeline(write_encoder(tmp_path / "wide", "bert", hidden_size=24, num_attention_heads=2))
    nlp = spacy.blank("xx")
    nlp.add_pipe("transformer", source=wide)
    nlp.add_pipe(NAME, source=trained)
    with pytest.raises(ValueError, match=r"T204.*width 24.*width 16"):
        nlp("my card is lost")
    with pytest.raises(ValueError, match="T204"):
        nlp.update(exclusive_examples(nlp), sgd=False)


# ---- documents ---------------------------------------------------------------------------------------------------


def test_empty_documents(quiet_bert: Path) -> None:
    nlp = train(shared_pipeline(quiet_bert))
    texts = ["", TEXTS[0], "", TEXTS[1]]
    found = scores_of(nlp, texts)
    assert found.isfinite().all()
    assert torch.equal(found[0], found[2])
    assert torch.allclose(found[1::2], scores_of(nlp, TEXTS[:2]), atol=1e-6)
    assert scores_of(nlp, ["", ""]).shape == (2, 3)
    cats = [dict.fromkeys(LABELS, 0.0) | {"card": 1.0}] * 4
    batch = [Example.from_dict(nlp.make_doc(t), {"cats": c}) for t, c in zip(texts, cats, strict=True)]
    for examples in (batch, batch[:1], batch):
        assert np.isfinite(nlp.update(examples, sgd=AdamW(learn_rate=1e-3))[NAME])


@pytest.mark.parametrize(
    ("spans", "n_tokens", "expected"),
    [
        ([(0, 4)], 4, [(0, 6)]),
        # Rows of 4 tokens and two special pieces; two tokens shared, one each.
        ([(0, 4), (2, 6)], 6, [(0, 4), (2, 6)]),
        ([(0, 4), (1, 5)], 5, [(0, 3), (2, 6)]),
        ([(0, 4), (4, 8)], 8, [(0, 5), (1, 6)]),
        ([(0, 4), (2, 6), (4, 8)], 8, [(0, 4), (2, 4), (2, 6)]),
    ],
)
def test_each_token_counts_once(spans: Any, n_tokens: int, expected: Any) -> None:
    """One piece a token, a special piece at both ends of each row."""
    n_pieces = 6
    found = [[row * n_pieces + 1 + t - b for row, (b, e) in enumerate(spans) if b <= t < e] for t in range(n_tokens)]
    positions = np.array([position for token in found for position in token])
    ranges = counted_ranges(positions, np.array([len(t) for t in found]), n_pieces, np.full(len(spans), n_pieces))
    assert ranges == expected
    assert sum(end - begin for begin, end in ranges) == n_tokens + 2


@pytest.mark.parametrize("n_tokens", [1, 11, 12, 13, 15, 16, 17, 24, 28, 29, 60])
def test_each_piece_of_a_cut_document_counts_once(n_tokens: int, trained: Language) -> None:
    text = " ".join((["lost", "xyz", "card,"] * n_tokens)[:n_tokens]).replace(",", "")
    doc = trained(text)
    states = gather([doc._.trf_data], 16, torch.device("cpu"))
    whole = trained.get_pipe("transformer").model.tokenizer(text)["input_ids"]
    counted = states.batch.ids[states.batch.counted.bool()].tolist()
    assert counted == whole
    gradient = torch.arange(states.states.numel(), dtype=torch.float32).view_as(states.states) + 1.0
    gradient = gradient * states.batch.mask.unsqueeze(2)
    (back,) = scatter(gradient, states, [doc._.trf_data])
    assert back.model_output.last_hidden_state.shape == doc._.trf_data.model_output.last_hidden_state.shape
    assert back.model_output.last_hidden_state.sum() == pytest.approx(float(gradient.sum()))


def test_blanks_alone(quiet_bert: Path) -> None:
    nlp = shared_pipeline(quiet_bert, pooling={"@layers": "spacy-transfer.MaxPooling.v1"})
    doc = nlp.make_doc("\n " * 80)
    blank = Doc(nlp.vocab, words=["\n"] * 40, spaces=[False] * 40)
    assert torch.tensor([list(d.cats.values()) for d in nlp.pipe([doc, blank])]).isfinite().all()
    vectors = shim_of(nlp).vectors([blank._.trf_data])
    assert vectors.abs().max() < 100.0


def test_padding_on_the_left() -> None:
    mask = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]], dtype="f")
    ids = np.arange(12).reshape(2, 6)
    # Tokens 0 and 1 in the first row, 1 to 4 in the second, special pieces at both ends.
    align = Ragged(np.array([3, 4, 7, 8, 9, 10], dtype="i"), np.array([1, 2, 1, 1, 1], dtype="i"))
    pieces = WordpieceBatch([[""] * 6] * 2, ids, mask, [4, 6], None)
    states = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("f")
    data = TransformerData(pieces, ModelOutput(last_hidden_state=states), align)
    found = gather([data], 3, torch.device("cpu"))
    assert found.batch.ids.tolist() == [[2, 3, 4, 5, 0, 0], [6, 7, 8, 9, 10, 11]]
    assert found.batch.ids[found.batch.counted.bool()].tolist() == [2, 3, 7, 8, 9, 10, 11]
    (back,) = scatter(found.states, found, [data])
    assert np.array_equal(back.model_output.last_hidden_state, states * mask[:, :, None])


def test_batches_change_nothing(trained: Language) -> None:
    texts = [*TEXTS[:5], LONG, "", "lost"]
    together = scores_of(trained, texts)
    alone = torch.cat([scores_of(trained, [text]) for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)


# ---- the head ----------------------------------------------------------------------------------------------------


def test_a_solved_head(quiet_bert: Path) -> None:
    start = {"@misc": "spacy-transfer.LinearProbe.v1", "loss_fraction": 0.0}
    own = pipeline(quiet_bert, head_init=start)
    shared = shared_pipeline(quiet_bert, head_init=start)
    assert torch.allclose(scores_of(shared, TEXTS), scores_of(own, TEXTS), atol=2e-3)
    assert not torch.allclose(scores_of(shared, TEXTS), scores_of(shared_pipeline(quiet_bert), TEXTS), atol=2e-3)


def test_new_labels(quiet_bert: Path) -> None:
    nlp = train(shared_pipeline(quiet_bert, multilabel=True))
    before = scores_of(nlp, TEXTS)
    nlp.get_pipe(NAME).add_label("new")
    after = scores_of(nlp, TEXTS)
    assert torch.allclose(after[:, :-1], before, atol=1e-6)
    nlp.update(multilabel_examples(nlp), sgd=AdamW(learn_rate=1e-3))


def test_a_loop_of_ones_own_goes_through_begin_update(quiet_bert: Path) -> None:
    nlp = shared_pipeline(quiet_bert)
    examples = exclusive_examples(nlp)
    pipe = nlp.get_pipe(NAME)
    nlp.update(examples, sgd=False)
    expected = body_gradients(nlp)
    body_of(nlp).zero_grad()
    nlp.get_pipe("transformer").update(examples)
    logits, backprop = pipe.model.begin_update([example.predicted for example in examples])
    backprop(pipe.get_loss(examples, logits)[1])
    found = body_gradients(nlp)
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)


def test_a_head_that_reads_states(quiet_bert: Path) -> None:
    head = {"@layers": "spacy-transfer.LabelQueryHead.v1", "init": "random", "heads": 2}
    own, shared = (make(quiet_bert, head=head) for make in (pipeline, shared_pipeline))
    network_of(shared).head.load_state_dict(network_of(own).head.state_dict())
    assert torch.allclose(scores_of(shared, [*TEXTS, "lost"]), scores_of(own, [*TEXTS, "lost"]), atol=1e-5)
    before = body_weights(shared)
    train(shared)
    assert {depth_of(shared, name) for name in moved(before, body_weights(shared))} == {0, 1, 2, 3}
    scores_of(shared, [LONG, ""])


@pytest.mark.parametrize("name", ["SupervisedContrastive", "RDrop", "Mixup"])
def test_losses_that_look_at_the_whole_batch(name: str, quiet_bert: Path) -> None:
    loss = {"@losses": f"spacy-transfer.{name}.v1", "loss": {"@losses": "spacy-transfer.CrossEntropy.v1"}}
    own, shared = (make(quiet_bert, loss=loss) for make in (pipeline, shared_pipeline))
    network_of(shared).load_state_dict(
        {k: v for k, v in network_of(own).state_dict().items() if not k.startswith("encoder.")}
    )
    found = []
    for nlp in (own, shared):
        torch.manual_seed(3)
        found.append(nlp.update(exclusive_examples(nlp), sgd=False)[NAME])
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    expected = {n.removeprefix("encoder.body."): w.grad.to_dense() for n, w in network_of(own).named_parameters()}
    for key, gradient in body_gradients(shared).items():
        assert torch.allclose(gradient * len(TEXTS), expected[key], atol=1e-4), key


# ---- storage -----------------------------------------------------------------------------------------------------


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
    args = ["package", str(tmp_path / "model"), str(tmp_path / "out"), "--build", "none", "--name", "shared"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "out").glob("xx_shared-*/xx_shared/xx_shared-*")
    assert torch.equal(scores_of(spacy.load(folder), TEXTS), scores_of(trained, TEXTS))


# ---- taking over -------------------------------------------------------------------------------------------------


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
    with pytest.raises(ValueError, match=r"T207.*an encoder of its own.*none"):
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
    for name in ("shared", "listener"):
        monkeypatch.delitem(sys.modules, f"spacy_transfer.model.{name}", raising=False)
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


# ---- the config --------------------------------------------------------------------------------------------------


def test_the_shipped_config_trains(quiet_bert: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    DocBin(docs=[example.reference for example in exclusive_examples(nlp)]).to_disk(tmp_path / "train.spacy")
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    shipped = Path(__file__).parent.parent / "configs" / "shared.cfg"
    args: Sequence[Any] = [
        "train", shipped, "--output", tmp_path / "out", "--paths.train", tmp_path / "train.spacy",
        "--paths.dev", tmp_path / "train.spacy", "--paths.labels", tmp_path / "labels.json",
        "--paths.encoder", quiet_bert, "--training.max_steps", 4, "--training.eval_frequency", 2,
        "--training.optimizer.learn_rate.warmup", 0.25,
        "--components.transfer_textcat.model.tuning.frozen_depth", 2,
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    trained = spacy.load(tmp_path / "out" / "model-last")
    start = spacy.util.load_model_from_config(trained.config, auto_fill=True)
    start.initialize(lambda: exclusive_examples(start), sgd=AdamW())
    assert {depth_of(trained, n) for n in moved(body_weights(start), body_weights(trained)) if "pooler" not in n} == {3}
    assert shim_of(trained).n_steps >= 4


@pytest.mark.parametrize("frozen", [-1, 2])
def test_stopped_and_resumed_it_trains_to_the_same_bytes(
    bert: Path, tmp_path: Path, frozen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transformer, a tagger that listens and the classifier, with the states of no batch in a checkpoint."""
    nlp = shared_pipeline(bert, tuning={"frozen_depth": frozen})
    corpus = write_corpus(tmp_path)
    block = config_of(bert, corpus, "half frozen, sizes and rates on schedules", steps=7)
    config = Config({**nlp.config.interpolate(), **{key: block[key] for key in ("corpora", "training", "initialize")}})
    config["training"]["optimizer"]["use_averages"] = True
    run_training(config, tmp_path / "whole")
    with killed_at(monkeypatch, 5):
        run_training(config, tmp_path / "parts", checkpoint_every="3")
    run_training(config, tmp_path / "parts", resume=True)
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "parts")
    for name in ("model-last", "model-best"):
        whole, parts = (files_of(tmp_path / folder / name) for folder in ("whole", "parts"))
        assert whole == parts
