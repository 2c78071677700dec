"""Convert records of all kinds to `.spacy` files for `spacy train`; see `spacy transfer convert --help`."""

import keyword
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .. import errors
from ..files import all_or_none, hold_folder, refuse_same, repair
from .dev_part import NAME, TEST, Part, Parts, check_shares
from .excerpt import excerpt
from .inspection.findings import Finding, finding
from .inspection.label_findings import find_label_names, why_no_labels
from .inspection.survey import LabelRules, Survey, Trace, good_records, merging, survey_sources
from .labels import read_labels, write_labels
from .tables.numbered_labels import LabelNames, parse_label_names
from .tables.records import BadLine, Record
from .tables.rows import Fields
from .tables.table_format import TableFormat

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, DocBin

# Above so many labels an exclusive text names only its own: else the file grows by texts times labels.
MOST_NAMED = 256
# Values that all texts together may have: some 50 bytes each while the file is made.
MOST_VALUES = 100_000_000


@dataclass(frozen=True)
class Converted:
    """What became of the sources.

    files (dict[Path, Path]): Each source and the .spacy file it became.
    dev_file (Path | None): The parts of the first source, if they were asked for.
    test_file (Path | None): The parts of the first source, if they were asked for.
    n_texts (dict[Path, int]): Texts in each source, bad lines left out.
    n_written (dict[Path, int]): Texts in each file that was written.
    labels (list[str]): The label set that all of them share, sorted.
    labels_file (Path): Where it stands as a JSON list.
    n_bad (dict[Path, int]): Bad lines in each source, left out.
    bad_lines (list[BadLine]): The first of them all.
    notes (dict[Path, list[str]]): How a source is written, where that is not what its suffix says.
    skipped (dict[Path, dict[str, int]]): Records that an annotation tool says to leave out: why, and how many.
    attributes (dict[str, str]): Fields that are kept, and the names of their extension attributes.
    merged (dict[str, str]): Labels that became another one.
    findings (list[Finding]): What is odd about labels and cells.
    """

    files: dict[Path, Path]
    dev_file: Path | None
    n_texts: dict[Path, int]
    labels: list[str]
    labels_file: Path
    n_bad: dict[Path, int]
    bad_lines: list[BadLine]
    test_file: Path | None = None
    n_written: dict[Path, int] = field(default_factory=dict)
    notes: dict[Path, list[str]] = field(default_factory=dict)
    skipped: dict[Path, dict[str, int]] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def convert(
    sources: Sequence[Path],
    target: Path,
    *,
    labels: Path | None = None,
    text_field: str = "text",
    label_field: str | None = None,
    labels_field: str | None = None,
    cats_field: str | None = None,
    label_columns: Sequence[str] = (),
    label_names: LabelNames | None = None,
    missing_labels: Sequence[str] = (),
    merge_labels: bool = False,
    separator: str = "|",
    attribute_fields: Sequence[str] = (),
    path_fields: Sequence[str] = (),
    id_field: str | None = None,
    layout: TableFormat | None = None,
    names: Sequence[str] = (),
    lang: str = "en",
    dev_share: float = 0.0,
    test_share: float = 0.0,
    skip_bad: bool = False,
    force: bool = False,
) -> Converted:
    """Convert files of records to .spacy files with one label set, all of them or none.

    sources (Sequence[Path]): .jsonl, .json, .csv, .tsv, .parquet or .xlsx files; train.jsonl becomes train.spacy.
        Exports of Prodigy, doccano, Label Studio and Argilla are recognized.
    target (Path): Folder for the .spacy files and labels.json.
    labels (Path | None): A label set: a JSON list or one label in a line. Other labels are refused; a file that is not
        there yet is written with the labels found.
    text_field (str): Field of the text.
    label_field (str | None): Field of the one label of an exclusive record, by default "label".
    labels_field (str | None): Field of the list of labels that hold, the rest of the set being 0, by default "labels".
    cats_field (str | None): Field of labels and their values from 0 to 1, taken as they are, by default "cats". Once
        one of the three is named, only the named ones count.
    label_columns (Sequence[str]): Fields that each stand for a label and hold 0 or 1 (or a value between), in place of
        the three.
    label_names (LabelNames | None): Names of labels that are numbers; see `parse_label_names`. A Parquet file that
        `datasets` wrote has them in its schema.
    missing_labels (Sequence[str]): Labels that mean that there is none, "nan" for instance: bad lines.
    merge_labels (bool): Make one label of those that look alike, spelled as most of them are, or as in `labels`.
    separator (str): Between the labels in a cell of a table; JSON lists are read as well.
    attribute_fields (Sequence[str]): Further fields with a str, a number or a list of those, a title for instance, that
        become the extension attribute of their name, `doc._.title`; None where a record has none. What is no letter or
        digit becomes "_".
    path_fields (Sequence[str]): Further fields with the path of a picture or a sound, relative to the source; they are
        kept as `attribute_fields` are, relative to the .spacy file, from which our readers find them. A record that has
        such a path needs no text.
    id_field (str | None): Field by which messages name a bad row.
    layout (TableFormat | None): How tables are written, as far as it is not found out.
    names (Sequence[str]): Names of the splits in place of the files', in the order of the sources.
    lang (str): Language whose tokenizer makes the Docs.
    dev_share (float): Share of the first source, of each label evenly, that becomes dev.spacy instead; below 1.
    test_share (float): The same for test.spacy.
    skip_bad (bool): Leave bad lines out instead of refusing everything.
    force (bool): Write over files that are there.
    RETURNS (Converted): The files, the label set and the bad lines.
    RAISES (FileNotFoundError): T440 for a source.
    RAISES (FileExistsError): T045 for an output.
    RAISES (OSError): T370 while another command writes there.
    RAISES (ValueError): T005 for a share out of range, T114 for a field that is no attribute, T043 for bad lines, T398
        for names of splits, T394 for names of labels, T390, T392, T393 for labels that cannot be meant, T041, T044,
        T046, T047, T048, T395, T396, T397 for what is wrong with a whole source, T049 for the language, T373 for an
        output that is a source or another output.
    RAISES (UnicodeError): T042 for a file that cannot be decoded.
    RAISES (ImportError): T081 for Parquet without pyarrow, T395 for Excel without openpyxl.
    """
    attributes = name_attributes(
        [*attribute_fields, *path_fields], {text_field, *_forms(label_field, labels_field, cats_field), *label_columns}
    )
    fields = Fields(
        text_field, *_forms(label_field, labels_field, cats_field),
        label_columns=_name_columns(label_columns, (label_field, labels_field, cats_field)),
        label_names=parse_label_names(label_names), missing=frozenset(missing_labels), separator=separator,
        attributes=attributes, paths=frozenset(path_fields), id=id_field,
        named=bool(label_columns) or any(name is not None for name in (label_field, labels_field, cats_field)),
    )  # fmt: skip
    if text_field in (*fields.forms, *fields.label_columns):
        raise ValueError(errors.T398_FIELD.format(field=text_field))
    layout = layout or TableFormat()
    check_shares(dev_share, test_share)
    files = _name_targets(sources, target, names)
    shares: dict[Part, float] = {NAME: dev_share, TEST: test_share}
    parts = {part: target / f"{part}.spacy" for part, share in shares.items() if share}
    _check_parts(files, parts)
    labels_file = target / "labels.json"
    label_files = _label_files(labels_file, labels)
    outputs = [*files.values(), *parts.values(), *label_files]
    refuse_same(outputs, sources)
    with hold_folder(target):
        repair(target)
        if not force:
            _refuse_existing(outputs, labels_file)
        rules = LabelRules(
            labels, frozenset(read_labels(labels)) if labels is not None and labels.exists() else frozenset()
        )
        if merge_labels and rules.labels:
            rules = merging(rules)
        survey = survey_sources(sources, fields, layout, rules)
        refuse_bad(survey, rules, skip_bad=skip_bad)
        if merge_labels and not rules.labels:
            rules = merging(rules, survey)
        label_set = sorted(rules.labels or {rules.merged.get(label, label) for label in survey.total()})
        compact = survey.exclusive and len(label_set) > MOST_NAMED
        _refuse_many(survey, label_set, compact=compact)
        nlp = blank_language(lang)
        n_written: dict[Path, int] = {}
        with all_or_none() as stage:
            for number, (source, path) in enumerate(files.items()):
                own: dict[Part, Path] = {"train": path, **(parts if number == 0 else {})}
                divide = Parts(dev_share, test_share) if len(own) > 1 else None
                docs = {part: _new_docs(stores=bool(attributes)) for part in own}
                trace = Trace()
                for record in good_records(source, fields, layout, rules, trace):
                    part = divide.part_of(record) if divide is not None else "train"
                    made = _make_doc(record, label_set, nlp, compact=compact)
                    _move_paths(made, [attributes[name] for name in dict.fromkeys(path_fields)], source, target)
                    docs[part].add(made)
                if trace != survey.traces[source]:
                    raise ValueError(errors.T047.format(path=source, format="before", reason=errors.T047_CHANGED))
                for part, file in own.items():
                    n_written[file] = len(docs[part])
                    docs[part].to_disk(stage(file))
            for path in label_files:
                write_labels(label_set, stage(path))
        return Converted(
            files, parts.get(NAME), {source: trace.n_texts for source, trace in survey.traces.items()}, label_set,
            labels_file, survey.n_bad, survey.bad_lines, test_file=parts.get(TEST), n_written=n_written,
            notes={source: reading.notes for source, reading in survey.readings.items() if reading.notes},
            skipped={source: reading.skipped for source, reading in survey.readings.items() if reading.skipped},
            attributes=attributes, merged=dict(rules.merged), findings=_find(survey, rules, label_set, compact=compact),
        )  # fmt: skip


