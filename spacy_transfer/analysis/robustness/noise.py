"""Kinds of noise: what changes a text and not its meaning."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from ...corpora.noise.augmentation import Augmentation
from ...corpora.noise.disguises import remarked, renamed
from ...json_types import JsonObject

_NONE = {
    "clean": 0.0, "drop": 0.0, "swap": 0.0, "repeat": 0.0, "mask": 0.0, "typing": 0.0, "casing": 0.0, "mixing": 0.0,
}  # fmt: skip
# Share of the words that are changed.
_SHARE = 0.2


@dataclass(frozen=True)
class Noise:
    """A kind of noise.

    name (str): For tables and JSON.
    change (Callable): Texts and a seed to changed texts; the same arguments give the same texts.
    trained_by (Mapping[str, float]): What of an `Augmentation` trains against it, and with what rate; empty if nothing.
    """

    name: str
    change: Callable[[Sequence[str], int], list[str]]
    trained_by: Mapping[str, float] = field(default_factory=dict)


def _augmented(**rates: float) -> Callable[[Sequence[str], int], list[str]]:
    def change(texts: Sequence[str], seed: int) -> list[str]:
        """Draw texts as training would, with this noise alone."""
        settings: JsonObject = {**_NONE, **rates}
        return Augmentation(seed=seed, **settings).draw(texts, None, 0)

    return change


def _each(change: Callable[[str, Random], str]) -> Callable[[Sequence[str], int], list[str]]:
    # With the text in the seed a text is changed alike whatever else is in the data.
    return lambda texts, seed: [change(text, Random(f"{seed}/{text}")) for text in texts]


NOISES = (
    Noise("typing errors", _augmented(typing=_SHARE), {"typing": 0.1}),
    Noise("upper case", lambda texts, _: [text.upper() for text in texts], {"casing": 0.2}),
    Noise("lower case", lambda texts, _: [text.lower() for text in texts], {"casing": 0.2}),
    Noise("missing spaces", _augmented(joining=_SHARE), {"joining": 0.1}),
    Noise("look-alike letters", _augmented(lookalikes=_SHARE), {"lookalikes": 0.1}),
    Noise("emoji", _augmented(emoji=1.0), {"emoji": 0.3}),
    Noise("an added sentence", _each(remarked)),
    Noise("other names", _each(renamed)),
)
# An attack takes typing errors, look-alike letters and missing spaces.
ATTACK = Noise("attack on single words", lambda texts, _: list(texts), {"typing": 0.1, "lookalikes": 0.1})
