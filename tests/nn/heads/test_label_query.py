"""A decoder with one query per label as head."""

import copy
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import DocBin

from house_kit.encoders import WIDTH
from house_kit.pipelines import add_classifier, moved, network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.repository import REPOSITORY
from house_kit.slow import mostly_slow
from house_kit.texts import LABELS, TEXTS, examples_of, exclusive_examples, multilabel_examples, one_hot
from spacy_transfer.model.cache.direct import Direct
from spacy_transfer.model.cache.state_cache import StateCache
from spacy_transfer.model.features.joining import Inputs
from spacy_transfer.model.shims.label_names import name_vectors, words_of
from spacy_transfer.nn.devices.precision import resolve_precision
from spacy_transfer.nn.heads.label_query import LabelQueryDecoder, LabelQueryHead, document_states
from spacy_transfer.nn.tuning import describe
from spacy_transfer.training.adamw import AdamW

QUERY = {"@layers": "spacy-transfer.LabelQueryHead.v1", "heads": 2}
# Longer than a window of 32 pieces, shorter, and of none.
LONG = " ".join(["my card is lost and the money is late"] * 12)
MIXED = [LONG, "card", "", "the login is broken", f"{LONG} refund"]


def query(**fields: Any) -> dict[str, Any]:
    return {**QUERY, **fields}


def learn(nlp: Language, examples: Sequence[Any], steps: int = 3, rate: float = 1e-2) -> None:
    sgd = AdamW(learn_rate=rate)
    for _ in range(steps):
        nlp.update(examples, sgd=sgd)


def logits(nlp: Language, texts: Sequence[str]) -> torch.Tensor:
    return torch.tensor(shim_of(nlp).logits(Inputs(texts)))


def decoder(n_labels: int = 3, width: int = 8, **fields: Any) -> LabelQueryDecoder:
    torch.manual_seed(0)
    built = LabelQueryHead(**{"heads": 2, **fields}).build(width, n_labels).eval()
    with torch.no_grad():
        # Queries and biases that matter.
        for weight in built.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    return built


# ---- the decoder alone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"layers": 2, "self_attention": True}, {"feed_forward": 0}])
def test_is_torchs_decoder_layer(fields: dict[str, Any]) -> None:
    """Weights moved into `nn.TransformerDecoderLayer`; without self-attention or feed-forward its part gives zero."""
    width, wide = 8, fields.get("feed_forward", 16)
    ours = decoder(layers=fields.get("layers", 1), self_attention="self_attention" in fields, feed_forward=wide)
    states, seen = torch.randn(4, 5, width), torch.ones(4, 5, dtype=torch.bool)
    seen[1, 2:] = False
    decoded = ours.queries.expand(4, -1, -1)
    for layer in ours.layers:
        theirs = torch.nn.TransformerDecoderLayer(
            width, 2, max(wide, 1), 0.0, "gelu", batch_first=True, norm_first=True
        )
        with torch.no_grad():
            for weight in theirs.parameters():
                weight.zero_()
            pairs = [(layer.between, theirs.self_attn), (layer.reading, theirs.multihead_attn)]
            for mine, yours in pairs:
                if mine is not None:
                    yours.in_proj_weight.copy_(torch.cat([mine.query.weight, mine.key_value.weight]))
                    yours.in_proj_bias.copy_(torch.cat([mine.query.bias, mine.key_value.bias]))
                    yours.out_proj.load_state_dict(mine.output.state_dict())
            if layer.between_norm is not None:
                theirs.norm1.load_state_dict(layer.between_norm.state_dict())
            theirs.norm2.load_state_dict(layer.reading_norm.state_dict())
            if layer.feed_forward is not None:
                theirs.norm3.load_state_dict(layer.feed_forward[0].state_dict())
                theirs.linear1.load_state_dict(layer.feed_forward[1].state_dict())
                theirs.linear2.load_state_dict(layer.feed_forward[4].state_dict())
        # Training mode without dropout: torch's shorter way in evaluation mode is another calculation.
        decoded = theirs.train()(decoded, states, memory_key_padding_mask=~seen)
    wanted = torch.einsum("nlw,lw->nl", ours.norm(decoded), ours.output.weight) + ours.output.bias
    torch.testing.assert_close(ours(states, seen), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("self_attention", [False, True])
def test_gradients_against_finite_differences(self_attention: bool) -> None:
    head = decoder(n_labels=2, width=4, self_attention=self_attention, layers=2, feed_forward=3).double()
    # The head works in fp32; in double for this comparison alone.
    states = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    seen = torch.tensor([[True, True, True], [True, False, False]])
    names = [name for name, _ in head.named_parameters()]

    def run(states: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(head, dict(zip(names, weights, strict=True)), (states, seen))

    float_, torch.Tensor.float = torch.Tensor.float, lambda self: self  # type: ignore[assignment,method-assign]
    try:
        assert torch.autograd.gradcheck(run, (states, *head.parameters()))
    finally:
        torch.Tensor.float = float_  # type: ignore[method-assign]


def test_what_is_not_seen_changes_nothing() -> None:
    head = decoder(layers=2, self_attention=True)
    states, seen = torch.randn(2, 6, 8), torch.ones(2, 6, dtype=torch.bool)
    seen[0, 4:] = False
    wanted = head(states, seen)
    other = states.clone()
    other[0, 4:] = 1e4
    assert torch.equal(head(other, seen), wanted)
    torch.testing.assert_close(head(states[:1, :4], seen[:1, :4]), wanted[:1], atol=1e-5, rtol=1e-5)


def test_each_piece_of_a_document_once_and_in_order() -> None:
    """Rows of three documents, of which the second lies in three windows."""
    owner = torch.tensor([0, 1, 1, 1, 2])
    counted = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 0]])
    states = torch.arange(20.0).view(5, 4, 1).requires_grad_()
    found, seen = document_states(states, counted, owner, 3)
    assert seen.sum(dim=1).tolist() == [2, 7, 1]
    wanted = [[0, 1], [4, 5, 6, 9, 10, 14, 15], [16]]
    assert [row[mask].flatten().tolist() for row, mask in zip(found, seen, strict=True)] == wanted
    found[seen].sum().backward()
    assert states.grad is not None
    assert torch.equal(states.grad.squeeze(2), counted.float())


