"""Pieces from the user's own texts: whole words, byte pairs or unigrams, as a tokenizer of the `tokenizers` library.

The same texts give the same tokenizer, byte for byte and in whatever order they come.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from ...checks import check_least
from ...errors import T131, T132

# Their places in the vocabulary are their ids.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))
_N_BYTES = 256

# What gives the training texts when they are needed; they may be read more than once.
Texts = Callable[[], Iterable[str]]


def no_texts() -> Iterable[str]:
    """Where there are none."""
    return ()


class TokenizerTrainer(Protocol):
    """A block that makes a tokenizer of texts."""

    def train(self, texts: Iterable[str]) -> str:
        """Train a tokenizer.

        texts (Iterable[str]): The training texts.
        RETURNS (str): The tokenizer as JSON.
        """


@dataclass(frozen=True)
class WordLevel:
    """Whole words and single punctuation marks; on a few thousand texts better than parts of words.

    size (int): Most pieces, the five special ones included; the most frequent words are kept.
    min_frequency (int): A word that occurs less often is read as [UNK]. At 1 no training text has an [UNK], and
        nothing is learned about it but by the encoder's `word_dropout`.
    lower_case (bool): Whether "Card" and "card" are one word.
    same_digits (bool): Whether all digits are read as 0, so that numbers of the same length are one word.
    """

    size: int = 30_000
    min_frequency: int = 2
    lower_case: bool = True
    same_digits: bool = False

    def __post_init__(self) -> None:
        check_least("WordLevel", self, "size", len(SPECIAL) + 1)
        check_least("WordLevel", self, "min_frequency", 1)

    def train(self, texts: Iterable[str]) -> str:
        """Count words.

        RETURNS (str): The tokenizer as JSON.
        RAISES (ValueError): T131 if no word is left.
        """
        tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIAL[UNK]))
        steps = [normalizers.NFKC(), _bert_normalizer(self.lower_case)]
        if self.same_digits:
            steps += [normalizers.Replace(digit, "0") for digit in "123456789"]
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordLevelTrainer(
            vocab_size=self.size, min_frequency=self.min_frequency, special_tokens=list(SPECIAL), show_progress=False
        )
        return _train(tokenizer, trainer, texts, f"min_frequency = {self.min_frequency}")


@dataclass(frozen=True)
class BPE:
    """Byte pair encoding over bytes: frequent words are one piece, and nothing is unknown.

    size (int): Most pieces, the five special ones and the 256 bytes included.
    min_frequency (int): Pairs that occur less often are not joined.
    lower_case (bool): Whether "Card" and "card" are the same.
    SOURCE: Sennrich et al. 2016, arXiv:1508.07909; over bytes: Radford et al. 2019 (GPT-2).
    """

    size: int = 8_000
    min_frequency: int = 2
    lower_case: bool = True

    def __post_init__(self) -> None:
        check_least("BPE", self, "size", len(SPECIAL) + _N_BYTES)
        check_least("BPE", self, "min_frequency", 1)

    def train(self, texts: Iterable[str]) -> str:
        """Join pairs.

        RETURNS (str): The tokenizer as JSON.
        RAISES (ValueError): T131 without any word.
        """
        tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[UNK]))
        tokenizer.normalizer = _normalizer(self.lower_case)
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = trainers.BpeTrainer(
            vocab_size=self.size, min_frequency=self.min_frequency, special_tokens=list(SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
        )  # fmt: skip
        return _train(tokenizer, trainer, texts, "")


@dataclass(frozen=True)
class Unigram:
    """Unigram pieces, SentencePiece's kind: the likeliest cut of a word into pieces, no spaces needed.

    size (int): Most pieces, the five special ones included; few texts give fewer. Single characters stay all.
    lower_case (bool): Whether "Card" and "card" are the same.
    SOURCE: Kudo 2018, arXiv:1804.10959.
    """

    size: int = 8_000
    lower_case: bool = True

    def __post_init__(self) -> None:
        check_least("Unigram", self, "size", len(SPECIAL) + 1)

    def train(self, texts: Iterable[str]) -> str:
        """Fit the pieces.

        RETURNS (str): The tokenizer as JSON.
        RAISES (ValueError): T131 without any word, T132 where the characters alone are more than `size`.
        """
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = _normalizer(self.lower_case)
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=self.size, special_tokens=list(SPECIAL), unk_token=SPECIAL[UNK], show_progress=False
        )
        # The trainer gives up, with a panic that no `except ValueError` sees, where the characters do not fit.
        texts = list(texts)
        characters = {c for text in texts for c in tokenizer.normalizer.normalize_str(text) if not c.isspace()}
        least = len(characters) + 1 + len(SPECIAL)
        if self.size < least:
            raise ValueError(T132.format(size=self.size, n_characters=len(characters), least=least))
        return _in_one_order(_train(tokenizer, trainer, texts, ""))


def _normalizer(lower_case: bool) -> normalizers.Normalizer:
    steps = [normalizers.NFKC(), *([normalizers.Lowercase()] if lower_case else [])]
    return normalizers.Sequence(steps)


def _bert_normalizer(lower_case: bool) -> normalizers.Normalizer:
    # Chinese characters are words of their own; accents stay.
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=lower_case
    )


def _train(tokenizer: Tokenizer, trainer: trainers.Trainer, texts: Iterable[str], hint: str) -> str:
    texts = list(texts)
    # White space and control characters, which the normalizer may take out, make no word.
    if not any(tokenizer.normalizer.normalize_str(text).strip() for text in texts):
        raise ValueError(T131.format(n_texts=len(texts), hint=""))
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() <= len(SPECIAL):
        raise ValueError(T131.format(n_texts=len(texts), hint=f" ({hint})"))
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[CLS]} $A {SPECIAL[SEP]}", special_tokens=[(SPECIAL[CLS], CLS), (SPECIAL[SEP], SEP)]
    )
    text: str = tokenizer.to_str()
    return text


def _in_one_order(text: str) -> str:
    """A unigram tokenizer whose pieces do not depend on the order of a hash table.

    The trainer gives characters that it would have dropped the lowest score plus 0.0001, 0.0002, ... as they come
    out of its table, which differs from run to run. Here they get these scores in the order of the alphabet.
    """
    form = json.loads(text)
    special, pieces = form["model"]["vocab"][: len(SPECIAL)], form["model"]["vocab"][len(SPECIAL) :]
    lowest = min(score for _, score in pieces)
    highest = lowest + 0.0001 * (1 + sum(len(piece) == 1 for piece, _ in pieces))
    late = sorted(piece for piece, score in pieces if len(piece) == 1 and score <= highest)
    scores = dict(pieces)
    scores.update(zip(late, sorted((scores[piece] for piece in late), reverse=True), strict=True))
    # Six digits, since sums that run over a hash table differ in the sixteenth.
    ranked = sorted(((piece, round(score, 6)) for piece, score in scores.items()), key=lambda one: (-one[1], one[0]))
    form["model"]["vocab"] = [*special, *([piece, score] for piece, score in ranked)]
    return json.dumps(form, ensure_ascii=False)
