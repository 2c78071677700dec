"""The texts of a stream that come into question: bounded memory, each text once."""

import heapq
from dataclasses import dataclass

from ...corpora.inspection.near_duplicates import fold_text
from ...files import fingerprint_of_data
from ...pipeline.interface import Floats

_KEY_BYTES = 16


@dataclass(frozen=True)
class Candidate:
    """A text that may be suggested.

    text (str): The text.
    scores (Floats): Of the labels, (n_labels,).
    source (int): Of the files.
    line (int): Where it is, from 1.
    """

    text: str
    scores: Floats
    source: int
    line: int


class Pool:
    """Keeps the texts with the highest priorities.

    Texts that differ in case, marks and spaces alone are one.

    size (int): Texts that are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # The number of each text breaks ties: earlier ones stay, and candidates are not compared.
        self._heap: list[tuple[float, int, bytes, Candidate]] = []
        self._keys: set[bytes] = set()
        self._n_seen = 0

    def offer(self, candidate: Candidate, priority: float) -> None:
        """Take a text in, if it comes into question.

        candidate (Candidate): The text.
        priority (float): How much it is wanted.
        """
        self._n_seen += 1
        if len(self._heap) == self._size and priority <= self._heap[0][0]:
            return
        key = key_of(candidate.text)
        if key in self._keys:
            return
        self._keys.add(key)
        entry = (priority, -self._n_seen, key, candidate)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        else:
            self._keys.discard(heapq.heappushpop(self._heap, entry)[2])

    def candidates(self) -> list[Candidate]:
        """Give what was kept.

        RETURNS (list[Candidate]): The most wanted first.
        """
        return [entry[3] for entry in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1]))]


def key_of(text: str) -> bytes:
    """Make a digest that texts have in common which differ in case, marks and spaces alone.

    text (str): A text.
    """
    return fingerprint_of_data(fold_text(text).encode("utf-8", "surrogatepass"), size=_KEY_BYTES)


def chance_of(text: str) -> float:
    """Draw a number from 0 to 1, always the same one for a text: the highest of a stream are a fair sample of it.

    text (str): A text.
    """
    return int.from_bytes(key_of(text)[:7], "big") / 2**56
