"""Parquet: blocks are kept as Arrow streams, which can be cut off and appended, and become one file at the end."""

import importlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ....corpora.tables.rows import BadRow
from ....errors import require
from ..reading.arrow_rows import ArrowCells
from ..reading.rows import Bad, Head, Row
from .answers import Answer
from .writers import all_columns, check_text

if TYPE_CHECKING:
    from pyarrow import Array, DataType, Schema, Table


class ParquetWriter:
    """Columns of Parquet sources keep their types; those of tables are texts, those of JSON what they hold.

    heads (Sequence[Head]): What is known of the sources.
    new (Sequence[str]): Names of the new columns.
    RAISES (ImportError): T081 without pyarrow.
    """

    def __init__(self, heads: Sequence[Head], new: Sequence[str]) -> None:
        self._arrow = require("pyarrow", "parquet")
        self._columns, self._new = all_columns(heads), list(new)

    def head(self) -> bytes:
        """See `Writer`."""
        return b""

    def encode(self, rows: Sequence[Row], answers: Sequence[Answer], docs: bytes) -> tuple[bytes, list[Bad]]:
        """See `Writer`."""
        bad: list[Bad] = []
        kept: list[int] = []
        for i, row in enumerate(rows):
            try:
                if not isinstance(row.cells, ArrowCells):
                    check_text(json.dumps(dict(row.cells), ensure_ascii=False, default=str))
                kept.append(i)
            except BadRow as error:
                bad.append(Bad(row.source, row.line, row.last_line, str(error)))
        tables = [
            self._with_answers(self._table([rows[i] for i in run]), [answers[i] for i in run])
            for run in _runs(rows, kept)
        ]
        if not tables:
            return b"", bad
        # `schema` of the first alone would lose the columns of other sources.
        table = self._joined(tables)
        out = io.BytesIO()
        with self._arrow.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
        return out.getvalue(), bad

    def _table(self, rows: Sequence[Row]) -> "Table":
        """Rows of one batch of a Parquet file as they are, others by what they hold."""
        first = rows[0].cells
        if isinstance(first, ArrowCells):
            indices = [row.cells.index for row in rows if isinstance(row.cells, ArrowCells)]
            return self._arrow.Table.from_batches([first.batch]).take(indices)
        names = list(dict.fromkeys(name for row in rows for name in row.cells))
        return self._arrow.table({name: self._array([row.cells.get(name) for row in rows]) for name in names})

    def _array(self, values: list[object]) -> "Array":
        try:
            return self._arrow.array(values)
        except (self._arrow.ArrowException, OverflowError, TypeError, ValueError):
            # Values of several kinds in one field.
            return self._arrow.array(
                [None if value is None else _text(value) for value in values], self._arrow.string()
            )

    def _with_answers(self, table: "Table", answers: Sequence[Answer]) -> "Table":
        for name in self._new:
            values = [answer[name] for answer in answers]
            kind = self._arrow.float64() if isinstance(values[0], float) else self._arrow.string()
            table = table.append_column(name, self._arrow.array(values, kind))
        return table

    def _joined(self, tables: "list[Table]") -> "Table":
        schema = self._one_schema([table.schema for table in tables])
        return self._arrow.concat_tables([self._fitted(table, schema) for table in tables])

    def _one_schema(self, schemas: "Sequence[Schema]") -> "Schema":
        """Columns in the order of the sources; of two kinds of values the one that holds both, else text."""
        arrow = self._arrow
        kinds: dict[str, DataType] = {}
        for schema in schemas:
            for field in schema:
                kinds[field.name] = self._common(kinds.get(field.name, field.type), field.type)
        order = [name for name in self._columns if name in kinds]
        order += [name for name in kinds if name not in self._new and name not in self._columns]
        return arrow.schema([(name, kinds[name]) for name in [*order, *self._new]], metadata=schemas[0].metadata)

    def _common(self, one: "DataType", other: "DataType") -> "DataType":
        arrow = self._arrow
        if one == other or arrow.types.is_null(other):
            return one
        try:
            fields = [arrow.schema([("value", kind)]) for kind in (one, other)]
            return arrow.unify_schemas(fields, promote_options="permissive").field(0).type
        except arrow.ArrowException:
            return arrow.string()

    def _fitted(self, table: "Table", schema: "Schema") -> "Table":
        columns = []
        for field in schema:
            if field.name not in table.schema.names:
                columns.append(self._arrow.nulls(len(table), field.type))
                continue
            column = table.column(field.name)
            try:
                columns.append(column.cast(field.type))
            except self._arrow.ArrowException:
                values = [None if value is None else _text(value) for value in column.to_pylist()]
                columns.append(self._arrow.array(values, field.type))
        return self._arrow.table(columns, schema=schema)

    def finish(self, part: Path, place: Path) -> bool:
        """See `Writer`."""
        schemas = [table.schema for table in self._blocks(part)]
        parquet = importlib.import_module("pyarrow.parquet")
        if not schemas:
            empty = self._arrow.schema([(name, self._arrow.string()) for name in [*self._columns, *self._new]])
            parquet.write_table(empty.empty_table(), place)
            return True
        schema = self._one_schema(schemas)
        with parquet.ParquetWriter(place, schema) as writer:
            for table in self._blocks(part):
                writer.write_table(self._fitted(table, schema))
        return True

    def _blocks(self, part: Path) -> "Iterator[Table]":
        with part.open("rb") as file:
            size = part.stat().st_size
            while file.tell() < size:
                with self._arrow.ipc.open_stream(file) as stream:
                    yield stream.read_all()


def _runs(rows: Sequence[Row], kept: Sequence[int]) -> Iterator[list[int]]:
    """Neighbors that can become one table: of one batch of a Parquet file, or of none."""
    run: list[int] = []
    last: object = None
    for i in kept:
        cells: Mapping[str, object] = rows[i].cells
        batch = cells.batch if isinstance(cells, ArrowCells) else None
        if run and batch is not last:
            yield run
            run = []
        run.append(i)
        last = batch
    if run:
        yield run


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
