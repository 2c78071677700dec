"""Files of documents through a pipeline."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

from spacy.language import Language

from ...corpora.tables.table_format import TableFormat
from ...errors import T373, T373_INPUT, T520, T520_STDOUT, T521, T521_ROWS, T528, T531, T534
from ...files import hold_place, refuse_same, saying_when_full
from .engines.workers import Workers, choose_workers
from .options import OUTPUTS, Options, check_output_format
from .progress import Show
from .reading.sources import STANDARD_INPUT, Source, copy_standard_input, find_sources
from .run import Run
from .unfinished import SUFFIX, Position, Unfinished, refuse_unfinished

STANDARD_OUTPUT = "-"
_BAD_SUFFIX = ".bad.jsonl"
_FORMATS = {f".{name}": name for name in OUTPUTS} | {".ndjson": "jsonl"}
_N_SHOWN = 5


@dataclass(frozen=True)
class Applied:
    """What was done.

    output (Path | None): What was written; None for standard output.
    bad_file (Path | None): Side file of the rows that could not be used; None if there were none, or no place for it.
    n_docs (int): Documents that were classified, those before a resumption included.
    n_bad (int): Rows that could not be used.
    n_repeated (int): Documents whose text had come before, which were not scored again.
    n_before (int): Documents that were classified before a resumption.
    seconds (float): Without those before.
    bad_lines (list[str]): The first lines of the side file.
    """

    output: Path | None
    bad_file: Path | None
    n_docs: int
    n_bad: int
    n_repeated: int
    n_before: int
    seconds: float
    bad_lines: list[str]


def apply(
    pipeline: Language | str | Path,
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    text_field: str | None = None,
    all_scores: bool = False,
    labels: bool = False,
    above: float | None = None,
    top: int | None = None,
    min_score: float | None = None,
    min_confidence: float | Literal["auto"] | None = None,
    abstain: str = "abstain",
    prefix: str = "",
    input_format: str | None = None,
    output_format: str | None = None,
    layout: TableFormat | None = None,
    bad_file: str | Path | None = None,
    look_ahead: int = 4096,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    workers: int | None = None,
    on_gpu: bool = False,
    code: Path | None = None,
    resume: bool = False,
    force: bool = False,
    show: Show = "none",
) -> Applied:
    """Classify the documents of files: their rows come out as they are, with the columns `label` and `score`.

    Rows are read, scored and written block by block, so memory does not grow with the files. A run that was killed at
    any moment can be resumed; the output is then byte for byte that of a run that was not.

    pipeline (Language | str | Path): A pipeline with spacy-transfer components, or its folder or package.
    sources (str | Path | Sequence): Files, folders, patterns such as "mail/*.csv", or "-" for standard input.
    output (str | Path): A .csv, .tsv, .jsonl, .parquet or .spacy file, or "-" for standard output.
    text_field (str | None): Column that holds the text. None: `text`, or the only one that can be meant.
    all_scores (bool): Write the scores of all labels.
    labels (bool): Write the labels that reach their threshold; where labels are exclusive, the best one.
    above (float | None): Write all labels with at least this score.
    top (int | None): Write so many labels, best first.
    min_score (float | None): Where the best score is lower, `label` is the word for none.
    min_confidence (float | "auto" | None): Where the confidence that a text has one of the labels is lower, `label`
        is the word for none; "auto" is what `spacy transfer calibrate` found. `confidence` is written too.
    abstain (str): That word.
    prefix (str): Put before the names of all new columns.
    input_format (str | None): Of standard input, and of files whose names do not say it.
    output_format (str | None): Where the name of the output does not say it.
    layout (TableFormat | None): How tables are written, as far as it is not found out.
    bad_file (str | Path | None): Where rows that cannot be used are listed. None: OUTPUT.bad.jsonl.
    look_ahead (int): Rows that are sorted by length together, and written together.
    engine (str): "local" computes in this process, "ray" in workers of a Ray cluster. Both write the same.
    address (str | None): Of a running cluster: "HOST:6379", "ray://HOST:10001", or "auto" for the one on this machine.
        None: $RAY_ADDRESS, else a cluster of this machine alone, which ends with the run.
    workers (int | None): Of the cluster. None: as many as there is room for.
    on_gpu (bool): Each worker takes a GPU. For "local" say where to compute before.
    code (Path | None): Python file with registered functions that the pipeline uses, for workers; "local" has them.
    resume (bool): Continue the run that was interrupted, if there is one; the engine may be another one.
    force (bool): Replace the output, and begin again where a run was interrupted.
    show (str): Progress: "bar", "lines", "none", or "auto".
    RETURNS (Applied): What was done.
    RAISES (ValueError): T396 and T520 for options that cannot be; T041, T521 to T526 for sources; T527 for a pipeline
        without our components; T530 and T532 for a run that cannot be continued; T533, T534, T605 for the output; T600
        for workers without Ray.
    RAISES (ImportError): T081 for what a format or an engine needs.
    RAISES (ConnectionError): T601 where no Ray cluster answers.
    RAISES (RuntimeError): T602 for a worker that cannot load the pipeline, T603 for a cluster without room for one,
        T604 for rows over which worker after worker is lost.
    RAISES (FileExistsError): T528, T529, T531, T535 for what is there already.
    RAISES (FileNotFoundError): T440.
    RAISES (UnicodeError): T042 for bytes that are no text.
    RAISES (OSError): T370 while another process writes the same output, T372 for a full disk.
    """
    options = Options(
        text_field=text_field, input_format=input_format, layout=layout or TableFormat(), all_scores=all_scores,
        labels=labels, above=above, top=top, min_score=min_score, min_confidence=min_confidence,
        abstain=abstain, prefix=prefix, look_ahead=look_ahead,
    )  # fmt: skip
    hired = choose_workers(engine, address, workers, on_gpu=on_gpu, code=code)
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    is_stream = str(output) == STANDARD_OUTPUT
    if is_stream and resume:
        raise ValueError(T520.format(problem=T520_STDOUT))
    made = _format_of(Path(output), output_format)
    if made == "spacy":
        options.refuse_for_docs()
    job = _Job(pipeline, given, options, made, show, hired, resume=resume, force=force)
    if not is_stream:
        place = Path(output).expanduser()
        return job.to_file(place, Path(bad_file) if bad_file else place.with_name(place.name + _BAD_SUFFIX))
    with tempfile.TemporaryDirectory(prefix="spacy-transfer-") as folder:
        place = Path(folder) / f"output.{made}"
        done = job.to_file(place, Path(bad_file) if bad_file else Path(folder) / "bad.jsonl")
        with place.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
        sys.stdout.buffer.flush()
    kept = done.bad_file if bad_file else None
    return Applied(None, kept, done.n_docs, done.n_bad, done.n_repeated, 0, done.seconds, done.bad_lines)


def _format_of(output: Path, named: str | None) -> str:
    if named is not None:
        return check_output_format(named)
    found = _FORMATS.get(output.suffix.lower())
    if found is None:
        raise ValueError(T534.format(path=output, suffix=output.suffix, formats=", ".join(_FORMATS)))
    return found


@dataclass(frozen=True)
class _Job:
    """What is to be done, wherever it is written."""

    pipeline: Language | str | Path
    given: list[str | Path]
    options: Options
    output_format: str
    show: Show
    workers: Workers | None
    resume: bool
    force: bool

    def to_file(self, output: Path, bad_file: Path) -> Applied:
        """Classify into a file; the lock on its name is held meanwhile."""
        start = perf_counter()
        unfinished = Unfinished(output.with_name(output.name + SUFFIX))
        copy = unfinished.folder / f"standard-input.{self.options.input_format}"
        sources = find_sources(self.given, self.options.input_format, copy)
        read = [source.path for source in sources if source.path != copy]
        refuse_same([output, bad_file], [*read, *self._pipeline_folder()])
        for folder in (Path(one).expanduser() for one in self.given):
            # It would be read the next time.
            if folder.is_dir() and output.resolve().is_relative_to(folder.resolve()):
                raise ValueError(T373.format(path=output, problem=T373_INPUT.format(other=folder)))
        with hold_place(output):
            is_new = self._open(unfinished, output, bad_file)
            with _removed_if_useless(unfinished, is_new), saying_when_full(output, unfinished.folder):
                if any(str(one) == STANDARD_INPUT for one in self.given):
                    copy_standard_input(copy)
                n_before, bad_lines = self._run(unfinished, sources, output, bad_file)
        position = unfinished.position
        kept = bad_file if position.n_bad else None
        seconds = perf_counter() - start
        return Applied(output, kept, position.n_docs, position.n_bad, position.n_repeated, n_before, seconds, bad_lines)

    def _pipeline_folder(self) -> list[Path]:
        return [] if isinstance(self.pipeline, Language) else [Path(self.pipeline)]

    def _open(self, unfinished: Unfinished, output: Path, bad_file: Path) -> bool:
        """Begin, or find what is there.

        RETURNS (bool): Whether it begins.
        """
        if unfinished.exists():
            if self.resume:
                return False
            if not self.force:
                raise refuse_unfinished(unfinished.folder)
            unfinished.remove()
        elif self.resume and output.exists():
            raise FileExistsError(T531.format(path=output))
        for path in (output, bad_file):
            if path.is_dir() or (path.exists() and not self.force):
                raise FileExistsError(T528.format(path=path))
        unfinished.begin()
        return True

    def _run(
        self, unfinished: Unfinished, sources: list[Source], output: Path, bad_file: Path
    ) -> tuple[int, list[str]]:
        position = unfinished.restore()
        n_before = position.n_docs
        run = Run(self.pipeline, sources, self.options, self.output_format, unfinished, self.workers)
        if not position.made:
            try:
                run.work(self.show)
            finally:
                unfinished.close()
            _require_rows(unfinished.position, self.given)
            run.finish()
        with unfinished.bad.open(encoding="ascii") as file:
            bad_lines = [line.rstrip("\n") for _, line in zip(range(_N_SHOWN), file, strict=False)]
        unfinished.publish(output, bad_file)
        return n_before, bad_lines


def _require_rows(position: Position, given: list[str | Path]) -> None:
    if not position.n_docs and not position.n_bad:
        raise ValueError(T521.format(source=", ".join(map(str, given)), problem=T521_ROWS))


@contextmanager
def _removed_if_useless(unfinished: Unfinished, is_new: bool) -> Iterator[None]:
    """Within: an error before the first block leaves nothing."""
    try:
        yield
    except BaseException:
        unfinished.close()
        if is_new and unfinished.folder.exists() and not unfinished.has_blocks:
            unfinished.remove()
        raise
