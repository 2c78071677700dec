"""Scores of texts that came before: a text that comes again is scored once.

What is remembered depends on the rows alone, never on when a run was stopped: it is on disk at every block boundary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import T532
from ...files import fingerprint_of_data, sync_file
from ...pipeline.interface import Floats

_KEY_BYTES = 16
_MOST_BYTES = 64_000_000
_MOST_BLOCKS = 8
# What Python's objects take besides the scores.
_ENTRY_BYTES = 160


def key_of(text: str) -> bytes:
    """A digest by which a text is known again.

    text (str): A text.
    """
    return fingerprint_of_data(text.encode("utf-8"), size=_KEY_BYTES)


class Recent:
    """Scores of the texts of the latest blocks.

    folder (Path): Where they are kept.
    n_columns (int): Of the scores of all components.
    block_rows (int): Most rows of a block.
    """

    def __init__(self, folder: Path, n_columns: int, block_rows: int) -> None:
        self._folder, self._n_columns = folder, n_columns
        per_block = block_rows * (4 * n_columns + _ENTRY_BYTES)
        self._n_blocks = max(1, min(_MOST_BLOCKS, _MOST_BYTES // per_block))
        self._blocks: dict[int, dict[bytes, Floats]] = {}
        # Of blocks that are being scored too, so it runs ahead of the scores.
        self._planned: dict[int, set[bytes]] = {}

    def plan(self, number: int, keys: Sequence[bytes]) -> list[int]:
        """Choose which texts of a block are to be scored; blocks are planned in order.

        number (int): Of the block.
        keys (Sequence[bytes]): Of its texts.
        RETURNS (list[int]): Places of texts that none of the latest blocks has scored or is about to, each text once.
        """
        fresh: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            if not any(key in block for block in self._planned.values()):
                fresh.setdefault(key, place)
        self._planned[number] = set(fresh)
        self._planned.pop(number - self._n_blocks, None)
        return list(fresh.values())

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Floats]:
        """Look texts up.

        keys (Sequence[bytes]): Of texts.
        RETURNS (dict[bytes, Floats]): Scores of those that are known.
        """
        return {
            key: block[key]
            for key in keys
            if (block := next((one for one in self._blocks.values() if key in one), None)) is not None
        }

    def write(self, number: int, scores: Mapping[bytes, Floats]) -> None:
        """Keep the texts that a block has scored on disk; they count from `add` on.

        number (int): Of the block.
        scores (Mapping[bytes, Floats]): Scores by key.
        """
        path = self._path(number)
        with path.open("wb") as file:
            np.save(file, np.frombuffer(b"".join(scores), dtype=np.uint8).reshape(-1, _KEY_BYTES))
            values = np.stack(list(scores.values())) if scores else np.zeros((0, self._n_columns), np.float32)
            np.save(file, values.astype(np.float32, copy=False))
        sync_file(path)

    def add(self, number: int, scores: Mapping[bytes, Floats]) -> None:
        """Let the texts of a block count, and forget those that are too long ago.

        number (int): Of the block, whose results are safe on disk.
        scores (Mapping[bytes, Floats]): Scores by key.
        """
        self._blocks[number] = dict(scores)
        for old in [one for one in self._blocks if one <= number - self._n_blocks]:
            del self._blocks[old]
            self._path(old).unlink(missing_ok=True)

    def restore(self, n_done: int) -> None:
        """Read what there was at a block boundary.

        n_done (int): Blocks that are done.
        RAISES (ValueError): T532 for a file that is missing or damaged.
        """
        for number in range(max(0, n_done - self._n_blocks), n_done):
            path = self._path(number)
            try:
                with path.open("rb") as file:
                    keys, scores = np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)
                if keys.shape != (len(scores), _KEY_BYTES) or scores.shape[1:] != (self._n_columns,):
                    raise ValueError(scores.shape)
            except (OSError, ValueError, EOFError) as error:
                raise ValueError(T532.format(folder=self._folder, reason=f"{path.name}: {error}")) from error
            self._blocks[number] = dict(zip((key.tobytes() for key in keys), scores, strict=True))
            self._planned[number] = set(self._blocks[number])

    def _path(self, number: int) -> Path:
        return self._folder / f"recent-{number:08}.npy"
