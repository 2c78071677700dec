"""One training step on one rank or several."""

from collections.abc import Callable
from typing import Protocol

from spacy.training import Example

from ...json_types import JsonObject

# By component: the sum of losses, a number or a tensor that waits on the GPU.
Losses = JsonObject


class Together(Protocol):
    """How several ranks train as one; `Alone` for one."""

    def share(self, batch: list[Example]) -> list[Example]:
        """This rank's part of a batch."""

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""

    def total(self, losses: Losses) -> Losses:
        """Sums over the ranks."""

    def from_first(self, make: Callable[[], str]) -> str:
        """What the first rank makes."""


class Alone:
    """One rank."""

    def share(self, batch: list[Example]) -> list[Example]:
        """All of it."""
        return batch

    def any(self, flag: bool) -> bool:
        """As here."""
        return flag

    def total(self, losses: Losses) -> Losses:
        """As here."""
        return losses

    def from_first(self, make: Callable[[], str]) -> str:
        """As here."""
        return make()
