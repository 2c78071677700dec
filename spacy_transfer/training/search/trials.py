"""The trials of a search, and their tables."""

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...files import write_text
from ...json_types import ConfigBlock, ConfigMapping
from ..output.result import Result


@dataclass
class Trial:
    """Values of the config, and the runs that were made with them: one for each seed.

    number (int): From 1.
    values (dict): By dotted key.
    results (dict): By name of the run.
    is_dropped (bool): Others were better at the end of a rung.
    failed (str): Why it could not be trained.
    """

    number: int
    values: ConfigBlock
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


def describe(values: ConfigMapping) -> str:
    """Values of the config in one line, without the part of the keys that all of them share."""
    return ", ".join(f"{key}={shown(value)}" for key, value in zip(short_keys(values), values.values(), strict=True))


def short_keys(keys: Mapping[str, object] | Sequence[str]) -> list[str]:
    """The ends of dotted keys, as long as they need to be to differ.

    keys (Sequence[str]): "training.optimizer.learn_rate.initial_rate".
    RETURNS (list[str]): "initial_rate".
    """
    parts = [key.split(".") for key in keys]
    n = 1
    while len({tuple(one[-n:]) for one in parts}) < len(parts):
        n += 1
    return [".".join(one[-n:]) for one in parts]


Table = tuple[list[str], list[list[object]]]


def results_table(trials: Sequence[Trial]) -> Table:
    """A row for each run, best trial first; a trial that could not be trained has one too.

    RETURNS (tuple[list[str], list[list]]): Header and rows: text, numbers, and None where there is nothing to say.
    """
    keys = _keys(trials)
    dev, test = _names(trials, "scores"), _names(trials, "test")
    header = [
        "trial", "seed", "run", *short_keys(keys), "status", "steps", "best step", "seconds", "judged by", "score",
        *(f"dev {name}" for name in dev), *(f"test {name}" for name in test),
    ]  # fmt: skip
    rows: list[list[object]] = []
    for trial in _ranked(trials):
        values = [trial.values.get(key) for key in keys]
        for run, result in trial.results.items():
            status = "dropped" if trial.is_dropped else result.status
            rows.append([
                trial.number, result.seed, run, *values, status, result.n_steps, result.best_step,
                round(result.seconds, 1), result.measure, result.score, *(result.scores.get(name) for name in dev),
                *(result.test.get(name) for name in test),
            ])  # fmt: skip
        if trial.failed:
            row = [trial.number, None, f"trial-{trial.number:03d}", *values, f"failed: {trial.failed}"]
            rows.append([*row, *[None] * (len(header) - len(row))])
    return header, rows


def statistics_table(trials: Sequence[Trial]) -> Table:
    """A row for each trial, the best one first: mean and standard deviation over its runs of all that was measured.

    RETURNS (tuple[list[str], list[list]]): As `results_table`; no standard deviation of a single run.
    """
    keys = _keys(trials)
    names = [("score", "")] + [
        (f"{what} {name}", name) for what in ("dev", "test") for name in _names(trials, _PART[what])
    ]
    header = ["trial", *short_keys(keys), "runs", "judged by"]
    header += [f"{shown} {kind}" for shown, _ in names for kind in ("mean", "standard deviation")]
    rows: list[list[object]] = []
    for trial in _ranked(trials):
        results = list(trial.results.values())
        row = [trial.number, *(trial.values.get(key) for key in keys), len(results)]
        row.append(results[0].measure if results else "")
        for shown, name in names:
            part = _PART.get(shown.partition(" ")[0])
            found = [one.score if part is None else getattr(one, part).get(name) for one in results]
            row += [_measured(statistics.mean, found), _measured(statistics.stdev, found)]
        rows.append(row)
    return header, rows


# Where a result keeps what was measured on which data.
_PART = {"dev": "scores", "test": "test"}


def _keys(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(key for trial in trials for key in trial.values))


def _names(trials: Sequence[Trial], part: str) -> list[str]:
    return sorted({name for trial in trials for result in trial.results.values() for name in getattr(result, part)})


def _ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Those that came further first, then by score; equal ones in their order."""
    return sorted(trials, key=lambda one: (bool(one.failed), one.is_dropped, -one.n_steps, -one.score))


def write_csv(found: Table, path: Path) -> None:
    """A table as a file for a spreadsheet; blocks of the config stand in it as JSON."""
    header, rows = found
    file = io.StringIO(newline="")
    cells = [[json.dumps(cell) if isinstance(cell, dict | list) else cell for cell in row] for row in rows]
    csv.writer(file).writerows([header, *cells])
    write_text(path, file.getvalue())


def _measured(measure: Callable[[Sequence[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < len(values) or len(known) < (2 if measure is statistics.stdev else 1):
        return None
    return measure(known)


def shown(value: object) -> str:
    """A value of the config, short: of a block the name of its function and what else it says."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and (names := [key for key in value if key.startswith("@")]):
        parts = str(value[names[0]]).split(".")
        name = parts[-2] if len(parts) > 2 else parts[0]
        rest = ", ".join(f"{key}={shown(one)}" for key, one in value.items() if not key.startswith("@"))
        return f"{name}({rest})" if rest else name
    return json.dumps(value)
