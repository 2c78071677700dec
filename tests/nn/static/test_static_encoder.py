"""A static encoder: where its vectors come from, and its life in a pipeline."""

import copy
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language

from house_kit.encoders import write_encoder
from house_kit.pipelines import model_config, moved, network_of, pipeline, scores_of, shim_of, weights_of
from house_kit.runs import assert_same_run, config_of, killed_at, run, write_corpus
from house_kit.texts import TEXTS, exclusive_examples
from spacy_transfer.model.shared.attach import attach
from spacy_transfer.model.text.known_words import KnownWords
from spacy_transfer.nn.encoders.config import clean_config
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder
from spacy_transfer.nn.static.body import STATIC, bigram_rows
from spacy_transfer.nn.static.encoder import StaticEncoder
from spacy_transfer.nn.static.piece_vectors import frequency_weights, principal_components
from spacy_transfer.serving.export.export import export
from spacy_transfer.training.adamw import AdamW

NAME = "transfer_textcat"
BLOCK: dict[str, Any] = {"@misc": "spacy-transfer.StaticEncoder.v1", "width": 8}
CONTEXT: dict[str, Any] = {
    "encoder": {**BLOCK, "context": 6, "bigrams": 50},
    "pooling": {"@layers": "spacy-transfer.MixedPooling.v1", "n_largest": 6},
}  # fmt: skip


def classifier(folder: Path, encoder: dict[str, Any] | None = None, **blocks: Any) -> Language:
    return pipeline(folder, encoder={**BLOCK, **(encoder or {})}, **blocks)


def train(nlp: Language, n_steps: int, rate: float = 3e-2) -> None:
    examples, sgd = exclusive_examples(nlp), AdamW(learn_rate=rate)
    torch.manual_seed(1)
    for _ in range(n_steps):
        nlp.update(examples, sgd=sgd)


@pytest.fixture(scope="module")
def trained(bert: Path) -> Language:
    """After some steps, with pairs and context; tests leave it as it is."""
    nlp = pipeline(bert, pooling=CONTEXT["pooling"], encoder={**CONTEXT["encoder"], "word_dropout": 0.1})
    train(nlp, 8)
    return nlp


# ---- the vectors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_a_vector_is_what_the_encoder_gives_for_the_piece_alone(family: str, encoder_folder: Any) -> None:
    folder = str(encoder_folder(family))
    static = StaticEncoder(folder, width=None, smoothing=0.0).load()
    encoder = PretrainedEncoder(folder).load().encoder.eval()
    tokenizer = shim_of(pipeline(folder)).tokenizer
    vocabulary = tokenizer.vocabulary()
    table = static.encoder.body.embeddings.pieces.weight
    alone = []
    for piece in ("card", "login") if family == "bert" else sorted(vocabulary)[-2:]:
        ids = torch.tensor([[*tokenizer.prefix, vocabulary[piece], *tokenizer.suffix]])
        with torch.no_grad():
            alone.append((encoder(ids, torch.ones_like(ids))[0].mean(dim=0), table[vocabulary[piece]]))
    # Centered and scaled: differences have the same direction.
    (one, first), (two, second) = alone
    torch.testing.assert_close(torch.cosine_similarity(one - two, first - second, dim=0), torch.tensor(1.0))


def test_principal_components_keep_distances_and_fall() -> None:
    vectors = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 7.0)
    whole = principal_components(vectors, 6)
    centered = vectors - vectors.mean(dim=0)
    torch.testing.assert_close(whole @ whole.T, centered @ centered.T, atol=1e-3, rtol=1e-4)
    spread = whole.var(dim=0)
    assert (spread[:-1] >= spread[1:]).all()
    torch.testing.assert_close(principal_components(vectors, 3), whole[:, :3])


def test_frequent_pieces_weigh_less() -> None:
    weights = frequency_weights(1000, 1e-3)
    assert (weights[1:] >= weights[:-1]).all()
    assert 0.0 < weights[0] < 0.05 < 0.5 < weights[-1] <= 1.0
    assert (frequency_weights(10, 0.0) == 1.0).all()


def test_rows_of_pairs() -> None:
    ids = torch.tensor([[5, 6, 5, 6, 29_999]])
    rows = bigram_rows(ids, 30_000, 2**15)[0]
    assert rows[1] == rows[3]
    assert len(set(rows.tolist())) == 4
    assert 0 <= int(rows.min()) <= int(rows.max()) < 2**15
    # Whatever is behind them, and however many rows there are.
    assert torch.equal(bigram_rows(ids[:, :3], 30_000, 2**15)[0], rows[:3])


