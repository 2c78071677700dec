"""Printing for commands: escapes characters in the user's data that would control the terminal.

A label, a file name or a key may hold an escape sequence that clears the screen or a carriage return that overwrites a
line. Passwords and tokens are cut out. Everything that a command prints goes through here:
`from ..text_output import echo, msg`.
"""

import os
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping

from wasabi import Printer, color

from .redaction import without_secrets

# Control characters (C0, DEL, C1), line and paragraph separators, marks that turn the reading direction or cannot be
# seen at all, and halves of surrogate pairs, which no terminal can be given. Joiners (U+200C, U+200D) stay: words of
# Persian and Hindi and many emoji need them.
_UNPRINTABLE = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff"
)
_ANY = re.compile(f"[{_UNPRINTABLE}]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: object) -> str:
    r"""Show a piece of the user's data within a line.

    text (object): A label, a name, a path; anything else is shown by its str.
    RETURNS (str): The text; what steers a terminal or cannot be seen is an escape such as \x1b or \u202e; no secrets.
    """
    return _ANY.sub(_escaped, without_secrets(str(text)))


def is_visible(text: str) -> bool:
    """Whether a text has anything that can be seen.

    text (str): A label, a name.
    RETURNS (bool): False if it is white space and characters without a form.
    """
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)


def printable_lines(text: object) -> str:
    """Show a message of several lines: as `printable`, but line feeds and tabs stay.

    text (object): A message.
    RETURNS (str): The message, escaped.
    """
    return _ANY.sub(lambda found: found[0] if found[0] in "\n\t" else _escaped(found), without_secrets(str(text)))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] in _NAMED:
        return _NAMED[found[0]]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def echo(line: object = "", *, err: bool = False) -> None:
    """Print a line or several of them, escaped.

    line (object): What to print.
    err (bool): To standard error.
    """
    print(printable_lines(line), file=sys.stderr if err else sys.stdout)


def echo_colored(parts: Iterable[tuple[str, tuple[int, int] | None]]) -> None:
    """Print a line whose parts have colors, escaped.

    parts (Iterable[tuple[str, tuple[int, int] | None]]): Texts, and the colors of background and letters, of the 256 of
        a terminal; they are left out where it shows none.
    """
    shown = []
    for text, colors in parts:
        escaped = printable(text)
        shown.append(color(escaped, fg=colors[1], bg=colors[0]) if colors and msg.show_color else escaped)
    print("".join(shown))


class DataPrinter(Printer):  # type: ignore[misc]
    """wasabi's printer for text that holds the user's data: escapes are added before colors are.

    The cells of a table stay within their line. Colors are for a terminal only, and for none with NO_COLOR set.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        self._may_color = True
        super().__init__(*args, **kwargs)

    @property
    def show_color(self) -> bool:
        """Whether standard output, as it is now, shows colors."""
        return self._may_color and "NO_COLOR" not in os.environ and sys.stdout.isatty()

    @show_color.setter
    def show_color(self, may: bool) -> None:
        """Whether colors are wanted at all, as wasabi finds out when the printer is made."""
        self._may_color = may

    def text(self, title: object = "", text: object = "", *args: object, **kwargs: object) -> str | None:
        """Print a message; see wasabi."""
        return super().text(printable_lines(title), printable_lines(text), *args, **kwargs)

    def divider(self, text: str = "", *args: object, **kwargs: object) -> str | None:
        """Print a headline; see wasabi."""
        if self.show_color:
            return super().divider(printable(text), *args, **kwargs)
        print("\n" + f" {printable(text)} ".center(self.line_max, "=") + "\n")
        return None

    def table(self, data: Collection[Iterable[object]] | Mapping[object, object], **kwargs: object) -> str | None:
        """Print a table; see wasabi."""
        for part in ("header", "footer"):
            if isinstance(cells := kwargs.get(part), Iterable):
                kwargs[part] = [printable(cell) for cell in cells]
        rows = data.items() if isinstance(data, Mapping) else data
        return super().table([[printable(cell) for cell in row] for row in rows], **kwargs)


msg = DataPrinter()
