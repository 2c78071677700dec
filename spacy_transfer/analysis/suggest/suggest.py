"""Which texts without labels to annotate next."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spacy.language import Language

from ...corpora.inspection.near_duplicates import group_near_duplicates
from ...corpora.tables.table_format import TableFormat
from ...docbins import read_all_docs
from ...errors import T396, T760, T761
from ...pipeline.components import classifier_meant
from ...pipeline.interface import Floats
from ...pipeline.loading import load_pipeline
from ...pipeline.textcat import TransferTextCategorizer
from ...serving.apply.options import Options
from ...serving.apply.progress import Progress, Show
from ...serving.apply.reading.blocks import closed_after, make_blocks
from ...serving.apply.reading.rows import Bad, Row, look_into, read_source, require_columns
from ...serving.apply.reading.sources import STANDARD_INPUT, PlainFiles, copy_standard_input, find_sources
from ...serving.apply.scoring import attributes_read_by, make_scoring, media_read_in
from ..annotation_tasks import Task
from ..vectors import vectors_of_docs
from .choosing import STRATEGIES, Strategy, choose, uncertainty
from .pool import Candidate, Pool, chance_of, key_of

# Texts that are kept while a stream is read, and for each one that is wanted.
_LEAST_KEPT, _KEPT_FOR_EACH = 10_000, 20
_BLOCK = 4096
# Reasons of rows that could not be used that are kept.
_N_SHOWN = 5


@dataclass(frozen=True)
class Suggestion:
    """A text to annotate.

    text (str): The text.
    labels (list[str]): What the pipeline gives it: its best label, or any number of independent ones.
    score (float): The highest of its scores.
    uncertainty (float): How little the pipeline knows about it: from 0, sure, to 1, two labels are equally likely.
    source (str): The file.
    line (int): Where it is, from 1.
    """

    text: str
    labels: list[str]
    score: float
    uncertainty: float
    source: str
    line: int


@dataclass(frozen=True)
class Suggestions:
    """What was found.

    texts (list[Suggestion]): The most wanted first.
    labels (list[str]): All that the pipeline knows.
    n_texts (int): Texts that were read.
    n_annotated (int): Of them, those that are annotated already.
    bad (list[str]): The first rows that could not be used, and why.
    n_bad (int): All of them.
    """

    texts: list[Suggestion]
    labels: list[str]
    n_texts: int
    n_annotated: int
    bad: list[str]
    n_bad: int

    def tasks(self) -> list[Task]:
        """Make tasks for an annotation tool."""
        return [
            Task(one.text, None, one.labels, round(one.score, 4), {
                "suggested": ", ".join(one.labels), "score": round(one.score, 4),
                "uncertainty": round(one.uncertainty, 4), "source": one.source, "line": one.line,
            })
            for one in self.texts
        ]  # fmt: skip


def suggest(
    pipeline: Language | str | Path,
    sources: str | Path | Sequence[str | Path],
    *,
    n: int = 50,
    strategy: Strategy = "both",
    labeled: Sequence[Path] = (),
    component: str | None = None,
    text_field: str | None = None,
    input_format: str | None = None,
    layout: TableFormat | None = None,
    seed: int = 0,
    show: Show = "none",
) -> Suggestions:
    """Choose the texts whose labels would teach a pipeline most.

    Files are read block by block, and memory does not grow with them. Near-duplicates are suggested once.

    pipeline (Language | str | Path): A trained pipeline, or its folder or package.
    sources (str | Path | Sequence): Files of texts, folders, patterns such as "mail/*.csv", or "-" for standard input.
    n (int): How many.
    strategy (str): "margin" and "entropy": those that the pipeline knows least about; "coverage": typical texts of what
        has no annotated text; "both": uncertain texts that differ from each other.
    labeled (Sequence[Path]): .spacy files of texts that are annotated: they, and what is nearly the same, are left out.
    component (str | None): The spacy-transfer classifier that is to learn. None: the only one.
    text_field (str | None): Column of the text. None: `text`, or the only one that can be meant.
    input_format (str | None): Of standard input, and of files whose names do not say it.
    layout (TableFormat | None): How tables are written, as far as it is not found out.
    seed (int): Of "coverage" and "both".
    show (str): Progress: "bar", "lines", "none", or "auto".
    RETURNS (Suggestions): At most n texts.
    RAISES (ValueError): T396 for options that cannot be, T527 and T642 for a pipeline without that classifier, T760 for
        a pipeline with one label, T761 where no text is left; for sources what `apply` refuses.
    RAISES (FileNotFoundError): T440.
    RAISES (UnicodeError): T042 for bytes that are no text.
    """
    if n < 1:
        raise ValueError(T396.format(option="--n", value=n, want="a whole number from 1 on"))
    if strategy not in STRATEGIES:
        raise ValueError(T396.format(option="--by", value=strategy, want=", ".join(STRATEGIES)))
    options = Options(text_field=text_field, input_format=input_format, layout=layout or TableFormat())
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    nlp = pipeline if isinstance(pipeline, Language) else load_pipeline(pipeline)
    name, pipe = classifier_meant(nlp, component)
    if pipe.exclusive and len(pipe.labels) < 2:
        raise ValueError(T760.format(name=name, labels=", ".join(pipe.labels) or "none"))
    annotated = [doc.text for path in labeled for doc in read_all_docs(path, nlp.vocab)]
    reading = _Reading(nlp, name, pipe, options, strategy, {key_of(text) for text in annotated})
    pool = Pool(max(_LEAST_KEPT, _KEPT_FOR_EACH * n))
    reading.fill(pool, given, show)
    candidates = _distinct(pool.candidates(), annotated)
    if not candidates:
        raise ValueError(T761.format(n_texts=reading.n_texts, n_annotated=reading.n_annotated))
    scores = np.stack([one.scores for one in candidates])
    vectors, covered = _vectors(nlp, name, candidates, annotated, strategy)
    threshold = float(pipe.cfg["threshold"])
    chosen = choose(
        scores, vectors, n, strategy, exclusive=pipe.exclusive, threshold=threshold, covered=covered, seed=seed
    )  # fmt: skip
    doubt = uncertainty(scores, exclusive=pipe.exclusive, threshold=threshold)
    return Suggestions(
        [
            Suggestion(
                candidates[i].text, _given(pipe, scores[i], threshold), float(scores[i].max(initial=0.0)),
                float(doubt[i]), reading.names[candidates[i].source], candidates[i].line,
            )
            for i in chosen
        ],
        list(pipe.labels), reading.n_texts, reading.n_annotated, reading.bad, reading.n_bad,
    )  # fmt: skip


def _distinct(candidates: Sequence[Candidate], annotated: Sequence[str]) -> list[Candidate]:
    """Leave out what is nearly the same as an annotated text, or as a more wanted one."""
    groups = group_near_duplicates([*annotated, *(one.text for one in candidates)])
    taken = set(groups[: len(annotated)])
    found = []
    for one, group in zip(candidates, groups[len(annotated) :], strict=True):
        if group not in taken:
            taken.add(group)
            found.append(one)
    return found


def _vectors(
    nlp: Language, name: str, candidates: Sequence[Candidate], annotated: Sequence[str], strategy: Strategy
) -> tuple[Floats, Floats | None]:
    """Vectors of the candidates, and of the annotated texts, as far as the strategy looks at them."""
    if strategy in ("margin", "entropy"):
        return np.zeros((len(candidates), 0), dtype=np.float32), None
    found = vectors_of_docs(nlp, (nlp.make_doc(one.text) for one in candidates), name)
    if strategy == "both" or not annotated:
        return found, None
    return found, vectors_of_docs(nlp, (nlp.make_doc(text) for text in annotated), name)


def _given(pipe: TransferTextCategorizer, scores: Floats, threshold: float) -> list[str]:
    if pipe.exclusive:
        return [pipe.labels[int(scores.argmax())]]
    return [label for label, score in zip(pipe.labels, scores.tolist(), strict=True) if score >= threshold]


class _Reading:
    """Goes through the files once.

    nlp (Language): The pipeline.
    name (str): Of its classifier.
    pipe (TransferTextCategorizer): The same.
    options (Options): How files are read.
    strategy (str): Says which texts come into question.
    annotated (set[bytes]): Keys of the texts that are annotated.
    """

    def __init__(
        self, nlp: Language, name: str, pipe: TransferTextCategorizer, options: Options, strategy: Strategy,
        annotated: set[bytes],
    ) -> None:  # fmt: skip
        self._nlp, self._pipe, self._options, self._strategy = nlp, pipe, options, strategy
        self._annotated = annotated
        self._scoring = make_scoring(nlp, keeps_docs=False)
        names = [one.name for one in self._scoring.components]
        widths = [len(one.labels) for one in self._scoring.components]
        begin = sum(widths[: names.index(name)])
        self._columns = slice(begin, begin + len(pipe.labels))
        self.names: list[str] = []
        self.n_texts = self.n_annotated = self.n_bad = 0
        self.bad: list[str] = []

    def fill(self, pool: Pool, given: Sequence[str | Path], show: Show) -> None:
        """Offer all texts to a pool.

        pool (Pool): It keeps what is wanted most.
        given (Sequence[str | Path]): Files, folders, patterns, or "-".
        show (str): Progress.
        RAISES: As `suggest`.
        """
        with (
            tempfile.TemporaryDirectory(prefix="spacy-transfer-") as scratch,
            self._rows(given, Path(scratch), show) as (rows, progress),
            closed_after(make_blocks(rows, _BLOCK)) as blocks,
        ):
            for block in blocks:
                self._note(block.bad)
                self._offer(pool, block.rows)
                progress.update(self.n_texts, block.last)

    @contextmanager
    def _rows(
        self, given: Sequence[str | Path], scratch: Path, show: Show
    ) -> Iterator[tuple[Iterator[Row | Bad], Progress]]:
        copy = scratch / f"standard-input.{self._options.input_format}"
        sources = find_sources(given, self._options.input_format, copy)
        if any(str(one) == STANDARD_INPUT for one in given):
            copy_standard_input(copy)
        self.names = [source.name for source in sources]
        plain = PlainFiles(scratch)
        heads = []
        for source in sources:
            with plain.of(source, keep=True) as path:
                heads.append(look_into(path, source, self._options, all_columns=False))
        require_columns(heads, sources, attributes_read_by(self._nlp))

        def each() -> Iterator[Row | Bad]:
            """Read one file after the other."""
            for number, (source, head) in enumerate(zip(sources, heads, strict=True)):
                with plain.of(source) as path:
                    yield from read_source(path, number, source, head, self._nlp.vocab, media_read_in(self._nlp))

        progress = Progress(show, heads, 0)
        try:
            yield each(), progress
        finally:
            progress.close()

    def _note(self, bad: Sequence[Bad]) -> None:
        self.n_bad += len(bad)
        for one in bad[: max(0, _N_SHOWN - len(self.bad))]:
            self.bad.append(f"{self.names[one.source]}, line {one.line}: {one.reason}")

    def _offer(self, pool: Pool, read: Sequence[Row]) -> None:
        self.n_texts += len(read)
        rows = [row for row in read if key_of(row.text) not in self._annotated]
        self.n_annotated += len(read) - len(rows)
        if not rows:
            return
        scores = self._scoring.score(rows)[0][:, self._columns]
        wanted = (
            [chance_of(row.text) for row in rows]
            if self._strategy == "coverage"
            else uncertainty(
                scores, exclusive=self._pipe.exclusive, threshold=float(self._pipe.cfg["threshold"]),
                by="entropy" if self._strategy == "entropy" else "margin",
            ).tolist()
        )  # fmt: skip
        for row, one, priority in zip(rows, scores, wanted, strict=True):
            pool.offer(Candidate(row.text, one.copy(), row.source, row.line), priority)
