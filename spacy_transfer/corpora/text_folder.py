"""Rows of a folder of plain text files whose names are the labels.

Either a folder for each label with a file for each text, as scikit-learn's `load_files` reads it, or a file for each
label with a text in each line.
"""

from collections.abc import Iterator
from pathlib import Path

from .. import errors
from ..docbins import TABLES
from .tables.decoding import decoded_lines, find_decoding
from .tables.rows import Fields, Row
from .tables.table_format import Reading, TableFormat

# Folders whose texts have no label; aclImdb has one.
_UNLABELED = ("unsup", "unlabeled")
# Lines of a file, on average, from which it is a list of texts and no text itself.
_LEAST_TEXTS = 5
_DECODED = "files such as"
_N_SHOWN = 5


def holds_texts_by_label(folder: Path) -> bool:
    """Whether a folder has at least two labels: folders of text files, or text files that have lines of texts.

    folder (Path): A folder.
    """
    if len(_label_folders(folder)) > 1:
        return True
    files = _label_files(folder)
    if len(files) < 2:
        return False
    n_lines = 0
    for file in files:
        with file.open("rb") as lines:
            n_lines += sum(1 for line in lines if line.strip())
    return n_lines >= _LEAST_TEXTS * len(files)


def read_text_folder(folder: Path, fields: Fields, layout: TableFormat, reading: Reading) -> Iterator[Row]:
    """Read the texts of a folder, label by label; they are counted from 1.

    folder (Path): One for which `holds_texts_by_label` is true.
    fields (Fields): Names of the cells for the text and the label.
    layout (TableFormat): The encoding, as far as the user says so.
    reading (Reading): Gets how the folder was read.
    YIELDS (Row): A text and its label; one that cannot be used is named by its file.
    RAISES (FileNotFoundError): T880 for another folder.
    RAISES (UnicodeError): T042 if a file cannot be decoded.
    """
    if not holds_texts_by_label(folder):
        raise FileNotFoundError(errors.T880.format(path=folder, formats=", ".join(TABLES)))
    named = _label_folders(folder)
    if len(named) > 1:
        reading.notes.append(f"a folder for each of {len(named)} labels, a file for each text")
        texts = ((sub.name, file, "".join(_lines(file, layout, reading))) for sub in named for file in _texts_in(sub))
    else:
        named = _label_files(folder)
        reading.notes.append(f"a file for each of {len(named)} labels, a text in each line")
        texts = ((file.stem, file, line) for file in named for line in _lines(file, layout, reading) if line.strip())
    others = [path.name for path in _visible(folder) if path not in named]
    if others:
        reading.notes.append(f"not read: {', '.join(others[:_N_SHOWN])}{', ...' if len(others) > _N_SHOWN else ''}")
    for number, (label, file, text) in enumerate(texts, start=1):
        if text := text.strip():
            cells: dict[str, object] = {fields.text: text, fields.label or "label": label}
            yield Row(number, cells, number, number)
        else:
            yield Row(number, errors.T043_FILE.format(file=file.relative_to(folder)), number, number)


def _lines(file: Path, layout: TableFormat, reading: Reading) -> Iterator[str]:
    """Lines with a line feed at their end, whatever ends them in the file."""
    decoding = find_decoding(file, layout.encoding)
    # One note where a thousand files are written alike.
    if decoding.note and not any(note.startswith(_DECODED) for note in reading.notes):
        reading.notes.append(f"{_DECODED} {file.name} and maybe others, {decoding.note}")
    for line in decoded_lines(file, decoding):
        yield line.rstrip("\r\n") + "\n"


def _label_folders(folder: Path) -> list[Path]:
    return [
        path for path in _visible(folder)
        if path.is_dir() and path.name.casefold() not in _UNLABELED and next(_texts_in(path), None) is not None
    ]  # fmt: skip


def _label_files(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_file() and path.suffix.lower() == ".txt"]


def _texts_in(folder: Path) -> Iterator[Path]:
    """Files of texts. Corpora name some by numbers alone: 37261, 9_10.txt."""
    return (
        path for path in _visible(folder)
        if path.is_file() and (path.suffix.lower() == ".txt" or (not path.suffix and path.name.isdigit()))
    )  # fmt: skip


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