def _forms(label: str | None, labels: str | None, cats: str | None) -> tuple[str | None, str | None, str | None]:
    if label is None and labels is None and cats is None:
        return "label", "labels", "cats"
    return label, labels, cats


def _name_columns(names: Sequence[str], forms: Sequence[str | None]) -> tuple[str, ...]:
    columns = tuple(dict.fromkeys(name.strip() for name in names))
    if columns and (any(form is not None for form in forms) or "" in columns or len(columns) < len(names)):
        raise ValueError(errors.T398_COLUMNS.format(columns=excerpt(", ".join(names))))
    return columns


def name_attributes(names: Sequence[str], taken: set[str | None]) -> dict[str, str]:
    """Make names of extension attributes of the names of fields.

    names (Sequence[str]): Fields, as a table calls them: "Ticket no.".
    taken (set[str | None]): Fields of the text and the labels.
    RETURNS (dict[str, str]): The attribute of each field: "Ticket_no".
    RAISES (ValueError): T114 for a field of the text or the labels, one of which no name can be made, and two of
        one name.
    """
    made: dict[str, str] = {}
    for field_name in dict.fromkeys(names):
        attribute = field_name if field_name.isidentifier() else re.sub(r"\W+", "_", field_name).strip("_")
        if attribute[:1].isdigit() or keyword.iskeyword(attribute):
            attribute = f"_{attribute}"
        if field_name in taken or not attribute.isidentifier() or attribute in made.values():
            raise ValueError(errors.T114.format(name=field_name))
        made[field_name] = attribute
    return made


