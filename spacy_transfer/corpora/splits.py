"""A split for `check`: texts and cats from `.spacy` files, without a pipeline."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from .. import errors
from ..docbins import find_docbins, read_docs
from .excerpt import excerpt

POSITIVE = 0.5  # a label counts for a text from this value on
SUM_TOLERANCE = 1e-3  # values that sum to one this closely are a distribution over exclusive labels


@dataclass(frozen=True, slots=True)
class Cats:
    """What a text is labeled with, without the zeros: with thousands of labels these are nearly all of it.

    values (dict[str, float]): Labels whose value is above 0.
    named (frozenset[str]): All labels that have a value; texts that name the same ones share the set.
    """

    values: Mapping[str, float]
    named: frozenset[str]

    def positives(self) -> list[str]:
        """The labels that count for the text."""
        return [label for label, value in self.values.items() if value >= POSITIVE]

    def has_one_label(self) -> bool:
        """Whether the text has exactly one label, or soft labels that sum to one."""
        return len(self.positives()) == 1 or abs(sum(self.values.values()) - 1.0) <= SUM_TOLERANCE

    def is_compact(self) -> bool:
        """Whether the text names its one label and no other, as `convert` writes them where labels are many."""
        return len(self.named) == 1 and len(self.values) == 1 and 1.0 in self.values.values()


@dataclass(frozen=True)
class Split:
    """The texts of a file, or a folder of files, and what they are labeled with.

    name (str): The stem of the file, or the name of the folder.
    path (Path): The file or folder.
    texts (list[str]): The texts.
    cats (list[Cats]): Labels and values, for each text; bad ones left out.
    bad_values (list[str]): Values that are no number from 0 to 1, and labels that are no str, as lines to show.
    """

    name: str
    path: Path
    texts: list[str] = field(default_factory=list)
    cats: list[Cats] = field(default_factory=list)
    bad_values: list[str] = field(default_factory=list)

    @cached_property
    def counts(self) -> Counter[str]:
        """How many texts each label counts for; one pass over all of them."""
        return Counter(label for cats in self.cats for label in cats.positives())

    @cached_property
    def named(self) -> set[str]:
        """All labels that any text names."""
        return set().union(*{cats.named for cats in self.cats})

    @cached_property
    def seen(self) -> set[str]:
        """All labels whose value is above 0 for some text: a soft label below 0.5 is there to be learned too."""
        return {label for cats in self.cats for label in cats.values}

    def example(self, index: int) -> str:
        """A text as a line to show, with the labels that count for it."""
        labels = ", ".join(self.cats[index].positives()) or "no label"
        return f"{self.name}[{index}] {excerpt(self.texts[index])}: {labels}"


def read_splits(paths: Sequence[Path]) -> list[Split]:
    """Read the splits, each named after its file or folder.

    paths (Sequence[Path]): .spacy files, or folders of them at any depth.
    RETURNS (list[Split]): One for each.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T047 if it is no .spacy file, T048 if two have one name, T391 for a table or a file of records,
        T397 for a file that unpacks to more than the memory holds.
    """
    named: dict[str, Path] = {}
    for path in paths:
        name = path.resolve().name if path.is_dir() else path.stem
        if name in named:
            raise ValueError(errors.T048.format(first=named[name], second=path, name=name))
        named[name] = path
    found = {name: find_docbins(path) for name, path in named.items()}
    interned: dict[tuple[str, ...], frozenset[str]] = {}
    return [_read_split(Split(name, path), found[name], interned) for name, path in named.items()]


def _read_split(split: Split, files: Sequence[Path], interned: dict[tuple[str, ...], frozenset[str]]) -> Split:
    for file in files:
        for doc in read_docs(file):
            split.texts.append(doc.text)
            cats: dict[str, float] = {}
            bad: set[object] = set()
            for label, value in doc.cats.items():
                # NaN fails both comparisons
                if isinstance(label, str) and isinstance(value, int | float) and 0.0 <= value <= 1.0:
                    if value:
                        cats[label] = float(value)
                    continue
                bad.add(label)
                index = len(split.texts) - 1
                shown = f"{excerpt(doc.text)}: {excerpt(label)} = {excerpt(value)}"
                split.bad_values.append(f"{split.name}[{index}] {shown}")
            names = tuple(label for label in doc.cats if label not in bad) if bad else tuple(doc.cats)
            split.cats.append(Cats(cats, interned.setdefault(names, frozenset(names))))
    return split
