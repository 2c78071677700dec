"""Chooses the columns of texts and labels by their names and what they hold, and says by which."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Literal

from ... import errors
from ..annotation_tools import recognize
from ..excerpt import excerpt
from ..inspection.label_findings import find_unsplit
from .rows import Fields, looks_like_list
from .sample_rows import Sample

Kind = Literal["text", "label", "list", "values", "truth", "other"]

# As people call them, folded; the first ones win where several columns have such names.
_TEXTS = (
    "text", "texts", "document", "content", "body", "message", "comment", "review", "description", "sentence",
    "utterance", "question", "query", "tweet", "post", "headline", "mail", "email", "transcript",
)  # fmt: skip
_LABELS = (
    "label", "labels", "cats", "category", "categories", "class", "classes", "intent", "topic", "topics", "sentiment",
    "target", "tag", "tags", "emotion", "emotions", "y",
)  # fmt: skip
# As this package itself calls them.
_EXACT = ("label", "labels", "cats")
# 2026-03-01, 1.3.2026, 03/01/26, also with a time of day.
_DATE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}([T ,].*)?")
_TRUTHS = {"0", "1", "0.0", "1.0", "true", "false"}
_SEPARATORS = ("|", ";", ",")
# Characters of a label, on average, words of a text, on average, and words of a name.
_LONGEST_LABEL, _FEWEST_WORDS, _LONGEST_NAME = 60, 2.5, 3


@dataclass(frozen=True)
class Columns:
    """Which columns hold what, as `convert` takes it.

    text (str): The text.
    label (str | None): The one label.
    labels (str | None): A list of labels.
    cats (str | None): Labels with values.
    label_columns (tuple[str, ...]): A column of 0 and 1 for each label.
    separator (str | None): Between the labels in a cell; None where nothing was found out.
    header (tuple[str, ...]): Names for the columns of a table without a header.
    numbers (bool): Whether labels are whole numbers that are named by their digits.
    tool (str): The annotation tool whose export it is; then nothing was chosen.
    notes (tuple[str, ...]): What was chosen, and why.
    """

    text: str = "text"
    label: str | None = None
    labels: str | None = None
    cats: str | None = None
    label_columns: tuple[str, ...] = ()
    separator: str | None = None
    header: tuple[str, ...] = ()
    numbers: bool = False
    tool: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def has_labels(self) -> bool:
        """Whether it is known where the labels are."""
        return bool(self.label or self.labels or self.cats or self.label_columns)


def fields_of(columns: Columns, *, label_names: Mapping[str, str] | None = None, missing: Iterable[str] = ()) -> Fields:
    """Say which fields of a row hold what, by the columns that were chosen.

    columns (Columns): As `choose_columns` gives them.
    label_names (Mapping[str, str] | None): Names of labels that are numbers.
    missing (Iterable[str]): Labels that mean that there is none.
    RETURNS (Fields): Where nothing was chosen, "label", "labels" and "cats".
    """
    forms = (columns.label, columns.labels, columns.cats)
    names = dict(label_names or {})
    defaults = (None, None, None) if columns.label_columns else ("label", "labels", "cats")
    chosen = forms if columns.has_labels and not columns.label_columns else defaults
    return Fields(
        columns.text, *chosen, label_columns=columns.label_columns, label_names=names, missing=frozenset(missing),
        separator=columns.separator or "|", named=columns.has_labels, numbers=columns.numbers and not names,
    )  # fmt: skip


def choose_columns(sample: Sample, given: Columns, *, names_text: bool) -> Columns:
    """Choose the columns of a file.

    sample (Sample): Its first rows.
    given (Columns): What the user named; that is not looked at again.
    names_text (bool): Whether the user named the column of the text.
    RETURNS (Columns): The columns, and what to tell of the choice.
    RAISES (ValueError): T613 where several columns can be meant, T614 where there are texts and no labels, T619 where
        it cannot be told whether the first row of a table is its header.
    """
    if not given.has_labels and sample.rows and (tool := recognize(sample.rows[0])) is not None:
        return replace(given, tool=tool.name)
    if not sample.rows:
        # Whoever reads it says what is wrong.
        return given if given.has_labels else replace(given, label="label")
    header: tuple[str, ...] = ()
    if sample.may_lack_header and not names_text and not given.has_labels:
        sample, header = _with_header(sample)
    kinds = {name: _kind(sample.values(name)) for name in sample.columns}
    notes = _notes_on(header)
    text, why = (given.text, "") if names_text else _text_column(sample, kinds)
    notes += [f"texts: column {excerpt(text)}{why}"] if not names_text else []
    if given.has_labels:
        found = replace(given, text=text, numbers=_are_numbers(sample, given.label or given.labels))
    else:
        found = replace(_label_columns(sample, kinds, text, given.separator), text=text)
    return replace(found, header=header, notes=(*notes, *found.notes))


def choose_text_column(sample: Sample) -> Columns:
    """Choose the column of the text of a file whose labels, if it has any, are not read.

    sample (Sample): Its first rows.
    RETURNS (Columns): The column, the header, and what to tell of the choice.
    RAISES (ValueError): T613 where several columns can be meant, T619 where it cannot be told whether the first row of
        a table is its header.
    """
    if not sample.rows:
        return Columns()
    header: tuple[str, ...] = ()
    if sample.may_lack_header:
        sample, header = _with_header(sample)
    text, why = _text_column(sample, {name: _kind(sample.values(name)) for name in sample.columns})
    return Columns(text, header=header, notes=(*_notes_on(header), f"texts: column {excerpt(text)}{why}"))


def _notes_on(header: tuple[str, ...]) -> list[str]:
    return [f"there is no header, so the columns are called {', '.join(header)}"] if header else []


# ---- what a column holds -----------------------------------------------------------------------------------------


def _kind(values: Sequence[object]) -> Kind:
    if not values:
        return "other"
    if all(isinstance(value, list | tuple) for value in values):
        return "list"
    if all(isinstance(value, Mapping) for value in values):
        return "values"
    written = [str(value).strip() for value in values]
    if all(cell.lower() in _TRUTHS for cell in written):
        return "truth"
    if any(not isinstance(value, str | int) for value in values):
        return "other"
    if all(_DATE.fullmatch(cell) for cell in written):
        return "other"
    n_distinct = len(set(written))
    recurs = n_distinct <= len(written) / 2 or (len(written) < 20 and n_distinct < len(written))
    if recurs and mean(map(len, written)) <= _LONGEST_LABEL:
        return "label"
    if all(isinstance(value, str) for value in values) and mean(len(cell.split()) for cell in written) >= _FEWEST_WORDS:
        return "text"
    return "other"


def _fold(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def _named(columns: Iterable[str], known: Sequence[str]) -> list[str]:
    """Columns with a known name, whole or as one of its words: "Label text", "coarse_label"; a sentence is no name."""
    words = {name: _fold(name).split() for name in columns}
    return [name for name, own in words.items() if len(own) <= _LONGEST_NAME and set(own) & set(known)]


def _with_header(sample: Sample) -> tuple[Sample, tuple[str, ...]]:
    """Take the first row as data where it is no header."""
    first = sample.columns
    if _named(first, (*_TEXTS, *_LABELS)) or len(set(first)) < len(first):
        return sample, ()
    kinds = {name: _kind(sample.values(name)) for name in first}
    texts = [name for name in first if kinds[name] == "text"]
    labels = [name for name in first if kinds[name] in ("label", "truth")]
    recurs = any(name in {str(value).strip() for value in sample.values(name)} for name in labels)
    if not recurs:
        if any(len(name.split()) > 3 for name in texts):
            raise ValueError(errors.T619.format(path=sample.path, columns=_shown(first)))
        return sample, ()
    names = [f"column_{number}" for number in range(1, len(first) + 1)]
    for kind, name in ((texts, "text"), (labels, "label")):
        if len(kind) == 1:
            names[first.index(kind[0])] = name
    rows = [dict(zip(names, cells, strict=True)) for cells in (first, *(row.values() for row in sample.rows))]
    return replace(sample, columns=tuple(names), rows=[dict(row) for row in rows]), tuple(names)


# ---- the choice --------------------------------------------------------------------------------------------------


def _text_column(sample: Sample, kinds: Mapping[str, Kind]) -> tuple[str, str]:
    """The column of the text, and why where it is not called "text"."""
    fitting = [name for name in sample.columns if kinds[name] in ("text", "other", "label") and _has_str(sample, name)]
    exact = [name for name in fitting if _fold(name) == "text"]
    named = _named(fitting, _TEXTS)
    texts = [name for name in fitting if kinds[name] == "text"]
    if len(exact) == 1:
        return exact[0], ""
    for candidates, why in (
        (named, ", by its name"),
        ([name for name in named if name in texts], ", by its name and its cells"),
        ([] if named else texts, ", the only one that holds texts"),
    ):
        if len(candidates) == 1:
            return candidates[0], why
    raise _unclear(sample, named or texts or fitting, what="the text", options="--text-field")


def _has_str(sample: Sample, name: str) -> bool:
    return any(isinstance(value, str) for value in sample.values(name))


def _label_columns(sample: Sample, kinds: Mapping[str, Kind], text: str, separator: str | None) -> Columns:
    others = [name for name in sample.columns if name != text]
    fitting = _without_twins(sample, [name for name in others if kinds[name] in ("label", "list", "values", "truth")])
    named = _named(fitting, _LABELS)
    exact = [name for name in named if _fold(name) in _EXACT]
    for candidates, why in ((exact, ""), (named, ", by its name")):
        if len(candidates) == 1:
            return _form(sample, kinds, candidates[0], why, separator)
    if named:
        raise _unclear(sample, named, what="the labels", options=_OPTIONS)
    called = [name for name in others if _fold(name) in _EXACT]
    if len(called) == 1:
        # Empty so far, or every cell is another: no other column is meant, and the conversion says what is odd.
        return _form(sample, kinds, called[0], ", by its name", separator)
    truths = [name for name in fitting if kinds[name] == "truth"]
    others_fit = [name for name in fitting if kinds[name] != "truth"]
    if truths and not others_fit:
        note = f"labels: the columns of 0 and 1, {_shown(truths)}"
        return Columns(label_columns=tuple(truths), notes=(note,))
    if len(others_fit) == 1 and not truths:
        return _form(sample, kinds, others_fit[0], ", the only one whose cells recur", separator)
    if not fitting:
        wrong = _named(others, _LABELS)
        if wrong:
            # Called so, but every cell is another: the conversion says what is odd about it.
            return _form(sample, kinds, wrong[0], ", by its name", separator)
        raise ValueError(errors.T614.format(path=sample.path, columns=_shown(sample.columns)))
    raise _unclear(sample, fitting, what="the labels", options=_OPTIONS)


_OPTIONS = "--label-field, --labels-field, --cats-field or --label-columns"


def _without_twins(sample: Sample, names: list[str]) -> list[str]:
    """Leave out columns of numbers that another column has the names for: "label" 0, 1 and "label_text" neg, pos."""
    numbers = [name for name in names if _are_numbers(sample, name)]
    words = [name for name in names if name not in numbers]
    gone = set()
    for number in numbers:
        for word in words:
            pairs = {(str(row.get(number)), str(row.get(word))) for row in sample.rows}
            n_numbers, n_words = len({one for one, _ in pairs}), len({other for _, other in pairs})
            if len(pairs) == n_numbers == n_words > 1 and _named([number], _LABELS) and _named([word], _LABELS):
                gone.add(number)
    return [name for name in names if name not in gone]


def _are_numbers(sample: Sample, name: str | None) -> bool:
    """Whether a column holds whole numbers, alone or in lists."""
    if name is None:
        return False
    parts = [part for value in sample.values(name) for part in (value if isinstance(value, list | tuple) else [value])]
    return bool(parts) and all(isinstance(part, int) and not isinstance(part, bool) for part in parts)


def _form(sample: Sample, kinds: Mapping[str, Kind], name: str, why: str, separator: str | None) -> Columns:
    """How a column holds the labels."""
    shown, numbers = excerpt(name), _are_numbers(sample, name)
    more = ", whole numbers named by their digits (--label-names gives them names)" if numbers else ""
    values = sample.values(name)
    if kinds[name] == "list":
        return Columns(labels=name, numbers=numbers, notes=(f"labels: lists in column {shown}{why}{more}",))
    if kinds[name] == "values":
        return Columns(cats=name, notes=(f"labels and their values: column {shown}{why}",))
    if values and all(isinstance(value, bool) for value in values):
        return Columns(label_columns=(name,), notes=(f"labels: {shown} holds or does not",))
    cells = [value.strip() for value in values if isinstance(value, str)]
    if cells and all(looks_like_list(cell) for cell in cells):
        return Columns(labels=name, notes=(f"labels: lists in column {shown}{why}",))
    found = separator if separator is not None else _separator(cells)
    if found is not None:
        note = f"labels: several in a cell of column {shown}{why}, separated by {found!r}"
        return Columns(labels=name, separator=found, notes=(note,))
    return Columns(label=name, numbers=numbers, notes=(f"labels: column {shown}{why}{more}",))


def _separator(cells: Sequence[str]) -> str | None:
    """What separates several labels in a cell: only where its parts are labels of other texts too."""
    labels = sorted(set(cells))
    return next((mark for mark, _ in find_unsplit(labels) if mark in _SEPARATORS), None)


def _unclear(sample: Sample, candidates: Sequence[str], *, what: str, options: str) -> ValueError:
    some = candidates or sample.columns
    return ValueError(errors.T613.format(path=sample.path, what=what, columns=_shown(some), options=options))


def _shown(names: Sequence[str]) -> str:
    return ", ".join(excerpt(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")
