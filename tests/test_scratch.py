"""An encoder from scratch: its pieces, its layers, its life in a pipeline; raw texts from files."""

import copy
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from conftest import (
    LABELS,
    TEXTS,
    examples_of,
    exclusive_examples,
    moved,
    multilabel_examples,
    network_of,
    one_hot,
    pipeline,
    scores_of,
    shim_of,
    weights_of,
)  # fmt: skip
from scratches import NAME, builder, classifier
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import DocBin
from torch import nn
from typer.testing import CliRunner

from spacy_transfer.corpora.raw_texts import read_raw_texts
from spacy_transfer.model.show import draw
from spacy_transfer.model.text.tokenizer import PieceTokenizer
from spacy_transfer.nn.devices.cpu_kernels import CpuKernels
from spacy_transfer.nn.encoders.encoder import Encoder
from spacy_transfer.nn.encoders.pretrained import build_encoder
from spacy_transfer.nn.scratch.char_ngrams import CharNGrams, CharNGramVectors
from spacy_transfer.nn.scratch.tokenizer_training import BPE, CLS, SEP, SPECIAL, UNK, Unigram, WordLevel
from spacy_transfer.nn.scratch.transformer import waves
from spacy_transfer.training.adamw import AdamW

LONG = " ".join(TEXTS[:6])


DROPPED = {"dropout": 0.1, "word_dropout": 0.1, "depth": 2}
# What configs/scratch.cfg changes.
FEW_TEXTS = {
    "char_ngrams": {"@misc": "spacy-transfer.CharNGrams.v1", "min_pieces": 1}, "norm_states": False,
    "zero_init_residual": True,
}  # fmt: skip


def train(nlp: Language, n_steps: int, rate: float = 1e-2) -> list[float]:
    """Losses of some steps."""
    examples, sgd = exclusive_examples(nlp), AdamW(learn_rate=rate)
    torch.manual_seed(1)
    return [nlp.update(examples, sgd=sgd)[NAME] for _ in range(n_steps)]


def lively(encoder: Encoder) -> Encoder:
    """With weights that all show in the states."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn_like(weight) * (0.3 if weight.ndim > 1 else 0.2))
    return encoder.eval()


def batch(encoder: Encoder, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random rows, padded on the right."""
    torch.manual_seed(0)
    ids = torch.randint(len(SPECIAL), encoder.body.config.vocab_size, (len(lengths), max(lengths)))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return ids * mask, mask


# ---- pieces ------------------------------------------------------------------------------------------------------

PIECES = {
    "words": WordLevel(), "words-all": WordLevel(min_frequency=1, lower_case=False),
    "digits": WordLevel(same_digits=True),
    "byte-pairs": BPE(size=300), "byte-pairs-case": BPE(size=400, lower_case=False),
    "unigram": Unigram(size=90), "unigram-case": Unigram(lower_case=False),
}  # fmt: skip


@pytest.mark.parametrize("name", PIECES)
def test_tokenizers_do_not_depend_on_the_order_of_the_texts(name: str) -> None:
    shuffled = [*TEXTS, "Order 17, please!"]
    trained = set()
    for seed in range(4):
        random.Random(seed).shuffle(shuffled)
        trained.add(PIECES[name].train(iter(shuffled)))
    assert len(trained) == 1


