"""Guesses the language of texts from their script and from the stop words that come with spaCy."""

import importlib.util
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Scripts that one language of spaCy's is written in: first and last letter.
_SCRIPTS = (
    ("ja", 0x3040, 0x30FF), ("ko", 0xAC00, 0xD7AF), ("zh", 0x4E00, 0x9FFF), ("th", 0x0E00, 0x0E7F),
    ("he", 0x0590, 0x05FF), ("el", 0x0370, 0x03FF), ("hy", 0x0530, 0x058F), ("bn", 0x0980, 0x09FF),
    ("gu", 0x0A80, 0x0AFF), ("ta", 0x0B80, 0x0BFF), ("te", 0x0C00, 0x0C7F), ("kn", 0x0C80, 0x0CFF),
    ("ml", 0x0D00, 0x0D7F), ("si", 0x0D80, 0x0DFF), ("bo", 0x0F00, 0x0FFF),
)  # fmt: skip
_WORDS = re.compile(r"[^\W\d_]+")
# Texts that are looked at, spread evenly, and characters of each.
_MOST_TEXTS, _LONGEST = 1000, 500
# Of the words, how many must be stop words, and how far the best language must be ahead of the second.
_LEAST_SHARE, _LEAD = 0.1, 1.15
_SOME_KANA = 0.05
ANY = "xx"


@dataclass(frozen=True)
class Language:
    """A guess.

    code (str): As `spacy.blank` takes it; "xx", any language, where nothing can be said.
    reason (str): What it rests on.
    """

    code: str
    reason: str


def guess_language(texts: Sequence[str]) -> Language:
    """Guess the language of texts; the network is not asked.

    texts (Sequence[str]): Texts of a corpus, of which some are looked at.
    RETURNS (Language): The language, and what the guess rests on.
    """
    n_shown = min(len(texts), _MOST_TEXTS)
    some = [texts[i * len(texts) // n_shown][:_LONGEST] for i in range(n_shown)]
    letters = Counter(character for text in some for character in text if character.isalpha())
    n_letters = sum(letters.values())
    if not n_letters:
        return Language(ANY, "the texts have no letters")
    by_script = {
        code: sum(n for letter, n in letters.items() if first <= ord(letter) <= last) / n_letters
        for code, first, last in _SCRIPTS
    }
    if by_script["ja"] >= _SOME_KANA and by_script["ja"] + by_script["zh"] > 0.5:
        return Language("ja", "by its script")
    code = max(by_script, key=lambda one: by_script[one])
    if by_script[code] > 0.5:
        return Language(code, "by its script")
    return _by_stop_words([word for text in some for word in _WORDS.findall(text.lower())])


def _by_stop_words(words: Sequence[str]) -> Language:
    """A word that several languages share counts for each of them in part, and a long list gives no lead by that."""
    counts, n_words = Counter(words), len(words)
    scores: dict[str, float] = defaultdict(float)
    shares: dict[str, float] = defaultdict(float)
    for word, n in counts.items():
        owners = _owners().get(word, ())
        for code in owners:
            scores[code] += n / len(owners)
            shares[code] += n / max(1, n_words)
    ranked = sorted(scores, key=lambda code: (-scores[code], code))
    if not ranked or shares[ranked[0]] < _LEAST_SHARE:
        return Language(ANY, "no language's stop words are frequent in the texts")
    first = ranked[0]
    if len(ranked) > 1 and scores[first] < _LEAD * scores[ranked[1]]:
        return Language(ANY, f"stop words of '{first}' and '{ranked[1]}' are about as frequent")
    return Language(first, f"{shares[first]:.0%} of the words are its stop words")


@cache
def _owners() -> dict[str, tuple[str, ...]]:
    """The languages of each stop word. Only the files of the lists are read: a language's package may need more."""
    owners: dict[str, list[str]] = {}
    spec = importlib.util.find_spec("spacy.lang")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        for file in sorted(Path(place).glob("*/stop_words.py")):
            for word in _list(file):
                owners.setdefault(word, []).append(file.parent.name)
    return {word: tuple(codes) for word, codes in owners.items()}


def _list(file: Path) -> set[str]:
    spec = importlib.util.spec_from_file_location(f"stop_words_{file.parent.name}", file)
    if spec is None or spec.loader is None:
        return set()
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {word.lower() for word in getattr(module, "STOP_WORDS", ())}
