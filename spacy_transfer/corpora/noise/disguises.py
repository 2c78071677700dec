"""Changes that a reader overlooks: look-alike letters, emoji, other names, a remark that says nothing."""

from random import Random

import regex

from .words import Words, characters

# Letters of other scripts and digits that look like a Latin letter (Unicode's list of confusable characters).
_ALIKE = {
    "a": "\u0430\u0251", "b": "6", "c": "\u0441\u03f2", "d": "\u0501", "e": "\u0435", "g": "\u0261", "h": "\u04bb",
    "i": "\u0456\u0131", "j": "\u0458", "k": "\u043a", "l": "1\u04cf", "m": "\u043c", "n": "\u0578",
    "o": "\u043e\u03bf0", "p": "\u0440\u03c1", "q": "\u051b", "s": "\u0455", "t": "\u0442", "u": "\u057d",
    "v": "\u03bd", "w": "\u051d", "x": "\u0445", "y": "\u0443", "z": "\u1d22", "A": "\u0410\u0391",
    "B": "\u0412\u0392", "C": "\u0421", "E": "\u0415\u0395", "H": "\u041d\u0397", "I": "\u0406\u0399", "J": "\u0408",
    "K": "\u041a\u039a", "M": "\u041c\u039c", "N": "\u039d", "O": "\u041e\u039f0", "P": "\u0420\u03a1", "S": "\u0405",
    "T": "\u0422\u03a4", "X": "\u0425\u03a7", "Y": "\u03a5", "Z": "\u0396",
}  # fmt: skip
# Without a feeling of their own.
_EMOJI = (
    "\U0001f4dd",
    "\U0001f4c5",
    "\U0001f4ce",
    "\U0001f50d",
    "\U0001f310",
    "\U0001f4ac",
    "\U0001f4cc",
    "\U0001f552",
)
# Given names from many places, none of which is also a word of English.
NAMES = (
    "James", "Robert", "Michael", "David", "Thomas", "Daniel", "Andrew", "Kevin", "Brian", "Steven", "Mary", "Patricia",
    "Jennifer", "Linda", "Elizabeth", "Susan", "Jessica", "Sarah", "Karen", "Lisa", "Nancy", "Emily", "Anna", "Laura",
    "Julia", "Peter", "Martin", "Stefan", "Ingrid", "Sven", "Pierre", "Camille", "Giulia", "Marco", "Sofia", "Diego",
    "Carlos", "Fernanda", "Olga", "Dmitri", "Katarzyna", "Zoltan", "Ayşe", "Mehmet", "Fatima", "Mohammed", "Yusuf",
    "Aisha", "Chinedu", "Ngozi", "Kwame", "Thandiwe", "Priya", "Rajesh", "Ananya", "Wei", "Xiaoming", "Haruto", "Yuki",
    "Minjun", "Nguyen", "Siti", "Leilani", "Tane",
)  # fmt: skip
_BY_NAME = {name.casefold(): name for name in NAMES}
_REMARKS = (
    "I am writing this on a Tuesday.", "This was sent from my phone.", "The weather is as usual here.",
    "I read it twice before I wrote this.", "There is a window next to my desk.", "It is a quarter past ten.",
    "My neighbor has a bicycle.", "This text has a few more words now.",
)  # fmt: skip
_WORD = regex.compile(r"[\p{L}\p{M}]+")


def disguised(word: str, chance: Random) -> str:
    """Put a letter that looks the same in the place of one.

    word (str): Any.
    chance (Random): What is drawn from.
    RETURNS (str): Another word; the same one where no letter has a look-alike.
    """
    parts = characters(word)
    places = [i for i, part in enumerate(parts) if part in _ALIKE]
    if not places:
        return word
    i = chance.choice(places)
    parts[i] = chance.choice(_ALIKE[parts[i]])
    return "".join(parts)


def decorate(words: Words, chance: Random) -> None:
    """Put an emoji after one of the words, in place.

    words (Words): At least one.
    chance (Random): What is drawn from.
    """
    i = chance.randrange(len(words))
    words.words[i] = f"{words.words[i]} {chance.choice(_EMOJI)}"


def renamed(text: str, chance: Random) -> str:
    """Put other given names in the place of given names, the same one for the same one.

    text (str): Any; names are known from a list, whatever their case.
    chance (Random): What is drawn from.
    RETURNS (str): The text, with names in the case that they had.
    """
    chosen: dict[str, str] = {}

    def another(match: regex.Match[str]) -> str:
        """Draw a name."""
        found, name = match[0], match[0].casefold()
        if name not in _BY_NAME:
            return found
        if name not in chosen:
            chosen[name] = chance.choice([one for one in NAMES if one.casefold() != name])
        new = chosen[name]
        return new.lower() if found.islower() else new.upper() if found.isupper() else new

    return _WORD.sub(another, text)


def remarked(text: str, chance: Random) -> str:
    """Put a sentence that says nothing before or after a text.

    text (str): Any.
    chance (Random): What is drawn from.
    RETURNS (str): The longer text.
    """
    remark = chance.choice(_REMARKS)
    return f"{remark} {text}" if chance.random() < 0.5 else f"{text} {remark}"