def test_tokenizers_are_the_same_in_another_process() -> None:
    """Hash tables are seeded anew in every process."""
    code = """
import hashlib, sys
from spacy_transfer.nn.scratch.tokenizer_training import BPE, Unigram, WordLevel
texts = sys.argv[1:]
made = [WordLevel().train(texts), BPE(size=300).train(texts), Unigram(size=90).train(texts)]
print([hashlib.sha256(one.encode()).hexdigest() for one in made])
"""
    runs = [
        subprocess.run([sys.executable, "-c", code, *TEXTS], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] != ""


@pytest.mark.parametrize("name", PIECES)
def test_rows_of_every_kind_of_pieces(name: str) -> None:
    tokenizer = PieceTokenizer(PIECES[name].train(TEXTS))
    assert (tokenizer.prefix, tokenizer.suffix) == ([CLS], [SEP])
    # A special piece written in a text is text.
    for text in ("[SEP] my card [MASK]", "[PAD]", "[CLS]"):
        (ids,) = tokenizer.encode([text])
        assert ids
        assert not {CLS, SEP, 0, 4} & set(ids)
    assert tokenizer.encode(["", "  "]) in ([[], []], [[], tokenizer.encode(["  "])[0]])
    assert max(itertools.chain(*tokenizer.encode(TEXTS))) < tokenizer.n_pieces
    known = {piece for ids in tokenizer.encode(["my card is broken"]) for piece in ids}
    assert UNK not in known


def test_words() -> None:
    texts = ["Pay, pay", "PAY the 12 bills", "the 34 bills"]

    def read(text: str, **fields: Any) -> list[int]:
        return PieceTokenizer(WordLevel(**fields).train(texts)).encode([text])[0]

    assert read("pay") == read("PAY") != [UNK]
    assert read("pay", lower_case=False) == [UNK]
    assert read("12") == [UNK]
    assert read("12", min_frequency=1) not in ([UNK], read("34", min_frequency=1))
    assert read("12", same_digits=True) == read("99", same_digits=True) != [UNK]
    assert len(read("the,bills")) == 3
    # The two most frequent words, and the special pieces.
    tokenizer = PieceTokenizer(WordLevel(size=7).train(texts))
    assert tokenizer.n_pieces == 7
    assert tokenizer.encode(["pay bills the twelve"])[0].count(UNK) == 2


def test_chinese_characters_are_words() -> None:
    assert len(PieceTokenizer(WordLevel(min_frequency=1).train(["付款 失败"])).encode(["付款失败"])[0]) == 4


def test_nothing_is_unknown_to_byte_pairs() -> None:
    tokenizer = PieceTokenizer(BPE(size=300).train(["abc"]))
    assert UNK not in tokenizer.encode(["Ångström 付款 \U0001f600"])[0]


@pytest.mark.parametrize("texts", [[], [""], ["  \n", "\t"]])
@pytest.mark.parametrize("pieces", [WordLevel(), BPE(), Unigram()])
def test_no_words_no_pieces(pieces: Any, texts: list[str]) -> None:
    with pytest.raises(ValueError, match=f"T131.*{len(texts)} text"):
        pieces.train(texts)


def test_words_that_are_all_rare() -> None:
    with pytest.raises(ValueError, match=r"T131.*min_frequency = 5"):
        WordLevel(min_frequency=5).train(TEXTS[:2])


def test_one_word_is_enough() -> None:
    for pieces in (WordLevel(min_frequency=1), BPE(), Unigram()):
        assert PieceTokenizer(pieces.train(["a"])).encode(["a"])[0] != [UNK]


def test_unigrams_need_room_for_all_characters() -> None:
    with pytest.raises(ValueError, match=r"T132.*size = 10 .*27 characters.*33 or more"):
        Unigram(size=10).train([*"abcdefghijklmnopqrstuvwxyz", "1"])
    assert PieceTokenizer(Unigram(size=33).train([*"abcdefghijklmnopqrstuvwxyz", "1"])).n_pieces <= 33


@pytest.mark.parametrize(
    "make",
    [lambda: WordLevel(size=5), lambda: WordLevel(min_frequency=0), lambda: BPE(size=260), lambda: Unigram(size=5)],
)
def test_ranges_of_pieces(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="T005"):
        make()


# ---- the block ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 0}, {"depth": 0}, {"heads": 0}, {"feed_forward": 0}, {"max_pieces": 2}, {"dropout": 1.0},
        {"dropout": -0.1}, {"word_dropout": 1}, {"dropout": "1.5"}, {"dropout": float("nan")},
        {"norm_states": False, "norm_first": False},
    ],
)  # fmt: skip
def test_ranges_of_the_encoder(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"T005.*{next(iter(fields))}"):
        builder(**fields)


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match=r"T130.*width = 18.*heads = 4.*\[1, 2, 3, 6, 9, 18\]"):
        builder(width=18, heads=4)


