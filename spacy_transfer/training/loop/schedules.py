"""A batcher whose size schedules can be saved and restored, since they continue across epochs."""

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from itertools import islice

from spacy import registry
from spacy.training import Example

from ...json_types import ConfigMapping
from ..state.random_state import EVERY


class CountedSchedule:
    """Numbers of a schedule, counted as they are drawn.

    numbers (Iterable): Such as a block `@schedules` gives.
    """

    def __init__(self, numbers: Iterable[object]) -> None:
        self.n_drawn = 0
        self._numbers = iter(numbers)

    def __iter__(self) -> "Iterator[object]":
        return self

    def __next__(self) -> object:
        value = next(self._numbers)
        self.n_drawn += 1
        return value

    def advance(self, n: int) -> None:
        """Go on to where `n` numbers are drawn."""
        self.n_drawn += sum(1 for _ in islice(self._numbers, n - self.n_drawn))


# Which random numbers a batcher draws after its first batch; others may draw any.
_DRAWS: dict[str, Set[str]] = {
    "spacy.batch_by_words.v1": frozenset(),
    "spacy.batch_by_padded.v1": frozenset(),
    "spacy.batch_by_sequence.v1": frozenset(),
    "spacy-transfer.batch_by_pieces.v1": frozenset(),
}


@dataclass
class CountedBatcher:
    """A batcher and the schedules in its block.

    batcher (Callable): Examples to batches.
    schedules (list[CountedSchedule]): In the order of the block.
    draws (Set[str]): Which random numbers it may draw after its first batch: of "python", "numpy" and "torch".
    """

    batcher: Callable[[Iterable[Example]], Iterable[list[Example]]]
    schedules: list[CountedSchedule] = field(default_factory=list)
    draws: Set[str] = EVERY

    def positions(self) -> list[int]:
        """Numbers drawn of each schedule."""
        return [schedule.n_drawn for schedule in self.schedules]

    def advance(self, positions: list[int]) -> None:
        """Go on to such positions."""
        for schedule, n in zip(self.schedules, positions, strict=True):
            schedule.advance(n)


def counted_batcher(
    block: ConfigMapping, resolved: Callable[[Iterable[Example]], Iterable[list[Example]]]
) -> CountedBatcher:
    """Make the batcher of a config block so that its schedules are counted.

    block (ConfigMapping): The block as the config has it, checked already.
    resolved (Callable): The batcher that the config system made of it, taken where there is no schedule in it.
    """
    schedules: list[CountedSchedule] = []

    def make(value: object) -> object:
        """Resolve a block inside out, and count its schedules."""
        if not isinstance(value, dict):
            return value
        arguments = {key: make(part) for key, part in value.items() if not key.startswith("@")}
        for kind, name in value.items():
            if kind.startswith("@"):
                several = arguments.pop("*", None)
                positional = several.values() if isinstance(several, dict) else ()
                made = registry.get(kind[1:], name)(*positional, **arguments)
                if kind == "@schedules":
                    made = CountedSchedule(made)
                    schedules.append(made)
                return made
        return arguments

    made = make(block)
    draws = _DRAWS.get(block.get("@batchers", ""), EVERY)
    return CountedBatcher(made if schedules and callable(made) else resolved, schedules, draws)
