"""The error for a missing file or folder, with a way out."""

from pathlib import Path

from ..errors import T440, T440_CONVERT, T440_FORMATS, T440_HERE


def no_such_file(path: Path | str, formats: str = "") -> FileNotFoundError:
    """Say that a path names nothing.

    path (Path | str): As the user gave it.
    formats (str): What the file may be, where that is not clear.
    RETURNS (FileNotFoundError): T440.
    """
    way_out = T440_HERE.format(folder=Path.cwd())
    if str(path).endswith(".spacy") or Path(path).name == "labels.json":
        way_out = f"{way_out} {T440_CONVERT.format(folder=Path(path).parent)}"
    if formats:
        way_out = f"{way_out} {T440_FORMATS.format(formats=formats)}"
    return FileNotFoundError(T440.format(path=path, way_out=way_out))


def require_file(path: Path) -> None:
    """Refuse a file that is not there.

    path (Path): As the user gave it.
    RAISES (FileNotFoundError): T440 unless there is such a file.
    """
    if not path.is_file():
        raise no_such_file(path)
