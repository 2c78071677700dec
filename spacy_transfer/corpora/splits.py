"""A split as its check wants it: texts and cats out of a `.spacy` file, without a pipeline."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import errors
from .excerpt import excerpt

POSITIVE = 0.5  # a label counts for a text from this value on
SUM_TOLERANCE = 1e-3  # values that sum to one this closely are a distribution over exclusive labels


@dataclass(frozen=True)
class Split:
    """The texts of a file and what they are labelled with.

    name (str): The stem of the file.
    path (Path): The file.
    texts (list[str]): The texts.
    cats (list[dict[str, float]]): Labels and values, for each text; bad ones left out.
    bad_values (list[str]): Values that are no number from 0 to 1, and labels that are no str, as lines to show.
    """

    name: str
    path: Path
    texts: list[str]
    cats: list[dict[str, float]]
    bad_values: list[str]

    def n_positive(self, label: str) -> int:
        """How many texts the label counts for."""
        return sum(1 for cats in self.cats if cats.get(label, 0.0) >= POSITIVE)

    def example(self, index: int) -> str:
        """A text as a line to show, with the labels that count for it."""
        labels = ", ".join(positives(self.cats[index])) or "no label"
        return f"{self.name}[{index}] {excerpt(self.texts[index])}: {labels}"


def positives(cats: dict[str, float]) -> list[str]:
    """The labels that count for a text."""
    return [label for label, value in cats.items() if value >= POSITIVE]


def has_one_label(cats: dict[str, float]) -> bool:
    """Whether a text has exactly one label, or soft labels that sum to one."""
    return len(positives(cats)) == 1 or abs(sum(cats.values()) - 1.0) <= SUM_TOLERANCE


def read_splits(paths: Sequence[Path]) -> list[Split]:
    """Read the splits, each named after its file.

    paths (Sequence[Path]): .spacy files.
    RETURNS (list[Split]): One for each.
    RAISES (FileNotFoundError): T040.
    RAISES (ValueError): T047 if it is no .spacy file, T048 if two have one name.
    """
    named: dict[str, Path] = {}
    for path in paths:
        if path.stem in named:
            raise ValueError(errors.T048.format(first=named[path.stem], second=path, name=path.stem))
        named[path.stem] = path
    return [_read_split(name, path) for name, path in named.items()]


def _read_split(name: str, path: Path) -> Split:
    from spacy.tokens import DocBin
    from spacy.vocab import Vocab

    if not path.is_file():
        raise FileNotFoundError(errors.T040.format(path=path, formats=".spacy"))
    split = Split(name, path, [], [], [])
    try:
        for doc in DocBin().from_disk(path).get_docs(Vocab()):
            split.texts.append(doc.text)
            split.cats.append({})
            for label, value in doc.cats.items():
                # NaN fails both comparisons
                if isinstance(label, str) and isinstance(value, int | float) and 0.0 <= value <= 1.0:
                    split.cats[-1][label] = float(value)
                else:
                    index = len(split.texts) - 1
                    split.bad_values.append(f"{name}[{index}] {excerpt(doc.text)}: {excerpt(label)} = {excerpt(value)}")
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(errors.T047.format(path=path, format=".spacy (a DocBin)", reason=error)) from error
    return split
