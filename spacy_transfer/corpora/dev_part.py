"""A dev part for data that come without one."""

from collections.abc import Iterable

from .records import Record

NAME = "dev"


class DevPart:
    """Decides record by record whether it goes to the dev part: the share of each label, spread evenly over the data.

    No random numbers: the same data give the same parts. A text that repeats goes where it went first.

    share (float): Of the records, from 0 (none) to below 1.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._seen: dict[str, int] = {}
        self._went: dict[str, bool] = {}

    def takes(self, record: Record) -> bool:
        """Whether the record goes to the dev part."""
        if record.text not in self._went:
            label = _group(record.values.items())
            n = self._seen.get(label, 0)
            self._seen[label] = n + 1
            # Half a step in, so that labels with few texts give one too.
            self._went[record.text] = int((n + 1) * self.share + 0.5) > int(n * self.share + 0.5)
        return self._went[record.text]


def _group(values: Iterable[tuple[str, float]]) -> str:
    return "\0".join(sorted(label for label, value in values if value))
