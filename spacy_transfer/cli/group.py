"""The command group, and the one place where its commands fail. Imported at every `spacy` command: no heavy import."""

import io
import sys
from typing import Any

import typer
from spacy.cli._util import app
from typer.core import TyperGroup

from ..errors import T448
from ..log import shown
from ..text_output import msg, printable

HELP = "Transfer learning for text classification: an encoder, data, and how good the result is."
# What typer ends a command with itself: an exit status, Ctrl-C, and a command line that cannot be read.
_TYPERS_OWN: tuple[type[BaseException], ...] = (
    typer.Exit,
    typer.Abort,
    *(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"),
)


class TransferGroup(TyperGroup):
    """Runs a command: what the package logs is shown, and an error is one message with a code, never a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse arguments that are no text: they would be stored in configs and fail there."""
        for arg in args:
            if any(0xD800 <= ord(character) < 0xE000 for character in arg):
                _reconfigure()
                msg.fail(T448.format(argument=printable(arg)))
                raise typer.Exit(1)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command of the group."""
        _reconfigure()
        with shown():
            try:
                return super().invoke(ctx)
            except _TYPERS_OWN:
                raise
            except BrokenPipeError:
                # Whoever read the output has gone, as `head` does; typer knows what to do.
                raise
            except Exception as error:
                from .failures import report

                raise typer.Exit(report(error, ctx.invoked_subcommand or "")) from error


def _reconfigure() -> None:
    """No label of the user's stops a command because the terminal's encoding lacks a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


transfer_cli = typer.Typer(name="transfer", help=HELP, no_args_is_help=True, rich_markup_mode=None, cls=TransferGroup)
app.add_typer(transfer_cli, name="transfer", help=HELP, no_args_is_help=True)
