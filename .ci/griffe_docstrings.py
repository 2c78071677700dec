"""For the site: docstrings in the form of this project, one parameter a line, become Markdown lists."""

import inspect
import re
from typing import Any

import griffe

# "name (type): text", "name: text", "a, b (type): text", "RETURNS (type): text", "SOURCE: text".
_ENTRY = re.compile(
    r"^((?:[a-z_][\w*]*|RETURNS|RAISES|SOURCE)(?:, [a-z_]\w*)*)( \([^()]*(?:\([^()]*\)[^()]*)*\))?: (.*)$"
)


class OneParameterALine(griffe.Extension):
    """Changes docstrings as they are read."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Turn entries and their continuation lines into items of a list."""
    lines, in_list = [], False
    for line in inspect.cleandoc(text).splitlines():
        if (entry := _ENTRY.match(line)) is not None:
            if not in_list:
                lines.append("")
            name, kind, rest = entry.groups()
            mark = f"**{name.capitalize()}**" if name.isupper() else f"`{name}`"
            lines.append(f"- {mark}{kind or ''}: {rest}")
            in_list = True
        elif in_list and line.startswith(" "):
            lines.append(f"    {line.strip()}")
        else:
            if in_list:
                lines.append("")
                in_list = False
            lines.append(line)
    return "\n".join(lines)