def _name_targets(sources: Sequence[Path], target: Path, names: Sequence[str]) -> dict[Path, Path]:
    if target.exists() and not target.is_dir():
        raise FileExistsError(errors.T045_FOLDER.format(path=target))
    if names and (
        len(names) != len(sources) or any(re.fullmatch(r"[^/\\\0]*[^/\\\0. ]", name) is None for name in names)
    ):
        raise ValueError(errors.T398.format(names=excerpt(", ".join(names)), n_sources=len(sources)))
    named: dict[str, Path] = {}
    for source, name in zip(sources, names or [source.stem for source in sources], strict=True):
        if name in named:
            raise ValueError(errors.T048.format(first=named[name], second=source, name=name))
        if source in named.values():
            raise ValueError(errors.T048.format(first=source, second=source, name=source.stem))
        named[name] = source
    return {source: target / f"{name}.spacy" for name, source in named.items()}


def _check_parts(files: dict[Path, Path], parts: Mapping[Part, Path]) -> None:
    for part, path in parts.items():
        for source, other in files.items():
            if other == path:
                raise ValueError(
                    errors.T048.format(first=f"the {part} part (--{part}-share)", second=source, name=part)
                )


def _label_files(labels_file: Path, labels: Path | None) -> list[Path]:
    """Where the label set is written: a given file that is there is only read, even if it is the target's own."""
    if labels is None:
        return [labels_file]
    if labels.resolve() == labels_file.resolve():
        return [] if labels.exists() else [labels_file]
    return [labels_file] if labels.exists() else [labels_file, labels]


def _refuse_existing(paths: list[Path], labels_file: Path) -> None:
    existing = [str(path) for path in paths if path.exists()]
    if existing:
        raise FileExistsError(errors.T045.format(paths=", ".join(existing), labels=labels_file))


