"""Groups texts that are nearly the same, so that a split keeps them on one side."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Shingles = NDArray[np.uint32]

_WORDS = re.compile(r"\w+")
# Characters in a shingle, and of a text that are looked at.
_LENGTH, _LONGEST = 5, 4000
# Texts are near-duplicates from this share of common shingles on.
ALIKE = 0.8
# Eight bands of four: of pairs with the share 0.8 they miss 1.5 %, and compare few below 0.4.
_BANDS, _ROWS = 8, 4
_SEED = 20261126


def fold_text(text: str) -> str:
    """Fold a text to its words.

    text (str): A text.
    RETURNS (str): Without case, Unicode form, marks and runs of white space; if it has no words, the text itself.
    """
    return " ".join(_WORDS.findall(unicodedata.normalize("NFKC", text).casefold())) or text.strip()


def group_near_duplicates(texts: Sequence[str]) -> list[int]:
    """Give texts that are nearly the same one number.

    Two texts belong together if their folded words are equal, or if they share 0.8 of their shingles of five
    characters. Candidates come from MinHash signatures in bands, and each is compared with the first text of its
    band's bucket, so the time grows with the number of texts, not with that of pairs. No random numbers: the same
    texts give the same groups.

    texts (Sequence[str]): All texts of a corpus.
    RETURNS (list[int]): For each text the index of the first text of its group.
    SOURCE: Broder 1997, On the resemblance and containment of documents.
    """
    leaders = list(range(len(texts)))

    def leader(index: int) -> int:
        """Find the first of a group, and shorten the way to it."""
        while leaders[index] != index:
            leaders[index] = leaders[leaders[index]]
            index = leaders[index]
        return index

    def join(one: int, other: int) -> None:
        """Make one group of two."""
        first, second = sorted((leader(one), leader(other)))
        leaders[second] = first

    seen: dict[str, int] = {}
    buckets: dict[tuple[int, bytes], int] = {}
    factors, offsets = _hashes()
    for index, text in enumerate(texts):
        folded = fold_text(text)
        if folded in seen:
            join(seen[folded], index)
            continue
        seen[folded] = index
        own = _shingles(folded)
        if not len(own):
            continue
        # The low bits of a product are no good hash: the high half is taken.
        hashed = (own[:, None].astype(np.uint64) * factors + offsets) >> np.uint64(32)
        signature = hashed.min(axis=0).astype(np.uint32).reshape(_BANDS, _ROWS)
        for band in range(_BANDS):
            other = buckets.setdefault((band, signature[band].tobytes()), index)
            if other == index or leader(other) == leader(index):
                continue
            # Candidates are few, and the shingles of all texts would take more memory than the texts.
            if _share(_shingles(fold_text(texts[other])), own) >= ALIKE:
                join(other, index)
    return [leader(index) for index in range(len(texts))]


def _hashes() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    numbers = np.random.Generator(np.random.PCG64(_SEED)).integers(1, 2**63, size=(2, _BANDS * _ROWS), dtype=np.uint64)
    return numbers[0] | np.uint64(1), numbers[1]


def _shingles(folded: str) -> Shingles:
    """Hashes of all runs of five characters; none of a text that is shorter."""
    letters = np.frombuffer(folded[:_LONGEST].encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    n = len(letters) - _LENGTH + 1
    if n < 1:
        return np.empty(0, dtype=np.uint32)
    hashed = np.zeros(n, dtype=np.uint32)
    for place in range(_LENGTH):
        hashed = hashed * np.uint32(16_777_619) + letters[place : place + n]
    return np.unique(hashed)


def _share(one: Shingles, other: Shingles) -> float:
    n_common = len(np.intersect1d(one, other, assume_unique=True))
    return n_common / (len(one) + len(other) - n_common)