def test_pieces_are_a_block_of_their_own() -> None:
    with pytest.raises(ValueError, match=r"T133.*got str"):
        builder(tokenizer="words")


def test_numbers_in_quotes() -> None:
    assert builder(dropout="0.25").dropout == 0.25


def test_rows_longer_than_the_positions() -> None:
    with pytest.raises(ValueError, match=r"T022.*33.*32"):
        classifier(windows={"length": 33, "stride": 20})
    assert classifier(encoder={"positions": "sinusoidal"}, windows={"length": 80, "stride": 60})("card").cats


# ---- parts of pieces ---------------------------------------------------------------------------------------------


def test_n_grams_of_pieces() -> None:
    members, n_ngrams = CharNGrams(shortest=3, longest=4).members([None, "card", "cards", "x"])
    # "<ca", "car", "ard", "<car", "card" are shared; "rd>" and "<x>" are not.
    assert members[0] == members[3] == []
    assert sorted(members[1]) == sorted(members[2]) == list(range(5))
    assert n_ngrams == 5
    alone, n_alone = CharNGrams(shortest=3, longest=3, min_pieces=1).members(["aaaa", "x"])
    assert (sorted(map(len, alone)), n_alone) == ([1, 3], 4)
    few, n_few = CharNGrams(shortest=3, longest=3, min_pieces=1, size=2).members(["card", "cards"])
    assert ([sorted(one) for one in few], n_few) == ([[0, 1], [0, 1]], 2)


def test_vectors_are_sums_over_n_grams() -> None:
    vectors = CharNGramVectors(n_pieces=4, n_ngrams=3, n_members=5, width=6, dropout=0.5).eval()
    members = [[], [0, 1, 2], [], [2, 1]]
    vectors.fill(members)
    ids = torch.tensor([[3, 1, 0], [2, 2, 1]])
    table = vectors.table.weight
    wanted = torch.stack([torch.stack([table[members[i]].sum(dim=0) for i in row]) for row in ids.tolist()])
    assert torch.allclose(vectors(ids), wanted, atol=1e-6)
    assert vectors(torch.tensor([[0, 2]])).abs().max() == 0
    wanted.square().sum().backward()
    gradient, table.grad = table.grad, None
    vectors(ids).square().sum().backward()
    assert torch.allclose(table.grad, gradient, atol=1e-5)


def test_n_grams_are_dropped_in_training_place_by_place() -> None:
    vectors = CharNGramVectors(n_pieces=2, n_ngrams=1, n_members=1, width=4, dropout=0.3)
    vectors.fill([[], [0]])
    torch.manual_seed(0)
    ids = torch.ones((50, 40), dtype=torch.int64)
    found = vectors.train()(ids).abs().amax(dim=2)
    # 2,000 draws, whose share strays by 0.01.
    assert 0.65 < (found > 0).float().mean() < 0.75
    # Scaled, so that on average the vectors are those of evaluation.
    assert torch.allclose(found[found > 0], vectors.table.weight.abs().max() / 0.7)
    assert (vectors.eval()(ids).abs().amax(dim=2) > 0).all()