@pytest.mark.parametrize("self_attention", [False, True])
@pytest.mark.parametrize("vectors", [None, torch.full((2, 8), 5.0)])
def test_growing_leaves_old_logits_and_starts_new_ones_from_their_mean(self_attention: bool, vectors: Any) -> None:
    head = decoder(layers=2, self_attention=self_attention)
    states, seen = torch.randn(4, 5, 8), torch.ones(4, 5, dtype=torch.bool)
    before = head(states, seen)
    head.resize(5, vectors)
    after = head(states, seen)
    torch.testing.assert_close(after[:, :3], before, atol=1e-6, rtol=1e-6)
    for weight in (head.output.weight, head.output.bias):
        torch.testing.assert_close(weight[3:], weight[:3].mean(dim=0, keepdim=True).expand_as(weight[3:]))
    assert head.n_labels == 5
    if vectors is not None:
        assert torch.equal(head.queries[3:], vectors)
    # And again, when the new labels have learned something: they see the old ones, never the other way round.
    with torch.no_grad():
        head.output.weight.normal_()
        head.queries[3:] += 1.0
    again = head(states, seen)
    head.resize(6, None if vectors is None else vectors[:1])
    torch.testing.assert_close(head(states, seen)[:, :5], again, atol=1e-6, rtol=1e-6)


def test_labels_of_the_start_see_each_other_and_later_ones_see_all_before() -> None:
    head = decoder(n_labels=2, layers=2, self_attention=True)
    head.resize(3)
    with torch.no_grad():
        head.output.weight.normal_()
    states, seen = torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)
    for label, others in ((0, {0, 1}), (1, {0, 1}), (2, {0, 1, 2})):
        (gradient,) = torch.autograd.grad(head(states, seen)[0, label], head.queries)
        assert set(gradient.abs().sum(dim=1).nonzero().flatten().tolist()) == others


