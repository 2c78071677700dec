"""Types and ranges of the fields of a JSON object, checked before any value is used."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeGuard

from ..errors import T451, T451_MISSING
from ..json_types import JsonMapping, JsonObject
from .strangers import UnusableFile

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Beyond it a float does not hold every whole number.
MOST = 2**53


@dataclass(frozen=True)
class Kind:
    """What a value must be.

    want (str): In words, for messages.
    holds (Callable): Whether a value is that.
    """

    want: str
    holds: Callable[[object], bool]


def whole(least: int = 0, most: int = MOST) -> Kind:
    """A whole number in a range, ends included."""
    return Kind(f"a whole number from {least} to {most}", lambda value: is_whole(value) and least <= value <= most)


def real(least: float = -math.inf, most: float = math.inf) -> Kind:
    """A finite number in a range, ends included."""
    bounds = "" if math.isinf(least) and math.isinf(most) else f" from {least:g} to {most:g}"
    return Kind(f"a finite number{bounds}", lambda value: is_real(value) and least <= value <= most)


def one_of(*values: object) -> Kind:
    """One of some values, of the same type."""
    said = ", ".join(repr(value) for value in values)
    return Kind(f"one of {said}", lambda found: any(type(found) is type(value) and found == value for value in values))


def list_of(kind: Kind, *, distinct: bool = False) -> Kind:
    """A list of such values.

    kind (Kind): Of each value.
    distinct (bool): Each of them once.
    RETURNS (Kind): Of the list.
    """

    def holds(value: object) -> bool:
        """Decide whether a value is such a list."""
        if not isinstance(value, list) or not all(kind.holds(one) for one in value):
            return False
        return not distinct or len(set(value)) == len(value)

    return Kind(f"a list of {'different values, each ' if distinct else 'values, each '}{kind.want}", holds)


def dict_of(kind: Kind) -> Kind:
    """An object with such values under any keys."""
    return Kind(
        f"an object of values, each {kind.want}",
        lambda value: isinstance(value, dict) and all(kind.holds(one) for one in value.values()),
    )


def maybe(kind: Kind) -> Kind:
    """Such a value, or null."""
    return Kind(f"{kind.want}, or null", lambda value: value is None or kind.holds(value))


TEXT = Kind("a string", lambda value: isinstance(value, str))
NAME = Kind("a string that is not empty", lambda value: isinstance(value, str) and bool(value))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
ANYTHING = Kind("anything", lambda value: True)
SHA256 = Kind("64 hexadecimal digits", lambda value: isinstance(value, str) and bool(_SHA256.fullmatch(value)))


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is an int; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_real(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; true and false are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def take(
    file: Path | str,
    data: JsonMapping,
    needed: Mapping[str, Kind],
    optional: Mapping[str, Kind] | None = None,
    *,
    within: str = "",
) -> JsonObject:
    """The fields that are known, checked; others are left behind.

    file (Path | str): Where the object comes from.
    data (Mapping): The object.
    needed (Mapping[str, Kind]): What must be there, and what may be.
    optional (Mapping[str, Kind]): What must be there, and what may be.
    within (str): Where in the file the object is, as in "network.".
    RAISES (UnusableFile): T451 for the first that is missing or of another kind, with its value.
    """
    found = {}
    for key, kind in {**needed, **(optional or {})}.items():
        if key in data:
            check_field(file, f"{within}{key}", data[key], kind)
            found[key] = data[key]
        elif key in needed:
            raise UnusableFile(T451.format(file=file, key=f"{within}{key}", value=T451_MISSING, want=kind.want))
    return found


def check_field(file: Path | str, key: str, value: object, kind: Kind) -> None:
    """Compare one value.

    RAISES (UnusableFile): T451 if it is of another kind.
    """
    if not kind.holds(value):
        refuse(file, key, value, kind.want)


def refuse(file: Path | str, key: str, value: object, want: str) -> NoReturn:
    """Refuse a value.

    file (Path | str): Where the object comes from.
    key (str): Of the value, in the object.
    value (object): The value seen.
    want (str): What it should be.
    RAISES (UnusableFile): T451.
    """
    raise UnusableFile(T451.format(file=file, key=key, value=shown(value), want=want))


def shown(value: object) -> str:
    """A value for a message, however long or deep it is."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= 80 else f"{text[:77]}..."