def test_a_piece_learns_from_its_relatives() -> None:
    """What moves "refund" moves "refunded", which was in no text that was learned from."""
    encoder = builder(char_ngrams=CharNGrams(dropout=0.0)).load(lambda: ["refund refunded xyzzy"]).encoder
    tokenizer = PieceTokenizer(builder().load(lambda: ["refund refunded xyzzy"]).tokenizer)
    [[refund, refunded, other]] = tokenizer.encode(["refund refunded xyzzy"])
    table = encoder.body.embeddings
    before = [table.char_ngrams(torch.tensor([[piece]])).detach().clone() for piece in (refunded, other)]
    table.char_ngrams(torch.tensor([[refund]])).sum().backward()
    with torch.no_grad():
        table.char_ngrams.table.weight -= table.char_ngrams.table.weight.grad
    after = [table.char_ngrams(torch.tensor([[piece]])) for piece in (refunded, other)]
    assert (after[0] - before[0]).abs().min() > 1.0
    assert torch.equal(after[1], before[1])


@pytest.mark.parametrize("name", ["BPE", "Unigram"])
def test_parts_of_words_have_n_grams_too(name: str) -> None:
    pieces = {"BPE": BPE(), "Unigram": Unigram(size=200)}[name]
    record = builder(tokenizer=pieces, char_ngrams=CharNGrams(min_pieces=1)).load(lambda: TEXTS).record
    assert record["config"]["char_ngrams"]["n_ngrams"] > 10


@pytest.mark.parametrize(
    "fields", [{"shortest": 0}, {"longest": 2}, {"min_pieces": 0}, {"size": 0}, {"dropout": 1.0}, {"dropout": -0.1}]
)
def test_ranges_of_char_ngrams(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="T005") as error:
        CharNGrams(**fields)
    assert next(iter(fields)) in str(error.value)


def test_char_ngrams_are_a_block_of_their_own() -> None:
    with pytest.raises(ValueError, match=r"T001.*char_ngrams"):
        builder(char_ngrams=WordLevel())


def test_without_shared_n_grams() -> None:
    """Nothing to share is no error: the pieces' own vectors are there."""
    encoder = builder(char_ngrams=CharNGrams()).load(lambda: ["a b"]).encoder
    ids, mask = batch(encoder, [3])
    with CpuKernels():
        assert encoder(ids, mask).isfinite().all()
        assert encoder.train()(ids, mask).isfinite().all()


# ---- layers ------------------------------------------------------------------------------------------------------