def refuse_bad(survey: Survey, rules: LabelRules, *, skip_bad: bool) -> None:
    """Refuse sources of which nothing can be made.

    survey (Survey): What the first reading found.
    rules (LabelRules): What labels may be.
    skip_bad (bool): Whether bad lines are left out.
    RAISES (ValueError): T043 for bad lines, T044 for a source without texts, T390 and T392 for labels that cannot be
        meant.
    """
    n_bad = sum(survey.n_bad.values())
    if n_bad and not skip_bad:
        lines = "\n".join(f"  {bad}" for bad in survey.bad_lines)
        raise ValueError(errors.T043.format(n_bad=n_bad, n_shown=len(survey.bad_lines), lines=lines))
    for source, trace in survey.traces.items():
        if not trace.n_texts:
            n_skipped = sum(survey.readings[source].skipped.values())
            raise ValueError(errors.T044.format(path=source, n_bad=survey.n_bad[source], n_skipped=n_skipped))
    if rules.labels:
        return
    counts = survey.total()
    if not counts:
        raise ValueError(errors.T390.format(paths=", ".join(map(str, survey.traces))))
    if survey.exclusive and (reason := why_no_labels(counts, survey.n_texts)) is not None:
        shown = ", ".join(excerpt(label) for label in list(counts)[:5])
        raise ValueError(errors.T392.format(reason=reason, shown=shown))


def _refuse_many(survey: Survey, labels: Sequence[str], *, compact: bool) -> None:
    n_values = survey.n_texts * len(labels)
    if (survey.exclusive or survey.fills) and not compact and n_values > MOST_VALUES:
        raise ValueError(errors.T393.format(n_labels=len(labels), n_texts=survey.n_texts, n_values=n_values))


def _find(survey: Survey, rules: LabelRules, labels: Sequence[str], *, compact: bool) -> list[Finding]:
    counts: dict[str, int] = {}
    for label, n in survey.total().items():
        name = rules.merged.get(label, label)
        counts[name] = counts.get(name, 0) + n
    found = list(find_label_names(counts, survey.n_texts))
    if rules.labels:
        # Only the user knows what a given set means; spellings next to it were refused or merged.
        found = [one for one in found if one.code in ("look-alike-labels", "invisible-in-label")]
    if survey.exclusive and len(labels) == 1:
        found.append(finding("one-label"))
    if compact:
        found.append(finding("compact-labels", n=f"{len(labels):,}"))
    if len(survey.counts) > 1 and not rules.labels:
        first, *_ = survey.counts
        absent = [
            label for label in counts if label not in {rules.merged.get(name, name) for name in survey.counts[first]}
        ]
        if absent:
            found.append(finding("absent-from-first", sorted(absent), n=len(absent), split=first))
    for source, reading in survey.readings.items():
        if reading.n_suspicious:
            found.append(finding("suspicious-cells", reading.broken, n=reading.n_suspicious, split=source))
        elif reading.n_broken:
            found.append(finding("broken-cells", n=reading.n_broken, split=source))
    return found


def blank_language(lang: str) -> "Language":
    """Make an empty pipeline of a language.

    lang (str): Such as "en".
    RETURNS (Language): The pipeline.
    RAISES (ValueError): T049 for a language that spaCy does not have here.
    """
    import spacy

    try:
        return spacy.blank(lang)
    except ImportError as error:
        raise ValueError(errors.T049.format(lang=lang, reason=error)) from error


def _new_docs(*, stores: bool) -> "DocBin":
    from spacy.tokens import DocBin

    # ORTH alone: tags, heads and entities of these Docs are empty, and half of the file otherwise.
    return DocBin(attrs=["ORTH"], store_user_data=stores)


def _move_paths(doc: "Doc", names: Sequence[str], source: Path, target: Path) -> None:
    """Let paths that start where the source is start where the .spacy file will be; whole ones stay."""
    if not names:
        return
    from ..docbins import note_paths
    from ..pipeline.sources import attribute_of, store_attribute

    note_paths(doc, names)
    for name in names:
        value = attribute_of(doc, name)
        if isinstance(value, str) and value.strip() and not Path(value).is_absolute():
            store_attribute(doc, name, Path(os.path.relpath(source.parent / value, target)).as_posix())


def _make_doc(record: Record, labels: list[str], nlp: "Language", *, compact: bool) -> "Doc":
    doc = nlp.make_doc(record.text)
    doc.cats = record.values if compact else record.cats(labels)
    if record.attributes:
        from ..pipeline.sources import store_attribute

        for name, value in record.attributes.items():
            store_attribute(doc, name, value)
    return doc
