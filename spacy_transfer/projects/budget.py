"""How long a training takes: passes over the texts, seconds, and what fits into a limit."""

import math
import re

from ..errors import T617, T617_FORM
from .recipes import Recipe

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Passes over the texts at least, up to so many texts.
_LOWEST = ((20_000, 5), (100_000, 3))


def parse_seconds(given: str | float | None) -> float:
    """Read a time.

    given (str | float | None): "90", "90s", "10m", "1.5h", or seconds; None or "" is no limit.
    RETURNS (float): Seconds; 0 for no limit.
    RAISES (ValueError): T617 for what is no time, or not above 0.
    """
    if given is None or given == "":
        return 0.0
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(given))
    seconds = float(found[1]) * _UNITS[found[2] or "s"] if found else 0.0
    if not 0 < seconds < math.inf:
        raise ValueError(T617.format(problem=T617_FORM.format(value=repr(given))))
    return seconds


def shown_seconds(seconds: float) -> str:
    """Write a time for a reader.

    seconds (float): The time.
    RETURNS (str): Such as "45 s", "12 min" or "2.5 h".
    """
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def n_epochs_for(recipe: Recipe, n_texts: int) -> int:
    """Say how many passes a recipe makes over so many texts.

    As many as give the number of updates that it was measured with, but no more than it bears, and no fewer than five
    (three above 20,000 texts, one above 100,000), and with very few texts as many as give the updates that it takes at
    least.

    recipe (Recipe): What is trained.
    n_texts (int): Training texts.
    RETURNS (int): Passes; 0 where the loop trains nothing.
    """
    if not recipe.trains:
        return 0
    lowest = next((n for most, n in _LOWEST if n_texts <= most), 1)
    per_pass = n_updates(recipe, n_texts)
    return max(lowest, min(recipe.most_epochs, round(recipe.n_steps / per_pass)), -(-recipe.least_steps // per_pass))


def n_updates(recipe: Recipe, n_texts: int) -> int:
    """Count the updates in a pass over the texts.

    recipe (Recipe): What is trained.
    n_texts (int): Training texts.
    RETURNS (int): Updates.
    """
    return -(-n_texts // recipe.docs)