KINDS = {
    "before": {}, "after": {"norm_first": False, "activation": "relu"}, "waves": {"positions": "sinusoidal"},
    "one-head": {"heads": 1, "depth": 2}, "char_ngrams": {"char_ngrams": CharNGrams(min_pieces=1)},
    "free": {"norm_states": False}, "zero": {"zero_init_residual": True},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_those_of_torch(kind: str) -> None:
    encoder = lively(builder(**KINDS[kind]).load(lambda: TEXTS).encoder)
    ids, mask = batch(encoder, [9, 4, 1])
    states = encoder.body.embeddings(ids)
    for layer in encoder.body.layers:
        mine = layer(states, None, mask == 0)
        theirs = nn.TransformerEncoderLayer(
            16, layer.self_attn.num_heads, 24, activation=layer.activation, batch_first=True,
            norm_first=layer.norm_first,
        )  # fmt: skip
        theirs.load_state_dict(layer.state_dict())
        assert (mine - theirs.eval()(states, src_key_padding_mask=mask == 0))[mask.bool()].abs().max() < 1e-5
        states = mine
    assert torch.equal(encoder.body.final_norm(states), encoder(ids, mask))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grad", [True, False])
def test_padding_changes_nothing(kind: str, grad: bool) -> None:
    encoder = lively(builder(**KINDS[kind]).load(lambda: TEXTS).encoder)
    ids, mask = batch(encoder, [12, 5, 1])
    with torch.set_grad_enabled(grad):
        together = encoder(ids, mask)
        with CpuKernels():
            kernels = encoder(ids, mask)
        for row, length in enumerate([12, 5, 1]):
            alone = encoder(ids[row : row + 1, :length], mask[row : row + 1, :length])
            for states in (together, kernels):
                assert (states[row, :length] - alone[0]).abs().max() < 1e-5


def test_what_stands_in_the_padding_does_not_matter() -> None:
    encoder = lively(builder().load(lambda: TEXTS).encoder)
    ids, mask = batch(encoder, [12, 5])
    other = torch.where(mask.bool(), ids, 7)
    assert torch.equal(encoder(ids, mask)[mask.bool()], encoder(other, mask)[mask.bool()])


@pytest.mark.parametrize("kind", KINDS)
def test_stop_and_go_on_at_every_depth(kind: str) -> None:
    encoder = lively(builder(**KINDS[kind]).load(lambda: TEXTS).encoder)
    ids, mask = batch(encoder, [9, 4, 7])
    whole = encoder(ids, mask)
    whole.square().sum().backward()
    wanted = {name: weight.grad.clone() for name, weight in encoder.named_parameters() if weight.grad is not None}
    for depth in range(encoder.n_layers + 1):
        encoder.zero_grad()
        with torch.no_grad():
            states = encoder.prefix(ids, mask, depth)
        resumed = encoder.resume(ids, mask, states, depth)
        assert torch.equal(resumed, whole)
        if depth == encoder.n_layers:
            continue
        resumed.square().sum().backward()
        for name, weight in encoder.named_parameters():
            if encoder.depth_of(name) > depth:
                assert torch.equal(weight.grad, wanted[name]), name
            else:
                assert weight.grad is None or not weight.grad.any() or encoder.depth_of(name) == 0


def test_starting_at_zero_is_starting_with_a_bag_of_words() -> None:
    """Before training the layers hand the embeddings on, in whatever order they come."""
    encoder = builder(zero_init_residual=True, norm_states=False).load(lambda: TEXTS).encoder.eval()
    ids, mask = batch(encoder, [9, 4])
    assert torch.equal(encoder(ids, mask), encoder.body.embeddings(ids))
    other = builder(norm_states=False).load(lambda: TEXTS).encoder.eval()
    assert (other(ids, mask) - other.body.embeddings(ids)).abs().max() > 1e-3
    encoder(ids, mask).square().sum().backward()
    for layer in encoder.body.layers:
        assert layer.self_attn.out_proj.weight.grad.any()
        assert layer.linear2.weight.grad.any()


def test_states_without_norms() -> None:
    """A vector that is twice as long stays so, and no norm is left over that would get no gradient."""
    made = builder(norm_states=False, zero_init_residual=True, positions="sinusoidal").load(lambda: TEXTS)
    encoder = made.encoder.eval()
    assert not [name for name, _ in encoder.named_parameters() if name.startswith(("body.final", "body.embeddings.n"))]
    table = encoder.body.embeddings
    ids = torch.full((1, 1), 9)
    place = table(ids) - table.pieces.weight[9]
    before = table(ids)
    table.pieces.weight.data[9] *= 2
    assert torch.allclose(table(ids) - place, 2 * (before - place), atol=1e-6)
    assert 0.2 < table.pieces.weight[10:].std() < 0.3


def test_depths() -> None:
    encoder = builder().load(lambda: TEXTS).encoder
    assert encoder.n_layers == 3
    depths = {name: encoder.depth_of(name) for name, _ in encoder.named_parameters()}
    assert {depth for name, depth in depths.items() if "embeddings" in name} == {0}
    assert {name.split(".")[2]: depth for name, depth in depths.items() if "layers" in name} == {"0": 1, "1": 2, "2": 3}
    assert depths["body.final_norm.weight"] == 3


def test_waves() -> None:
    found = waves(3, 5, torch.device("cpu"))
    assert found.shape == (3, 5)
    step = 10_000 ** (-2 / 5)
    assert found[0].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]
    assert found[2].numpy() == pytest.approx(
        [np.sin(2), np.cos(2), np.sin(2 * step), np.cos(2 * step), np.sin(2 * step * step)], abs=1e-6
    )


