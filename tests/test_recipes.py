"""Each shipped config says what it is for, the command that runs it and what to try first, and all of it works."""

import shlex
from pathlib import Path

import pytest
from spacy.cli._util import parse_config_overrides
from spacy.util import load_config

from house_kit.repository import REPOSITORY
from spacy_transfer.config.reading import read_config

CONFIGS = sorted((REPOSITORY / "configs").glob("*.cfg"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_the_head_of_a_config(config: Path) -> None:
    head = [line.removeprefix("# ") for line in config.read_text("utf-8").splitlines() if line.startswith("# ")]
    (run,) = (line.removeprefix("Run:").strip() for line in head if line.startswith("Run:"))
    (override,) = (line.removeprefix("Try first:").strip() for line in head if line.startswith("Try first:"))
    assert not head[0].startswith("Run:")
    assert run == f"python -m spacy transfer train configs/{config.stem}.cfg --output training/{config.stem}"
    values = parse_config_overrides(shlex.split(override), env_var="")
    (key,) = values
    before, after = load_config(config), read_config(config, values)
    for part in key.split("."):
        before, after = before.get(part, {}), after[part]
    assert after == values[key] != before
