"""The command group, and how a command fails. Imported at every `spacy` command: no heavy import at the top."""

import io
import re
import sys
from collections.abc import Iterator
from configparser import InterpolationError
from contextlib import contextmanager
from pathlib import Path

import typer
from confection import ConfigValidationError
from spacy.cli._util import app

from ..errors import T427
from ..log import shown
from ..text_output import echo, msg

HELP = "Transfer learning for text classification: an encoder, data, and how good the result is."

transfer_cli = typer.Typer(name="transfer", help=HELP, no_args_is_help=True, rich_markup_mode=None)
app.add_typer(transfer_cli, name="transfer", help=HELP, no_args_is_help=True)


@transfer_cli.callback()
def prepare_output(ctx: typer.Context) -> None:
    """Show what the package logs, and let no label of the user's stop a command because the terminal's encoding lacks a
    character."""
    ctx.with_resource(shown())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print an error that the user can mend without a traceback and exit with status 1; a bug keeps its traceback.

    spaCy's own errors have codes too ([E893]); what is wrong with a config is told key by key, without the config.
    """
    try:
        yield
    except (ValueError, OSError, ImportError, InterpolationError) as error:
        if isinstance(error, ConfigValidationError):
            text = f"{T427}\n{_problems(error)}"
        elif isinstance(error, InterpolationError):
            text = f"{T427}\n{error}"
        elif isinstance(error, FileNotFoundError) and error.errno:
            text = f"{error}\nPaths are relative to the folder you are in: {Path.cwd()}"
        elif isinstance(error, OSError) or re.match(r"\[[TE]\d+\]", str(error)):
            text = str(error)
        else:
            raise
        first, *more = text.splitlines() or [type(error).__name__]
        msg.fail(first)
        for line in more:
            # wasabi would wrap it and join it with its neighbours
            echo(line)
        raise typer.Exit(1) from error


def _problems(error: ConfigValidationError) -> str:
    lines = [] if not error.desc else [error.desc]
    for one in error.errors or ():
        place = [part for part in (error.parent, *one.get("loc", ())) if part]
        lines.append(f"{'.'.join(map(str, place))}: {str(one.get('msg', one)).removeprefix('at root: ')}")
    return "\n".join(lines)
