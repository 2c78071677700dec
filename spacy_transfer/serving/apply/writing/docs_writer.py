"""`.spacy` files: documents are packed block by block, and joined at the end without holding more than one block.

A `.spacy` file is one object of msgpack, packed by zlib, with the tokens of all documents in one of its fields, the
spaces in another, and so on. Blocks keep the fields apart, so that the file is made of them field by field.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import srsly
from spacy.tokens import Doc, DocBin

from ....errors import T605
from ..reading.rows import Bad, Row
from .answers import Answer

# Of a shared transformer: its states, a hundred times as large as the text.
_STATES = ("._.", "trf_data", None, None)
# What msgpack can say of the length of a field.
_MOST_BYTES = 2**32 - 1
# Fields in the order of the file: bytes, then lists with an entry for each document.
_DATA, _LISTS = ("tokens", "spaces", "lengths"), ("cats", "flags", "span_groups", "user_data")
_FIELDS = (*_DATA, "strings", *_LISTS)
_HEAD = struct.Struct(f">Q{2 * len(_FIELDS)}Q")
_CHUNK = 1 << 20


class _Head(NamedTuple):
    """What stands before the fields of a block.

    n_docs (int): Its documents.
    sizes (dict[str, int]): Bytes of each field.
    packed (dict[str, int]): Bytes of each field as it lies in the file.
    begin (int): Where the first field begins.
    """

    n_docs: int
    sizes: dict[str, int]
    packed: dict[str, int]
    begin: int


def pack_docs(rows: Sequence[Row], docs: Sequence[Doc]) -> tuple[bytes, list[Bad]]:
    """Pack the documents of a block.

    rows (Sequence[Row]): Their rows.
    docs (Sequence[Doc]): With all that the components wrote.
    RETURNS (tuple[bytes, list[Bad]]): The documents, and rows whose documents cannot be written.
    """
    kept = DocBin(store_user_data=True)
    bad: list[Bad] = []
    for row, doc in zip(rows, docs, strict=True):
        doc.user_data.pop(_STATES, None)
        one = DocBin(store_user_data=True)
        try:
            one.add(doc)
            # What is written of a document when the file is made.
            srsly.msgpack_dumps([one.cats, one.span_groups])
        except (TypeError, ValueError, OverflowError, UnicodeError) as error:
            # A value that msgpack has no form for.
            bad.append(Bad(row.source, row.line, row.last_line, f"{type(error).__name__}: {error}"))
            continue
        kept.merge(one)
    return (_packed(kept) if len(kept) else b""), bad


def _packed(docs: DocBin) -> bytes:
    fields = {
        "tokens": np.vstack(docs.tokens).tobytes("C"),
        "spaces": np.vstack(docs.spaces).tobytes("C"),
        "lengths": np.asarray([len(one) for one in docs.tokens], dtype="int32").tobytes("C"),
        "strings": srsly.msgpack_dumps(sorted(docs.strings)),
        # The entries one after the other, without what would say how many there are.
        **{name: b"".join(srsly.msgpack_dumps(one) for one in getattr(docs, name)) for name in _LISTS},
    }
    packed = [zlib.compress(fields[name]) for name in _FIELDS]
    sizes = [len(fields[name]) for name in _FIELDS]
    return _HEAD.pack(len(docs), *sizes, *map(len, packed)) + b"".join(packed)


class DocsWriter:
    """A `.spacy` file: the documents with all that the components wrote, and other columns as `doc._.NAME`.

    part (Path): Blocks that are there already.
    """

    def __init__(self, part: Path) -> None:
        with part.open("rb") as file:
            self._n_bytes = sum(head.sizes["tokens"] for head in _heads(file))

    def head(self) -> bytes:
        """See `Writer`."""
        return b""

    def encode(self, rows: Sequence[Row], answers: Sequence[Answer], docs: bytes) -> tuple[bytes, list[Bad]]:
        """See `Writer`.

        RAISES (ValueError): T605 for more tokens than the format can hold.
        """
        if docs:
            self._n_bytes += _head_of(docs[: _HEAD.size], 0).sizes["tokens"]
            if self._n_bytes > _MOST_BYTES:
                raise ValueError(T605.format(n_bytes=_MOST_BYTES))
        return docs, []

    def finish(self, part: Path, place: Path) -> bool:
        """See `Writer`."""
        empty = DocBin(store_user_data=True)
        packer = zlib.compressobj()
        with part.open("rb") as file, place.open("wb") as out:
            heads = list(_heads(file))
            n_docs = sum(head.n_docs for head in heads)

            def write(data: bytes) -> None:
                """Pack some bytes."""
                out.write(packer.compress(data))

            # A map with so many entries.
            write(bytes([0x80 + 2 + len(_FIELDS)]))
            write(srsly.msgpack_dumps("version") + srsly.msgpack_dumps(empty.version))
            write(srsly.msgpack_dumps("attrs") + srsly.msgpack_dumps(empty.attrs))
            for name in _FIELDS:
                write(srsly.msgpack_dumps(name))
                if name == "strings":
                    strings: set[str] = set()
                    for head in heads:
                        strings.update(srsly.msgpack_loads(b"".join(_field(file, head, name))))
                    write(srsly.msgpack_dumps(sorted(strings)))
                    continue
                if name in _DATA:
                    write(struct.pack(">BI", 0xC6, sum(head.sizes[name] for head in heads)))
                else:
                    write(struct.pack(">BI", 0xDD, n_docs))
                for head in heads:
                    for data in _field(file, head, name):
                        write(data)
            out.write(packer.flush())
        return True


def _head_of(data: bytes, begin: int) -> _Head:
    n_docs, *sizes = _HEAD.unpack(data)
    n_fields = len(_FIELDS)
    return _Head(
        n_docs,
        dict(zip(_FIELDS, sizes[:n_fields], strict=True)),
        dict(zip(_FIELDS, sizes[n_fields:], strict=True)),
        begin + _HEAD.size,
    )


def _heads(file: BinaryIO) -> Iterator[_Head]:
    """What stands before the fields of each block."""
    begin = 0
    while data := file.read(_HEAD.size):
        head = _head_of(data, begin)
        yield head
        begin = head.begin + sum(head.packed.values())
        file.seek(begin)


def _field(file: BinaryIO, head: _Head, name: str) -> Iterator[bytes]:
    """Unpack a field of a block."""
    begin = head.begin
    for before in _FIELDS[: _FIELDS.index(name)]:
        begin += head.packed[before]
    file.seek(begin)
    left, unpacker = head.packed[name], zlib.decompressobj()
    while left and (data := file.read(min(left, _CHUNK))):
        left -= len(data)
        yield unpacker.decompress(data)
    yield unpacker.flush()
