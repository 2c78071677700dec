"""What every test would do again, done once."""

import functools
import os
from typing import Any

import catalogue
from spacy.language import BaseDefaults

from spacy_transfer.corpora.convert import blank_language


class EntryPoints:
    """Those of the environment, looked through once per group: spaCy's registries do it about a hundred times for a
    pipeline, which is half the time that it takes to build."""

    select = staticmethod(functools.cache(catalogue.AVAILABLE_ENTRY_POINTS.select))


def remember_entry_points() -> None:
    """Let spaCy's registries ask `EntryPoints`."""
    catalogue.AVAILABLE_ENTRY_POINTS = EntryPoints


def know_no_emoticons() -> None:
    """Let tokenizers of the language "xx" be made without the rules that every language has for them: spaCy reads them
    eight times a tokenizer, which takes longer than all else of a pipeline without weights."""
    BaseDefaults.tokenizer_exceptions = {}


def trust_the_power() -> None:
    """Let nothing wait for the disk: processes are killed in tests, machines are not."""
    os.fsync = lambda handle: None


@functools.cache
def one_blank(lang: str) -> Any:
    """Instead of `blank_language`: making one takes most of the time of converting a few rows, and it keeps nothing."""
    return blank_language(lang)
