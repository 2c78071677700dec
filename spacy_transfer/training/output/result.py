"""The result of a run, for programs to read: DIR/result.json."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...files import write_text
from ...files.fields import OBJECT, TEXT, Kind, dict_of, is_real, maybe, one_of, real, take, whole
from ...files.strangers import read_object
from ...json_types import JsonMapping, JsonObject
from .log_file import strict

_SCORE = Kind("a number, or 'nan', 'inf' or '-inf'", lambda value: is_real(value) or value in ("nan", "inf", "-inf"))
_FIELDS = {
    "status": one_of("finished", "paused", "interrupted"), "n_steps": whole(), "n_skipped": whole(), "score": _SCORE,
    "best_step": whole(-1), "scores": dict_of(real()), "data": TEXT, "seconds": real(), "machine": OBJECT,
    "precision": OBJECT, "measure": TEXT, "seed": maybe(whole()), "test": dict_of(real()),
    "peak_memory": maybe(real(0)),
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What came of a run.

    status (str): "finished", "paused" or "interrupted".
    n_steps (int): Steps made.
    n_skipped (int): Of them left out.
    score (float): Main score of the best evaluation.
    best_step (int): Its step, -1 where there was none.
    scores (dict): All numbers among its scores.
    data (str): Fingerprint of the training data.
    seconds (float): Spent in training, earlier parts of the run included.
    machine (dict): By component what it computed on and in which precision; versions.
    precision (dict): What "auto" stood for, as `nn.precision.recorded` takes it.
    measure (str): What the score is.
    seed (int | None): Of the config.
    test (dict): All numbers among the scores on test data, where a study has some.
    peak_memory (float | None): Megabytes held at most since the run, or its last part, began: of the process, or of the
        GPU; None where that is not known.
    """

    status: str
    n_steps: int
    n_skipped: int
    score: float
    best_step: int
    scores: dict[str, float]
    data: str
    seconds: float
    machine: dict[str, object] = field(default_factory=dict)
    precision: JsonObject = field(default_factory=dict)
    measure: str = ""
    seed: int | None = None
    test: dict[str, float] = field(default_factory=dict)
    peak_memory: float | None = None

    def write(self, folder: Path) -> None:
        """Put it into the output folder of the run."""
        write_text(folder / "result.json", json.dumps(strict(asdict(self)), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Result":
        """What `write` wrote.

        RAISES (OSError): T450 if it is not there or no JSON object, T451 for a wrong value.
        """
        file = folder / "result.json"
        return cls.from_json(read_object(file), file)

    @classmethod
    def from_json(cls, data: JsonMapping, file: Path, within: str = "") -> "Result":
        """As `strict(asdict(result))` gives it.

        data (JsonMapping): The object.
        file (Path): Where it comes from.
        within (str): Where in that.
        RETURNS (Result): Checked.
        RAISES (OSError): T451 for a wrong value.
        """
        found = take(file, data, _FIELDS, within=within)
        # JSON has no NaN: it stands there as text.
        return cls(**{**found, "score": float(found["score"])})


def numbers_of(scores: Mapping[str, object]) -> dict[str, float]:
    """Finite numbers among the scores of an evaluation, without its speed."""
    numbers = {name: value for name, value in scores.items() if isinstance(value, float | int)}
    return {name: value for name, value in numbers.items() if name != "speed" and math.isfinite(value)}