def test_order_matters() -> None:
    for positions in ("learned", "sinusoidal"):
        encoder = lively(builder(positions=positions).load(lambda: TEXTS).encoder)
        ids, mask = batch(encoder, [6])
        turned = encoder(ids.flip(1), mask).flip(1)
        assert (encoder(ids, mask) - turned).abs().max() > 1e-3


def test_word_dropout_is_for_training_and_ordinary_pieces() -> None:
    encoder = builder(word_dropout=0.5).load(lambda: TEXTS).encoder
    table = encoder.body.embeddings
    table.positions.weight.data.zero_()
    ids = torch.cat([torch.arange(5), torch.full((2000,), 9)])[None, :]
    ids = ids[:, :32].repeat(200, 1)
    torch.manual_seed(0)
    states = table.train()(ids)
    unknown = table.norm(table.pieces.weight[UNK])
    dropped = (states - unknown).abs().amax(dim=2) < 1e-6
    assert dropped[:, 1].all()
    assert not dropped[:, [0, 2, 3, 4]].any()
    assert 0.45 < dropped[:, 5:].float().mean() < 0.55
    assert not ((table.eval()(ids) - unknown).abs().amax(dim=2) < 1e-6)[:, 5:].any()


@pytest.mark.parametrize("char_ngrams", [None, CharNGrams()])
def test_building_from_a_record_draws_nothing(char_ngrams: CharNGrams | None) -> None:
    record = builder(char_ngrams=char_ngrams).load(lambda: TEXTS).record
    before = torch.get_rng_state()
    build_encoder(record)
    assert torch.equal(before, torch.get_rng_state())


def test_records_of_earlier_versions_are_read() -> None:
    record = builder().load(lambda: TEXTS).record
    for field in ("char_ngrams", "norm_states", "zero_init_residual"):
        del record["config"][field]
    assert {name for name, _ in build_encoder(record).named_parameters()} >= {
        "body.embeddings.norm.weight", "body.final_norm.weight",
    }  # fmt: skip


# ---- in a pipeline -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_alone_and_beside_longer_texts(precision: str) -> None:
    nlp = classifier(precision=precision)
    train(nlp, 3)
    together = scores_of(nlp, [LONG, "card", "", "never heard words", *TEXTS])
    alone = torch.cat([scores_of(nlp, [text]) for text in [LONG, "card", "", "never heard words", *TEXTS]])
    assert (together - alone).abs().max() < (1e-5 if precision == "fp32" else 2e-2)
    assert together.isfinite().all()


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("pieces", ["WordLevel", "BPE", "Unigram"])
def test_it_learns(pieces: str, multilabel: bool) -> None:
    block = {"@misc": f"spacy-transfer.{pieces}.v1"}
    nlp = classifier(multilabel=multilabel, encoder={**DROPPED, "tokenizer": block})
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    sgd = AdamW(learn_rate=1e-2)
    torch.manual_seed(0)
    for _ in range(40):
        nlp.update(examples, sgd=sgd)
    scores = nlp.evaluate(examples)
    assert scores["cats_acc" if not multilabel else "cats_micro_f"] > 0.8


@pytest.mark.parametrize("frozen", [-1, 0, 1, 2, "all"])
def test_frozen_layers_do_not_move(frozen: Any) -> None:
    nlp = classifier(tuning={"frozen_depth": frozen}, encoder={"dropout": 0.1, "word_dropout": 0.2})
    before = weights_of(nlp)
    train(nlp, 2)
    changed = moved(before, weights_of(nlp))
    network = network_of(nlp)
    depth = network.n_layers if frozen == "all" else frozen
    assert changed == {name for name in before if network.depth_of(name) > depth}


def test_unfreezing_from_the_top_down() -> None:
    nlp = classifier(tuning={"frozen_depth": "all", "unfreeze_every": 1, "unfreeze_down_to": 1})
    boundaries = []
    for _ in range(4):
        boundaries.append(network_of(nlp).boundary)
        train(nlp, 1)
    assert boundaries == [3, 2, 1, 1]


