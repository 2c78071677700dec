"""The runs of a sweep: all combinations of config values, and how long each one trains."""

import itertools
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import T187, T188, T426, T432, T435
from ...json_types import ConfigBlock

# Among the values of a trial: the file that it takes in place of the study's config. No key of a config has no dot.
CONFIG = "config"
# What splits values that are no JSON: a comma outside of quotes and brackets.
_PARTS = re.compile(r"""[,\[\]{}]|"(?:[^"\\]|\\.)*"?|[^,\[\]{}"]+""")


def parse_sweep(specs: Sequence[str]) -> dict[str, list[object]]:
    """Values to try, by dotted key of the config.

    specs (Sequence[str]): "KEY=VALUE,VALUE,...": values as JSON, and what is none is text: "training.dropout=0.1,0.2",
        "components.x.model.tuning.frozen_depth=0,3,all"; blocks as JSON: 'KEY={"@losses": "A"},{"@losses": "B"}'.
        "KEY,KEY=[VALUE,VALUE],[VALUE,VALUE]": values that belong together. "one.cfg,other.cfg": config files.
    RETURNS (dict): As `grid` takes it.
    RAISES (ValueError): T187 without a key or a value, and for a key or a value that comes twice, T426 for broken JSON,
        T432 for values that are not as many as their keys, T435 for a config file that does not exist.
    """
    found: dict[str, list[object]] = {}
    seen: list[str] = []
    for spec in specs:
        if "=" not in spec and ".cfg" in spec:
            text, values = CONFIG, _config_files(spec)
        else:
            text, _, given = spec.partition("=")
            values = _values(text, given)
        keys = [key.strip().removeprefix("--") for key in text.split(",")]
        distinct = {json.dumps(value, sort_keys=True) for value in values}
        are_keys = all("." in key for key in keys) or keys == [CONFIG]
        if not are_keys or not values or "" in values or len(distinct) < len(values):
            raise ValueError(T187.format(spec=spec))
        seen += keys
        if len(set(seen)) < len(seen):
            raise ValueError(T187.format(spec=spec))
        if len(keys) > 1:
            for value in values:
                if not isinstance(value, list) or len(value) != len(keys):
                    raise ValueError(T432.format(keys=",".join(keys), value=value, n=len(keys)))
        found[",".join(keys)] = values
    return found


def _config_files(spec: str) -> list[object]:
    paths = [part.strip() for part in spec.split(",")]
    for path in paths:
        if not Path(path).is_file():
            raise ValueError(T435.format(spec=spec, path=path or "''"))
    return list(paths)


def _values(key: str, text: str) -> list[object]:
    try:
        return list(json.loads(f"[{text}]"))
    except ValueError:
        return [_value(key, part.strip()) for part in _split(text)]


def _split(text: str) -> list[str]:
    """At commas that stand outside of quotes and brackets."""
    parts, depth = [""], 0
    for piece in _PARTS.findall(text):
        depth += (piece in "[{") - (piece in "]}")
        if piece == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _value(key: str, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        if text.startswith(("{", "[")):
            raise ValueError(T426.format(key=key, value=text, reason=error)) from error
        return text


def grid(values: Mapping[str, Sequence[object]], n_trials: int | None = None, seed: int = 0) -> list[ConfigBlock]:
    """Each value with each of the other keys, the last key fastest.

    values (Mapping): Values by key; of several keys, joined by commas, lists of values that belong together.
    n_trials (int | None): Draw only so many of them.
    seed (int): Of the draw.
    RETURNS (list[dict]): One value by key for each trial; a single empty one without keys.
    """
    factors = [[_together(key, value) for value in some] for key, some in values.items()]
    every = [{key: value for part in one for key, value in part.items()} for one in itertools.product(*factors)]
    if n_trials is None or n_trials >= len(every):
        return every
    chosen = sorted(random.Random(seed).sample(range(len(every)), n_trials))
    return [every[i] for i in chosen]


def _together(key: str, value: object) -> dict[str, object]:
    keys = key.split(",")
    # `parse_sweep` has seen that several keys have lists of as many values.
    return dict(zip(keys, value, strict=True)) if len(keys) > 1 and isinstance(value, list) else {key: value}


@dataclass(frozen=True)
class Rung:
    """A part of a sweep.

    n_trials (int): How many take part.
    stop_at (int): Steps each has made at its end; 0: all.
    """

    n_trials: int
    stop_at: int


def rungs(n_trials: int, n_steps: int, every: int, keep_one_in: int) -> list[Rung]:
    """Successive halving: many trials train for a short while, the better ones for longer, the last to the end.

    n_trials (int): At the beginning.
    n_steps (int): Of a whole run, 0 if nobody knows.
    every (int): Steps from one evaluation to the next: a rung ends with one.
    keep_one_in (int): Of so many trials one goes on; 1 keeps all.
    RETURNS (list[Rung]): Each rung trains `keep_one_in` times as long as the one before, and none is below a tenth of
        the run, where a rate that warms up still tells nothing.
    RAISES (ValueError): T188 for trials to be dropped in runs without a number of steps, or keep_one_in below 1.
    SOURCE: Jamieson & Talwalkar 2016, arXiv:1502.07943; trials go on where they were, as in Li et al. 2020 (ASHA),
        arXiv:1810.05934.
    """
    if keep_one_in < 1 or (keep_one_in > 1 and n_trials > 1 and not n_steps):
        raise ValueError(T188.format(keep_one_in=keep_one_in, n_steps=n_steps))
    if keep_one_in == 1 or n_trials == 1:
        return [Rung(n_trials, 0)]
    counts = [n_trials]
    while counts[-1] > 1:
        counts.append(-(-counts[-1] // keep_one_in))
    found: list[Rung] = []
    n_left = 1
    for i, count in enumerate(counts[:-1]):
        steps = max(n_steps / keep_one_in ** (len(counts) - 1 - i), n_steps / 10)
        # The evaluation of step k * every is made when one step more is done.
        stop_at = -(-int(steps) // every) * every + 1
        if stop_at >= n_steps:
            n_left = count
            break
        # Two that end at once are one: after it, as many go on as after the second.
        if not found or found[-1].stop_at != stop_at:
            found.append(Rung(count, stop_at))
    return [*found, Rung(n_left, 0)]
