"""Texts that occur more than once: within a split, across splits, with different labels."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ..excerpt import excerpt
from ..splits import POSITIVE, Split
from .findings import Finding, finding

Place = tuple[Split, int]  # a split and the index of a text in it


def normalize(text: str) -> str:
    """Fold case and white space, so that texts which differ in nothing else are one.

    text (str): A text.
    RETURNS (str): Casefolded, every run of white space a single space.
    """
    return " ".join(text.casefold().split())


def find_repeats(splits: Sequence[Split], *, exclusive: bool) -> Iterator[Finding]:
    """Find duplicates within a split, texts that two splits share, and texts whose labels contradict.

    splits (Sequence[Split]): All splits of a corpus.
    exclusive (bool): Whether a label that a text does not name is known not to hold.
    YIELDS (Finding): "duplicate", "overlap" and "contradiction"; empty texts are left out.
    """
    places: dict[str, list[Place]] = defaultdict(list)
    for split in splits:
        for index, text in enumerate(split.texts):
            places[normalize(text)].append((split, index))
    places.pop("", None)
    repeats = [found for found in places.values() if len(found) > 1]
    for number, split in enumerate(splits):
        inside = [[index for other, index in found if other is split] for found in repeats]
        twice = [indices for indices in inside if len(indices) > 1]
        if twice:
            examples = [f"{len(indices)} times: {split.example(indices[0])}" for indices in twice]
            yield finding("duplicate", examples, n=len(twice), split=split.name)
        for other in splits[:number]:
            shared = [
                index
                for found in repeats
                if any(where is other for where, _ in found)
                for where, index in found
                if where is split
            ]
            if shared:
                examples = [split.example(index) for index in shared]
                yield finding("overlap", examples, n=len(shared), split=split.name, other=other.name)
    torn = [found for found in repeats if _contradict(found, exclusive=exclusive)]
    if torn:
        yield finding("contradiction", [_show(found) for found in torn], n=len(torn))


def _contradict(places: Sequence[Place], *, exclusive: bool) -> bool:
    """Whether a label holds in one place and not in another; soft labels may differ a little."""
    found = [split.cats[index] for split, index in places]
    # A label that is 0 wherever it stands cannot contradict.
    for label in {label for cats in found for label in cats.values}:
        values = [cats.values.get(label, 0.0) for cats in found if exclusive or label in cats.named]
        if max(values) - min(values) >= POSITIVE:
            return True
    return False


def _show(places: Sequence[Place]) -> str:
    """The text, and what it is labeled with in the first places."""
    first, first_index = places[0]
    labeled = [
        f"{split.name}[{index}] {', '.join(split.cats[index].positives()) or 'no label'}" for split, index in places[:4]
    ]
    return f"{excerpt(first.texts[first_index])}: {'; '.join(labeled)}"
