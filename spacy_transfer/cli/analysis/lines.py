"""Texts of any length in a line of a table."""

_LONGEST = 70


def one_line(text: str) -> str:
    """Cut a text to a line.

    text (str): A text.
    RETURNS (str): At most 70 characters, white space as single spaces.
    """
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
