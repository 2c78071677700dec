"""Options shared by the commands that run the training loop."""

import shlex
import sys
from enum import StrEnum
from typing import Annotated

from typer import Option


class Show(StrEnum):
    """How progress is shown."""

    auto = "auto"
    bar = "bar"
    lines = "lines"
    none = "none"


CheckpointEvery = Annotated[
    str,
    Option(
        "--checkpoint-every",
        help="100 (steps), 30s or 5m. auto: once 100 steps, 30 s and 30 times the duration of the last checkpoint have "
        "passed",
    ),
]
ShowProgress = Annotated[
    Show, Option("--show", help="How to show progress. auto: a bar on a terminal, otherwise lines")
]


def to_go_on() -> str:
    """The command of this process, with `--resume`."""
    arguments = [one for one in without_option("--stop-at") if one not in ("--resume", "-R", "--force", "-F")]
    return f"{shlex.join(['python', '-m', 'spacy', *arguments])} --resume"


def without_option(option: str) -> list[str]:
    """The command line without an option that has a value."""
    found, skip = list[str](), False
    for one in sys.argv[1:]:
        if not skip and one != option and not one.startswith(f"{option}="):
            found.append(one)
        skip = not skip and one == option
    return found