# ---- in a pipeline -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("self_attention", [False, True])
def test_batch_mates_and_micro_batches_change_nothing(quiet_bert: Path, self_attention: bool) -> None:
    head = query(layers=2, self_attention=self_attention)
    nlp = pipeline(quiet_bert, head=head)
    learn(nlp, exclusive_examples(nlp))
    together = scores_of(nlp, MIXED)
    alone = torch.cat([scores_of(nlp, [text]) for text in MIXED])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0.0)
    gradients = []
    for budget in (32, 4096):
        small = pipeline(quiet_bert, head=head, piece_budget=budget)
        examples = examples_of(small, MIXED, [one_hot(LABELS[i % 3]) for i in range(len(MIXED))])
        small.update(examples, sgd=False)
        gradients.append({name: w.grad for name, w in network_of(small).named_parameters() if w.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert "head.queries" in gradients[0]
    assert not any(name.startswith("pooling") for name in gradients[0])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)


def test_windows_change_nothing_for_short_texts(quiet_bert: Path) -> None:
    """And a long text's pieces are all read, the overlap once."""
    one, other = (
        pipeline(quiet_bert, head=QUERY, windows={"length": length, "stride": 8}) for length in (20, 40)
    )  # fmt: skip
    short = [text for text in TEXTS if len(text.split()) < 10]
    torch.testing.assert_close(scores_of(one, short), scores_of(other, short), atol=1e-6, rtol=0.0)
    shim = shim_of(one)
    n_pieces = len(shim.tokenizer.encode([LONG])[0])
    (rows,) = shim.reader.read([LONG], remember=False)
    assert len(rows) > 2
    assert sum(end - begin for begin, end in (row.counted for row in rows)) == n_pieces + shim.tokenizer.n_special
    # What stands at the end of a long text counts.
    assert not torch.allclose(logits(one, [LONG]), logits(one, [f"{LONG} refund"]), atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("start", [pytest.param("random", marks=pytest.mark.slow), "names"])
@pytest.mark.parametrize("multilabel", [False, True])
def test_learns(quiet_bert: Path, multilabel: bool, start: str) -> None:
    nlp = pipeline(quiet_bert, multilabel=multilabel, head=query(init=start))
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    learn(nlp, examples, steps=90 if multilabel else 50, rate=5e-3)
    scores = nlp.evaluate(examples)
    assert scores["cats_macro_f"] > 0.8
    if not multilabel:
        assert scores_of(nlp, MIXED).sum(dim=1).sub(1.0).abs().max() < 1e-5


@pytest.mark.parametrize("frozen", [1, 2, "all"])
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_cached_is_uncached(quiet_bert: Path, frozen: Any, precision: str) -> None:
    found = []
    for cache in ({"memory": 0}, {}):
        nlp = pipeline(
            quiet_bert, head=query(self_attention=True), tuning={"frozen_depth": frozen}, cache=cache,
            precision=precision,
        )  # fmt: skip
        before = weights_of(nlp)
        examples = examples_of(nlp, MIXED, [one_hot(LABELS[i % 3]) for i in range(len(MIXED))])
        learn(nlp, examples, steps=4)
        changed = moved(before, weights_of(nlp))
        assert {"head.queries", "head.output.weight"} <= changed
        assert any(name.startswith("encoder") for name in changed) == (frozen != "all")
        found.append(scores_of(nlp, MIXED))
        assert type(shim_of(nlp).pathway) is (Direct if cache else StateCache)
    exact = precision == "fp32" or resolve_precision("auto", torch.device("cpu")) == torch.float32
    torch.testing.assert_close(found[0], found[1], atol=1e-5 if exact else 2e-2, rtol=0.0)


@pytest.mark.parametrize("pooling", ["MeanPooling", "ClsPooling", "MaxPooling"])
def test_pooling_without_weights_is_not_used(quiet_bert: Path, pooling: str) -> None:
    other = pipeline(quiet_bert, head=QUERY, pooling={"@layers": f"spacy-transfer.{pooling}.v1"})
    assert torch.equal(logits(other, MIXED), logits(pipeline(quiet_bert, head=QUERY), MIXED))


def test_the_head_computes_in_fp32(bert: Path) -> None:
    nlp = pipeline(bert, head=QUERY, precision="auto")
    seen = []
    head = network_of(nlp).head
    for module in head.modules():
        module.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    nlp.update(exclusive_examples(nlp), sgd=False)
    scores_of(nlp, MIXED)
    assert set(seen) == {torch.float32}


def test_dropout_of_the_head(bert: Path) -> None:
    for own, wanted in ((None, 0.3), (0.4, 0.4)):
        nlp = pipeline(bert, head=query(dropout=own, layers=2, self_attention=True))
        nlp.update(exclusive_examples(nlp), sgd=False, drop=0.3)
        rates = [m.p for m in network_of(nlp).head.modules() if isinstance(m, torch.nn.Dropout)]
        assert len(rates) > 6
        assert set(rates) == {wanted}
    head = decoder()
    states, seen = torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    # Of attention weights too, and only in training.
    head.set_dropout(0.5)
    assert torch.equal(head(states, seen), head(states, seen))
    for part in (head.layers[0].reading, head):
        part.train()
        assert not torch.equal(head(states, seen), head(states, seen))


def test_the_table_counts_it_with_pooling_and_head(bert: Path) -> None:
    nlp = pipeline(bert, head=QUERY, tuning={"frozen_depth": "all"})
    top = describe(network_of(nlp), shim_of(nlp).settings.tuning)[0]
    n_weights = sum(weight.numel() for weight in network_of(nlp).head.parameters())
    assert (top.n_weights, top.n_trainable) == (n_weights, n_weights)


# ---- new labels, storage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize(
    "fields", [{}, *mostly_slow([{"init": "names"}, {"layers": 2, "self_attention": True}], but=[{"init": "names"}])]
)
def test_new_labels_leave_the_old_logits(bert: Path, multilabel: bool, fields: dict[str, Any], tmp_path: Path) -> None:
    nlp = pipeline(bert, multilabel=multilabel, head=query(**fields))
    learn(nlp, multilabel_examples(nlp) if multilabel else exclusive_examples(nlp))
    pipe = nlp.get_pipe(nlp.pipe_names[0])
    before = logits(nlp, MIXED)
    assert pipe.add_label("broken_screen") == 1
    after = logits(nlp, MIXED)
    torch.testing.assert_close(after[:, :-1], before, atol=1e-6, rtol=1e-6)
    assert (after[:, -1] == after[0, -1]).all()
    if "init" in fields:
        wanted = name_vectors(["broken screen"], network_of(nlp), shim_of(nlp).reader)[0]
        assert torch.equal(network_of(nlp).head.queries[-1], wanted)
    # It learns, and what was learned is stored: with it the order in which labels came.
    cats = [dict.fromkeys(pipe.labels, 0.0) | {"broken_screen": 1.0}] * 2
    new = examples_of(nlp, ["screen broken", "my broken screen"], cats)
    learn(nlp, new, steps=30)
    assert nlp("screen broken").cats["broken_screen"] > 0.5
    nlp.to_disk(tmp_path)
    same = spacy.load(tmp_path)
    assert torch.equal(scores_of(same, MIXED), scores_of(nlp, MIXED))
    old = logits(same, MIXED)
    same.get_pipe(pipe.name).add_label("price")
    torch.testing.assert_close(logits(same, MIXED)[:, :-1], old, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("way", ["disk", "bytes", "pickle", "copy"])
def test_stored_and_loaded(bert: Path, tmp_path: Path, way: str) -> None:
    nlp = pipeline(bert, head=query(init="names", self_attention=True, layers=2))
    learn(nlp, exclusive_examples(nlp))
    if way == "disk":
        nlp.to_disk(tmp_path)
        other = spacy.load(tmp_path)
    elif way == "bytes":
        other = spacy.util.load_model_from_config(nlp.config, auto_fill=True).from_bytes(nlp.to_bytes())
    else:
        other = pickle.loads(pickle.dumps(nlp)) if way == "pickle" else copy.deepcopy(nlp)
    assert torch.equal(scores_of(other, MIXED), scores_of(nlp, MIXED))
    for one in (other, nlp):
        torch.manual_seed(1)
        learn(one, exclusive_examples(one))
    assert not moved(weights_of(other), weights_of(nlp))


def test_the_shipped_config_trains(quiet_bert: Path, tmp_path: Path) -> None:
    config = spacy.util.load_config(REPOSITORY / "configs" / "label_query.cfg")
    docs = [example.reference for example in multilabel_examples(spacy.blank("xx"))]
    DocBin(docs=docs).to_disk(tmp_path / "docs.spacy")
    (tmp_path / "labels.json").write_text(json.dumps(sorted(docs[0].cats)))
    config["paths"] = {name: str(tmp_path / "docs.spacy") for name in ("train", "dev")}
    config["paths"] |= {"labels": str(tmp_path / "labels.json"), "encoder": str(quiet_bert)}
    # The tiny encoder has 40 positions.
    model = config["components"]["transfer_textcat_multilabel"]["model"]
    model["windows"] = {"length": 32, "stride": 20}
    config["training"] |= {"max_steps": 2, "eval_frequency": 1}
    config.to_disk(tmp_path / "config.cfg")
    train(tmp_path / "config.cfg", tmp_path / "out")
    nlp = spacy.load(tmp_path / "out" / "model-last")
    assert isinstance(network_of(nlp).head, LabelQueryDecoder)
    assert set(nlp("card").cats) == {*LABELS, "late"}
    # What fill-config writes out: every field of the block.
    head = nlp.config["components"]["transfer_textcat_multilabel"]["model"]["head"]
    fields = {"layers", "heads", "feed_forward", "activation", "dropout", "self_attention", "init"}
    assert head.keys() == {"@layers", *fields}


# ---- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("card_lost", "card lost"), ("card:lost", "card lost"), ("cardLost", "card lost"), ("CardLost", "card lost"),
        ("HTTPError", "HTTP error"), ("a", "a"), ("B", "b"), ("__", ""), ("", ""), ("top/card.lost", "top card lost"),
        ("Überweisung_fehlt", "überweisung fehlt"), ("two words", "two words"), ("卡_丢失", "卡 丢失"),
        ("sci-fi", "sci-fi"), ("GPT4All", "gpt4all"), ("USA", "USA"),
    ],
)  # fmt: skip
def test_words_of_a_label(label: str, words: str) -> None:
    assert words_of(label) == words


