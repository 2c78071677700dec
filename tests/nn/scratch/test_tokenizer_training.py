"""Pieces learned from the texts alone: the same wherever, whatever their order."""

import itertools
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from house_kit.texts import TEXTS
from spacy_transfer.model.text.tokenizer import PieceTokenizer
from spacy_transfer.nn.scratch.tokenizer_training import BPE, CLS, SEP, UNK, Unigram, WordLevel

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
