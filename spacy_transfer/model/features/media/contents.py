"""What an attribute holds: a path, bytes or numbers; read, with a digest of the content."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from ....errors import T848
from ....files import sha256_of_parts
from ....files.strangers import MEGABYTE, UnusableFile, read_bytes
from ....pipeline.sources import attribute_of, has_attribute

Numbers = NDArray[np.generic]

# Of a file, before it is unpacked.
_MOST_BYTES = 500 * MEGABYTE
_SHOWN = 80  # characters of a text in a message


class Unreadable(Exception):
    """A picture or a sound that cannot be read.

    name (str): As messages call it.
    reason (str): Why.
    """

    def __init__(self, name: str, reason: object) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, str(reason)


@dataclass(frozen=True)
class Content:
    """What an attribute holds.

    name (str): As messages call it: the path, or what it is.
    data (bytes | NDArray): Of a file, or numbers.
    rate (int | None): Samples a second that are said with numbers.
    """

    name: str
    data: bytes | Numbers
    rate: int | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of what it holds, wherever it comes from."""
        if isinstance(self.data, bytes):
            return sha256_of_parts([b"file", self.data])
        said = f"{self.data.dtype.str} {self.data.shape} {self.rate}"
        return sha256_of_parts([b"numbers", said.encode(), np.ascontiguousarray(self.data).tobytes()])


def content_of(doc: Doc, attribute: str, root: Path, more: str, *, has_rate: bool) -> Content | None:
    """Read what a document has.

    doc (Doc): The document.
    attribute (str): Name of its extension attribute.
    root (Path): Folder that relative paths start from.
    more (str): For the message: which arrays are known.
    has_rate (bool): Whether [array, sampling rate] is known.
    RETURNS (Content | None): None for a document that has none.
    RAISES (Unreadable): A file that is not there, or not a regular one.
    RAISES (ValueError): T848 for a value of another type.
    """
    value = attribute_of(doc, attribute) if has_attribute(doc, attribute) else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str | Path):
        return _of_file(str(value), root) if str(value).strip() else None
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        return Content(f"a value of {len(data):,} bytes", data) if data else None
    rate: object = None
    if has_rate and isinstance(value, list | tuple) and len(value) == 2:
        value, rate = value
    if isinstance(value, np.ndarray) and value.dtype.kind in "buif" and (rate is None or _is_rate(rate)):
        name = f"an array of the shape {value.shape}"
        return Content(name, value, None if rate is None else int(str(rate))) if value.size else None
    raise ValueError(T848.format(attribute=attribute, type=type(value).__name__, more=more, text=doc.text[:_SHOWN]))


def _is_rate(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _of_file(name: str, root: Path) -> Content:
    try:
        return Content(name, read_bytes(root / Path(name).expanduser(), _MOST_BYTES))
    except UnusableFile as error:
        raise Unreadable(name, error) from error
    except (ValueError, RuntimeError) as error:
        # A null character; a home folder that nobody has.
        raise Unreadable(name, error) from error


def shown_text(doc: Doc) -> str:
    """The beginning of a document, for messages."""
    return doc.text[:_SHOWN]
