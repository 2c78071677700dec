"""Vectors of pieces from the parts of their letters."""

from typing import Any

import pytest
import torch

from house_kit.scratches import batch, builder
from house_kit.texts import TEXTS
from spacy_transfer.model.text.tokenizer import PieceTokenizer
from spacy_transfer.nn.devices.cpu_kernels import CpuKernels
from spacy_transfer.nn.scratch.char_ngrams import CharNGrams, CharNGramVectors
from spacy_transfer.nn.scratch.tokenizer_training import BPE, Unigram, WordLevel


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
