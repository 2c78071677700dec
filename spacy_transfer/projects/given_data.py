"""Reads the texts and labels that a project is made from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..corpora.convert import refuse_bad
from ..corpora.dev_part import Part
from ..corpora.inspection.survey import LabelRules, Trace, good_records, merging, survey_sources
from ..corpora.splits import Cats, Split
from ..corpora.tables.column_choice import Columns, choose_columns, fields_of
from ..corpora.tables.numbered_labels import LabelNames, parse_label_names
from ..corpora.tables.records import BadLine, Record
from ..corpora.tables.sample_rows import read_sample
from ..corpora.tables.table_format import TableFormat
from .given_files import find_files


@dataclass(frozen=True)
class Reading:
    """How the files are to be read, as far as the user says so; as in `convert`.

    text_field (str | None): Field of the text; None: found out.
    label_field (str | None): Field of the one label.
    labels_field (str | None): Field of the list of labels.
    cats_field (str | None): Field of labels and values.
    label_columns (tuple[str, ...]): A field for each label.
    label_names (LabelNames | None): Names of labels that are numbers.
    missing_labels (tuple[str, ...]): Labels that mean that there is none.
    merge_labels (bool): Make one label of those that look alike.
    separator (str | None): Between the labels in a cell; None: found out.
    layout (TableFormat): How tables are written.
    skip_bad (bool): Leave bad lines out.
    """

    text_field: str | None = None
    label_field: str | None = None
    labels_field: str | None = None
    cats_field: str | None = None
    label_columns: tuple[str, ...] = ()
    label_names: LabelNames | None = None
    missing_labels: tuple[str, ...] = ()
    merge_labels: bool = False
    separator: str | None = None
    layout: TableFormat = field(default_factory=TableFormat)
    skip_bad: bool = False

    def columns(self) -> Columns:
        """Say what the user named."""
        return Columns(
            self.text_field or "text", self.label_field, self.labels_field, self.cats_field, self.label_columns,
            self.separator,
        )  # fmt: skip


@dataclass(frozen=True)
class GivenData:
    """Texts and labels as they were given.

    files (dict[Part, list[Path]]): The files of each part, train first.
    records (dict[Part, list[Record]]): Their texts and labels.
    labels (list[str]): All labels, sorted.
    exclusive (bool): Whether each text has exactly one label.
    notes (list[str]): How the files were read, and what was chosen.
    bad_lines (list[BadLine]): The first of the lines that were left out.
    n_bad (int): How many there are.
    """

    files: dict[Part, list[Path]]
    records: dict[Part, list[Record]]
    labels: list[str]
    exclusive: bool
    notes: list[str]
    bad_lines: list[BadLine]
    n_bad: int


def read_data(given: Sequence[Path], reading: Reading, *, exclusive: bool | None = None) -> GivenData:
    """Read files of texts and labels; delimiter, encoding and columns are found out.

    given (Sequence[Path]): A file, several, or a folder of them.
    reading (Reading): What the user says of them.
    exclusive (bool | None): Whether each text has exactly one label. None: if each of them has.
    RETURNS (GivenData): The texts.
    RAISES (ValueError): T612, T613, T614, T619 for what cannot be told, and as `convert`.
    """
    files, left_out = find_files(given)
    every = [path for paths in files.values() for path in paths]
    if every[0].is_dir():
        columns = Columns(label="label")
    else:
        columns = choose_columns(
            read_sample(every[0], reading.layout), reading.columns(), names_text=reading.text_field is not None
        )
    layout = replace(reading.layout, columns=columns.header) if columns.header else reading.layout
    fields = fields_of(columns, label_names=parse_label_names(reading.label_names), missing=reading.missing_labels)
    rules = LabelRules(None, frozenset())
    survey = survey_sources(every, fields, layout, rules)
    refuse_bad(survey, rules, skip_bad=reading.skip_bad)
    if reading.merge_labels:
        rules = merging(rules, survey)
    records = {
        part: [record for path in paths for record in good_records(path, fields, layout, rules, Trace())]
        for part, paths in files.items()
    }
    labels = sorted({rules.merged.get(label, label) for label in survey.total()})
    notes = [f"{path}: {'; '.join(survey.readings[path].notes)}" for path in every if survey.readings[path].notes]
    notes += list(columns.notes)
    if left_out:
        notes.append(f"not read, since the names say nothing of a split: {', '.join(path.name for path in left_out)}")
    for path in every:
        for reason, n in survey.readings[path].skipped.items():
            notes.append(f"{path}: {n:,} record(s) left out, as marked in the annotation tool: {reason}")
    notes += [f"label {old!r} becomes {new!r}" for old, new in rules.merged.items()]
    if survey.exclusive:
        is_exclusive = True
    else:
        is_exclusive = exclusive is None and all(_is_one_hot(one) for some in records.values() for one in some)
        if is_exclusive:
            notes.append("each text has exactly one of the labels, so they exclude each other (--multilabel if not)")
    chosen = is_exclusive if exclusive is None else exclusive
    return GivenData(files, records, labels, chosen, notes, survey.bad_lines, sum(survey.n_bad.values()))


def _is_one_hot(record: Record) -> bool:
    """Whether one label holds, and of all others it is known that they do not."""
    return sorted(record.values.values())[-1:] == [1.0] and sum(record.values.values()) == 1.0


# ---- what is made of it ------------------------------------------------------------------------------------------


def as_row(record: Record, labels: Sequence[str], *, exclusive: bool) -> dict[str, object]:
    """Write a record as an object of JSONL.

    record (Record): A text and its labels.
    labels (Sequence[str]): The label set.
    exclusive (bool): Whether each text has exactly one label.
    RETURNS (dict[str, object]): "text" and one of "label", "labels" and "cats".
    """
    holding = [label for label, value in record.values.items() if value == 1.0]
    is_plain = all(value in (0.0, 1.0) for value in record.values.values())
    if is_plain and exclusive and len(holding) == 1:
        return {"text": record.text, "label": holding[0]}
    if is_plain and (record.fills or len(record.values) == len(labels)):
        return {"text": record.text, "labels": sorted(holding)}
    return {"text": record.text, "cats": record.values}


def as_split(part: Part, records: Sequence[Record], labels: Sequence[str]) -> Split:
    """Make what `check` looks at.

    part (Part): Name of the split.
    records (Sequence[Record]): Its texts.
    labels (Sequence[str]): The label set.
    RETURNS (Split): The split.
    """
    every, interned = frozenset(labels), dict[frozenset[str], frozenset[str]]()
    split = Split(part, Path(f"{part}.jsonl"))
    for record in records:
        named = every if record.fills else frozenset(record.values)
        positive = {label: value for label, value in record.values.items() if value}
        split.texts.append(record.text)
        split.cats.append(Cats(positive, interned.setdefault(named, named)))
    return split


def rarest_labels(records: Sequence[Record]) -> list[str]:
    """Name for each text the rarest of its labels, by which it is put into a part.

    records (Sequence[Record]): The texts.
    RETURNS (list[str]): A label for each, "" for a text without one.
    """
    holding = [[label for label, value in record.values.items() if value >= 0.5] for record in records]
    counts = Counter(label for labels in holding for label in labels)
    return [min(labels, key=lambda label: (counts[label], label), default="") for labels in holding]
