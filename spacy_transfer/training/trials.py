"""Trials of a study, and their table."""

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import write_text
from .result import Result


@dataclass
class Trial:
    """Values of the config, and the runs that were made with them: one for each seed.

    number (int): From 1. values (dict): By dotted key. results (dict): By name of the run.
    is_dropped (bool): Others were better at the end of a rung. failed (str): Why it could not be trained.
    """

    number: int
    values: dict[str, Any]
    results: dict[str, Result] = field(default_factory=dict)
    is_dropped: bool = False
    failed: str = ""

    @property
    def scores(self) -> list[float]:
        """Best main score of each run so far."""
        return [result.score for result in self.results.values()]

    @property
    def score(self) -> float:
        """Their mean; minus infinity where there is none."""
        score = statistics.mean(self.scores) if self.scores and not self.failed else -math.inf
        return -math.inf if math.isnan(score) else score

    @property
    def deviation(self) -> float:
        """Of the scores; NaN for a single run."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else math.nan

    @property
    def n_steps(self) -> int:
        """Steps that each of its runs has made."""
        return max((result.n_steps for result in self.results.values()), default=0)


def describe(values: Mapping[str, Any]) -> str:
    """Values of the config in one line, without the part of the keys that all of them share."""
    return ", ".join(f"{key}={_shown(value)}" for key, value in zip(short_keys(values), values.values(), strict=True))


def short_keys(keys: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """The ends of dotted keys, as long as they need to be to differ.

    keys (Sequence[str]): "training.optimizer.learn_rate.initial_rate".
    RETURNS (list[str]): "initial_rate".
    """
    parts = [key.split(".") for key in keys]
    n = 1
    while len({tuple(one[-n:]) for one in parts}) < len(parts):
        n += 1
    return [".".join(one[-n:]) for one in parts]


def table(trials: Sequence[Trial]) -> tuple[list[str], list[list[Any]]]:
    """A row for each run, best trial first, with means and deviations for a trial of several runs.

    RETURNS (tuple[list[str], list[list]]): Header and rows: text, numbers, and None where there is nothing to say.
    """
    keys = list(dict.fromkeys(key for trial in trials for key in trial.values))
    names = sorted({name for trial in trials for result in trial.results.values() for name in result.scores})
    header = ["run", *short_keys(keys), "steps", "best step", "score", *names, "status"]
    rows: list[list[Any]] = []
    # Those that came further first, then by score; equal ones in their order.
    for trial in sorted(trials, key=lambda one: (bool(one.failed), one.is_dropped, -one.n_steps, -one.score)):
        values = [trial.values.get(key) for key in keys]
        for run, result in trial.results.items():
            status = "dropped" if trial.is_dropped else result.status
            scores = [result.scores.get(name) for name in names]
            rows.append([run, *values, result.n_steps, result.best_step, result.score, *scores, status])
        if len(trial.results) > 1:
            for what, measure in (("mean", statistics.mean), ("deviation", statistics.stdev)):
                numbers = [
                    _measured(measure, [result.scores.get(name) for result in trial.results.values()]) for name in names
                ]
                rows.append([what, *values, None, None, _measured(measure, trial.scores), *numbers, ""])
        if trial.failed:
            rows.append([f"trial-{trial.number:03d}", *values, *[None] * (len(names) + 3), f"failed: {trial.failed}"])
    return header, rows


def write_csv(trials: Sequence[Trial], path: Path) -> None:
    """The table as a file for a spreadsheet."""
    header, rows = table(trials)
    file = io.StringIO(newline="")
    csv.writer(file).writerows([header, *rows])
    write_text(path, file.getvalue())


def _measured(measure: Any, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return measure(known) if len(known) == len(values) else None


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
