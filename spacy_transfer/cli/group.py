"""The command group, and how a command fails. Imported at every `spacy` command: no heavy import at the top."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from spacy.cli._util import app

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
    """Print an error that the user can mend without a traceback and exit with status 1; a bug keeps its traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        if not str(error).startswith("[T") and not isinstance(error, OSError):
            raise
        first, *more = str(error).splitlines() or [type(error).__name__]
        msg.fail(first)
        for line in more:
            # wasabi would wrap it and join it with its neighbours
            echo(line)
        raise typer.Exit(1) from error
