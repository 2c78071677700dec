"""Records of all kinds become `.spacy` files, what `spacy train` reads; see `spacy transfer convert --help`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import errors
from ..files import all_or_none, hold_folder, refuse_same, repair
from .dev_part import NAME, DevPart
from .labels import read_labels, write_labels
from .records import BadLine, Record, read_records
from .rows import Fields

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import DocBin

N_SHOWN = 10  # bad lines that a message shows


@dataclass(frozen=True)
class Converted:
    """What became of the sources.

    files (dict[Path, Path]): Each source and the .spacy file it became.
    dev_file (Path | None): The dev part of the first source, if one was asked for.
    n_texts (dict[Path, int]): Texts in each source, bad lines left out.
    labels (list[str]): The label set that all of them share, sorted.
    labels_file (Path): Where it stands as a JSON list.
    n_bad (dict[Path, int]): Bad lines in each source, left out.
    bad_lines (list[BadLine]): The first of them all.
    """

    files: dict[Path, Path]
    dev_file: Path | None
    n_texts: dict[Path, int]
    labels: list[str]
    labels_file: Path
    n_bad: dict[Path, int]
    bad_lines: list[BadLine]


@dataclass(frozen=True)
class _Plan:
    """What is written: the .spacy file of each source, the dev part, and where the labels go or come from."""

    files: dict[Path, Path]
    dev_file: Path | None
    dev_share: float
    labels_file: Path
    label_files: list[Path]
    labels: Path | None


@dataclass
class _Survey:
    """What the first reading found."""

    n_texts: dict[Path, int] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    n_bad: dict[Path, int] = field(default_factory=dict)
    bad_lines: list[BadLine] = field(default_factory=list)


@dataclass(frozen=True)
class _LabelFile:
    """A label set given beforehand; no labels in it if the file has yet to be written."""

    path: Path | None
    labels: frozenset[str]

    def judge(self, record: Record | BadLine, source: Path) -> Record | BadLine:
        """The record, or a bad line if it has a label that the given set lacks."""
        if isinstance(record, Record) and self.labels:
            for label in record.values:
                if label not in self.labels:
                    reason = errors.T043_UNKNOWN.format(label=label, path=self.path)
                    return BadLine(source, record.line, reason)
        return record


def convert(
    sources: Sequence[Path],
    target: Path,
    *,
    labels: Path | None = None,
    text_field: str = "text",
    label_field: str | None = None,
    labels_field: str | None = None,
    cats_field: str | None = None,
    separator: str = "|",
    attribute_fields: Sequence[str] = (),
    lang: str = "en",
    dev_share: float = 0.0,
    skip_bad: bool = False,
    force: bool = False,
) -> Converted:
    """Convert files of records to .spacy files with one label set, all of them or none.

    sources (Sequence[Path]): .jsonl, .csv, .tsv or .parquet files; train.jsonl becomes train.spacy.
    target (Path): Folder for the .spacy files and labels.json.
    labels (Path | None): A label set: a JSON list or one label in a line. Other labels are refused; a file that is not
        there yet is written with the labels found.
    text_field (str): Field of the text.
    label_field (str | None): Field of the one label of an exclusive record, by default "label".
    labels_field (str | None): Field of the list of labels that hold, the rest of the set being 0, by default "labels".
    cats_field (str | None): Field of labels and their values from 0 to 1, taken as they are, by default "cats".
        Once one of the three is named, only the named ones count.
    separator (str): Between the labels in a cell of a CSV or TSV file.
    attribute_fields (Sequence[str]): Further fields with a str, a number or a list of those, a title for instance,
        that become the extension attribute of their name, `doc._.title`; None where a record has none.
    lang (str): Language whose tokenizer makes the Docs.
    dev_share (float): Share of the first source, of each label evenly, that becomes dev.spacy instead; below 1.
    skip_bad (bool): Leave bad lines out instead of refusing everything.
    force (bool): Write over files that are there.
    RETURNS (Converted): The files, the label set and the bad lines.
    RAISES (FileNotFoundError): T040 for a source.
    RAISES (FileExistsError): T045 for an output. RAISES (OSError): T370 while another command writes there.
    RAISES (ValueError): T005 for a share out of range, T114 for a field that is no attribute, T043 for bad lines,
        T041, T044, T046, T047, T048 for what is wrong with a whole source, T049 for the language, T373 for an
        output that is a source or another output.
    RAISES (UnicodeError): T042 for a file that is not UTF-8.
    RAISES (ImportError): T081 for Parquet without pyarrow.
    """
    fields = _name_fields(text_field, label_field, labels_field, cats_field, separator)
    fields = replace(fields, attributes=_name_attributes(attribute_fields, fields))
    if not 0.0 <= dev_share < 1.0:
        raise ValueError(errors.T005.format(block="convert", field="dev_share", value=dev_share, want="0 to below 1"))
    files = _name_targets(sources, target)
    dev_file = _name_dev(files, target) if dev_share else None
    labels_file = target / "labels.json"
    label_files = _label_files(labels_file, labels)
    outputs = [*files.values(), *([dev_file] if dev_file else []), *label_files]
    refuse_same(outputs, sources)
    with hold_folder(target):
        repair(target)
        if not force:
            _refuse_existing(outputs, labels_file)
        plan = _Plan(files, dev_file, dev_share, labels_file, label_files, labels)
        return _convert(plan, fields, lang, skip_bad=skip_bad)


def _convert(plan: _Plan, fields: Fields, lang: str, *, skip_bad: bool) -> Converted:
    sources, labels = list(plan.files), plan.labels
    given = _LabelFile(
        labels, frozenset(read_labels(labels)) if labels is not None and labels.exists() else frozenset()
    )
    survey = _survey(sources, fields, given)
    n_bad = sum(survey.n_bad.values())
    if n_bad and not skip_bad:
        lines = "\n".join(f"  {bad}" for bad in survey.bad_lines)
        raise ValueError(errors.T043.format(n_bad=n_bad, n_shown=len(survey.bad_lines), lines=lines))
    for source, n_texts in survey.n_texts.items():
        if not n_texts:
            raise ValueError(errors.T044.format(path=source, n_bad=survey.n_bad[source]))
    label_set = sorted(given.labels or survey.labels)
    nlp = _blank(lang)
    stores = bool(fields.attributes)
    with all_or_none() as stage:
        for source, path in plan.files.items():
            records = _records(source, fields, given)
            if plan.dev_file is not None and source == sources[0]:
                kept, dev = _part(records, DevPart(plan.dev_share))
                _pack(iter(dev), label_set, nlp, with_attributes=stores).to_disk(stage(plan.dev_file))
                records = iter(kept)
            _pack(records, label_set, nlp, with_attributes=stores).to_disk(stage(path))
        for path in plan.label_files:
            write_labels(label_set, stage(path))
    files, dev_file, found = plan.files, plan.dev_file, survey
    return Converted(files, dev_file, found.n_texts, label_set, plan.labels_file, found.n_bad, found.bad_lines)


def _name_fields(text: str, label: str | None, labels: str | None, cats: str | None, separator: str) -> Fields:
    if label is None and labels is None and cats is None:
        return Fields(text=text, separator=separator)
    return Fields(text=text, label=label, labels=labels, cats=cats, separator=separator)


def _name_attributes(names: Sequence[str], fields: Fields) -> tuple[str, ...]:
    for name in names:
        if not name.isidentifier() or name in (fields.text, *fields.forms):
            raise ValueError(errors.T114.format(name=name))
    return tuple(dict.fromkeys(names))


def _name_targets(sources: Sequence[Path], target: Path) -> dict[Path, Path]:
    if target.exists() and not target.is_dir():
        raise FileExistsError(errors.T045_FOLDER.format(path=target))
    named: dict[str, Path] = {}
    for source in sources:
        if source.stem in named:
            raise ValueError(errors.T048.format(first=named[source.stem], second=source, name=source.stem))
        named[source.stem] = source
    return {source: target / f"{name}.spacy" for name, source in named.items()}


def _name_dev(files: dict[Path, Path], target: Path) -> Path:
    path = target / f"{NAME}.spacy"
    for source, other in files.items():
        if other == path:
            raise ValueError(errors.T048.format(first="the dev part (--dev-share)", second=source, name=NAME))
    return path


def _part(records: Iterator[Record], part: DevPart) -> tuple[list[Record], list[Record]]:
    kept: list[Record] = []
    dev: list[Record] = []
    for record in records:
        (dev if part.takes(record) else kept).append(record)
    return kept, dev


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


def _survey(sources: Sequence[Path], fields: Fields, given: _LabelFile) -> _Survey:
    """Read everything once: only then are the labels known that every Doc must name, and whether to write at all."""
    survey = _Survey()
    for source in sources:
        survey.n_texts[source] = survey.n_bad[source] = 0
        for record in read_records(source, fields):
            judged = given.judge(record, source)
            if isinstance(judged, Record):
                survey.n_texts[source] += 1
                survey.labels.update(judged.values)
            else:
                survey.n_bad[source] += 1
                if len(survey.bad_lines) < N_SHOWN:
                    survey.bad_lines.append(judged)
    return survey


def _records(source: Path, fields: Fields, given: _LabelFile) -> Iterator[Record]:
    for record in read_records(source, fields):
        judged = given.judge(record, source)
        if isinstance(judged, Record):
            yield judged


def _blank(lang: str) -> "Language":
    import spacy

    try:
        return spacy.blank(lang)
    except ImportError as error:
        raise ValueError(errors.T049.format(lang=lang, reason=error)) from error


def _pack(records: Iterator[Record], labels: list[str], nlp: "Language", *, with_attributes: bool) -> "DocBin":
    from spacy.tokens import DocBin

    from ..pipeline.sources import store_attribute

    # ORTH alone: tags, heads and entities of these Docs are empty, and half of the file otherwise.
    docs = DocBin(attrs=["ORTH"], store_user_data=with_attributes)
    for record in records:
        doc = nlp.make_doc(record.text)
        doc.cats = record.cats(labels)
        for name, value in record.attributes.items():
            store_attribute(doc, name, value)
        docs.add(doc)
    return docs
