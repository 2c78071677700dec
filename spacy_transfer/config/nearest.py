"""Suggests the nearest known name for a mistyped one."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for the end of a message.

    name (str): As it was given.
    known (Iterable[str]): What there is.
    RETURNS (str): " Did you mean max_steps?", or nothing where no name is near.
    """
    names = list(dict.fromkeys(known))
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not found:
        # A name without its package and version: MaxPooling.
        found = [one for one in names if name.lower() in one.lower().split(".")][:1]
    return f" Did you mean {found[0]}?" if found else ""
