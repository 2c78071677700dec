"""From texts to documents of rows; each text is read once per training run."""

import warnings
from collections.abc import Iterable, Sequence

from ...errors import T025
from .tokenizer import PieceTokenizer
from .windows import FittedWindows, Row

# Texts are remembered up to so many pieces (about 300 MB); later ones are tokenized each time, at 8,000 a second.
_MOST_REMEMBERED = 20_000_000


class Document(list[Row]):
    """Rows of one text, in order.

    rows (Iterable[Row]): At least one.
    text (str): What they were made of.
    """

    __slots__ = ("text",)

    def __init__(self, rows: Iterable[Row], text: str = "") -> None:
        super().__init__(rows)
        self.text = text


class TextReader:
    """Tokenizes and cuts.

    tokenizer (PieceTokenizer): Of the encoder.
    windows (FittedWindows): How long documents are read.
    """

    def __init__(self, tokenizer: PieceTokenizer, windows: FittedWindows) -> None:
        self.tokenizer, self.windows = tokenizer, windows
        self._known: dict[str, Document] = {}
        self._n_remembered = 0
        self._told_cut = False

    def read(self, texts: Sequence[str], *, remember: bool | Sequence[bool]) -> list[Document]:
        """Rows of each text.

        texts (Sequence[str]): Cleaned.
        remember (bool | Sequence[bool]): Keep them for the next epoch, all or each; for clean training texts.
        RETURNS (list[Document]): In the order of the texts.
        """
        new = [text for text in texts if text not in self._known]
        fresh = dict(zip(new, self._cut(new), strict=True)) if new else {}
        if fresh and remember:
            lasting = fresh.keys() if remember is True else {t for t, keep in zip(texts, remember, strict=True) if keep}
            for text, document in fresh.items():
                if text not in lasting:
                    continue
                size = sum(len(row.ids) for row in document)
                if self._n_remembered + size <= _MOST_REMEMBERED:
                    self._n_remembered += size
                    self._known[text] = document
        return [fresh[text] if text in fresh else self._known[text] for text in texts]

    def forget(self) -> None:
        """Drop all rows that were kept for the next epoch."""
        self._known, self._n_remembered = {}, 0

    def _cut(self, texts: Sequence[str]) -> list[Document]:
        pieces = self.tokenizer.encode(texts)
        n_cut = sum(self.windows.cuts(p, self.tokenizer) for p in pieces)
        if n_cut and not self._told_cut:
            self._told_cut = True
            warnings.warn(T025.format(n_cut=n_cut, length=self.windows.length), stacklevel=2)
        return [Document(self.windows.cut(p, self.tokenizer), t) for p, t in zip(pieces, texts, strict=True)]
