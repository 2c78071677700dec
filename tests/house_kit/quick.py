"""What every test would do again, done once."""

import functools
from typing import Any

import catalogue

from spacy_transfer.corpora.convert import blank_language


class EntryPoints:
    """Those of the environment, looked through once per group: spaCy's registries do it about a hundred times for a
    pipeline, which is half the time that it takes to build."""

    select = staticmethod(functools.cache(catalogue.AVAILABLE_ENTRY_POINTS.select))


def remember_entry_points() -> None:
    """Let spaCy's registries ask `EntryPoints`."""
    catalogue.AVAILABLE_ENTRY_POINTS = EntryPoints


@functools.cache
def one_blank(lang: str) -> Any:
    """Instead of `blank_language`: making one takes most of the time of converting a few rows, and it keeps nothing."""
    return blank_language(lang)
