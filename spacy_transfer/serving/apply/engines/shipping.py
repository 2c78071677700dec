"""What goes to another machine: the files of a pipeline, and rows with no more than what is scored of them."""

import importlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.util import get_package_path, import_file, is_package
from spacy.vocab import Vocab

from ....files import files_in, sha256_of_folder
from ....nn.devices.precision import VARIABLE
from ....pipeline.loading import load_pipeline
from ..reading.rows import TEXT, Row
from .engine import Facts
from .local import digest_of_loaded

_CODE = "python_code"


@dataclass(frozen=True)
class ShippedPipeline:
    """The files of a pipeline, to be loaded in another process.

    name (str): As messages name it.
    digest (str): SHA-256 of the pipeline.
    files (dict[str, NDArray]): What each file holds, by its name; arrays, which a worker on this machine need not copy.
    package (str): The package that it is part of; empty if it is part of none.
    code (bytes | None): Python file with registered functions.
    environment (dict[str, str]): Variables that say how it computes.
    """

    name: str
    digest: str
    files: dict[str, NDArray[np.uint8]]
    package: str = ""
    code: bytes | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def load(self) -> Language:
        """Load the pipeline.

        RETURNS (Language): As it was.
        RAISES: What loading raises; messages name the pipeline as the user did.
        """
        os.environ.update(self.environment)
        with tempfile.TemporaryDirectory(prefix="spacy-transfer-") as name:
            folder = Path(name) / "pipeline"
            for file, data in self.files.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                data.tofile(folder / file)
            if self.code is not None:
                (Path(name) / f"{_CODE}.py").write_bytes(self.code)
                import_file(_CODE, Path(name) / f"{_CODE}.py")
            if self.package:
                # Its functions, if it has any of its own.
                with suppress(ImportError):
                    importlib.import_module(self.package)
            try:
                return load_pipeline(folder)
            except Exception as error:
                error.args = tuple(
                    arg.replace(str(folder), self.name) if isinstance(arg, str) else arg for arg in error.args
                )
                raise


def ship_pipeline(pipeline: Language | str | Path, code: Path | None) -> ShippedPipeline:
    """Read the files of a pipeline.

    pipeline (Language | str | Path): A pipeline, or its folder or package.
    code (Path | None): Python file with registered functions that it uses.
    RETURNS (ShippedPipeline): All of it.
    RAISES: What loading raises, for what is neither a folder nor a package.
    """
    source = None if code is None else code.read_bytes()
    environment = {VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {}
    if isinstance(pipeline, Language):
        with tempfile.TemporaryDirectory(prefix="spacy-transfer-") as name:
            pipeline.to_disk(name)
            label = str(pipeline.path or pipeline.meta.get("name") or pipeline.lang)
            files = _read(Path(name))
        return ShippedPipeline(label, digest_of_loaded(pipeline), files, "", source, environment)
    package = str(pipeline) if is_package(str(pipeline)) else ""
    folder = _in_package(package) if package else Path(pipeline)
    if not folder.is_dir():
        # Says what is wrong; what can be loaded all the same has its files where it was found.
        folder = Path(str(load_pipeline(pipeline).path))
    return ShippedPipeline(str(pipeline), sha256_of_folder(folder), _read(folder), package, source, environment)


def _in_package(package: str) -> Path:
    """The folder of a package's pipeline: next to the file that loads it, named after the version."""
    found = [path.parent for path in get_package_path(package).glob("*/config.cfg")]
    return found[0] if len(found) == 1 else Path(package)


def _read(folder: Path) -> dict[str, NDArray[np.uint8]]:
    return {path.relative_to(folder).as_posix(): np.fromfile(path, dtype=np.uint8) for path in files_in(folder)}


@dataclass(frozen=True)
class ShippedRows:
    """Rows of a block.

    texts (list[str]): Of all rows.
    rows (list[Row]): With the cells that documents hold, but no documents; empty where texts are all that is read.
    docs (list[DocBin | None]): Documents of `.spacy` files, of each row.
    """

    texts: list[str]
    rows: list[Row] = field(default_factory=list)
    docs: list[DocBin | None] = field(default_factory=list)

    def unpack(self, vocab: Vocab) -> list[Row]:
        """Make the rows.

        vocab (Vocab): Of the pipeline.
        RETURNS (list[Row]): As they were read.
        """
        if not self.rows:
            return [Row(0, 0, 0, {}, text, TEXT) for text in self.texts]
        return [
            row._replace(text=text, doc=None if doc is None else next(iter(doc.get_docs(vocab))))
            for row, text, doc in zip(self.rows, self.texts, self.docs, strict=True)
        ]


def ship_rows(rows: Sequence[Row], facts: Facts, *, keeps_docs: bool) -> ShippedRows:
    """Take of rows what is needed to score them.

    rows (Sequence[Row]): Of a block.
    facts (Facts): Of the pipeline.
    keeps_docs (bool): Whether documents are written.
    RETURNS (ShippedRows): Without anything of this process.
    """
    texts = [row.text for row in rows]
    if not facts.makes_docs:
        return ShippedRows(texts)
    kept = None if keeps_docs else set(facts.attributes)
    bare = [
        row._replace(
            text="",
            cells={name: row.cells[name] for name in row.cells if row.doc is None and (kept is None or name in kept)},
            doc=None,
        )
        for row in rows
    ]
    return ShippedRows(texts, bare, [_packed(row) for row in rows])


def _packed(row: Row) -> DocBin | None:
    if row.doc is None:
        return None
    # With the attributes of its file and no others: what a file leaves out is the pipeline's to say.
    packed = DocBin(attrs=row.attrs, store_user_data=True)
    packed.add(row.doc)
    return packed
