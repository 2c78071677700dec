"""The command group, and the one place that handles errors. Every `spacy` command imports it: no heavy imports."""

import io
import sys
from typing import Any

import typer
from spacy.cli._util import app
from typer.core import TyperGroup

from ..errors import T448
from ..log import shown
from ..text_output import msg, printable
from ..training.interrupted import Interrupted

HELP = "Transfer learning for text classification: prepare data, train and evaluate."
# Exceptions that typer handles itself: an exit status, Ctrl-C, and an invalid command line.
_TYPERS_OWN: tuple[type[BaseException], ...] = (
    typer.Exit,
    typer.Abort,
    *(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"),
)


class TransferGroup(TyperGroup):
    """Runs a command: shows the log, and turns an error into one message with a code, never a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse arguments that are not valid text: they would be stored in configs and fail there."""
        for arg in args:
            if any(0xD800 <= ord(character) < 0xE000 for character in arg):
                _reconfigure()
                msg.fail(T448.format(argument=printable(arg)))
                raise typer.Exit(1)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> object:
        """Run a command of the group."""
        _reconfigure()
        with shown():
            try:
                return super().invoke(ctx)
            except _TYPERS_OWN:
                raise
            except Interrupted as stopped:
                raise typer.Exit(128 + stopped.signal) from stopped
            except BrokenPipeError:
                # The reader of the output has gone, as `head` does; typer handles it.
                raise
            except Exception as error:
                from .failures import report

                raise typer.Exit(report(error, ctx.invoked_subcommand or "")) from error


def _reconfigure() -> None:
    """Escape characters that the terminal's encoding lacks, so that no label stops a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


transfer_cli = typer.Typer(name="transfer", help=HELP, no_args_is_help=True, rich_markup_mode=None, cls=TransferGroup)
app.add_typer(transfer_cli, name="transfer", help=HELP, no_args_is_help=True)
