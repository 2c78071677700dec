"""Reads annotated texts for a pipeline: `.spacy` files, or files of rows as people have them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc

from ...docbins import SUFFIX, read_all_docs
from ...errors import T720
from ...files import no_such_file
from ..convert import refuse_bad
from ..inspection.label_findings import fold_label
from ..inspection.survey import LabelRules, Trace, good_records, survey_sources
from ..tables.column_choice import Columns, choose_columns, fields_of
from ..tables.row_files import FORMATS
from ..tables.sample_rows import read_sample
from ..tables.table_format import TableFormat

_FORMATS = f"{SUFFIX}, {FORMATS}"


@dataclass(frozen=True)
class Annotated:
    """Annotated texts of a file.

    path (Path): The file, or the folder of .spacy files.
    docs (list[Doc]): With `cats`; what a .spacy file stores besides is kept.
    names_one (bool): Whether it is a file of rows that name exactly one label each.
    notes (list[str]): How it was read.
    """

    path: Path
    docs: list[Doc]
    names_one: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def labels(self) -> list[str]:
        """All labels that hold for some text, sorted."""
        return sorted({label for doc in self.docs for label, value in doc.cats.items() if value})


def read_annotated(
    path: Path, nlp: Language, columns: Columns | None = None, *, spelled: Mapping[str, str] | None = None
) -> Annotated:
    """Read annotated texts.

    path (Path): A .spacy file, a folder of them, or a .jsonl, .json, .csv, .tsv, .parquet or .xlsx file, whose columns
        are found out.
    nlp (Language): Makes the documents.
    columns (Columns | None): Columns that the user named.
    spelled (Mapping[str, str] | None): Labels by their folded form, in place of those that look like them.
    RETURNS (Annotated): The texts.
    RAISES (FileNotFoundError): T440.
    RAISES (ValueError): T720 without texts; as `convert` for a file of rows; as `read_docs` for a .spacy file.
    """
    if not path.exists():
        raise no_such_file(path, _FORMATS)
    if path.is_dir() or path.suffix == SUFFIX:
        docs = read_all_docs(path, nlp.vocab)
        found = Annotated(path, [doc for doc in docs if doc.cats and doc.text.strip()])
    else:
        found = _read_rows(path, nlp, columns or Columns())
    if not found.docs:
        raise ValueError(T720.format(path=path))
    if spelled:
        for doc in found.docs:
            cats: dict[str, float] = {}
            for label, value in doc.cats.items():
                name = spelled.get(fold_label(label), label)
                cats[name] = max(value, cats.get(name, 0.0))
            doc.cats = cats
    return found


def _read_rows(path: Path, nlp: Language, given: Columns) -> Annotated:
    layout, rules = TableFormat(), LabelRules(None, frozenset())
    columns = choose_columns(read_sample(path, layout), given, names_text=given.text != Columns.text)
    layout = TableFormat(columns=columns.header) if columns.header else layout
    fields = fields_of(columns)
    survey = survey_sources([path], fields, layout, rules)
    refuse_bad(survey, rules, skip_bad=False)
    labels = sorted(survey.total())
    docs = []
    for record in good_records(path, fields, layout, rules, Trace()):
        doc = nlp.make_doc(record.text)
        doc.cats = record.cats(labels)
        docs.append(doc)
    return Annotated(path, docs, survey.exclusive, [*survey.readings[path].notes, *columns.notes])
