"""Options shared by commands that read a config or a pipeline: --code, and config values on the command line."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from ..errors import T428, T430, T681
from ..json_types import ConfigBlock

Code = Annotated[
    Path | None, Option("--code", "-c", help="Python file with registered functions that the config or pipeline uses")
]
# For commands where -c is --component.
CodeWithoutLetter = Annotated[
    Path | None, Option("--code", help="Python file with registered functions that the config or pipeline uses")
]


def use_code(path: Path | None) -> None:
    """Import a Python file, so that the functions it registers are available.

    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T428 if that fails, with the line.
    """
    from traceback import extract_tb

    from spacy.util import import_file

    from ..files import require_file

    if path is None:
        return
    require_file(path)
    try:
        import_file("python_code", path)
    except Exception as error:
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else "?")
        reason = f"line {line}: {type(error).__name__}: {error}"
        raise ValueError(T428.format(path=path, reason=reason)) from error


def share_or_auto(given: str | None) -> float | Literal["auto"] | None:
    """Read the value of --min-confidence.

    given (str | None): A number, "auto", or None where the option is not given.
    RETURNS (float | "auto" | None): Its range is checked where it is used.
    RAISES (ValueError): T681 for another word.
    """
    if given is None or given == "auto":
        return "auto" if given else None
    try:
        return float(given)
    except ValueError:
        raise ValueError(T681.format(value=given)) from None


def values_of(arguments: list[str]) -> ConfigBlock:
    """Read config values, as `spacy train` takes them, from the command line and from SPACY_CONFIG_OVERRIDES.

    arguments (list[str]): What the command has no option for: ["--training.max_steps", "500"].
    RETURNS (dict): Values by dotted key; JSON is parsed, so a value may be a whole block.
    RAISES (ValueError): T430 for an argument that is neither an option nor such a value.
    """
    from spacy.cli._util import parse_config_overrides

    expects_value = False
    for argument in arguments:
        is_key = argument.startswith("--")
        if not (is_key and "." in argument.partition("=")[0]) and not (expects_value and not is_key):
            raise ValueError(T430.format(option=argument))
        expects_value = is_key and "=" not in argument
    return parse_config_overrides(arguments)
