"""Refuses a run that would replace what it reads."""

import os
from collections.abc import Iterable
from pathlib import Path

from spacy.language import DEFAULT_CONFIG
from thinc.api import Config

from ...errors import T373, T373_INPUT
from ..state.fingerprint import flat

_LONGEST_PATH = 4096


def refuse_inputs_that_go(config: Config, places: Iterable[Path]) -> None:
    """Refuse a config that reads what is about to be replaced.

    config (Config): Of the run.
    places (Iterable[Path]): Files and folders that the run replaces; they need not be there.
    RAISES (ValueError): T373 for a path in the config that is one of them, or lies in it.
    """
    replaced = [place.resolve() for place in places if place.exists()]
    for value in flat(DEFAULT_CONFIG.merge(config).interpolate()).values() if replaced else ():
        if isinstance(value, str) and os.sep in value and len(value) < _LONGEST_PATH and Path(value).exists():
            for place in replaced:
                # A folder that holds the output is no trouble: only what is replaced with it is.
                if Path(value).resolve().is_relative_to(place):
                    raise ValueError(T373.format(path=place, problem=T373_INPUT.format(other=value)))
