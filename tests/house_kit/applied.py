"""Files of documents, and what comes of them."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spacy
from spacy.tokens import DocBin

from house_kit.texts import TEXTS


def numbered(n: int) -> list[str]:
    """Texts of three kinds that are all different."""
    return [f"{TEXTS[i % len(TEXTS)]} {i}" for i in range(n)]


def write_texts(path: Path, texts: Sequence[str]) -> Path:
    """Write a file of texts in the format of its suffix, with a column `id` where the format has columns."""
    kind = path.name.removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    rows = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    data = b""
    if kind in ("csv", "tsv"):
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, ["id", "text"], delimiter="\t" if kind == "tsv" else ",", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        data = file.getvalue().encode()
    elif kind == "jsonl":
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    elif kind == "json":
        data = json.dumps(rows).encode()
    elif kind == "txt":
        data = "".join(f"{text}\n" for text in texts).encode()
    elif kind == "spacy":
        nlp = spacy.blank("xx")
        data = DocBin(docs=[nlp.make_doc(text) for text in texts], store_user_data=True).to_bytes()
    elif kind == "xlsx":
        import openpyxl

        book, out = openpyxl.Workbook(), io.BytesIO()
        book.active.append(["id", "text"])
        for row in rows:
            book.active.append([int(row["id"]), row["text"]])
        book.save(out)
        data = out.getvalue()
    else:
        import pyarrow
        import pyarrow.parquet

        out = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
        data = out.getvalue()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        import pyarrow

        data = pyarrow.Codec("zstd").compress(data, asbytes=True)
    path.write_bytes(data)
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of an output; those of a `.spacy` file have `text` and the scores."""
    if path.suffix in (".csv", ".tsv"):
        lines = io.StringIO(path.read_text("utf-8-sig"), newline="")
        return list(csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ","))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if path.suffix == ".spacy":
        docs = DocBin(store_user_data=True).from_disk(path).get_docs(spacy.blank("xx").vocab)
        return [{"text": doc.text, "scores": dict(doc.cats)} for doc in docs]
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()
