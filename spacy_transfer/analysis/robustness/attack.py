"""An attack: replaces words that matter by variants that a reader takes for them, until the labels change."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np

from ...corpora.noise.disguises import disguised
from ...corpora.noise.typing_errors import mistyped
from ...corpora.noise.words import Words
from ...evaluation.measures import Flags, Numbers
from ...pipeline.interface import Floats

# Texts to scores, (n_texts, n_labels).
Score = Callable[[list[str]], Floats]
# Of the queries, the share that may be spent on finding out which words matter.
_RANKING = 0.5


@dataclass(frozen=True)
class Attacked:
    """What an attack came to.

    text (str): The changed text, or the last one that was tried.
    succeeded (bool): Whether the labels are other ones now.
    n_queries (int): Texts that were scored.
    n_words (int): Words that were changed.
    """

    text: str
    succeeded: bool
    n_queries: int
    n_words: int


@dataclass(frozen=True)
class Target:
    """What a text has to keep.

    gold (Flags): Right labels, (n_labels,).
    known (Flags): Where there is an annotation, (n_labels,).
    exclusive (bool): Exactly one label a text.
    threshold (float): Score from which a label is given, where labels are not exclusive.
    """

    gold: Flags
    known: Flags
    exclusive: bool
    threshold: float

    def margins(self, scores: Floats) -> Numbers:
        """Say by how much texts still have the right labels.

        scores (Floats): (n_texts, n_labels).
        RETURNS (Numbers): Below 0 where they have not, (n_texts,).
        """
        values = np.asarray(scores, dtype=np.float64)
        if self.exclusive:
            return values[:, self.gold].max(axis=1) - values[:, ~self.gold].max(axis=1)
        sides = np.where(self.gold, values - self.threshold, self.threshold - values)
        return np.where(self.known, sides, np.inf).min(axis=1)


def attack(text: str, target: Target, score: Score, *, n_queries: int, seed: int = 0) -> Attacked:
    """Change words one by one, those first without which the margin is smallest; of each the variant that hurts most.

    text (str): With the right labels.
    target (Target): What it should lose.
    score (Callable): The pipeline.
    n_queries (int): Most texts that are scored.
    seed (int): Of the variants.
    RETURNS (Attacked): At most as many queries as allowed.
    SOURCE: ranking and greedy search as in TextBugger, Li et al. 2019, arXiv:1812.05271.
    """
    words, chance = Words(text), Random(f"{seed}/{text}")
    n_used = 0
    order = list(range(len(words)))
    if len(words) > 1:
        # Of a long text some of the words, drawn at random.
        tried = sorted(chance.sample(order, min(len(order), max(1, int(n_queries * _RANKING)))))
        margins = target.margins(score([_without(words, i) for i in tried]))
        n_used += len(tried)
        order = [tried[i] for i in np.argsort(margins, kind="stable").tolist()]
    lowest, n_changed = np.inf, 0
    for i in order:
        variants = _variants(words, i, chance)[: n_queries - n_used]
        if not variants:
            continue
        margins = target.margins(score([one.text for one in variants]))
        n_used += len(variants)
        best = int(margins.argmin())
        if margins[best] < lowest:
            words, lowest, n_changed = variants[best], float(margins[best]), n_changed + 1
        if lowest < 0 or n_used >= n_queries:
            break
    return Attacked(words.text, bool(lowest < 0), n_used, n_changed)


def _without(words: Words, place: int) -> str:
    left = words.copy()
    left.keep([i for i in range(len(words)) if i != place])
    return left.text


def _variants(words: Words, place: int, chance: Random) -> list[Words]:
    """The text with another variant of one of its words, each different."""
    word = words.words[place]
    changed = dict.fromkeys([
        *(mistyped(word, "qwerty", chance) for _ in range(3)), disguised(word, chance), disguised(word, chance),
    ])  # fmt: skip
    found = []
    for one in changed:
        if one != word:
            other = words.copy()
            other.words[place] = one
            found.append(other)
    if place < len(words) - 1 and words.gaps[place].isspace():
        other = words.copy()
        other.join(place)
        found.append(other)
    return found