@pytest.mark.parametrize(
    "fields", [{"width": 0}, {"bigrams": -1}, {"context": -1}, {"smoothing": -1.0}, {"word_dropout": 1.0}]
)
def test_ranges(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"T005.*{next(iter(fields))}"):
        StaticEncoder("anywhere", **fields)


def test_no_more_components_than_there_are(bert: Path) -> None:
    assert network_of(classifier(bert, {"width": 300})).encoder.width == 16


# ---- in a pipeline -------------------------------------------------------------------------------------------------


def test_it_learns(bert: Path) -> None:
    nlp = classifier(bert)
    train(nlp, 40)
    assert nlp.evaluate(exclusive_examples(nlp))["cats_acc"] > 0.8


def test_without_pairs_the_order_means_nothing(bert: Path, trained: Language) -> None:
    texts = [TEXTS[0], " ".join(reversed(TEXTS[0].split()))]
    plain = classifier(bert)
    train(plain, 2)
    one, two = scores_of(plain, texts)
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)
    one, two = scores_of(trained, texts)
    assert (one - two).abs().max() > 1e-3


def test_context_is_three_pieces_in_a_row(bert: Path) -> None:
    nlp = pipeline(bert, **CONTEXT)
    train(nlp, 8)
    encoder = network_of(nlp).eval().encoder
    ids = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 10, 9], [5, 6, 7, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.no_grad():
        states = encoder(ids, mask)[:, :, -6:]
    # The second place has the same neighbors in all rows, the third another one, or the end.
    torch.testing.assert_close(states[0, :2], states[1, :2])
    torch.testing.assert_close(states[0, :2], states[2, :2])
    assert (states[0, 2:] - states[1, 2:]).abs().amax(dim=1).gt(1e-6).all()
    # Padding is as nothing, whatever vector it has.
    with torch.no_grad():
        short = encoder(ids[2:, :3], mask[2:, :3])[:, :, -6:]
        encoder.body.embeddings.pieces.weight[0] = 9.0
        torch.testing.assert_close(encoder(ids, mask)[2, :3, -6:], short[0])
    assert (states >= 0).all()


def test_nothing_is_left_to_average(bert: Path) -> None:
    too_much = {"@layers": "spacy-transfer.MixedPooling.v1", "n_largest": 14}
    with pytest.raises(ValueError, match=r"T005.*n_largest.*14"):
        pipeline(bert, encoder=CONTEXT["encoder"], pooling=too_much)


def test_scores_alone_and_with_others(trained: Language) -> None:
    texts = [" ".join(TEXTS), "card", "", "ü", *TEXTS]
    together = scores_of(trained, texts)
    assert together.isfinite().all()
    torch.testing.assert_close(together, torch.cat([scores_of(trained, [t]) for t in texts]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("blocks", [{"encoder": {**BLOCK, "bigrams": 50}}, CONTEXT], ids=["pairs", "context"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_texts_are_looked_up_at_once(family: str, blocks: dict[str, Any], encoder_folder: Any) -> None:
    nlp = pipeline(encoder_folder(family), **blocks)
    train(nlp, 3)
    shim = shim_of(nlp)
    texts = ["card", "", " ", "ü", *TEXTS, " ".join(TEXTS)]
    # The last one is longer than a row; without it nothing is divided into rows.
    assert shim._looked_up.vectors(texts) is None
    for some in (texts, texts[:-1], texts):
        at_once = scores_of(nlp, some)
        shim._looked_up, kept = None, shim._looked_up
        torch.testing.assert_close(scores_of(nlp, some), at_once, atol=1e-5, rtol=0)
        shim._looked_up = kept
    assert classifier(encoder_folder(family), pooling={"@layers": "spacy-transfer.MaxPooling.v1"})("card").cats


def test_pieces_of_known_words_are_those_of_texts(bert: Path, encoder_folder: Any) -> None:
    tokenizer = shim_of(classifier(bert)).tokenizer
    words = KnownWords(tokenizer)
    assert words.are_apart
    chance = random.Random(0)
    letters = "aeé ŒßİΣςﬁ中日  \t\n\r\x00\x1c\u0301\u00a0\u2028\u200d👍🏽card" + "".join(map(chr, range(32, 127)))
    texts = ["".join(chance.choices(letters, k=chance.randrange(60))) for _ in range(3000)]
    texts += ["[CLS] card [SEP]", "card", "x" * 300, "my " + "y" * 100 + " card", *TEXTS]
    for n_letters in (0, 0, 10**9, 0):
        # As if so many were known: it begins again.
        words._n_letters = n_letters
        assert words.encode(texts) == tokenizer.encode(texts)
    assert not KnownWords(shim_of(classifier(encoder_folder("roberta"))).tokenizer).are_apart


@pytest.mark.parametrize(("frozen", "moves"), [(-1, True), (0, False), ("all", False)])
def test_freezing_by_depth(bert: Path, frozen: Any, moves: bool) -> None:
    nlp = pipeline(bert, **CONTEXT, tuning={"frozen_depth": frozen})
    before = weights_of(nlp)
    train(nlp, 2)
    changed = moved(before, weights_of(nlp))
    tables = {name for name in before if name.startswith("encoder.")}
    names = ("pieces.weight", "bigrams.weight", "context.weight", "context.bias")
    assert tables == {f"encoder.body.embeddings.{name}" for name in names}
    assert changed == set(before) - (set() if moves else tables)
    assert {network_of(nlp).depth_of(name) for name in tables} == {0}


def test_it_has_no_layers_to_freeze(bert: Path) -> None:
    with pytest.raises(ValueError, match=r"T061.*1 layers"):
        classifier(bert, tuning={"frozen_depth": 1})


def test_a_saved_pipeline_needs_no_transformer(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder", "bert")
    nlp = pipeline(folder, **CONTEXT)
    train(nlp, 2)
    wanted = scores_of(nlp, TEXTS)
    nlp.to_disk(tmp_path / "pipeline")
    shutil.rmtree(folder)
    again = spacy.util.load_model_from_config(nlp.config, auto_fill=True).from_bytes(nlp.to_bytes())
    for loaded in (spacy.load(tmp_path / "pipeline"), again, copy.deepcopy(nlp)):
        assert torch.equal(scores_of(loaded, TEXTS), wanted)
    # And another task takes its vectors over; they are not made static again.
    second = pipeline(tmp_path / "pipeline")
    tables = {name for name in weights_of(nlp) if name.startswith("encoder.")}
    assert not moved(weights_of(nlp), weights_of(second)) & tables
    with pytest.raises(ValueError, match="T700"):
        StaticEncoder(str(tmp_path / "pipeline")).load()


def test_it_resumes_exactly(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = {**CONTEXT["encoder"], "word_dropout": 0.2}
    model = {**CONTEXT, "encoder": encoder, "tuning": {"frozen_depth": -1}}
    changes = {"components": {NAME: {"model": model_config(bert, **model)}}}
    config = config_of(bert, write_corpus(tmp_path), steps=8, **changes)
    run(config, tmp_path / "whole", checkpoint_every="3")
    with killed_at(monkeypatch, 5):
        run(config, tmp_path / "killed", checkpoint_every="3")
    run(config, tmp_path / "killed", checkpoint_every="3", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_exported_to_onnx(trained: Language, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    trained.to_disk(tmp_path / "pipeline")
    export(tmp_path / "pipeline", tmp_path / "exported", to="onnx")
    texts = [*TEXTS, "", " ".join(TEXTS)]
    torch.testing.assert_close(
        scores_of(spacy.load(tmp_path / "exported"), texts), scores_of(trained, texts), atol=1e-5, rtol=0
    )


def test_where_transformers_has_no_class_for_it(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "pipeline")
    with pytest.raises(ValueError, match=r"T560.*static"):
        export(tmp_path / "pipeline", tmp_path / "folder", to="huggingface")
    with pytest.raises(ValueError, match=r"T212.*static"):
        attach(trained)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 0),
        ("hidden_size", "wide"),
        ("n_bigrams", -1),
        ("n_context", 8),
        ("word_dropout", 2),
        ("pad_token_id", 40),
    ],
)
def test_a_damaged_configuration(key: str, value: Any) -> None:
    config = {
        "model_type": STATIC, "vocab_size": 40, "hidden_size": 8, "n_bigrams": 0, "n_context": 0,
        "word_dropout": 0.0, "pad_token_id": 0,
    }  # fmt: skip
    assert clean_config(config, "encoder.json", "x") == config
    with pytest.raises(ValueError, match=f"T451.*{key}"):
        clean_config({**config, key: value}, "encoder.json", "x")
