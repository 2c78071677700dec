"""Finds where the characters of a cleaned text came from."""

import re
from difflib import SequenceMatcher

_WORD = re.compile(r"\w+|\s+|[^\w\s]")


def places_in(original: str, cleaned: str) -> list[int]:
    """Align a cleaned text with what it was made of.

    original (str): As it was.
    cleaned (str): After cleaning: shorter, in another case or form, with masks.
    RETURNS (list[int]): Of each character of the cleaned text, the character of the original that it stands for; never
        going back.
    """
    if original == cleaned:
        return list(range(len(cleaned)))
    old, new = _WORD.findall(original), _WORD.findall(cleaned)
    starts_old, starts_new = _starts(old), _starts(new)
    places = [0] * len(cleaned)
    matcher = SequenceMatcher(None, [one.casefold() for one in old], [one.casefold() for one in new], autojunk=False)
    for _, i, i_end, j, j_end in matcher.get_opcodes():
        begin, end = starts_new[j], starts_new[j_end]
        first, width = starts_old[i], starts_old[i_end] - starts_old[i]
        for k in range(begin, end):
            # What was changed lies where it lay, as far as can be said.
            place = first + (k - begin) * width // max(1, end - begin)
            places[k] = min(place, max(0, len(original) - 1))
    return places


def _starts(words: list[str]) -> list[int]:
    found = [0]
    for word in words:
        found.append(found[-1] + len(word))
    return found
