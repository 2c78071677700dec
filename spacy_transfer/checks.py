"""Checks of numbers in a config block."""

from collections.abc import Callable

from .errors import T005


def check_number(block: str, builder: object, field: str, want: str, good: Callable[[float], bool]) -> None:
    """Make a float of a field, since the config system hands a number in quotes on as a str.

    block (str): As the message names it.
    builder (object): A frozen dataclass.
    field (str): Of the dataclass.
    want (str): The range in words.
    good (Callable): Whether a number is in it.
    RAISES (ValueError): T005 if it is not.
    """
    value = float(getattr(builder, field))
    if not good(value):
        raise ValueError(T005.format(block=block, field=field, value=value, want=want))
    object.__setattr__(builder, field, value)


def check_share(block: str, builder: object, field: str) -> None:
    """A rate of dropout and its like: `check_number` for 0 <= field < 1."""
    check_number(block, builder, field, f"0 <= {field} < 1", lambda value: 0.0 <= value < 1.0)


def check_least(block: str, builder: object, field: str, least: int) -> None:
    """Refuse a whole number below the least.

    block (str): As the message names it.
    builder (object): A frozen dataclass.
    field (str): Of the dataclass.
    least (int): The least that it may be.
    RAISES (ValueError): T005 for less.
    """
    if (number := getattr(builder, field)) < least:
        raise ValueError(T005.format(block=block, field=field, value=number, want=f"{field} >= {least}"))
