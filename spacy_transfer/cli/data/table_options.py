"""Options of the commands that read texts and labels from tables."""

from typing import TYPE_CHECKING, Annotated

from typer import Option

if TYPE_CHECKING:
    from ...corpora.tables.table_format import TableFormat

MissingLabels = Annotated[
    str | None,
    Option(
        "--missing-labels", help="Labels that stand for a missing label, such as nan,None: their rows are bad lines"
    ),
]
Columns = Annotated[str | None, Option("--columns", help="Names of the columns if the table has no header: text,label")]
HeaderLine = Annotated[
    int, Option("--header-line", min=0, help="Line of the header. Default: the first line that is not blank")
]
SkipBad = Annotated[bool, Option("--skip-bad", help="Leave out bad lines instead of stopping")]


def listed(names: str | None) -> list[str]:
    """Split an option that holds several names.

    names (str | None): With commas between them.
    RETURNS (list[str]): Empty for None.
    """
    return [name.strip() for name in names.split(",")] if names else []


def table_format(
    delimiter: str | None, encoding: str | None, quoting: str, columns: str | None, header_line: int
) -> "TableFormat":
    """Say how tables are written, as far as options do.

    delimiter (str | None): Of --delimiter.
    encoding (str | None): Of --encoding.
    quoting (str): Of --quoting.
    columns (str | None): Of --columns.
    header_line (int): Of --header-line.
    RETURNS (TableFormat): The rest is detected.
    """
    from ...corpora.tables.table_format import TableFormat

    return TableFormat(delimiter, encoding, quoting, tuple(listed(columns)), header_line)  # type: ignore[arg-type]
