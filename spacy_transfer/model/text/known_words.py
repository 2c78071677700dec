"""Pieces of texts from those of their words, which are looked up: most of the time of a static encoder is its
tokenizer's."""

import json
from collections.abc import Sequence

from .tokenizer import PieceTokenizer

# Letters of the words that are remembered; a few thousand words make most of the words of any texts.
_MOST_LETTERS = 4_000_000


class KnownWords:
    """Gives the pieces that the tokenizer gives, and remembers those of each word.

    Only for tokenizers whose pieces never depend on what stands beyond a space: BERT's, which clean a text character by
    character and divide it at every space. For others it asks the tokenizer.

    tokenizer (PieceTokenizer): Of the encoder.
    """

    def __init__(self, tokenizer: PieceTokenizer) -> None:
        self._tokenizer = tokenizer
        self.are_apart = words_are_apart(tokenizer.text)
        self._known: dict[str, list[int]] = {}
        self._n_letters = 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Cut texts into pieces.

        texts (Sequence[str]): The texts.
        RETURNS (list[list[int]]): As `PieceTokenizer.encode`.
        """
        if not self.are_apart:
            return self._tokenizer.encode(texts)
        # Threads may come here together: what is known is only added to, or replaced as a whole.
        known = self._known
        divided = [text.split(" ") for text in texts]
        new = list({word for words in divided for word in words if word not in known})
        if new and self._n_letters > _MOST_LETTERS:
            known = {}
            self._known, self._n_letters = known, 0
            new = list({word for words in divided for word in words})
        if new:
            known.update(zip(new, self._tokenizer.encode(new), strict=True))
            self._n_letters += sum(map(len, new))
        return [[piece for word in words for piece in known[word]] for words in divided]


def words_are_apart(tokenizer: str) -> bool:
    """Check whether no piece of a text depends on what is on the other side of a space.

    tokenizer (str): As JSON.
    """
    form = json.loads(tokenizer)
    normalizer, divider = form.get("normalizer"), form.get("pre_tokenizer")
    # A piece that was added may hold a space, or take those next to it.
    return (
        form["model"].get("type") == "WordPiece"
        and (normalizer is None or normalizer.get("type") == "BertNormalizer")
        and divider is not None
        and divider.get("type") == "BertPreTokenizer"
        and all(one["special"] for one in form.get("added_tokens") or ())
    )
