"""The texts of an update: what is new, what is old, and what neither is to be learned from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc

from ...config.nearest import nearest
from ...corpora.dev_part import Parts
from ...corpora.excerpt import excerpt
from ...corpora.inspection.label_findings import fold_label
from ...corpora.inspection.repeats import normalize
from ...corpora.reading.annotated import Annotated, read_annotated
from ...corpora.reading.raw_texts import find_text_column, read_raw_texts
from ...corpora.tables.column_choice import Columns
from ...corpora.tables.records import Record
from ...corpora.tables.table_format import TableFormat
from ...errors import T720, T721, T722, T723, T724, T727, T732
from ...pipeline.textcat import TransferTextCategorizer

# Texts held out of the old ones, where there is no test file: more would make an evaluation long.
_MOST_HELD = 1000
_N_SHOWN = 5


@dataclass(frozen=True)
class Sources:
    """Where the texts of an update are; .spacy files, or files of rows.

    new (Path): New texts, with new labels or with labels that the pipeline has.
    replay (Path | None): Old texts.
    raw (Sequence[Path]): Texts without labels.
    old_test (Path | None): Old texts to measure on; never learned from.
    new_test (Path | None): New texts to measure on; never learned from.
    columns (Columns): Columns of the files of rows, as far as the user named them; of each file the others are found
        out.
    merge_labels (bool): Make labels that look like one of the pipeline that one.
    """

    new: Path
    replay: Path | None = None
    raw: Sequence[Path] = ()
    old_test: Path | None = None
    new_test: Path | None = None
    columns: Columns = field(default_factory=Columns)
    merge_labels: bool = False

    def files(self) -> list[Path]:
        """All of them."""
        named = [self.new, self.replay, self.old_test, self.new_test]
        return [*(path for path in named if path is not None), *self.raw]


@dataclass(frozen=True)
class Given:
    """The texts of an update.

    new (list[Doc]): New texts to learn from.
    replay (list[Doc]): Old texts to learn from.
    raw (list[Doc]): Texts without labels.
    old_test (list[Doc]): Old texts to measure on; some of the replayed ones that are held out, where there is no file.
    new_test (list[Doc]): New texts to measure on; some of the new ones that are held out, where there is no file.
    dev (list[Doc]): Those of both that are held out.
    labels (list[str]): Labels that the pipeline does not have yet, sorted.
    notes (list[str]): How the files were read.
    """

    new: list[Doc]
    replay: list[Doc]
    raw: list[Doc]
    old_test: list[Doc]
    new_test: list[Doc]
    dev: list[Doc]
    labels: list[str]
    notes: list[str]


def read_given(sources: Sources, nlp: Language, pipe: TransferTextCategorizer, held_share: float) -> Given:
    """Read the texts of an update and refuse what cannot be learned from.

    sources (Sources): The files.
    nlp (Language): The pipeline.
    pipe (TransferTextCategorizer): The classifier that is taught.
    held_share (float): Share of the new and of the old texts to measure on, where no test file is given.
    RETURNS (Given): The texts.
    RAISES (ValueError): T720 for a file without texts, T721 and T722 for labels of another kind than the pipeline's,
        T723 for old texts with labels that it does not know, T724 for new labels that look like old ones, T727 for
        texts without labels that are test texts, T732 for a label that holds for all texts; as `read_annotated`.
    """
    spelled = {fold_label(label): label for label in pipe.labels} if sources.merge_labels else None

    def read(path: Path | None) -> Annotated | None:
        """Read a file whose labels are of the right kind."""
        if path is None:
            return None
        found = read_annotated(path, nlp, sources.columns, spelled=spelled)
        _check_kind(found, pipe)
        return found

    new, replay, old_test, new_test = map(read, (sources.new, sources.replay, sources.old_test, sources.new_test))
    assert new is not None
    labels = [label for label in new.labels if label not in pipe.labels]
    _refuse_look_alikes(new, labels, pipe.labels)
    for found, known in ((replay, pipe.labels), (old_test, pipe.labels), (new_test, (*pipe.labels, *labels))):
        if found is not None:
            _refuse_unknown(found, known)
    raw, raw_notes = _read_raw(sources, nlp)
    if sources.raw and not raw:
        raise ValueError(T720.format(path=", ".join(map(str, sources.raw))))
    _refuse_leak(raw, (old_test, new_test))
    read_files = [found for found in (new, replay, old_test, new_test) if found is not None]
    notes = [*(f"{found.path}: {note}" for found in read_files for note in found.notes), *raw_notes]
    learned, held = (new.docs, []) if new_test is not None else _hold_out(new.docs, held_share)
    old, old_held = (_docs(replay), []) if old_test is not None else _hold_out(_docs(replay), held_share, _MOST_HELD)
    if not pipe.exclusive:
        _refuse_without_others(learned, [*old, *raw], labels)
    return Given(
        learned, old, raw, old_held or _docs(old_test), held or _docs(new_test), [*old_held, *held], labels, notes
    )  # fmt: skip


def _read_raw(sources: Sources, nlp: Language) -> tuple[list[Doc], list[str]]:
    """Texts without labels, and how they were read."""
    docs: list[Doc] = []
    notes: list[str] = []
    for path in sources.raw:
        is_named = sources.columns.text != Columns.text
        columns = sources.columns if is_named else find_text_column(path)
        layout = TableFormat(columns=columns.header) if columns.header else None
        docs += [nlp.make_doc(text) for text in read_raw_texts([path], field=columns.text, layout=layout)]
        notes += [f"{path}: {note}" for note in columns.notes]
    return docs, notes


def _docs(found: Annotated | None) -> list[Doc]:
    return [] if found is None else found.docs


def positives(cats: Mapping[str, float]) -> list[str]:
    """Name the labels that hold.

    cats (Mapping[str, float]): Of a document.
    RETURNS (list[str]): Those with a value above 0.
    """
    return [label for label, value in cats.items() if value]


def _check_kind(found: Annotated, pipe: TransferTextCategorizer) -> None:
    if not pipe.exclusive:
        if found.names_one:
            raise ValueError(T722.format(path=found.path, name=pipe.name))
        return
    wrong = [doc for doc in found.docs if abs(sum(doc.cats.values()) - 1.0) > 1e-3]
    if wrong:
        raise ValueError(
            T721.format(
                path=found.path, name=pipe.name, n=len(wrong), n_texts=len(found.docs),
                labels=", ".join(map(excerpt, positives(wrong[0].cats))) or "no label", text=excerpt(wrong[0].text),
            )
        )  # fmt: skip


def _refuse_look_alikes(new: Annotated, labels: Sequence[str], known: Sequence[str]) -> None:
    folded = {fold_label(label): label for label in known}
    alike = {label: folded[fold_label(label)] for label in labels if fold_label(label) in folded}
    pairs = [f"{excerpt(label)} like {excerpt(other)}" for label, other in alike.items()]
    if pairs:
        raise ValueError(T724.format(path=new.path, pairs=", ".join(pairs[:_N_SHOWN])))


def _refuse_unknown(found: Annotated, known: Sequence[str]) -> None:
    unknown = [label for label in found.labels if label not in known]
    if unknown:
        shown = ", ".join(map(excerpt, unknown[:_N_SHOWN]))
        raise ValueError(T723.format(path=found.path, labels=shown, hint=nearest(unknown[0], known)))


def _refuse_leak(raw: Iterable[Doc], tests: Iterable[Annotated | None]) -> None:
    there = {normalize(doc.text): found.path for found in tests if found is not None for doc in found.docs}
    leaked = [doc for doc in raw if normalize(doc.text) in there]
    if leaked:
        first = leaked[0].text
        raise ValueError(T727.format(n=len(leaked), path=there[normalize(first)], text=excerpt(first)))


def _refuse_without_others(new: Sequence[Doc], others: Sequence[Doc], labels: Sequence[str]) -> None:
    """A label of which every known text is one that has it can be given to everything."""
    if others:
        return
    always = [label for label in labels if all(doc.cats.get(label, 1.0) for doc in new)]
    if always:
        raise ValueError(T732.format(labels=", ".join(map(excerpt, always[:_N_SHOWN]))))


def _hold_out(docs: Sequence[Doc], share: float, most: int | None = None) -> tuple[list[Doc], list[Doc]]:
    """What is left and what is held out, the same share of each label."""
    if most is not None and docs:
        share = min(share, most / len(docs))
    parts = Parts(share)
    learned: list[Doc] = []
    held: list[Doc] = []
    for doc in docs:
        part = parts.part_of(Record(0, doc.text, dict(doc.cats), fills=True))
        (held if part == "dev" else learned).append(doc)
    return learned, held
