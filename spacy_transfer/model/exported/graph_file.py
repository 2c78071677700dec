"""Looks into an ONNX file before the runtime reads it: whether it is whole, and has all of its weights itself.

Of protobuf's form nothing is needed but lengths: https://protobuf.dev/programming-guides/encoding. The numbers are
those of the fields in onnx.proto.
"""

from collections.abc import Iterator
from pathlib import Path

from ...errors import T544, T544_DAMAGED, T544_EXTERNAL
from ...files.strangers import UnusableFile

# Of each message the fields that hold other messages, and which.
_INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {},
}
# Of a tensor: entries that name a file, and where its data are (0: here).
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
# Graphs within nodes of graphs.
_DEEPEST = 60
_LONGEST_VARINT = 10


def check_graph(data: bytes, file: Path | str, version: str) -> None:
    """Check that a graph is whole, and names no other files: with them, a stranger's pipeline could read any file.

    data (bytes): Of an ONNX file.
    file (Path | str): Where they come from.
    version (str): Of the installed runtime, for the message.
    RAISES (UnusableFile): T544.
    """
    try:
        has_all = _has_all(memoryview(data), "model", 0)
    except (ValueError, IndexError) as error:
        raise UnusableFile(T544.format(file=file, version=version, problem=T544_DAMAGED)) from error
    if not has_all:
        raise UnusableFile(T544.format(file=file, version=version, problem=T544_EXTERNAL))


def _has_all(message: memoryview, kind: str, depth: int) -> bool:
    """Whether no tensor of a message has its data elsewhere."""
    if depth > _DEEPEST:
        raise ValueError
    inner = _INNER[kind]
    is_graph_there = False
    for number, value in _fields(message):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
            return False
        is_graph_there = is_graph_there or number == 7
        if number in inner:
            if not isinstance(value, memoryview):
                raise ValueError
            if not _has_all(value, inner[number], depth + 1):
                return False
    if kind == "model" and not is_graph_there:
        raise ValueError
    return True


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, form = key >> 3, key & 7
        if form == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if form == _LENGTH:
            size, at = _varint(message, at)
        elif form in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if form == _EIGHT_BYTES else 4
        else:
            raise ValueError
        if size > end - at:
            raise ValueError
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for i in range(_LONGEST_VARINT):
        byte = message[at + i]
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, at + i + 1
    raise ValueError
