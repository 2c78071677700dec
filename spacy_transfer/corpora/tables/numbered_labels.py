"""Names for numeric labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ... import errors
from ..excerpt import excerpt
from .decoding import decoded_lines
from .rows import BadRow, parse_json

LabelNames = str | Sequence[str] | Mapping[str, str] | Mapping[int, str]


def parse_label_names(given: LabelNames | None) -> dict[str, str]:
    """Read the names of labels that are numbers.

    given (LabelNames | None): Names in the order of their numbers, from 0; or numbers with names; or a str: "neg,pos",
        "0=neg,4=pos", or a file with a JSON list, a JSON object, or one name in a line.
    RETURNS (dict[str, str]): Names by number; empty if nothing is given.
    RAISES (ValueError): T394 for a name that is empty or stands there twice.
    RAISES (UnicodeError): T042 for a file that is no text.
    """
    if given is None:
        return {}
    named = _parse(given)
    names = list(named.values())
    if not named or any(not isinstance(name, str) or not name.strip() for name in names):
        raise ValueError(errors.T394.format(value=excerpt(given), problem=errors.T394_EMPTY))
    twice = [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(
            errors.T394.format(value=excerpt(given), problem=errors.T394_TWICE.format(name=excerpt(twice[0])))
        )
    return {number: name.strip() for number, name in named.items()}


def _parse(given: LabelNames) -> dict[str, str]:
    if isinstance(given, str):
        try:
            is_file = Path(given).is_file()
        except (OSError, ValueError):
            is_file = False
        return _of_file(Path(given)) if is_file else _of_parts(given.split(","))
    if isinstance(given, Mapping):
        return {str(number).strip(): name for number, name in given.items()}
    return {str(number): name for number, name in enumerate(given)}


def _of_parts(parts: list[str]) -> dict[str, str]:
    if all("=" in part for part in parts):
        pairs = [part.split("=", 1) for part in parts]
        return {number.strip(): name for number, name in pairs}
    return {str(number): name for number, name in enumerate(parts)}


def _of_file(path: Path) -> dict[str, str]:
    text = "".join(decoded_lines(path))
    if not text.lstrip().startswith(("[", "{")):
        return _of_parts([line for line in text.split("\n") if line.strip()])
    try:
        value = parse_json(text)
    except BadRow as error:
        raise ValueError(errors.T394.format(value=path, problem=error)) from error
    if isinstance(value, dict):
        return {str(number): name for number, name in value.items()}
    return {str(number): name for number, name in enumerate(value if isinstance(value, list) else [])}
