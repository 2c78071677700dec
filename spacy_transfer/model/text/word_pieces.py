"""Which pieces begin a word."""

import torch
from torch import Tensor

from .tokenizer import PieceTokenizer

# In front of a piece that goes on with a word (WordPiece), and of one that begins one (bytes, SentencePiece).
_GOES_ON, _BEGINS = "##", ("Ġ", "▁")


def begin_words(tokenizer: PieceTokenizer) -> Tensor:
    """Say of each piece whether a word begins with it, as the marks in the vocabulary have it; without any marks every
    piece is a word.

    tokenizer (PieceTokenizer): Of an encoder.
    RETURNS (Tensor): Boolean, (n_ids,).
    """
    vocabulary = tokenizer.vocabulary()
    found = torch.ones(max(vocabulary.values(), default=0) + 1, dtype=torch.bool)
    if any(piece.startswith(_GOES_ON) and len(piece) > len(_GOES_ON) for piece in vocabulary):
        inside = [i for piece, i in vocabulary.items() if piece.startswith(_GOES_ON)]
    elif any(piece.startswith(_BEGINS) for piece in vocabulary):
        inside = [i for piece, i in vocabulary.items() if not piece.startswith(_BEGINS)]
    else:
        return found
    found[inside] = False
    # What frames a row is not part of the word next to it.
    found[[*tokenizer.prefix, *tokenizer.suffix]] = True
    return found
