"""Runs the logger named in the config within the training loop."""

from collections.abc import Callable
from pathlib import Path

import srsly

from ...errors import T335
from ...files import write_text
from ...json_types import ConfigBlock, ConfigMapping
from ...log import logger

LogStep = Callable[[dict[str, object] | None], None]


def takes_place_of_ours(block: ConfigMapping) -> bool:
    """Whether a logger prints a line for each evaluation, as `Progress` does: only one of them shall."""
    return "ConsoleLogger" in str(block.get("@loggers", ""))


class EvaluationFile:
    """The `output_file` of spaCy's ConsoleLogger, in its format: a line of JSON for each evaluation.

    path (Path): The file.
    folder (Path): Output of the run; what lies there is the run's own.
    n_done (int): Steps that the run has made; lines of later ones, written before it was killed, are dropped.
    is_resumed (bool): The run goes on from a checkpoint.
    is_pending (bool): The last step is still to be evaluated.
    """

    def __init__(self, path: Path, folder: Path, *, n_done: int, is_resumed: bool, is_pending: bool) -> None:
        self.path: Path | None = path
        kept: list[str] = []
        if is_resumed:
            last = n_done - 1 - is_pending
            lines = path.read_text("utf-8").split("\n") if path.exists() else []
            kept = [line for line in lines if line and _step_of(line) <= last]
        elif path.exists() and not path.resolve().is_relative_to(folder.resolve()):
            logger.warning(T335.format(path=path, log=folder / "log.jsonl"))
            self.path = None
        if self.path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, "".join(f"{line}\n" for line in kept))

    def __call__(self, info: ConfigBlock | None) -> None:
        """Add an evaluation.

        info (dict | None): As loggers of spaCy get it; None for a step without one.
        """
        if info is None or self.path is None:
            return
        scores = {name: value for name, value in info["other_scores"].items() if isinstance(value, int | float)}
        line = {
            "epoch": info["epoch"], "step": info["step"],
            "losses": {name: float(value) for name, value in info["losses"].items()},
            # spaCy's logger writes them so.
            "scores": {name: value if name == "speed" else value * 100 for name, value in scores.items()},
            "score": float(info["score"]),
        }  # fmt: skip
        with self.path.open("a", encoding="utf-8") as file:
            file.write(srsly.json_dumps(line) + "\n")


def _step_of(line: str) -> int:
    try:
        return int(srsly.json_loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        # Cut off by a kill.
        return 2**62
