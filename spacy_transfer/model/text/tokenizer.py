"""From texts to piece ids, using only the Rust tokenizer."""

import json
import secrets
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

from ...errors import T455
from ...files.fields import NAME, take
from ...files.strangers import UnusableFile, read_object, read_string
from ...repository.tokenizer_files import MOST_BYTES, check_ids, fast_tokenizer, reading_tokenizer

# Texts that are tried to see what frames a row.
_MOST_PROBES = 1000

# Pieces in a message.
_SHOWN = 5


class PieceTokenizer:
    """A fast tokenizer that never truncates, never pads, and reads "[SEP]" in a text as text.

    Its special pieces are those that frame rows; what other pieces a folder has as special (markers of a task) are one
    piece in a text too.

    text (str): The tokenizer as JSON.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        check_ids(text)
        with reading_tokenizer():
            self._read(text)

    def _read(self, text: str) -> None:
        self._tokenizer = Tokenizer.from_str(_with_special_pieces_apart(text))
        # MiniLM's file carries truncation to 128 pieces and padding to 128.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # Not saved with the tokenizer: set at each load.
        self._tokenizer.encode_special_tokens = True
        self.prefix, self.suffix = self._frame()

    @classmethod
    def from_folder(cls, folder: str | Path) -> "PieceTokenizer":
        """The pieces that `AutoTokenizer` makes of a folder.

        folder (str | Path): Of an encoder, or of one of our own components.
        RAISES (OSError): T450, T451, T454 for a tokenizer that cannot be read.
        RAISES (ValueError): T017.
        """
        folder = Path(folder)
        if (folder / "encoder.json").is_file() or not (folder / "config.json").is_file():
            # Ours: it was settled when it was made.
            return cls(read_string(folder / "tokenizer.json", MOST_BYTES))
        file = folder / "config.json"
        return cls(fast_tokenizer(folder, take(file, read_object(file), {"model_type": NAME})).text)

    def _frame(self) -> tuple[list[int], list[int]]:
        """Special pieces before and after those of a text."""
        encoding = self._tokenizer.encode("")
        for text in ("a", *islice(self._tokenizer.get_vocab(), _MOST_PROBES)):
            # A text may have no piece: its letters are not in the vocabulary, and nothing stands for what is unknown.
            encoding = self._tokenizer.encode(text)
            ordinary = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
            if ordinary:
                return encoding.ids[: ordinary[0]], encoding.ids[ordinary[-1] + 1 :]
        return encoding.ids, []

    @property
    def n_special(self) -> int:
        """Special pieces added to each row."""
        return len(self.prefix) + len(self.suffix)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Cut texts into pieces.

        texts (Sequence[str]): The texts.
        RETURNS (list[list[int]]): Piece ids of each text, special pieces not included.
        """
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    @property
    def special(self) -> dict[str, int]:
        """Names of the special pieces and their ids, those that frame no row among them."""
        return {one["content"]: one["id"] for one in json.loads(self.text)["added_tokens"] if one["special"]}

    def places(self, text: str) -> list[tuple[int, int]]:
        """Say where the pieces of a text are.

        text (str): The text.
        RETURNS (list[tuple[int, int]]): Of each piece that `encode` gives its first and one past its last character.
        """
        found: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return found

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

    tokenizer (PieceTokenizer): Of the encoder.
    n_rows (int): Rows of the encoder's table of pieces.
    name (str): What the user calls the encoder.
    RAISES (UnusableFile): T455 with the first of them; special pieces that no text gives are no reason.
    """
    above = {piece: i for piece, i in tokenizer.vocabulary().items() if i >= n_rows}
    framing = {*tokenizer.prefix, *tokenizer.suffix}
    met = [(i, piece) for piece, i in above.items() if i in framing or i in tokenizer.encode([piece])[0]]
    if met:
        shown = ", ".join(f"{piece!r} ({i})" for i, piece in sorted(met)[:_SHOWN]) + ", ..." * (len(met) > _SHOWN)
        raise UnusableFile(T455.format(name=name, pieces=shown, n_rows=n_rows))


def _with_special_pieces_apart(text: str) -> str:
    """Rename the special pieces: a Unigram model (XLM-R, T5, ALBERT, DeBERTa-v3) would find "</s>" in a text as it
    finds any other piece of its vocabulary, whatever `encode_special_tokens` says, and so would whole words. Rows get
    theirs by id."""
    form = json.loads(text)
    model = form["model"]
    special = [token for token in form.get("added_tokens") or [] if token["special"]]
    # Nobody can write this name.
    apart = {token["content"]: f"{secrets.token_hex(16)} {token['content']}" for token in special}
    if model.get("type") == "Unigram":
        model["vocab"] = [[apart.get(piece, piece), score] for piece, score in model["vocab"]]
    else:
        for merge in model.get("merges") or ():
            # What is joined from letters must keep its name.
            apart.pop("".join(merge.split(" ") if isinstance(merge, str) else merge), None)
        model["vocab"] = {apart.get(piece, piece): i for piece, i in model["vocab"].items()}
        model["unk_token"] = apart.get(model.get("unk_token"), model.get("unk_token"))
    for token in special:
        token["content"] = apart.get(token["content"], token["content"])
    return json.dumps(form, ensure_ascii=False)
