"""Commands without a process."""

from pathlib import Path

from spacy.cli import app
from typer.testing import CliRunner

import spacy_transfer.cli  # noqa: F401 - the command group joins spaCy's app


def run(*args: str | Path, code: int = 0) -> str:
    """Run `python -m spacy ARGS` in this process. RETURNS (str): What it printed."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output
