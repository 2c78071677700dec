"""The first pass over all sources, before anything is written."""

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ... import errors
from ..tables.records import BadLine, Record, read_records
from ..tables.rows import Fields
from ..tables.table_format import Reading, TableFormat
from .label_findings import find_look_alikes, fold_label

N_SHOWN = 10  # bad lines that a message shows


@dataclass
class Trace:
    """What a reading of a file gave, to notice a file that changes between two readings.

    n_texts (int): Texts.
    digest (int): Of all texts and labels.
    """

    n_texts: int = 0
    digest: int = 0

    def add(self, record: Record) -> None:
        """Count a record."""
        self.n_texts += 1
        self.digest = zlib.crc32(f"{record.text}{record.values}".encode(), self.digest)


@dataclass
class Survey:
    """What the first reading found, by source where it says so.

    traces (dict[Path, Trace]): The texts.
    counts (dict[Path, Counter[str]]): Texts of each label.
    n_bad (dict[Path, int]): Lines left out.
    bad_lines (list[BadLine]): The first of them all.
    readings (dict[Path, Reading]): How the files are written.
    exclusive (bool): Whether all records came with exactly one label.
    fills (bool): Whether any fills the label set up.
    """

    traces: dict[Path, Trace] = field(default_factory=dict)
    counts: dict[Path, Counter[str]] = field(default_factory=dict)
    n_bad: dict[Path, int] = field(default_factory=dict)
    bad_lines: list[BadLine] = field(default_factory=list)
    readings: dict[Path, Reading] = field(default_factory=dict)
    exclusive: bool = True
    fills: bool = False

    @property
    def n_texts(self) -> int:
        """All texts."""
        return sum(trace.n_texts for trace in self.traces.values())

    def total(self) -> Counter[str]:
        """Count the texts of each label over all sources.

        RETURNS (Counter[str]): 0 where a label only has soft values.
        """
        total: Counter[str] = Counter()
        for counts in self.counts.values():
            total.update(counts)
        return total


@dataclass(frozen=True)
class LabelRules:
    """A label set given beforehand, and spellings that become one.

    path (Path | None): Where the set stands.
    labels (frozenset[str]): Empty if the file has yet to be written.
    merged (Mapping[str, str]): The label that others become.
    by_fold (Mapping[str, str]): Labels of the set by their folded form, if look-alikes are merged into them.
    """

    path: Path | None
    labels: frozenset[str]
    merged: Mapping[str, str] = field(default_factory=dict)
    by_fold: Mapping[str, str] = field(default_factory=dict)

    def apply(self, record: Record | BadLine, source: Path) -> Record | BadLine:
        """The record with its labels as they are written, or a bad line if the given set lacks one."""
        if isinstance(record, BadLine):
            return record
        if self.merged or self.by_fold:
            values: dict[str, float] = {}
            for label, value in record.values.items():
                name = self._spelled(label)
                values[name] = max(value, values.get(name, 0.0))
            if values.keys() != record.values.keys():
                record = replace(record, values=values)
        if self.labels:
            for label in record.values:
                if label not in self.labels:
                    return BadLine(source, record.line, errors.T043_UNKNOWN.format(label=label, path=self.path))
        return record

    def _spelled(self, label: str) -> str:
        if label in self.labels:
            return label
        return self.merged.get(label) or self.by_fold.get(fold_label(label), label)


def merging(rules: LabelRules, survey: Survey | None = None) -> LabelRules:
    """Make rules that merge look-alikes: into the given set, or into the spelling that most texts have.

    rules (LabelRules): As they are without.
    survey (Survey | None): What was found, where no set is given.
    RETURNS (LabelRules): The rules.
    """
    if survey is None:
        return replace(rules, by_fold={fold_label(label): label for label in sorted(rules.labels)})
    groups = find_look_alikes(survey.total())
    return replace(rules, merged={label: group[0] for group in groups for label in group[1:]})


def survey_sources(sources: Sequence[Path], fields: Fields, layout: TableFormat, rules: LabelRules) -> Survey:
    """Read everything once: only then are the labels known that every Doc must name, and whether to write at all.

    sources (Sequence[Path]): The files.
    fields (Fields): How they are read.
    layout (TableFormat): How they are read.
    rules (LabelRules): What labels may be.
    RETURNS (Survey): What there is.
    """
    survey = Survey()
    for source in sources:
        trace = survey.traces[source] = Trace()
        counts: Counter[str] = Counter()
        reading = survey.readings[source] = Reading()
        survey.counts[source] = counts
        survey.n_bad[source] = 0
        for record in read_records(source, fields, layout, reading):
            judged = rules.apply(record, source)
            if isinstance(judged, BadLine):
                survey.n_bad[source] += judged.n_lines
                if len(survey.bad_lines) < N_SHOWN:
                    survey.bad_lines.append(judged)
                continue
            trace.add(judged)
            for label, value in judged.values.items():
                counts[label] += value >= 0.5
            if not judged.exclusive:
                survey.exclusive = False
                survey.fills = survey.fills or judged.fills
    return survey


def good_records(
    source: Path, fields: Fields, layout: TableFormat, rules: LabelRules, trace: Trace
) -> Iterator[Record]:
    """Read a file again.

    source (Path): The file.
    fields (Fields): Which fields hold what.
    layout (TableFormat): How tables are written.
    rules (LabelRules): What labels may be.
    trace (Trace): Gets what is read, to be compared with the first reading's. Other arguments as `survey_sources`.
    YIELDS (Record): What is no bad line.
    """
    for record in read_records(source, fields, layout):
        judged = rules.apply(record, source)
        if isinstance(judged, Record):
            # The first reading did not know yet which labels would be merged.
            trace.add(record if rules.merged and isinstance(record, Record) else judged)
            yield judged
