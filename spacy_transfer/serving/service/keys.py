"""API keys: a file of them, read at the start and at each reload."""

import hmac
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ...errors import T582, T582_ASCII, T582_EMPTY, T582_SHORT, T583
from ...files import require_file
from ...files.strangers import read_string
from ...log import logger

# 16 letters and digits at random are 95 bits.
LEAST_CHARACTERS = 16
_MOST_BYTES = 1_000_000


def read_keys(path: Path) -> list[bytes]:
    """Read a file of keys: one per line, blank lines and lines that begin with # aside.

    path (Path): The file.
    RETURNS (list[bytes]): At least one.
    RAISES (FileNotFoundError): T440.
    RAISES (OSError): T450 for what is not a file of text.
    RAISES (ValueError): T582 for a file without a key, or with one that is too short or no ASCII.
    """
    path = path.expanduser()
    require_file(path)
    keys: list[bytes] = []
    for number, line in enumerate(read_string(path, _MOST_BYTES).splitlines(), start=1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError(T582.format(path=path, problem=T582_ASCII.format(line=number)))
        if len(key) < LEAST_CHARACTERS:
            problem = T582_SHORT.format(line=number, n=len(key), least=LEAST_CHARACTERS)
            raise ValueError(T582.format(path=path, problem=problem))
        keys.append(key.encode("ascii"))
    if not keys:
        raise ValueError(T582.format(path=path, problem=T582_EMPTY.format(least=LEAST_CHARACTERS)))
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        logger.warning(T583.format(path=path))
    return keys


def is_among(key: bytes, keys: Sequence[bytes]) -> bool:
    """Compare a key with all keys, in a time that does not say how much of it is right.

    key (bytes): As it was sent.
    keys (Sequence[bytes]): Those that open.
    RETURNS (bool): Whether it is one of them.
    """
    is_found = False
    for one in keys:
        # Without an early end: the time would say which key it is.
        is_found |= hmac.compare_digest(key, one)
    return is_found
