"""Which of many alike are tried by plain `pytest`; the rest is marked `slow` and left to .ci/run."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

# Of the families those that differ most, and of the ways to train: what each of the others has is in one of these.
FAMILIES = {"bert", "distilbert", "deberta-v3", "modernbert", "t5", "gpt2"}
RUNS = {
    "full, averages, accumulated", "frozen, linear probe, little memory", "unfreezing by epochs, two epochs",
    "frozen beside a tok2vec, averages, accumulated", "half frozen, sizes and rates on schedules",
}  # fmt: skip


def mostly_slow(values: Iterable[Any], *, but: Collection[Any]) -> list[Any]:
    """Values of a test's parameter, slow but for a few."""
    return [value if value in but else pytest.param(value, marks=pytest.mark.slow) for value in values]


def is_one_of_many(item: pytest.Item, known_families: Collection[str], runs: Collection[str]) -> bool:
    """Whether a test's `family` or `kind` of run is none of those that plain `pytest` tries."""
    values = getattr(getattr(item, "callspec", None), "params", {})
    family, kind = values.get("family"), values.get("kind")
    return (family in known_families and family not in FAMILIES) or (kind in runs and kind not in RUNS)
