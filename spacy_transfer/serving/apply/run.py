"""One run over the sources: block by block, from the boundary where it was stopped."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from spacy.language import Language

from ...log import logger
from ...text_output import printable
from .engines.engine import Engine, Scored, Work
from .engines.local import local_engine
from .engines.workers import Workers
from .options import Options
from .progress import Progress, Show
from .reading.blocks import Block, bad_lines, closed_after, make_blocks, read_ahead
from .reading.rows import Bad, Head, Row, look_into, read_source, require_columns
from .reading.sources import PlainFiles, Source
from .recent import Recent, key_of
from .scoring import check_components
from .unfinished import Unfinished
from .writing.answers import Answers
from .writing.docs_writer import DocsWriter
from .writing.writers import JsonlWriter, TableWriter, Writer, all_columns, check_columns

_TABLES = ("csv", "tsv", "parquet")


class Run:
    """Reads, has scored and writes.

    pipeline (Language | str | Path): A pipeline, or its folder or package.
    sources (Sequence[Source]): In order.
    options (Options): As the user gave them.
    output_format (str): "csv", "tsv", "jsonl", "parquet" or "spacy".
    unfinished (Unfinished): Restored.
    workers (Workers | None): Of a Ray cluster; None to score in this process.
    """

    def __init__(
        self, pipeline: Language | str | Path, sources: Sequence[Source], options: Options, output_format: str,
        unfinished: Unfinished, workers: Workers | None = None,
    ) -> None:  # fmt: skip
        self._pipeline, self._sources, self._options = pipeline, sources, options
        self._format, self._unfinished, self._workers = output_format, unfinished, workers
        self._names = [source.name for source in sources]
        self._plain = PlainFiles(unfinished.folder)
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
        with self._engine() as engine:
            facts = engine.facts
            self._identify(engine)
            self._unfinished.position.machine = facts.machine
            check_components(facts.components, self._options)
            require_columns(heads, self._sources, facts.attributes)
            self._go_through(engine, heads, show)

    def finish(self) -> None:
        """Make the output of the blocks."""
        made = self._unfinished.folder / "made"
        is_made = self._writer is not None and self._writer.finish(self._unfinished.rows, made)
        self._unfinished.done(made.name if is_made else self._unfinished.rows.name)

    # ---- beginning -----------------------------------------------------------------------------------------------

    def _engine(self) -> AbstractContextManager[Engine]:
        machine, folder = self._unfinished.position.machine, self._unfinished.folder
        keeps_docs = self._format == "spacy"
        if self._workers is None:
            return local_engine(self._pipeline, machine, folder, keeps_docs=keeps_docs)
        # Ray is optional.
        from .engines.ray_engine import ray_engine

        return ray_engine(self._pipeline, machine, folder, self._workers, keeps_docs=keeps_docs)

    def _look_into(self, source: Source) -> Head:
        with self._plain.of(source, keep=True) as path:
            return look_into(path, source, self._options, all_columns=self._format in ("csv", "tsv"))

    def _identify(self, engine: Engine) -> None:
        self._unfinished.identify({
            "pipeline": engine.digest(),
            "sources": [source.identity() for source in self._sources],
            "options": self._options.identity(),
            "format": self._format,
        })  # fmt: skip

    def _make_writer(self, heads: Sequence[Head], new: Sequence[str]) -> Writer:
        if self._format == "spacy":
            return DocsWriter(self._unfinished.rows)
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

    def _go_through(self, engine: Engine, heads: Sequence[Head], show: Show) -> None:
        unfinished, facts = self._unfinished, engine.facts
        answers = Answers(facts.components, self._options, is_table=self._format in _TABLES)
        self._writer = writer = self._make_writer(heads, answers.columns)
        recent = Recent(unfinished.folder, facts.n_columns, self._options.look_ahead)
        recent.restore(unfinished.position.n_blocks)
        # Documents of files share the strings of the pipeline, which threads do not.
        in_thread = engine.vocab is None or all(source.format != "spacy" for source in self._sources)
        blocks = make_blocks(self._rows(heads, engine), self._options.look_ahead)
        progress = Progress(show, heads, unfinished.position.n_docs)
        try:
            with read_ahead(blocks) if in_thread else closed_after(blocks) as each:
                works = self._plan(each, recent, may_repeat=self._format != "spacy" and facts.reads_only_text)
                with closed_after(engine.score_all(works)) as done:
                    for work, scored in done:
                        self._write(work, scored, answers, writer, recent)
                        progress.update(unfinished.position.n_docs, work.block.last)
        finally:
            progress.close()

    def _rows(self, heads: Sequence[Head], engine: Engine) -> Iterator[Row | Bad]:
        for number, (source, head) in enumerate(zip(self._sources, heads, strict=True)):
            with self._plain.of(source) as path:
                yield from read_source(path, number, source, head, engine.vocab, engine.facts.media)

    def _plan(self, blocks: Iterable[Block], recent: Recent, *, may_repeat: bool) -> Iterator[Work]:
        """What of each block is scored: that depends on the blocks before it, not on when they are scored."""
        n_done = self._unfinished.position.n_blocks
        for number, block in enumerate(blocks):
            if number < n_done:
                continue
            if not may_repeat or any(row.doc is not None for row in block.rows):
                recent.plan(number, [])
                yield Work(number, block, block.rows, None)
                continue
            keys = [key_of(row.text) for row in block.rows]
            new = recent.plan(number, keys)
            yield Work(number, block, [block.rows[i] for i in new], keys)

    def _write(self, work: Work, scored: Scored, answers: Answers, writer: Writer, recent: Recent) -> None:
        """Write a block; those before it are written."""
        unfinished, position, block = self._unfinished, self._unfinished.position, work.block
        scores, fresh = scored.scores, {}
        if work.keys is not None:
            fresh = dict(zip((key_of(row.text) for row in work.new), scored.scores, strict=True))
            every = {**recent.find(work.keys), **fresh}
            scores = np.stack([every[key] for key in work.keys]) if work.keys else scores
        rows, unwritten = writer.encode(block.rows, answers.make(scores, scored.spans), scored.docs)
        unwritten = [*scored.bad, *unwritten]
        bad: list[Bad] = [*block.bad, *unwritten]
        recent.write(work.number, fresh)
        head = writer.head() if work.number == 0 else b""
        unfinished.append(head + rows, bad_lines(bad, self._names))
        position.n_blocks = work.number + 1
        position.n_docs += len(block.rows) - len(unwritten)
        position.n_bad += len(bad)
        position.n_repeated += len(block.rows) - len(work.new)
        unfinished.commit()
        recent.add(work.number, fresh)


def _parquet_writer(heads: Sequence[Head], new: Sequence[str]) -> Writer:
    # pyarrow is optional.
    from .writing.parquet_writer import ParquetWriter

    return ParquetWriter(heads, new)
