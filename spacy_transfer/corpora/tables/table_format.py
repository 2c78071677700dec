"""The format of a table: delimiter, quotation marks and header, given or detected."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ... import errors
from ..excerpt import excerpt

if TYPE_CHECKING:
    from _csv import Reader

Quoting = Literal["auto", "csv", "none"]
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}
LARGEST_CELL = 100_000_000  # characters; csv stops at 131,072 by itself, fewer than a text may have
N_SAMPLE = 100  # lines that tell the delimiter


@dataclass(frozen=True)
class TableFormat:
    """How a file of rows is written, as far as the user says so.

    delimiter (str | None): Between the cells of a CSV or TSV file. None: found out.
    encoding (str | None): Of a text file. None: found out.
    quoting (str): "csv": a cell in quotation marks may hold delimiters and line breaks, as Excel and pandas write it.
        "none": quotation marks are letters. "auto": as csv, but a cell that looks like swallowed rows is refused.
    columns (tuple[str, ...]): The names of the columns where the file has no header.
    header_line (int): Line of the header, from 1; what stands above is not read. 0: the first that is not blank.
    RAISES (ValueError): T396 for a value that cannot be.
    """

    delimiter: str | None = None
    encoding: str | None = None
    quoting: Quoting = "auto"
    columns: tuple[str, ...] = ()
    header_line: int = 0

    def __post_init__(self) -> None:
        delimiter = self.delimiter
        if delimiter is not None:
            delimiter = _NAMES.get(delimiter, delimiter)
            if len(delimiter) != 1 or delimiter in '"\n\r ' or delimiter.isalnum():
                raise ValueError(
                    errors.T396.format(option="--delimiter", value=excerpt(delimiter), want=errors.T396_DELIMITER)
                )
            object.__setattr__(self, "delimiter", delimiter)
        if self.quoting not in ("auto", "csv", "none"):
            raise ValueError(
                errors.T396.format(option="--quoting", value=excerpt(self.quoting), want="auto, csv or none")
            )
        if self.header_line < 0 or (self.header_line and self.columns):
            want = errors.T396_HEADER
            raise ValueError(errors.T396.format(option="--header-line", value=self.header_line, want=want))
        if any(not name.strip() for name in self.columns):
            raise ValueError(
                errors.T396.format(option="--columns", value=excerpt(self.columns), want=errors.T396_COLUMNS)
            )


@dataclass
class Reading:
    """What a reading of a file found out about it; filled while the rows come.

    notes (list[str]): How it is written, where that is not what its suffix says.
    n_broken (int): Cells that hold line breaks.
    broken (list[str]): The first that hold the delimiter too, with lines.
    n_suspicious (int): How many hold both.
    skipped (dict[str, int]): Rows left out since an annotation tool says so: why, and how many.
    """

    notes: list[str] = field(default_factory=list)
    n_broken: int = 0
    n_suspicious: int = 0
    broken: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, reason: str) -> None:
        """Count a row that an annotation tool says to leave out."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def parse_line(
    lines: Sequence[str], delimiter: str, *, quoted: bool = True, skip_blanks: bool = False
) -> Iterator[list[str]]:
    """Cut lines of a sample into cells, up to the first that cannot be cut.

    lines (Sequence[str]): Lines with their ends.
    delimiter (str): One character.
    quoted (bool): Whether quotation marks count.
    skip_blanks (bool): Whether blanks behind delimiters do not.
    YIELDS (list[str]): The cells of each record; empty for a blank line.
    """
    reader = csv_reader(iter(lines), delimiter, quoted=quoted, skip_blanks=skip_blanks)
    try:
        yield from reader
    except csv.Error:
        return


def csv_reader(lines: Iterator[str], delimiter: str, *, quoted: bool, skip_blanks: bool) -> "Reader":
    """Make the reader of the standard library for lines."""
    if quoted:
        return csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=skip_blanks)
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, quotechar=None, skipinitialspace=skip_blanks)


def find_delimiter(
    lines: Sequence[str], own: str, *, quoted: bool, n_columns: int, fits: Callable[[list[str]], bool]
) -> str:
    """Find the delimiter that makes columns of the lines.

    lines (Sequence[str]): The first ones, from the header on.
    own (str): The one that the suffix promises; it wins where others do as well.
    quoted (bool): Whether quotation marks count.
    n_columns (int): How many columns the user names; 0 if there is a header.
    fits (Callable[[list[str]], bool]): Whether a header has the columns that are needed.
    RETURNS (str): The delimiter.
    """
    ranked: list[tuple[bool, float, bool, str]] = []
    for delimiter in DELIMITERS:
        rows = [row for row in parse_line(lines, delimiter, quoted=quoted) if row]
        width = n_columns or (len(rows[0]) if rows else 0)
        # How evenly it cuts; a header cut into one cell is not cut.
        even = sum(1 for row in rows if len(row) == width) / len(rows) if rows and width > 1 else 0.0
        has_columns = bool(rows) and not n_columns and fits([cell.strip() for cell in rows[0]])
        ranked.append((has_columns, even, delimiter == own, delimiter))
    best = max(ranked)
    return best[-1] if best[0] or best[1] > 0 else own
