"""Batches of similar length, so that little of a batch is padding."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from spacy.tokens import Doc
from spacy.training import Example

from ...errors import T005

Item = TypeVar("Item", Doc, Example)

# English texts in BERT's pieces; only the order and a rough size depend on it.
_CHARACTERS_PER_PIECE = 4.5


def make_batch_by_pieces(
    *, pieces: int = 4096, docs: int = 16, buffer: int = 64, get_length: Callable[[Item], int] | None = None
) -> Callable[[Iterable[Item]], Iterator[list[Item]]]:
    """The batcher `spacy-transfer.batch_by_pieces.v1`.

    Collects `buffer` batches of texts in the order they come (the loop has shuffled them), sorts them by length, cuts
    batches and gives these in random order (python's `random`, which the loop seeds).

    pieces (int): Most pieces in a batch, padding included, estimated from the characters. A longer text goes alone.
    docs (int): Most documents in a batch.
    buffer (int): Batches to collect before sorting; 1 keeps the order of the data.
    get_length (Callable | None): Length of a document in pieces, in place of the estimate:
        `spacy-transfer.piece_length.v1` counts exactly.
    RETURNS (Callable): Documents or Examples to lists of them.
    """
    for field, value in (("pieces", pieces), ("docs", docs), ("buffer", buffer)):
        if value < 1:
            raise ValueError(T005.format(block="batcher", field=field, value=value, want=f"{field} >= 1"))
    length_of = get_length or _estimated_pieces

    def batch_by_pieces(items: Iterable[Item]) -> Iterator[list[Item]]:
        """Sort buffers of items by their length and cut them into batches."""
        stream = iter(items)
        # One number from outside, when an epoch begins: what others draw between two batches changes none of them.
        order = random.Random(random.getrandbits(64))
        while collected := list(islice(stream, buffer * docs)):
            measured = [(length_of(item), item) for item in collected]
            if buffer > 1:
                measured.sort(key=lambda one: one[0])
            batches = list(_cut(measured, pieces, docs))
            if buffer > 1:
                order.shuffle(batches)
            yield from batches

    return batch_by_pieces


def _cut(measured: list[tuple[int, Item]], pieces: int, docs: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    longest = 0
    for length, item in measured:
        longest = max(longest, length)
        if batch and (len(batch) >= docs or longest * (len(batch) + 1) > pieces):
            yield batch
            batch, longest = [], length
        batch.append(item)
    if batch:
        yield batch


def _estimated_pieces(item: Item) -> int:
    doc = item.reference if isinstance(item, Example) else item
    # As `len(doc.text)`, which puts the text together first.
    n_characters = doc[-1].idx + len(doc[-1].text_with_ws) if len(doc) else 0
    # Two special pieces.
    return 2 + round(n_characters / _CHARACTERS_PER_PIECE)
