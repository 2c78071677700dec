"""Whole texts of licenses that an encoder only names."""

import re
from importlib.resources import files

_NAMES_APACHE = re.compile(r"\bapache-2\.0\b|Apache License,? Version 2\.0", re.IGNORECASE)
_HOLDS_APACHE = "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION"


def whole_text(text: str) -> str:
    """Complete what an encoder says of its license.

    text (str): A license, a notice, or a name. The Apache License asks for a copy of itself wherever the work goes, and
        names no holder in it; other licenses do, so of them nothing can be added.
    RETURNS (str): With the text of the Apache License 2.0 where that is named and its text missing.
    """
    if not _NAMES_APACHE.search(text) or _HOLDS_APACHE in text:
        return text
    apache = files(__package__ or "").joinpath("apache-2.0.txt").read_text("utf-8")
    return f"{text.rstrip()}\n\n{apache}"