def test_queries_start_from_the_names(bert: Path) -> None:
    """Each is the mean of the states that the encoder gives for the name, as a text on its own."""
    nlp = spacy.blank("xx")
    add_classifier(nlp, bert, head=query(init="names"))
    labels = ["lost_card", "money", "passwordScreenBroken"]
    nlp.initialize(lambda: examples_of(nlp, labels, [one_hot(label, labels) for label in labels]))
    plain = pipeline(bert)
    wanted = shim_of(plain).pathway.vectors(["lost card", "money", "password screen broken"])
    found = network_of(nlp).head.queries
    # Sorted, as the labels are.
    assert nlp.get_pipe("transfer_textcat").labels == tuple(labels)
    torch.testing.assert_close(found.detach(), wanted, atol=1e-6, rtol=0.0)
    assert found.requires_grad
    nlp.update(exclusive(nlp, labels), sgd=False)
    assert found.grad is not None
    assert (found.grad.abs().sum(dim=1) > 0).all()


def exclusive(nlp: Language, labels: Sequence[str]) -> list[Any]:
    return examples_of(nlp, TEXTS[:3], [one_hot(label, labels) for label in labels])


def test_names_of_nothing(bert: Path) -> None:
    nlp = spacy.blank("xx")
    pipe = add_classifier(nlp, bert, head=query(init="names"))
    labels = ["card", "__", "::"]
    with pytest.raises(ValueError, match=r"T146.*'::', '__'"):
        nlp.initialize(lambda: exclusive(nlp, labels))
    named = pipeline(bert, head=query(init="names"))
    pipe = named.get_pipe("transfer_textcat")
    before = logits(named, TEXTS)
    with pytest.raises(ValueError, match=r"T146.*'__'"):
        pipe.add_label("__")
    # Refused as a whole: the labels and the network still agree.
    assert pipe.labels == tuple(LABELS)
    assert torch.equal(logits(named, TEXTS), before)
    # Random queries need no names.
    free = spacy.blank("xx")
    add_classifier(free, bert, head=QUERY)
    free.initialize(lambda: exclusive(free, labels))
    assert set(free("card").cats) == set(labels)


