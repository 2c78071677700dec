"""Rows of JSONL files, and their vectors by the encoder of the shipped configs as it is, kept between runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from spacy_transfer.analysis.vectors import untrained, vectors_of_docs

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """Lines of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def vectors_of_rows(path: Path, rows: list[Row], folder: Path | None) -> Any:
    """Vectors of all rows of a file; a folder keeps them under the names of the file and its folder."""
    kept = None if folder is None else folder / f"{path.parent.name}-{path.stem}.npy"
    if kept is not None and kept.exists():
        return np.load(kept)
    nlp = untrained(None)
    vectors = vectors_of_docs(nlp, (nlp.make_doc(row["text"]) for row in rows))
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, vectors)
    return vectors


def train_and_test(folder: Path, kept: Path | None) -> tuple[int, Any, Any]:
    """train.jsonl and test.jsonl of a folder, one after the other.

    RETURNS (tuple): Rows of train, vectors (n_rows, width), and labels as flags (n_rows, n_labels), sorted by name.
    """
    parts = {name: read(folder / f"{name}.jsonl") for name in ("train", "test")}
    vectors = np.concatenate([vectors_of_rows(folder / f"{name}.jsonl", part, kept) for name, part in parts.items()])
    rows = [*parts["train"], *parts["test"]]
    labels = sorted({row["label"] for row in rows})
    return len(parts["train"]), vectors, np.array([[row["label"] == label for label in labels] for row in rows])
