"""How a service says no: a status, and a body of JSON with a code."""

import re
from collections.abc import Mapping

from ....json_types import JsonObject

_CODED = re.compile(r"\[(T\d{3})\] (.*)", re.DOTALL)


class Refusal(Exception):
    """A request that is not answered, or not now.

    status (int): Of HTTP.
    message (str): Of the catalogue, with its code.
    field (str): Where in the request the reason is, such as "texts.3"; empty where it is no field.
    headers (Mapping[str, str] | None): Of the answer.
    """

    def __init__(self, status: int, message: str, field: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.field, self.headers = status, field, dict(headers or {})
        self.code, self.text = split_code(message)

    @property
    def body(self) -> JsonObject:
        """What the answer holds."""
        return {"error": {"code": self.code, "message": self.text, "field": self.field or None}}


def split_code(message: str) -> tuple[str, str]:
    """Take a message apart.

    message (str): Any.
    RETURNS (tuple[str, str]): Code and text; an empty code for a message that has none.
    """
    found = _CODED.match(message)
    return (found[1], found[2]) if found else ("", message)
