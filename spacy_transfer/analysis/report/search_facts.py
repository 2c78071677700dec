"""What a search tried, and what freezing each depth bought."""

import statistics
from contextlib import suppress
from pathlib import Path

from ...files.strangers import UnusableFile, read_object
from ...json_types import JsonObject
from .place import STUDY

_DEPTH = "frozen_depth"
# A search of thousands of runs.
_MOST_BYTES = 100_000_000


def search_facts(study: Path | None) -> JsonObject:
    """Read the trials of a search.

    study (Path | None): Its folder.
    RETURNS (dict): Trials with their values, scores and seconds, best first, and those that differ in the frozen depth
        by depth; empty without a search.
    """
    if study is None:
        return {}
    try:
        state = read_object(study / STUDY, _MOST_BYTES)
    except UnusableFile:
        return {}
    trials = [_trial(one) for one in state.get("trials", []) if isinstance(one, dict)]
    measure = next((one["measure"] for one in trials if one["measure"]), "")
    depths = [one for one in trials if one["depth"] is not None and one["scores"] and not one["is_dropped"]]
    depths.sort(key=lambda one: (one["depth"] == "all", one["depth"] if isinstance(one["depth"], int) else 0))
    trials.sort(key=lambda one: (bool(one["failed"]), one["is_dropped"], -(one["score"] or 0.0)))
    different = len({str(one["depth"]) for one in depths}) > 1
    return {
        "folder": str(study), "measure": measure, "best_run": state.get("best_run", ""), "trials": trials,
        "depths": depths if different else [],
    }  # fmt: skip


def _trial(data: JsonObject) -> JsonObject:
    results = [one for one in (data.get("results") or {}).values() if isinstance(one, dict)]
    scores, seconds, memory = (_numbers(results, key) for key in ("score", "seconds", "peak_memory"))
    values = data.get("values") or {}
    depth = next((value for key, value in values.items() if str(key).rpartition(".")[2] == _DEPTH), None)
    tests = [one["test"] for one in results if one.get("test")]
    return {
        "number": data.get("number"), "values": {str(key): value for key, value in values.items()}, "depth": depth,
        "scores": scores, "score": statistics.mean(scores) if scores else None,
        "deviation": statistics.stdev(scores) if len(scores) > 1 else None,
        "seconds": statistics.mean(seconds) if seconds else None,
        "peak_memory": statistics.mean(memory) if memory else None,
        "n_steps": max((int(one.get("n_steps", 0)) for one in results), default=0),
        "measure": next((str(one["measure"]) for one in results if one.get("measure")), ""),
        "test": _means(tests), "is_dropped": bool(data.get("is_dropped")), "failed": str(data.get("failed") or ""),
    }  # fmt: skip


def _numbers(results: list[JsonObject], key: str) -> list[float]:
    return [float(one[key]) for one in results if isinstance(one.get(key), int | float)]


def _means(tests: list[JsonObject]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in tests[0] if tests else ():
        with suppress(KeyError, TypeError, ValueError):
            found[name] = statistics.mean(float(one[name]) for one in tests)
    return found
