"""What a model says about the pieces of a document, before anybody asks for words."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Exactness:
    """How exactly gradients are integrated.

    tolerance (float): Largest gap between the sum of all pieces and the difference of the logits, as a share of it.
    most_steps (int): Most gradients of a document; then the gap is what it is.
    """

    tolerance: float = 0.01
    most_steps: int = 1000


@dataclass(frozen=True)
class Attribution:
    """What the pieces of one document add to a logit.

    parts (Sequence[tuple[str, str]]): What was read of the document: name of the source and text.
    separator (str): Between the parts.
    places (Sequence[tuple[int, int]]): First and one past the last character of each piece, in the parts joined.
    windows (Sequence[int]): Number of the window of each piece; where windows overlap, a piece comes in both.
    values (Sequence[float]): What each piece adds.
    reached (float): The logit of the document.
    baseline (float): The logit without its words.
    n_steps (int): Gradients that were computed.
    """

    parts: Sequence[tuple[str, str]]
    separator: str
    places: Sequence[tuple[int, int]]
    windows: Sequence[int]
    values: Sequence[float]
    reached: float
    baseline: float
    n_steps: int
