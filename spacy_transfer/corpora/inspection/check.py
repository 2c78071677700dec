"""Check corpora before training; see `spacy transfer check --help`."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ... import errors
from ..splits import Split, read_splits
from .findings import Finding, finding
from .label_findings import find_label_names
from .repeats import find_repeats

LEAST_TEXTS = 5  # texts that a label needs in train before it goes without a warning
LARGEST_EXCEPTION = (
    0.05  # share of texts that may break the rule "one label each" in data that is still called exclusive
)
N_TOKENIZED = 1000  # texts tokenized at once


@dataclass(frozen=True)
class Lengths:
    """How long the texts of a split are, in pieces, special pieces included.

    median (float), percentile_95 (int), longest (int): Of the texts' lengths.
    share_above_window (float): Share of the texts that do not fit one window.
    """

    median: float
    percentile_95: int
    longest: int
    share_above_window: float


@dataclass(frozen=True)
class Summary:
    """A split in numbers.

    name (str): The stem of its file.
    path (str): Its file.
    n_texts (int): Its texts.
    label_counts (dict[str, int]): For each label of the set the texts where its value is at least 0.5.
    lengths (Lengths | None): In pieces, if an encoder was given.
    """

    name: str
    path: str
    n_texts: int
    label_counts: dict[str, int]
    lengths: Lengths | None


@dataclass(frozen=True)
class Report:
    """What a check found.

    exclusive (bool): Whether each text is taken to have exactly one label.
    labels (list[str]): All labels, sorted.
    splits (list[Summary]): The splits, train first.
    findings (list[Finding]): Errors first.
    """

    exclusive: bool
    labels: list[str]
    splits: list[Summary]
    findings: list[Finding]

    @property
    def n_errors(self) -> int:
        """How many findings are errors."""
        return sum(1 for found in self.findings if found.level == "error")


def check(
    paths: Sequence[Path], *, encoder: Path | None = None, window: int = 256, exclusive: bool | None = None
) -> Report:
    """Check the splits of a corpus, each by itself and against each other.

    paths (Sequence[Path]): .spacy files or folders of them, the one to train on first; a split is named after it.
    encoder (Path | None): Folder of an encoder whose tokenizer measures the texts.
    window (int): Longest row of the model to come, in pieces, special pieces included.
    exclusive (bool | None): Whether each text must have exactly one label. None: if all but 5 % of the texts do.
    RETURNS (Report): Numbers and findings.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T047 for what is no .spacy file, T391 for a table or a folder without any, T397 for a file that
        unpacks to too much, T048 for two splits of one name, T054 for an encoder without tokenizer.json.
    """
    return check_splits(read_splits(paths), encoder=encoder, window=window, exclusive=exclusive)


def check_splits(
    splits: Sequence[Split], *, encoder: Path | None = None, window: int = 256, exclusive: bool | None = None
) -> Report:
    """Check splits that are in memory, as `check` does those in files.

    splits (Sequence[Split]): The one to train on first.
    encoder (Path | None): As in `check`.
    window (int): As in `check`.
    exclusive (bool | None): As in `check`.
    RETURNS (Report): Numbers and findings.
    RAISES (ValueError): T054 for an encoder without tokenizer.json.
    """
    labels = sorted(set().union(*(split.named for split in splits)))
    if exclusive is None:
        exclusive = _looks_exclusive(splits)
    lengths = {split.name: _measure(split, encoder) if encoder else [] for split in splits}
    findings = [
        *_find_bad_values(splits),
        *_find_label_troubles(splits, labels, exclusive=exclusive),
        *_find_count_troubles(splits, labels),
        *_find_name_troubles(splits, labels),
        *_find_text_troubles(splits),
        *find_repeats(splits, exclusive=exclusive),
        *_find_long_texts(splits, lengths, window),
    ]
    order = ["error", "warning", "info"]
    findings.sort(key=lambda found: order.index(found.level))
    summaries = [
        Summary(
            split.name,
            str(split.path),
            len(split.texts),
            {label: split.counts[label] for label in labels},
            _summarize(lengths[split.name], window),
        )
        for split in splits
    ]
    return Report(exclusive, labels, summaries, findings)


def _looks_exclusive(splits: Sequence[Split]) -> bool:
    """One label each, but for 5 % of the texts or a single one: so small data with one slip still counts."""
    n_texts = sum(len(split.cats) for split in splits)
    n_exceptions = sum(1 for split in splits for cats in split.cats if not cats.has_one_label())
    return 2 * n_exceptions < n_texts and n_exceptions <= max(1, LARGEST_EXCEPTION * n_texts)


def _find_bad_values(splits: Sequence[Split]) -> Iterator[Finding]:
    for split in splits:
        if split.bad_values:
            yield finding("bad-value", split.bad_values, n=len(split.bad_values), split=split.name)


def _find_label_troubles(splits: Sequence[Split], labels: Sequence[str], *, exclusive: bool) -> Iterator[Finding]:
    if not labels:
        yield finding("no-labels")
        return
    if exclusive and len(labels) == 1:
        yield finding("few-labels", label=labels[0])
    n_texts = sum(len(split.cats) for split in splits)
    share = sum(1 for split in splits for cats in split.cats if cats.has_one_label()) / n_texts
    for split in splits:
        odd = [index for index, cats in enumerate(split.cats) if not cats.has_one_label()]
        several = [index for index in odd if len(split.cats[index].positives()) > 1]
        none = [index for index in odd if not split.cats[index].positives()]
        part = [index for index, cats in enumerate(split.cats) if 0 < len(cats.named) < len(labels)]
        bare = [index for index, cats in enumerate(split.cats) if not cats.named]
        if exclusive and all(cats.is_compact() for cats in split.cats if cats.has_one_label()):
            # Written so on purpose: of exclusive labels the one that holds says all.
            part = [index for index in part if not split.cats[index].is_compact()]
        if exclusive:
            found = {"several-positives": several, "no-positive": none, "incomplete-cats": part}
        else:
            found = {"unlabeled": bare, "missing-values": part}
        for code, indices in found.items():
            if indices:
                examples = [split.example(index) for index in indices]
                yield finding(code, examples, n=len(indices), split=split.name, share=share)


def _find_count_troubles(splits: Sequence[Split], labels: Sequence[str]) -> Iterator[Finding]:
    for number, split in enumerate(splits):
        if not split.texts:
            yield finding("empty-split", split=split.name)
            continue
        missing = [label for label in labels if label not in split.seen]
        if missing:
            code = "missing-from-split" if number else "missing-from-train"
            yield finding(code, missing, n=len(missing), split=split.name)
        few = [
            f"{label}: {split.counts[label]}"
            for label in labels
            if label in split.seen and split.counts[label] < LEAST_TEXTS
        ]
        if few and not number:
            yield finding("few-texts", few, n=len(few), least=LEAST_TEXTS, split=split.name)


def _find_name_troubles(splits: Sequence[Split], labels: Sequence[str]) -> Iterator[Finding]:
    counts = {label: sum(split.counts[label] for split in splits) for label in labels}
    return find_label_names(counts, sum(len(split.texts) for split in splits))


def _find_text_troubles(splits: Sequence[Split]) -> Iterator[Finding]:
    for split in splits:
        empty = [split.example(index) for index, text in enumerate(split.texts) if not text.strip()]
        if empty:
            yield finding("empty-text", empty, n=len(empty), split=split.name)


def _measure(split: Split, encoder: Path) -> list[int]:
    """The length of each text, in pieces, special pieces included."""
    from ...model.text.tokenizer import PieceTokenizer
    from ...repository.encoder_folder import TOKENIZERS

    if not any((encoder / name).is_file() for name in TOKENIZERS):
        problem = errors.T054_MISSING.format(files="a tokenizer")
        raise ValueError(errors.T054.format(source=encoder, problem=problem))
    tokenizer = PieceTokenizer.from_folder(encoder)
    texts = iter(split.texts)
    lengths: list[int] = []
    while batch := list(islice(texts, N_TOKENIZED)):
        lengths.extend(len(pieces) + tokenizer.n_special for pieces in tokenizer.encode(batch))
    return lengths


def _find_long_texts(splits: Sequence[Split], lengths: dict[str, list[int]], window: int) -> Iterator[Finding]:
    for split in splits:
        long = [index for index, length in enumerate(lengths[split.name]) if length > window]
        if long:
            examples = [f"{lengths[split.name][index]} pieces: {split.example(index)}" for index in long]
            share = len(long) / len(split.texts)
            yield finding("long-texts", examples, n=len(long), split=split.name, share=share, window=window)


def _summarize(lengths: list[int], window: int) -> Lengths | None:
    if not lengths:
        return None
    ranked = sorted(lengths)
    # nearest rank: the smallest length that 95 % of the texts do not exceed
    percentile_95 = ranked[-(-95 * len(ranked) // 100) - 1]
    share = sum(1 for length in lengths if length > window) / len(lengths)
    return Lengths(statistics.median(ranked), percentile_95, ranked[-1], share)