@pytest.mark.parametrize("frozen", [1, 2, "all"])
@pytest.mark.parametrize("encoder", [None, FEW_TEXTS])
def test_cached_is_uncached(frozen: Any, encoder: dict[str, Any] | None) -> None:
    runs = []
    for memory in (0, 10**9):
        norm = {"norm": encoder is not None}
        nlp = classifier(encoder=encoder, head=norm, tuning={"frozen_depth": frozen}, cache={"memory": memory})
        losses = train(nlp, 3, rate=1e-3)
        runs.append((losses, weights_of(nlp), scores_of(nlp, TEXTS)))
    assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-5)
    assert (runs[0][2] - runs[1][2]).abs().max() < 1e-5


def test_checkpointing_changes_nothing() -> None:
    for frozen in (-1, 1):
        runs = []
        for checkpointing in (False, True):
            nlp = classifier(
                gradient_checkpointing=checkpointing, tuning={"frozen_depth": frozen}, encoder={"dropout": 0.2}
            )
            train(nlp, 3)
            runs.append(weights_of(nlp))
        assert max(float((runs[0][name] - runs[1][name]).abs().max()) for name in runs[0]) < 1e-5


def test_it_starts_as_the_seed_says() -> None:
    one, two, other = classifier(seed=1), classifier(seed=1), classifier(seed=2)
    assert not moved(weights_of(one), weights_of(two))
    assert "encoder.body.layers.0.linear1.weight" in moved(weights_of(one), weights_of(other))


@pytest.fixture(scope="module")
def trained() -> Language:
    """A pipeline after two steps; tests leave it as it is."""
    nlp = classifier(encoder=FEW_TEXTS, head={"norm": True})
    train(nlp, 2)
    return nlp


def test_saved_and_loaded(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "pipeline")
    wanted = scores_of(trained, [*TEXTS, LONG, "unheard of"])
    before = torch.get_rng_state()
    loaded = spacy.load(tmp_path / "pipeline")
    assert torch.equal(before, torch.get_rng_state())
    again = spacy.util.load_model_from_config(trained.config, auto_fill=True).from_bytes(trained.to_bytes())
    for nlp in (loaded, again, copy.deepcopy(trained)):
        assert torch.equal(scores_of(nlp, [*TEXTS, LONG, "unheard of"]), wanted)
        assert shim_of(nlp).tokenizer.text == shim_of(trained).tokenizer.text
    # Training goes on as it would have.
    assert train(copy.deepcopy(trained), 2) == train(loaded, 2)


def test_its_config_is_filled_and_read_again(trained: Language) -> None:
    encoder = trained.config["components"][NAME]["model"]["encoder"]
    assert encoder["activation"] == "gelu"
    assert encoder["tokenizer"]["size"] == 30_000
    again = spacy.blank("en").from_config(spacy.util.load_config_from_str(trained.config.to_str()))
    assert again.config["components"] == trained.config["components"]


@pytest.mark.parametrize("wrong", [{"activation": "tanh"}, {"positions": "none"}, {"layers": 2}, {"width": "wide"}])
def test_the_config_system_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=next(iter(wrong))):
        classifier(encoder=wrong, initialize=False)


def test_another_task_takes_its_encoder(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "pipeline")
    for name in (tmp_path / "pipeline", tmp_path / "pipeline" / NAME):
        nlp = pipeline(name, tuning={"frozen_depth": 1}, head={"norm": True})
        encoder = {key for key in weights_of(nlp) if key.startswith("encoder.")}
        assert len(encoder) > 30
        assert not moved(weights_of(trained), weights_of(nlp)) & encoder
    nlp.to_disk(tmp_path / "second")
    assert torch.equal(scores_of(spacy.load(tmp_path / "second"), TEXTS), scores_of(nlp, TEXTS))


