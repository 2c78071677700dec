"""Splits a text into words and the text between them; joined again, they give the same text."""

from copy import copy

import regex

# Scripts written without spaces: there each character, with its marks, counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_WORD = regex.compile(rf"(?=[{_UNSPACED}])\X|(?:(?![{_UNSPACED}\s])\X)+")
_UNSPACED_WORD = regex.compile(rf"[{_UNSPACED}]")
_CHARACTER = regex.compile(r"\X")


class Words:
    """Words of a text. It is decided by character, not by text: spaces divide words, and each character of a script
    written without spaces (Chinese, Japanese, Thai, ...) is a word of its own.

    text (str): The text.
    lead (str): What stands before the first word.
    words (list[str]): The words, none empty.
    gaps (list[str]): What follows each word: spaces, line breaks, or nothing.
    """

    def __init__(self, text: str) -> None:
        found = [(match.start(), match.end()) for match in _WORD.finditer(text)]
        ends = [begin for begin, _ in found[1:]] + [len(text)]
        self.lead = text[: found[0][0]] if found else text
        self.words = [text[begin:end] for begin, end in found]
        self.gaps = [text[end:following] for (_, end), following in zip(found, ends, strict=True)] if found else []

    def __len__(self) -> int:
        return len(self.words)

    @property
    def text(self) -> str:
        """The text."""
        return self.lead + "".join(word + gap for word, gap in zip(self.words, self.gaps, strict=True))

    def copy(self) -> "Words":
        """To be changed, while others still read these."""
        other = copy(self)
        other.words, other.gaps = self.words.copy(), self.gaps.copy()
        return other

    def keep(self, places: list[int]) -> None:
        """Leave out all other words.

        places (list[int]): In order, at least one.
        """
        end = self.gaps[-1]
        self.words = [self.words[i] for i in places]
        self.gaps = [*(self.gaps[i] for i in places[:-1]), end]

    def repeat(self, place: int) -> None:
        """Put a word twice."""
        word, gap = self.words[place], self.gaps[place]
        between = "" if _UNSPACED_WORD.match(word) else " "
        self.words[place : place + 1] = [word, word]
        self.gaps[place : place + 1] = [between, gap]

    def join(self, place: int) -> None:
        """Leave out the space after a word.

        place (int): Of the word; not the last one.
        """
        if self.gaps[place].isspace():
            self.gaps[place] = ""

    def put(self, place: int, other: "Words", begin: int, n_words: int) -> None:
        """Put a span of another text's words over as many of one's own."""
        self.words[place : place + n_words] = other.words[begin : begin + n_words]
        self.gaps[place : place + n_words - 1] = other.gaps[begin : begin + n_words - 1]


def characters(word: str) -> list[str]:
    """What a reader takes for one character each: a letter with its marks, an emoji with its parts.

    SOURCE: Unicode Standard Annex 29, extended grapheme clusters.
    """
    return list(word) if word.isascii() else _CHARACTER.findall(word)
