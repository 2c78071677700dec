"""One encoder for several components: states from a `transformer` component, gradients back to it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Adam, Config
from thinc.types import Ragged
from typer.testing import CliRunner

from house_kit.pipelines import moved, network_of, pipeline, scores_of, shim_of
from house_kit.repository import REPOSITORY
from house_kit.runs import config_of, files_of, killed_at, log_of, write_corpus
from house_kit.runs import run as run_training
from house_kit.shared import (
    LONG,
    NAME,
    add_shared,
    add_transformer,
    body_gradients,
    body_of,
    body_weights,
    depth_of,
    shared_pipeline,
    tagged,
    train,
)
from house_kit.texts import LABELS, TEXTS, exclusive_examples, multilabel_examples

pytest.importorskip("spacy_transformers")

from spacy_transformers.data_classes import TransformerData, WordpieceBatch
from transformers.utils import ModelOutput

from spacy_transfer.model.shared.states import counted_ranges, gather, scatter
from spacy_transfer.training.adamw import AdamW

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
            # As spacy train does it: all components step after all of them have learned.
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


# ---- the config --------------------------------------------------------------------------------------------------


def test_the_shipped_config_trains(quiet_bert: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("xx")
    DocBin(docs=[example.reference for example in exclusive_examples(nlp)]).to_disk(tmp_path / "train.spacy")
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    shipped = REPOSITORY / "configs" / "shared.cfg"
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
