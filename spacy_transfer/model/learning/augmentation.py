"""The interface of an augmentation block, and the checks of what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import T120, T121, T122, T123

Floats = NDArray[np.float32]


class AugmentationBuilder(Protocol):
    """A block that changes training texts anew in every step; a class of one's own may be registered too."""

    def draw(self, texts: Sequence[str], targets: Floats | None, n_draws: int) -> Sequence[str]:
        """Changed texts, one for each, in order. The same arguments must give the same texts.

        texts (Sequence[str]): Of one training step, clean.
        targets (Floats | None): (n_texts, n_labels), NaN where the annotation is missing; None where they are not
            known.
        n_draws (int): Steps drawn so far; stored with the model, so a training that goes on draws on.
        """


@dataclass(frozen=True)
class NoAugmentation:
    """Leaves training texts as they are."""

    def draw(self, texts: Sequence[str], targets: Floats | None, n_draws: int) -> Sequence[str]:
        """Give the texts as they are; see `AugmentationBuilder`."""
        return texts


def draw_texts(
    builder: AugmentationBuilder, texts: Sequence[str], targets: Floats | None, n_draws: int
) -> tuple[list[str], list[bool]]:
    """Draw, and check what came.

    builder (AugmentationBuilder): See `AugmentationBuilder`.
    texts (Sequence[str]): See `AugmentationBuilder`.
    targets (Floats | None): See `AugmentationBuilder`.
    n_draws (int): See `AugmentationBuilder`.
    RETURNS (tuple[list[str], list[bool]]): The texts to read, and for each whether it is the clean one.
    RAISES (ValueError): T120 for another number of texts, T121 for one that is no str, T122 for an empty one, T123 for
        half a surrogate pair.
    """
    drawn = builder.draw(texts, targets, n_draws)
    name = type(builder).__name__
    if isinstance(drawn, str) or not hasattr(drawn, "__len__") or len(drawn) != len(texts):
        found = f"{len(drawn)} text(s)" if isinstance(drawn, list | tuple) else repr(drawn)[:80]
        raise ValueError(T120.format(name=name, found=found, n_texts=len(texts)))
    clean = []
    for new, old in zip(drawn, texts, strict=True):
        if not isinstance(new, str):
            raise ValueError(T121.format(name=name, value=new, type=type(new).__name__, text=old[:80]))
        clean.append(new == old)
        if clean[-1]:
            continue
        if not new.strip() and old.strip():
            raise ValueError(T122.format(name=name, text=old[:80]))
        try:
            new.encode("utf-8")
        except UnicodeEncodeError as error:
            where = error.start
            raise ValueError(T123.format(name=name, value=ascii(new[where]), position=where, text=old[:80])) from error
    return list(drawn), clean
