"""Studies of the tiny config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinc.api import Config

from house_kit.runs import run
from spacy_transfer.training.interrupted import to_its_end
from spacy_transfer.training.search.study import Plan, Studied, study


class Made:
    """Makes runs as the command does, and writes down which."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.parts: list[tuple[str, int, bool]] = []

    def __call__(self, folder: Path, values: Mapping[str, Any], stop_at: int, resume: bool) -> None:
        self.parts.append((folder.name, stop_at, resume))
        to_its_end(lambda: run(self.config, folder, overrides=values, stop_at=stop_at, resume=resume, force=not resume))


def studied(config: Config, output: Path, plan: Plan, **options: Any) -> Studied:
    return study(config, output, plan, Made(config), **options)
