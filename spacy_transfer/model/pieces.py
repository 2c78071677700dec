"""Texts to piece ids, with the Rust tokenizer alone."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from ..errors import T455
from ..files.strangers import UnusableFile, read_string
from ..nn.tokenizer_files import MOST_BYTES, reading_tokenizer

# Pieces in a message.
_SHOWN = 5


class PieceTokenizer:
    """A fast tokenizer that never truncates, never pads, and reads "[SEP]" in a text as text.

    text (str): The tokenizer as JSON.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        with reading_tokenizer():
            self._read(text)

    def _read(self, text: str) -> None:
        self._tokenizer = Tokenizer.from_str(_with_special_pieces_apart(text))
        # MiniLM's file carries truncation to 128 pieces and padding to 128.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # Not saved with the tokenizer: set at each load.
        self._tokenizer.encode_special_tokens = True
        encoding = self._tokenizer.encode("a")
        ordinary = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
        ends = (ordinary[0], ordinary[-1] + 1) if ordinary else (len(encoding.ids), len(encoding.ids))
        self.prefix: list[int] = encoding.ids[: ends[0]]
        self.suffix: list[int] = encoding.ids[ends[1] :]

    @classmethod
    def from_folder(cls, folder: str | Path) -> "PieceTokenizer":
        """folder (str | Path): Holds a tokenizer.json. RAISES (OSError): T450, T454 if it does not, or a broken one."""
        return cls(read_string(Path(folder) / "tokenizer.json", MOST_BYTES))

    @property
    def n_special(self) -> int:
        """Special pieces added to each row."""
        return len(self.prefix) + len(self.suffix)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """RETURNS (list[list[int]]): Piece ids of each text, special pieces not included."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    @property
    def n_pieces(self) -> int:
        """Size of the vocabulary, added pieces included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def vocabulary(self) -> dict[str, int]:
        """All pieces and their ids, added pieces included."""
        found: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        return found

    def __reduce__(self) -> tuple[type["PieceTokenizer"], tuple[str]]:
        return PieceTokenizer, (self.text,)


def check_rows(tokenizer: PieceTokenizer, n_rows: int, name: str) -> None:
    """Refuse pieces for which the encoder has no row: a text with one of them would end in an IndexError.

    n_rows (int): Rows of the encoder's table of pieces. name (str): What the user calls the encoder.
    RAISES (UnusableFile): T455 with the first of them; special pieces that no text gives are no reason.
    """
    above = {piece: i for piece, i in tokenizer.vocabulary().items() if i >= n_rows}
    framing = {*tokenizer.prefix, *tokenizer.suffix}
    met = [(i, piece) for piece, i in above.items() if i in framing or i in tokenizer.encode([piece])[0]]
    if met:
        shown = ", ".join(f"{piece!r} ({i})" for i, piece in sorted(met)[:_SHOWN]) + ", ..." * (len(met) > _SHOWN)
        raise UnusableFile(T455.format(name=name, pieces=shown, n_rows=n_rows))


def _with_special_pieces_apart(text: str) -> str:
    """Rename the special pieces of a Unigram model (XLM-R, T5, ALBERT, DeBERTa-v3): it would find "</s>" in a text as
    it finds any other piece of its vocabulary, whatever `encode_special_tokens` says. Rows get theirs by id."""
    if '"Unigram"' not in text:
        return text
    form = json.loads(text)
    if form["model"].get("type") != "Unigram":
        return text
    special = [token for token in form["added_tokens"] if token["special"]]
    apart = {token["content"]: f"\0special\0{token['content']}" for token in special}
    for token in special:
        token["content"] = apart[token["content"]]
    form["model"]["vocab"] = [[apart.get(piece, piece), score] for piece, score in form["model"]["vocab"]]
    return json.dumps(form, ensure_ascii=False)
