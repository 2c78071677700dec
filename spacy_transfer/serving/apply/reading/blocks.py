"""Rows in blocks: the same ones at every run, so that a run can go on at any boundary."""

import json
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from .rows import Bad, Row

Item = TypeVar("Item")
# However long the texts are, a block is not larger than this.
_MOST_CHARACTERS = 8_000_000
# Blocks that are read ahead of the one that is being scored.
_N_AHEAD = 2


@dataclass
class Block:
    """Neighbors.

    rows (list[Row]): What is scored.
    bad (list[Bad]): What cannot be used.
    """

    rows: list[Row] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)

    @property
    def last(self) -> Row | Bad:
        """Where it ends."""
        ends: list[Row | Bad] = [*self.rows[-1:], *self.bad[-1:]]
        return max(ends, key=lambda one: (one.source, one.last_line))


def make_blocks(rows: Iterable[Row | Bad], most_rows: int) -> Generator[Block, None, None]:
    """Cut a stream of rows into blocks.

    rows (Iterable[Row | Bad]): In order.
    most_rows (int): Of a block.
    YIELDS (Block): None is empty.
    """
    block, n_characters = Block(), 0
    for row in rows:
        if isinstance(row, Row):
            block.rows.append(row)
            n_characters += len(row.text)
        else:
            block.bad.append(row)
        if len(block.rows) + len(block.bad) >= most_rows or n_characters >= _MOST_CHARACTERS:
            yield block
            block, n_characters = Block(), 0
    if block.rows or block.bad:
        yield block


def bad_lines(bad: Iterable[Bad], names: list[str]) -> bytes:
    """Lines of the side file.

    bad (Iterable[Bad]): In the order of the sources.
    names (list[str]): Of the sources.
    RETURNS (bytes): JSONL.
    """
    lines = []
    for one in sorted(bad, key=lambda one: (one.source, one.line)):
        last = {"last_line": one.last_line} if one.last_line > one.line else {}
        line = {"source": names[one.source], "line": one.line, **last, "reason": one.reason}
        # ASCII: a reason may quote half a surrogate pair.
        lines.append(json.dumps(line) + "\n")
    return "".join(lines).encode("ascii")


@contextmanager
def closed_after(items: Generator[Item, None, None]) -> Iterator[Iterator[Item]]:
    """Read in this thread, while the block lasts.

    items (Generator): What is read.
    YIELDS (Iterator): The same items.
    """
    try:
        yield items
    finally:
        items.close()


@contextmanager
def read_ahead(items: Generator[Item, None, None]) -> Iterator[Iterator[Item]]:
    """Read in a thread of its own, a few items ahead, while the block lasts.

    items (Generator): What is read; an error of it is raised where its item would come.
    YIELDS (Iterator): The same items.
    """
    # One item, none at the end, or an error.
    waiting: queue.Queue[tuple[list[Item], BaseException | None]] = queue.Queue(_N_AHEAD)
    stopped = threading.Event()

    def put(given: list[Item], error: BaseException | None = None) -> bool:
        """Wait for room, but not for ever."""
        while not stopped.is_set():
            try:
                waiting.put((given, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        """Fill the queue."""
        try:
            for item in items:
                if not put([item]):
                    break
            else:
                put([])
        except BaseException as error:
            put([], error)
        finally:
            items.close()

    thread = threading.Thread(target=read, name="spacy-transfer apply, reading", daemon=True)
    thread.start()

    def each() -> Iterator[Item]:
        """Empty the queue."""
        while True:
            given, error = waiting.get()
            if error is not None:
                raise error
            if not given:
                return
            yield from given

    try:
        yield each()
    finally:
        stopped.set()
        thread.join()
