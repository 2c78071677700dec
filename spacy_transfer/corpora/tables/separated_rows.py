"""Rows of CSV and TSV files."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ... import errors
from ..excerpt import excerpt
from ..inspection.findings import N_EXAMPLES
from .decoding import decoded_lines, find_decoding
from .rows import BadRow, Fields, Row, cell_of, find_columns, unclear_columns
from .table_format import (
    DELIMITERS,
    LARGEST_CELL,
    N_SAMPLE,
    Reading,
    TableFormat,
    csv_reader,
    find_delimiter,
    parse_line,
)

_TRUTHS = {"0", "1", "0.0", "1.0", "true", "false"}


def read_separated(path: Path, fields: Fields, layout: TableFormat, reading: Reading) -> Iterator[Row]:
    """Read a table: quoted as Excel and pandas do it, or not at all.

    path (Path): The file.
    fields (Fields): Which columns count.
    layout (TableFormat): How it is written.
    reading (Reading): Gets what is found out on the way.
    YIELDS (Row): Rows that are not blank.
    RAISES (ValueError): T046 for unclear columns, T047 if its header cannot be read, T396.
    RAISES (UnicodeError): T042.
    """
    limit_before = csv.field_size_limit(LARGEST_CELL)
    try:
        yield from _Table(path, fields, layout, reading).rows()
    finally:
        csv.field_size_limit(limit_before)


def read_header(path: Path, fields: Fields, layout: TableFormat) -> tuple[list[str], TableFormat]:
    """Find out which columns a table has, and how it is written.

    path (Path): The file.
    fields (Fields): Which columns count, as far as they are known.
    layout (TableFormat): How it is written, as far as the user says so.
    RETURNS (tuple[list[str], TableFormat]): The names, and how it is written, found out.
    RAISES (ValueError): T047 if its header cannot be read, T396.
    RAISES (UnicodeError): T042.
    """
    limit_before = csv.field_size_limit(LARGEST_CELL)
    try:
        table = _Table(path, fields, layout)
        first = next((row for row in parse_line(table.sample, table.delimiter, quoted=table.quoted) if any(row)), None)
    finally:
        csv.field_size_limit(limit_before)
    names = list(layout.columns) or [cell.strip() for cell in first or ()]
    if not names:
        raise ValueError(errors.T047.format(path=path, format=table.form, reason=errors.T047_HEADER))
    header_line = 0 if layout.columns else table.first_line
    settled = replace(layout, delimiter=table.delimiter, encoding=table.decoding.codec, header_line=header_line)
    return names, settled


class _Table:
    """One reading of a table."""

    def __init__(self, path: Path, fields: Fields, layout: TableFormat, reading: Reading | None = None) -> None:
        reading = reading or Reading()
        self.path, self.fields, self.layout, self.reading = path, fields, layout, reading
        self.form = path.suffix.lower().removeprefix(".").upper()
        self.quoted = layout.quoting != "none"
        self.decoding = find_decoding(path, layout.encoding)
        own = "\t" if self.form == "TSV" else ","
        sample = list(islice(decoded_lines(path, self.decoding), max(N_SAMPLE, layout.header_line + N_SAMPLE)))
        self.first_line = self._first_line(sample)
        self.sample = sample[self.first_line - 1 :]
        self.delimiter = layout.delimiter or self._named_delimiter(sample) or self._find_delimiter(own)
        self.skip_blanks = self._skips_blanks()
        notes = [f"delimiter {DELIMITERS.get(self.delimiter, repr(self.delimiter))}"] if self.delimiter != own else []
        notes += [self.decoding.note] if self.decoding.note else []
        notes += [f"header in line {self.first_line}"] if layout.header_line else []
        notes += ["spaces after delimiters removed"] if self.skip_blanks else []
        reading.notes.extend(notes)

    def _first_line(self, sample: Sequence[str]) -> int:
        if self.layout.header_line:
            return self.layout.header_line
        return 2 if self._named_delimiter(sample) else 1

    @staticmethod
    def _named_delimiter(sample: Sequence[str]) -> str | None:
        """Excel's first line `sep=;`."""
        first = sample[0].strip().strip('"') if sample else ""
        return first[4:] if first.lower().startswith("sep=") and len(first) == 5 else None

    def _find_delimiter(self, own: str) -> str:
        def fits(header: list[str]) -> bool:
            """Decide whether a header has the columns that are asked for."""
            return find_columns(header, self.fields)[1] is None

        n_columns = len(self.layout.columns)
        return find_delimiter(self.sample, own, quoted=self.quoted, n_columns=n_columns, fits=fits)

    def _skips_blanks(self) -> bool:
        """Where the header has a blank behind each delimiter, so have the rows: `text, label`."""
        header = next((row for row in parse_line(self.sample, self.delimiter, quoted=self.quoted) if row), [])
        return self.delimiter != " " and len(header) > 1 and all(cell.startswith(" ") for cell in header[1:])

    def rows(self) -> Iterator[Row]:
        """Read the rows below the header.

        YIELDS (Row): With its line in the file.
        RAISES (ValueError): T043 and T046 for rows and columns that cannot be read.
        """
        lines = islice(decoded_lines(self.path, self.decoding), self.first_line - 1, None)
        reader = csv_reader(lines, self.delimiter, quoted=self.quoted, skip_blanks=self.skip_blanks)
        above = self.first_line - 1
        header = list(self.layout.columns)
        columns = self._columns(header) if header else []
        names = header
        number = above
        while True:
            line = reader.line_num + above + 1
            number += 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if not header:
                    raise ValueError(errors.T047.format(path=self.path, format=self.form, reason=error)) from error
                last = reader.line_num + above
                yield Row(line, self._not_cut(error, line, last), last, number)
                continue
            last = reader.line_num + above
            if not any(cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                names, columns = cells, self._columns(header)
            elif len(cells) != len(header):
                if any(cell.strip() for cell in cells):
                    reason = errors.T043_COLUMNS.format(n_cells=len(cells), n_columns=len(header))
                    yield Row(line, reason, last, number)
            elif cells[0] == names[0] and (cells == names or [cell.strip() for cell in cells] == header):
                yield Row(line, errors.T043_HEADER, last, number)
            elif last > line and (swallowed := self._swallowed(cells, columns, line, last)):
                yield Row(line, swallowed, last, number)
            else:
                try:
                    found = {name: cell_of(name, cells[i], self.fields) for name, i in columns}
                    self._check_marks(found)
                    yield Row(line, found, last, number)
                except BadRow as error:
                    yield Row(line, str(error), last, number)

    def _columns(self, header: list[str]) -> list[tuple[str, int]]:
        names, problem = find_columns(header, self.fields)
        if problem is not None:
            raise unclear_columns(self.path, header, problem, self._hints(header))
        return [(name, header.index(name)) for name in names]

    def _hints(self, header: list[str]) -> list[str]:
        """What the first lines tell about columns that were not found."""
        rows = list(parse_line(self.sample, self.delimiter, quoted=self.quoted))
        hints: list[str] = []
        cut = DELIMITERS.get(self.delimiter, repr(self.delimiter))
        if len(header) == 1 or self.layout.delimiter is None:
            hints.append(errors.T046_DELIMITER.format(delimiter=cut))
        line = self._header_below()
        if line and not self.layout.header_line:
            hints.append(errors.T046_HEADER_LINE.format(line=line))
        whole = [row for row in rows[1:] if len(row) == len(header)]
        truths = [
            name for i, name in enumerate(header) if whole and all(row[i].strip().lower() in _TRUTHS for row in whole)
        ]
        if len(truths) > 1 and not self.fields.label_columns:
            hints.append(errors.T046_TRUTHS.format(columns=",".join(truths[:20])))
        if not self.layout.columns and not line:
            hints.append(errors.T046_NO_HEADER)
        return hints

    def _header_below(self) -> int:
        """The line, from 1, that has the columns that are needed, below the first; 0 if there is none."""
        for delimiter in dict.fromkeys([self.delimiter, *DELIMITERS]):
            rows = parse_line(self.sample, delimiter, quoted=self.quoted)
            for line, row in enumerate(rows, start=self.first_line):
                if line > self.first_line and find_columns([cell.strip() for cell in row], self.fields)[1] is None:
                    return line
        return 0

    def _not_cut(self, error: csv.Error, line: int, last: int) -> str:
        reason = errors.T043_CSV.format(format=self.form, reason=error)
        return f"{reason}; {errors.T043_OPEN.format(line=line)}" if self.quoted and last > line else reason

    def _check_marks(self, found: dict[str, object]) -> None:
        """A label in quotation marks: they stood behind a blank, so that they do not count as marks."""
        if not self.quoted:
            return
        for name in (self.fields.label, self.fields.labels):
            value = found.get(name) if name is not None else None
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, str) and len(bare := part.strip()) > 1 and bare[0] == bare[-1] == '"':
                    raise BadRow(errors.T043_MARKS.format(value=excerpt(part)))

    def _swallowed(self, cells: list[str], columns: Sequence[tuple[str, int]], line: int, last: int) -> str | None:
        """Count cells that hold line breaks; the reason if one looks like rows that an open quotation mark took."""
        width, label = len(cells), max(i for _, i in columns[1:2] or columns)
        n_broken = n_both = n_whole = 0
        for cell in cells:
            inner = cell.split("\n")
            if len(inner) < 2:
                continue
            n_broken += 1
            n_both += self.delimiter in cell
            # Lines between the first and the last stood in the file as they are: as many cells as the header, a label.
            parts = [part.split(self.delimiter) for part in inner[1:-1]]
            rows = sum(1 for row in parts if len(row) == width and row[label].strip())
            n_whole += rows >= 2 and 2 * rows >= len(parts)
        if self.layout.quoting == "auto" and (n_whole or (n_both and self.delimiter == "\t")):
            return errors.T043_SWALLOWED.format(line=line, last=last)
        self.reading.n_broken += n_broken
        self.reading.n_suspicious += n_both
        if n_both and len(self.reading.broken) < N_EXAMPLES:
            shown = next(cell for cell in cells if "\n" in cell and self.delimiter in cell)
            self.reading.broken.append(f"{self.path}:{line}: lines {line} to {last}: {excerpt(shown)}")
        return None
