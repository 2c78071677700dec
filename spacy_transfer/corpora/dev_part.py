"""Splits off dev and test parts for data without them."""

from collections.abc import Iterable
from typing import Literal

from .. import errors
from .tables.records import Record

Part = Literal["train", "dev", "test"]
NAME: Part = "dev"
TEST: Part = "test"


class Parts:
    """Decides record by record where it goes: the shares of each label, spread evenly over the data.

    No random numbers: the same data give the same parts. A text that repeats goes where it went first.

    dev (float): Shares of all records, from 0 (none); below 1 together.
    test (float): Shares of all records, from 0 (none); below 1 together.
    """

    def __init__(self, dev: float, test: float = 0.0) -> None:
        self.dev, self.test = dev, test
        # Of what is not dev.
        self._rest_share = test / (1.0 - dev)
        self._seen: dict[str, int] = {}
        self._rest: dict[str, int] = {}
        self._went: dict[str, Part] = {}

    def part_of(self, record: Record) -> Part:
        """The part that a record goes to."""
        if record.text not in self._went:
            self._went[record.text] = self._new(_group(record.values.items()))
        return self._went[record.text]

    def _new(self, label: str) -> Part:
        if _is_due(self._seen, label, self.dev):
            return "dev"
        return "test" if _is_due(self._rest, label, self._rest_share) else "train"


def _is_due(seen: dict[str, int], label: str, share: float) -> bool:
    n = seen.get(label, 0)
    seen[label] = n + 1
    # Half a step in, so that labels with few texts give one too.
    return int((n + 1) * share + 0.5) > int(n * share + 0.5)


def _group(values: Iterable[tuple[str, float]]) -> str:
    return "\0".join(sorted(label for label, value in values if value))


def check_shares(dev: float, test: float) -> None:
    """Refuse shares that cannot be.

    dev (float): Share of dev.
    test (float): Share of test.
    RAISES (ValueError): T005 for one below 0 or from 1 on, or for both together.
    """
    for name, share in (("dev_share", dev), ("test_share", test)):
        if not 0.0 <= share < 1.0:
            raise ValueError(errors.T005.format(block="convert", field=name, value=share, want="0 to below 1"))
    if dev + test >= 1.0:
        want = "below 1 together with dev_share"
        raise ValueError(errors.T005.format(block="convert", field="test_share", value=test, want=want))
