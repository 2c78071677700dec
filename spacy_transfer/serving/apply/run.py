"""One run over the sources: block by block, from the boundary where it was stopped."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ...errors import T530
from ...files import sha256_of, sha256_of_data
from ...log import logger
from ...nn.devices.precision import recorded
from ...pipeline.interface import Floats, classifier_of
from ...pipeline.loading import load_pipeline
from ...pipeline.textcat import TransferTextCategorizer
from ...text_output import printable
from .options import Options, check_labels
from .progress import Progress, Show
from .reading.blocks import bad_lines, closed_after, make_blocks, read_ahead
from .reading.rows import Bad, Head, Row, look_into, read_source, require_columns
from .reading.sources import Source, plain_file
from .recent import Recent, key_of
from .scoring import DirectScoring, Scoring, active_classifiers, attributes_read_by, make_scoring, reads_only_text
from .unfinished import Unfinished
from .writing.answers import Answers
from .writing.writers import DocsWriter, JsonlWriter, TableWriter, Writer, all_columns, check_columns

_TABLES = ("csv", "tsv", "parquet")


class Run:
    """Reads, scores and writes.

    pipeline (Language | str | Path): A pipeline, or its folder or package.
    sources (Sequence[Source]): In order.
    options (Options): As the user gave them.
    output_format (str): "csv", "tsv", "jsonl", "parquet" or "spacy".
    unfinished (Unfinished): Restored.
    """

    def __init__(
        self, pipeline: Language | str | Path, sources: Sequence[Source], options: Options, output_format: str,
        unfinished: Unfinished,
    ) -> None:  # fmt: skip
        self._pipeline, self._sources, self._options = pipeline, sources, options
        self._format, self._unfinished = output_format, unfinished
        self._names = [source.name for source in sources]
        self._writer: Writer | None = None

    def work(self, show: Show) -> None:
        """Write all blocks that are not yet written.

        show (str): Progress.
        RAISES: As `apply`.
        """
        heads = [self._look_into(source) for source in self._sources]
        for source, head in zip(self._sources, heads, strict=True):
            if head.note:
                logger.info("%s: %s", printable(source.name), printable(head.note))
        machine = self._unfinished.position.machine
        with recorded(machine.get("precision")) as precision, _threads(machine.get("n_threads")) as n_threads:
            is_loaded = isinstance(self._pipeline, Language)
            nlp = self._pipeline if isinstance(self._pipeline, Language) else load_pipeline(self._pipeline)
            scoring = make_scoring(nlp, keeps_docs=self._format == "spacy")
            self._identify(nlp, is_loaded=is_loaded)
            components = {pipe.name: _precision_of(pipe) for pipe in active_classifiers(nlp)}
            if machine.get("components", components) != components:
                raise ValueError(T530.format(folder=self._unfinished.folder, what="the precision"))
            self._unfinished.position.machine = {
                "precision": precision, "n_threads": n_threads, "components": components,
            }  # fmt: skip
            check_labels([label for one in scoring.components for label in one.labels], self._options)
            require_columns(heads, self._sources, attributes_read_by(nlp))
            self._go_through(nlp, scoring, heads, show)

    def finish(self) -> None:
        """Make the output of the blocks."""
        made = self._unfinished.folder / "made"
        is_made = self._writer is not None and self._writer.finish(self._unfinished.rows, made)
        self._unfinished.done(made.name if is_made else self._unfinished.rows.name)

    # ---- beginning -----------------------------------------------------------------------------------------------

    def _look_into(self, source: Source) -> Head:
        with plain_file(source, self._unfinished.folder) as path:
            return look_into(path, source, self._options, all_columns=self._format in ("csv", "tsv"))

    def _identify(self, nlp: Language, *, is_loaded: bool) -> None:
        self._unfinished.identify({
            "pipeline": digest_of_loaded(nlp) if is_loaded else digest_of(nlp.path),
            "sources": [source.identity() for source in self._sources],
            "options": self._options.identity(),
            "format": self._format,
        })  # fmt: skip

    def _make_writer(self, heads: Sequence[Head], new: Sequence[str]) -> Writer:
        if self._format == "spacy":
            return DocsWriter()
        check_columns(self._sources, heads, new)
        if self._format == "jsonl":
            return JsonlWriter(new)
        if self._format == "parquet":
            return _parquet_writer(heads, new)
        by_format = {source.format: head for source, head in zip(reversed(self._sources), reversed(heads), strict=True)}
        of_csv, of_table = by_format.get("csv"), by_format.get("csv") or by_format.get("tsv")
        delimiter = (of_csv.layout.delimiter if of_csv is not None else None) or ","
        return TableWriter(
            all_columns(heads), new, delimiter="\t" if self._format == "tsv" else delimiter,
            has_mark=of_table is not None and of_table.has_mark,
        )  # fmt: skip

    # ---- blocks --------------------------------------------------------------------------------------------------

    def _go_through(self, nlp: Language, scoring: Scoring, heads: Sequence[Head], show: Show) -> None:
        unfinished, position = self._unfinished, self._unfinished.position
        answers = Answers(scoring.components, self._options, is_table=self._format in _TABLES)
        self._writer = writer = self._make_writer(heads, answers.columns)
        n_labels = sum(len(one.labels) for one in scoring.components)
        recent = Recent(unfinished.folder, n_labels, self._options.look_ahead)
        recent.restore(position.n_blocks)
        # Documents of files share the strings of the pipeline, which threads do not.
        vocab = None if isinstance(scoring, DirectScoring) else nlp.vocab
        in_thread = vocab is None or all(source.format != "spacy" for source in self._sources)
        may_repeat = self._format != "spacy" and reads_only_text(nlp)
        blocks = make_blocks(self._rows(heads, vocab), self._options.look_ahead)
        progress = Progress(show, heads, position.n_docs)
        try:
            with read_ahead(blocks) if in_thread else closed_after(blocks) as each:
                for number, block in enumerate(each):
                    if number < position.n_blocks:
                        continue
                    scores, docs, fresh, n_scored = self._score(block.rows, scoring, recent, may_repeat=may_repeat)
                    rows, unwritten = writer.encode(block.rows, answers.make(scores), docs)
                    bad: list[Bad] = [*block.bad, *unwritten]
                    recent.write(number, fresh)
                    head = writer.head() if number == 0 else b""
                    unfinished.append(head + rows, bad_lines(bad, self._names))
                    position.n_blocks = number + 1
                    position.n_docs += len(block.rows) - len(unwritten)
                    position.n_bad += len(bad)
                    position.n_repeated += len(block.rows) - n_scored
                    unfinished.commit()
                    recent.add(number, fresh)
                    progress.update(position.n_docs, block.last)
        finally:
            progress.close()

    def _rows(self, heads: Sequence[Head], vocab: Vocab | None) -> Iterator[Row | Bad]:
        for number, (source, head) in enumerate(zip(self._sources, heads, strict=True)):
            with plain_file(source, self._unfinished.folder) as path:
                yield from read_source(path, number, source, head, vocab)

    def _score(
        self, rows: Sequence[Row], scoring: Scoring, recent: Recent, *, may_repeat: bool
    ) -> tuple[Floats, list[Doc], dict[bytes, Floats], int]:
        """Score a block.

        RETURNS (tuple): Scores by row, documents, the scores of texts that were not known, by key, and how many rows
            went through the pipeline.
        """
        if not rows:
            return _none(scoring), [], {}, 0
        if not may_repeat or any(row.doc is not None for row in rows):
            return *scoring.score(rows), {}, len(rows)
        keys = [key_of(row.text) for row in rows]
        known = recent.find(keys)
        new: dict[bytes, Row] = {}
        for key, row in zip(keys, rows, strict=True):
            if key not in known:
                new.setdefault(key, row)
        scores = scoring.score(list(new.values()))[0] if new else _none(scoring)
        fresh = dict(zip(new, scores, strict=True))
        every = {**known, **fresh}
        return np.stack([every[key] for key in keys]), [], fresh, len(new)


def _none(scoring: Scoring) -> Floats:
    return np.zeros((0, sum(len(one.labels) for one in scoring.components)), dtype=np.float32)


def _parquet_writer(heads: Sequence[Head], new: Sequence[str]) -> Writer:
    # pyarrow is optional.
    from .writing.parquet_writer import ParquetWriter

    return ParquetWriter(heads, new)


def _precision_of(pipe: TransferTextCategorizer) -> str:
    return str(classifier_of(pipe.model).computes_with().get("precision", ""))


@contextmanager
def _threads(wanted: int | None) -> Iterator[int]:
    """Within: as many threads as a run began with, since sums differ in their last bits with another number."""
    before = torch.get_num_threads()
    if wanted is not None and wanted != before:
        torch.set_num_threads(wanted)
    try:
        yield torch.get_num_threads()
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def digest_of(folder: Path) -> str:
    """SHA-256 of all files of a pipeline.

    folder (Path): Its folder.
    RETURNS (str): 64 hexadecimal digits.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".spacy-transfer"))
    parts = [[path.relative_to(folder).as_posix(), sha256_of(path)] for path in files]
    return sha256_of_data(json.dumps(parts).encode("utf-8"))


def digest_of_loaded(nlp: Language) -> str:
    """SHA-256 of a pipeline in memory, without its vocabulary, to which every text that it reads adds words.

    nlp (Language): The pipeline.
    RETURNS (str): 64 hexadecimal digits.
    """
    # A tokenizer may be any function.
    plain = [] if hasattr(nlp.tokenizer, "to_bytes") else ["tokenizer"]
    return sha256_of_data(nlp.to_bytes(exclude=["vocab", *plain]))
