"""Shows a user's value in one line of a message."""

LONGEST_EXCERPT = 80  # characters: a finding with five of them still fits a screen


def excerpt(value: object) -> str:
    """Cut a value down to a line; control characters and halves of surrogate pairs come out escaped.

    value (object): Whatever stood in the data.
    RETURNS (str): Its repr, at most LONGEST_EXCERPT characters.
    """
    if isinstance(value, str):
        value = " ".join(value[: 4 * LONGEST_EXCERPT].split())
    line = repr(value)
    return line if len(line) <= LONGEST_EXCERPT else line[: LONGEST_EXCERPT - 4] + "..." + line[-1]
