"""Rows of pieces on disk: raw texts are read and cut once, and a row becomes a document when it is needed."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ...errors import T005, T242
from ...files import Fingerprint, sha256_of
from ...pipeline.masked_lm import PIECES

_IDS, _ENDS = "ids.npy", "ends.npy"


def write_rows(folder: Path, rows: Iterable[NDArray[np.int32]]) -> int:
    """Write rows for `PieceRows`.

    folder (Path): Made if it is not there.
    rows (Iterable): Piece ids of each, special pieces included.
    RETURNS (int): How many there were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(rows)
    ends = np.cumsum([len(row) for row in parts], dtype=np.int64)
    np.save(folder / _IDS, np.concatenate([np.zeros(0, dtype=np.int32), *parts], dtype=np.int32))
    np.save(folder / _ENDS, ends)
    return len(parts)


class PieceRows:
    """The reader `spacy-transfer.PieceRows.v1`: documents that bring a row of pieces along in `user_data`.

    The pieces stay in a file that is mapped: ranks share its memory, and only documents of the current batch exist.

    path (Path): The folder, as `write_rows` wrote it; "~" is the home folder.
    shuffle (bool): In a new order each time, drawn from Python's random numbers.
    multiple_of (int): Leave a rest out, another one each time, so that all batches of so many rows are whole; where
        there are fewer rows than that, all of them are given.
    RAISES (ValueError): T005 for a negative number, T242 for a folder without rows.
    """

    def __init__(self, *, path: Path, shuffle: bool = False, multiple_of: int = 1) -> None:
        if multiple_of < 1:
            block, want = "spacy-transfer.PieceRows.v1", "multiple_of >= 1"
            raise ValueError(T005.format(block=block, field="multiple_of", value=multiple_of, want=want))
        self.path, self.shuffle, self.multiple_of = Path(path).expanduser(), shuffle, multiple_of
        self._fingerprint: str | None = None
        try:
            self._ids = np.load(self.path / _IDS, mmap_mode="r")
            self._ends = np.load(self.path / _ENDS)
        except (OSError, ValueError) as error:
            raise ValueError(T242.format(path=path, reason=error)) from error

    def __len__(self) -> int:
        return len(self._ends)

    def fingerprint(self) -> str:
        """Of all pieces and rows: their checkpoint is not continued with others."""
        if self._fingerprint is None:
            digest = Fingerprint()
            for name in (_IDS, _ENDS):
                digest.update(bytes.fromhex(sha256_of(self.path / name)))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Read the rows, shuffled if that is asked for.

        nlp (Language): The pipeline.
        YIELDS (Example): One for each row; it has one word, since every word costs time and nobody reads them.
        """
        n = len(self)
        order = np.random.default_rng(random.getrandbits(64)).permutation(n) if self.shuffle else range(n)
        for i in order[: n - n % self.multiple_of if n > self.multiple_of else n]:
            doc = Doc(nlp.vocab, words=["row"], spaces=[False])
            begin = self._ends[i - 1] if i else 0
            doc.user_data[PIECES] = np.array(self._ids[begin : self._ends[i]], dtype=np.int32)
            yield Example(doc, doc)
