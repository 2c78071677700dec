"""Makes one realistic typing error in a word."""

from random import Random
from typing import Literal

from .words import characters

Keyboard = Literal["qwerty", "qwertz", "azerty", "jcuken"]
# Rows of letters, and how far each is shifted to the right of the first, in keys.
_ROWS: dict[Keyboard, tuple[str, ...]] = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiopü", "asdfghjklöä", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklm", "wxcvbn"),
    "jcuken": ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
}
_SHIFTS = (0.0, 0.25, 0.75)


def _neighbors(rows: tuple[str, ...]) -> dict[str, str]:
    places = {key: (x + _SHIFTS[y], y) for y, row in enumerate(rows) for x, key in enumerate(row)}
    return {
        key: "".join(k for k, (u, v) in places.items() if k != key and abs(u - x) <= 1.0 and abs(v - y) <= 1)
        for key, (x, y) in places.items()
    }


_NEIGHBORS = {keyboard: _neighbors(rows) for keyboard, rows in _ROWS.items()}


def mistyped(word: str, keyboard: Keyboard, chance: Random) -> str:
    """The word with one typing error: a neighboring key, two letters in the wrong order, one left out, one doubled.

    Only letters are touched, since another digit is another number; marks stay with their letter.

    word (str): Not empty.
    keyboard (Keyboard): Neighbors of each key.
    chance (Random): What is drawn from.
    RETURNS (str): Another, non-empty word; the same one where it has fewer than two letters.
    """
    parts = characters(word)
    letters = [i for i, part in enumerate(parts) if part[0].isalpha()]
    if len(letters) < 2:
        return word
    keys = _NEIGHBORS[keyboard]
    beside = [i for i in letters if parts[i].lower() in keys]
    turned = [i for i in letters[:-1] if parts[i + 1][0].isalpha() and parts[i] != parts[i + 1]]
    kinds = ["omit", "double", *(["neighbor"] if beside else []), *(["turn"] if turned else [])]
    kind = chance.choice(kinds)
    if kind == "neighbor":
        i = chance.choice(beside)
        key = chance.choice(keys[parts[i].lower()])
        parts[i] = key.upper() if parts[i].isupper() else key
    elif kind == "turn":
        i = chance.choice(turned)
        parts[i], parts[i + 1] = parts[i + 1], parts[i]
    else:
        i = chance.choice(letters)
        parts[i] = "" if kind == "omit" else parts[i] * 2
    return "".join(parts)