def test_a_new_label(trained: Language) -> None:
    nlp = copy.deepcopy(trained)
    nlp.get_pipe(NAME).add_label("thanks")
    examples = examples_of(nlp, TEXTS[:3], [one_hot("thanks", [*LABELS, "thanks"])] * 3)
    nlp.update(examples, sgd=AdamW(learn_rate=1e-3))
    assert set(nlp("card").cats) == {*LABELS, "thanks"}


def test_a_process_of_its_own(trained: Language) -> None:
    # A product of other shapes may round otherwise.
    alone = scores_of(trained, TEXTS)
    torch.testing.assert_close(scores_of(trained, TEXTS, n_process=2, batch_size=12), alone, atol=1e-5, rtol=0)


def test_initialising_without_words() -> None:
    nlp = classifier(initialize=False)
    examples = examples_of(nlp, [" ", "\n"], [one_hot("card"), one_hot("login")])
    with pytest.raises(ValueError, match=r"T131.*2 text"):
        nlp.initialize(lambda: examples)


def test_the_shipped_config_trains(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    docs = [example.reference for example in exclusive_examples(nlp)]
    for split in ("train", "dev"):
        DocBin(docs=docs).to_disk(tmp_path / f"{split}.spacy")
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    files = {"train": "train.spacy", "dev": "dev.spacy", "labels": "labels.json"}
    options = [f"--paths.{key}={tmp_path / file}" for key, file in files.items()]
    options += ["--training.max_steps=2", "--training.eval_frequency=1"]
    config = Path(__file__).parent.parent / "configs" / "scratch.cfg"
    done = CliRunner().invoke(app, ["train", str(config), "--output", str(tmp_path / "out"), *options])
    assert done.exit_code == 0, done.output
    assert set(spacy.load(tmp_path / "out" / "model-last")("card").cats) == set(LABELS)


def test_it_is_packaged(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "pipeline")
    (tmp_path / "packages").mkdir()
    args = ["--name", "tiny", "--version", "1.0.0", "--build", "none"]
    done = CliRunner().invoke(app, ["package", str(tmp_path / "pipeline"), str(tmp_path / "packages"), *args])
    assert done.exit_code == 0, done.output
    nlp = spacy.load(tmp_path / "packages" / "en_tiny-1.0.0" / "en_tiny" / "en_tiny-1.0.0")
    assert torch.equal(scores_of(nlp, TEXTS), scores_of(trained, TEXTS))


def test_it_is_drawn(trained: Language) -> None:
    picture = draw(NAME, trained)
    assert "spacy-transfer-scratch, width 16 (scratch)" in picture
    n_ngrams = shim_of(trained).record["config"]["char_ngrams"]["n_ngrams"]
    assert f"{shim_of(trained).tokenizer.n_pieces} different ones with {n_ngrams} n-grams" in picture


def test_raw_texts(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    (tmp_path / "a.txt").write_text("one\n\n  two ü\r\n", "utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "three", "label": 3}\n\n{"text": " "}\n', "utf-8")
    DocBin(docs=[nlp.make_doc("four and five")]).to_disk(tmp_path / "c.spacy")
    assert read_raw_texts([tmp_path / name for name in ("a.txt", "b.jsonl", "c.spacy")]) == [
        "one", "two ü", "three", "four and five",
    ]  # fmt: skip
    for name, data, code in (
        ("x.pdf", b"a", "T041"), ("x.jsonl", b'{"body": "a"}', "T136.*x.jsonl:1.*'text'"), ("x.jsonl", b"[1]", "T136"),
        ("x.jsonl", b'{"text": 3}', "T136.*not a str"), ("x.jsonl", b"{", "T136.*JSON"), ("x.txt", b"\xff", "T042"),
        ("x.spacy", b"junk", "T047"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=code):
            read_raw_texts([tmp_path / name])
    with pytest.raises(FileNotFoundError, match="T440"):
        read_raw_texts([tmp_path / "none.txt"])
