"""The length of a text in an encoder's pieces, for batchers."""

from collections.abc import Callable

from spacy.tokens import Doc
from spacy.training import Example

from ...model.text.tokenizer import PieceTokenizer
from ...nn.encoders.pretrained import tokenizer_of

# Lengths remembered, by text; a few hundred bytes each.
_MOST_REMEMBERED = 1_000_000


def make_piece_length(name: str, revision: str | None = None) -> Callable[[Doc | Example], int]:
    """The length `spacy-transfer.piece_length.v1`: exact, where batchers otherwise estimate from the characters.

    A batch sorted by exact lengths has 2 % of padding, one sorted by characters 20 % (news of 54 pieces).

    name (str): The encoder: folder, pipeline or hub name, as in `spacy-transfer.PretrainedEncoder.v1`.
    revision (str | None): Of a hub name.
    RETURNS (Callable): Doc or Example to its length in pieces, special pieces included. The tokenizer is read at the
        first call.
    RAISES (OSError): T050 to T052, at the first call, if the encoder is nowhere.
    """
    lengths: dict[str, int] = {}
    tokenizer: PieceTokenizer | None = None

    def piece_length(item: Doc | Example) -> int:
        """Count the pieces of a text, or look up what was counted before."""
        nonlocal tokenizer
        text: str = item.reference.text if isinstance(item, Example) else item.text
        length = lengths.get(text)
        if length is None:
            if tokenizer is None:
                tokenizer = PieceTokenizer(tokenizer_of(name, revision))
            length = len(tokenizer.encode([text])[0]) + tokenizer.n_special
            if len(lengths) < _MOST_REMEMBERED:
                lengths[text] = length
        return length

    return piece_length
