"""One training step on one rank or several."""

from collections.abc import Callable
from typing import Any, Protocol

from spacy.training import Example


class Together(Protocol):
    """How several ranks train as one; `Alone` for one."""

    def share(self, batch: list[Example]) -> list[Example]:
        """This rank's part of a batch."""

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""

    def total(self, losses: dict[str, Any]) -> dict[str, Any]:
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

    def total(self, losses: dict[str, Any]) -> dict[str, Any]:
        """As here."""
        return losses

    def from_first(self, make: Callable[[], str]) -> str:
        """As here."""
        return make()
