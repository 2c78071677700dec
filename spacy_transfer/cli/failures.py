"""How a command fails: one function decides what the user sees of any error."""

import errno
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from configparser import Error as ConfigParserError
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..errors import T427, T440_HERE, T441, T443, T444, T444_DESCRIPTION, T445, T445_LOG, T446, T447
from ..files import no_such_file
from ..redaction import without_secrets
from ..text_output import echo, msg

DEBUG = "SPACY_TRANSFER_DEBUG"
_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
_OURS = re.compile(r"\[T\d{3}\]")
_SPACYS = re.compile(r"\[[EW]\d{3,4}\]")
_NO_FILE = re.compile(r"Can't (?:read|find) file: (?P<path>.*)", re.DOTALL)
# Characters of a message by another package.
_LONGEST = 1500


@dataclass(frozen=True)
class Failure:
    """What is shown of an error.

    message (str): Lines.
    status (int): Exit status of the process.
    is_bug (bool): Whether the error was not foreseen, so that its traceback is worth keeping.
    """

    message: str
    status: int = 1
    is_bug: bool = False


def report(error: Exception, command: str) -> int:
    """Show an error of a command. A bug's traceback goes to a file; SPACY_TRANSFER_DEBUG=1 shows all tracebacks.

    error (Exception): The error.
    command (str): Name of the command.
    RETURNS (int): The exit status.
    """
    failure = explain(error, command)
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        echo(_traceback(error), err=True)
    first, *more = failure.message.splitlines()
    msg.fail(first)
    for line in more:
        # wasabi would wrap it and join it with the lines next to it.
        echo(line)
    if failure.is_bug:
        echo(T445_LOG.format(log=_keep(error), variable=DEBUG))
    return failure.status


def explain(error: Exception, command: str) -> Failure:
    """Decide what the user sees of an error.

    error (Exception): The error.
    command (str): Name of the command.
    RETURNS (Failure): A message with a code.
    """
    for known in _causes(error):
        if _OURS.match(str(known)):
            return Failure(str(known))
    if (usage := getattr(error, "format_message", None)) is not None:
        # An error of click itself, which spaCy uses; typer may bring its own click.
        return Failure(T447.format(error=usage()), status=2)
    text = _shortened(error)
    if type(error).__name__ == "ConfigValidationError" or isinstance(error, ConfigParserError):
        return Failure(f"{T427}\n{_config_error(error)}")
    if (missing := _missing_path(error)) is not None:
        return Failure(str(no_such_file(missing)))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in text:
        return Failure(T443)
    if isinstance(error, OSError) and error.errno is not None:
        path = error.filename if error.filename is not None else T444_DESCRIPTION
        return Failure(T441.format(path=os.fsdecode(path) if isinstance(path, bytes) else path, reason=error.strerror))
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("spacy_transfer"):
        return Failure(T446.format(package=error.name))
    if _SPACYS.search(text):
        way_out = f" {T440_HERE.format(folder=Path.cwd())}" if re.search(r"\[E05[03]\]", text) else ""
        return Failure(T444.format(error=text) + way_out)
    return Failure(
        T445.format(command=command, kind=type(error).__name__, error=text, place=_place(error)), is_bug=True
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and the errors it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _shortened(error: BaseException) -> str:
    text = str(error).strip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _config_error(error: Exception) -> str:
    """Key and reason only: confection also prints the whole config, which the user has on disk."""
    lines = []
    for problem in getattr(error, "errors", None) or ():
        keys = [str(key) for key in (getattr(error, "parent", None), *problem.get("loc", ())) if key]
        lines.append(f"{'.'.join(keys)}: {str(problem.get('msg', problem)).removeprefix('at root: ')}")
    description = getattr(error, "desc", None)
    if not lines:
        return str(description or _shortened(error)).strip()
    return "\n".join([*([str(description).strip()] if description else []), *lines])[:_LONGEST]


def _missing_path(error: Exception) -> str | None:
    """The path of a missing file; None for another error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR) and error.filename is not None:
        return os.fsdecode(error.filename)
    found = _NO_FILE.fullmatch(str(error)) if isinstance(error, ValueError) else None
    return found["path"].strip() if found else None


def _place(error: Exception) -> str:
    """The line that raised it, and the last line of spacy-transfer above."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    ours = [frame for frame in frames if frame.filename.startswith(_PACKAGE)]
    shown = dict.fromkeys(f"{Path(frame.filename).name}:{frame.lineno}" for frame in [*ours[-1:], frames[-1]])
    return ", in ".join(shown)


def _traceback(error: BaseException, trace: TracebackType | None = None) -> str:
    return without_secrets("".join(traceback.format_exception(type(error), error, trace or error.__traceback__)))


def _keep(error: Exception) -> str:
    """Write the traceback to a temporary file.

    RETURNS (str): Its path, or the traceback itself.
    """
    text = f"{without_secrets(repr(sys.argv))}\n{_traceback(error)}"
    try:
        handle, path = tempfile.mkstemp(prefix="spacy-transfer-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return text
    return path