# ---- bad input ---------------------------------------------------------------------------------------------------


def test_heads_that_do_not_divide(bert: Path) -> None:
    with pytest.raises(ValueError, match=rf"T145.*heads = 3 .*{WIDTH}.*\[1, 2, 4, 8, 16\]"):
        pipeline(bert, head=query(heads=3))


def test_what_needs_vectors_is_refused(bert: Path) -> None:
    with pytest.raises(ValueError, match="T147"):
        pipeline(bert, head=QUERY, head_init={"@misc": "spacy-transfer.LinearProbe.v1"})
    with pytest.raises(ValueError, match=r"T148.*AttentionPooling"):
        pipeline(bert, head=QUERY, pooling={"@layers": "spacy-transfer.AttentionPooling.v1"})
    with pytest.raises(ValueError, match=r"T001.*'pooling'"):
        pipeline(bert, pooling=QUERY)


@pytest.mark.parametrize(
    "values", [{"layers": 0}, {"heads": 0}, {"feed_forward": -1}, {"dropout": 1.0}, {"dropout": "-0.1"}]
)
def test_values_out_of_range(values: Any) -> None:
    with pytest.raises(ValueError, match=rf"T005.*{next(iter(values))}"):
        LabelQueryHead(**values)


@pytest.mark.parametrize("wrong", [{"activation": "sine"}, {"init": "labels"}, {"layer": 1}])
def test_misspelled(bert: Path, wrong: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pipeline(bert, head=query(**wrong))
