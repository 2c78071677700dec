"""Changes training texts in every step: noise that keeps the label."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from ...errors import T005, T124
from .disguises import decorate, disguised
from .typing_errors import Keyboard, mistyped
from .words import Words

Floats = NDArray[np.float32]

_SHARES = (
    "drop", "swap", "repeat", "mask", "typing", "casing", "mixing", "mixed_words", "clean", "joining", "lookalikes",
    "emoji",
)  # fmt: skip


@dataclass(frozen=True)
class Augmentation:
    """Drops, swaps, repeats and masks words, makes typing errors, changes case, mixes texts of one label, leaves out
    spaces, puts in look-alike letters and emoji.

    Rates are shares from 0 to 1. Those of words hold for each word on its own, in the order mixing, drop, swap, repeat,
    typing, casing, lookalikes, mask, joining, among the words that are there when their turn comes. Words are what
    spaces divide; in scripts without spaces each character is one. A text never loses its last word.

    clean (float): Share of the texts that are left as they are.
    drop (float): Share of the words that are left out.
    swap (float): Share of the words that trade places with a neighbor.
    repeat (float): Share of the words that stand twice.
    mask (float): Share of the words that `mask_text` replaces.
    mask_text (str): What stands for a masked word. Texts are read as text, "[MASK]" too, so it cannot be the encoder's
        own mask piece; "_" is one piece for nearly all encoders.
    typing (float): Share of the words of two or more letters with one typing error.
    casing (float): Share of the words in another case: upper, lower or capitalized.
    mixing (float): Share of the texts that get a span of words from another text of the same batch with exactly the
        same labels; a text that has no such partner stays unmixed. With many labels and small batches few have one.
    mixed_words (float): Longest such span, as a share of the words of the shorter text; at least one word of a text's
        own stays.
    joining (float): Share of the spaces between words that are left out.
    lookalikes (float): Share of the words in which one letter becomes another that looks the same: a Cyrillic or Greek
        one, a digit.
    emoji (float): Share of the texts that get an emoji that says nothing, after one of their words.
    keyboard (str): "qwerty", "qwertz", "azerty" or "jcuken" (Cyrillic): whose neighboring keys are hit.
    seed (int): Another seed, other texts.
    RAISES (ValueError): T005 for a rate that is none, T124 for a mask_text that shows nothing.
    SOURCE: dropping and swapping: Wei & Zou 2019, arXiv:1901.11196 (EDA); spans within a label: Yoon et al. 2021,
        arXiv:2106.08062 (SSMix), here without saliency and without mixing labels.
    """

    clean: float = 0.3
    drop: float = 0.1
    swap: float = 0.05
    repeat: float = 0.05
    mask: float = 0.05
    mask_text: str = "_"
    typing: float = 0.05
    casing: float = 0.05
    mixing: float = 0.1
    mixed_words: float = 0.3
    joining: float = 0.0
    lookalikes: float = 0.0
    emoji: float = 0.0
    keyboard: Keyboard = "qwerty"
    seed: int = 0

    def __post_init__(self) -> None:
        for field in _SHARES:
            value = getattr(self, field)
            try:
                # The config system hands a number in quotes on as a str.
                share = float(value)
            except (TypeError, ValueError):
                share = float("nan")
            if not 0.0 <= share <= 1.0:
                raise ValueError(T005.format(block="augmentation", field=field, value=value, want=f"0 <= {field} <= 1"))
            object.__setattr__(self, field, share)
        if not self.mask_text.strip():
            raise ValueError(T124.format(value=self.mask_text))

    def draw(self, texts: Sequence[str], targets: Floats | None, n_draws: int) -> list[str]:
        """Changed texts; the same arguments give the same texts.

        texts (Sequence[str]): Of one training step.
        targets (Floats | None): (n_texts, n_labels), NaN for missing, or None, which leaves out mixing.
        n_draws (int): Steps drawn so far.
        """
        read = [Words(text) for text in texts]
        partners = _partners(targets) if self.mixing and targets is not None else [[] for _ in texts]
        drawn = []
        for i, text in enumerate(texts):
            # Python hashes a str seed the same in every process. With the text in it, like places of two ranks differ.
            chance = Random(f"{self.seed}/{n_draws}/{i}/{text}")
            if chance.random() < self.clean or not len(read[i]):
                drawn.append(text)
                continue
            words = read[i].copy()
            others = [j for j in partners[i] if j != i and len(read[j])]
            if others and chance.random() < self.mixing:
                self._mix(words, read[chance.choice(others)], chance)
            self._change(words, chance)
            drawn.append(words.text)
        return drawn

    def _mix(self, words: Words, other: Words, chance: Random) -> None:
        longest = min(max(1, int(self.mixed_words * min(len(words), len(other)))), len(words) - 1)
        if not self.mixed_words or longest < 1:
            return
        n_words = chance.randint(1, longest)
        place, begin = chance.randint(0, len(words) - n_words), chance.randint(0, len(other) - n_words)
        words.put(place, other, begin, n_words)

    def _change(self, words: Words, chance: Random) -> None:
        if self.drop:
            kept = [i for i in range(len(words)) if chance.random() >= self.drop]
            words.keep(kept or [chance.randrange(len(words))])
        if self.swap:
            _swap(words.words, self.swap, chance)
        # From the end, so that a place stays what it was.
        for i in reversed(_chosen(words, self.repeat, chance)):
            words.repeat(i)
        for i in _chosen(words, self.typing, chance):
            words.words[i] = mistyped(words.words[i], self.keyboard, chance)
        for i in _chosen(words, self.casing, chance):
            words.words[i] = _recased(words.words[i], chance)
        for i in _chosen(words, self.lookalikes, chance):
            words.words[i] = disguised(words.words[i], chance)
        for i in _chosen(words, self.mask, chance):
            words.words[i] = self.mask_text
        for i in _chosen(words, self.joining, chance):
            if i < len(words) - 1:
                words.join(i)
        if self.emoji and chance.random() < self.emoji:
            decorate(words, chance)


def _partners(targets: Floats) -> list[list[int]]:
    """Of each text, those with the same targets, itself among them."""
    groups: dict[bytes, list[int]] = {}
    for i, row in enumerate(targets):
        # -0.0 is 0.0, and one NaN like another.
        key = np.where(np.isnan(row), -1.0, row + 0.0).tobytes()
        groups.setdefault(key, []).append(i)
    member = {i: group for group in groups.values() for i in group}
    return [member[i] for i in range(len(targets))]


def _chosen(words: Words, rate: float, chance: Random) -> list[int]:
    return [i for i in range(len(words)) if chance.random() < rate] if rate else []


def _swap(words: list[str], rate: float, chance: Random) -> None:
    # A pair begins at a word with this chance and moves two, so the share of moved words is 2p / (1 + p) = rate.
    begins, i = rate / (2.0 - rate), 0
    while i < len(words) - 1:
        if chance.random() < begins:
            words[i], words[i + 1] = words[i + 1], words[i]
            i += 1
        i += 1


def _recased(word: str, chance: Random) -> str:
    others = sorted({word.upper(), word.lower(), word.capitalize()} - {word})
    return chance.choice(others) if others else word
