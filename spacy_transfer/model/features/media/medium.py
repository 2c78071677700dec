"""What pictures and sounds have in common: contents become tensors for an encoder."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ....json_types import JsonObject
from .contents import Content


@dataclass(frozen=True)
class Prepared:
    """A picture or a sound as its encoder takes it.

    values (Tensor): One row of the encoder's inputs, on the CPU.
    n_inner (int | None): Of a sound that was filled up, how many states are its own.
    """

    values: Tensor
    n_inner: int | None = None


class Medium(Protocol):
    """Reads contents of one kind."""

    def to_json(self) -> JsonObject:
        """How it prepares them, as it is stored."""

    def check(self, content: Content) -> None:
        """Look at the beginning of a content.

        content (Content): As an attribute holds it.
        RAISES (Unreadable): Where it is not of this kind, or too large.
        """

    def prepare(self, content: Content) -> Prepared:
        """Read a content.

        content (Content): As an attribute holds it.
        RETURNS (Prepared): For the encoder.
        RAISES (Unreadable): Where that cannot be done.
        """

    def trial(self) -> Prepared:
        """Make up something of this kind, for a first try."""
