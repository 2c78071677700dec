"""Find the training texts that are most like a text, by the vectors of the classifier."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ...corpora.tables.records import BadLine, read_records
from ...corpora.tables.rows import Fields
from ...docbins import SUFFIX, find_docbins, read_docs
from ...errors import T749, T749_NO_TEXTS, T749_NO_VECTORS
from ...evaluation.clusters import unit_length
from ...pipeline.components import sources_read_by
from ...pipeline.interface import Floats
from ...pipeline.neighbors import as_seen_by
from ...pipeline.sources import carry_over
from ...pipeline.textcat import TransferTextCategorizer

_TOGETHER = 256  # texts whose vectors are computed at a time
_POSITIVE = 0.5


@dataclass(frozen=True)
class Similar:
    """A training text.

    text (str): The text.
    labels (list[str]): What it is labeled with.
    similarity (float): Cosine of its vector and that of the text it is like.
    number (int): Its place in the file, from 0.
    """

    text: str
    labels: list[str]
    similarity: float
    number: int


@dataclass(frozen=True)
class TrainingTexts:
    """Annotated texts and their vectors.

    pipe (TransferTextCategorizer): Gives the vectors.
    nlp (Language): Its pipeline.
    texts (list[str]): The texts.
    labels (list[list[str]]): Of each text.
    vectors (Floats): Of length 1, (n_texts, width).
    """

    pipe: TransferTextCategorizer
    nlp: Language
    texts: list[str]
    labels: list[list[str]]
    vectors: Floats

    @classmethod
    def read(cls, path: Path, name: str, pipe: object, nlp: Language) -> "TrainingTexts":
        """Read texts and compute their vectors, which takes about as long as classifying them.

        path (Path): .spacy files, a folder of them, or a file that `convert` reads.
        name (str): Of the component.
        pipe (object): The component.
        nlp (Language): Its pipeline.
        RETURNS (TrainingTexts): All texts of the file.
        RAISES (FileNotFoundError): T440.
        RAISES (ValueError): T749 for a component without vectors, a line that cannot be used, or a file without texts;
            what the reader of the file finds wrong.
        """
        if not isinstance(pipe, TransferTextCategorizer):
            raise ValueError(T749.format(problem=T749_NO_VECTORS.format(name=name)))
        texts, labels, parts, batch = list[str](), list[list[str]](), list[Floats](), list[Doc]()
        for doc, its in _annotated(path, pipe, nlp):
            texts.append(doc.text)
            labels.append(its)
            batch.append(doc)
            if len(batch) == _TOGETHER:
                parts.append(_vectors(pipe, batch))
                batch = []
        if batch:
            parts.append(_vectors(pipe, batch))
        if not parts:
            raise ValueError(T749.format(problem=T749_NO_TEXTS.format(path=path)))
        return cls(pipe, nlp, texts, labels, np.concatenate(parts))

    def nearest(self, texts: Sequence[str], n: int) -> list[list[Similar]]:
        """Find the texts that are most like others.

        texts (Sequence[str]): The others.
        n (int): How many.
        RETURNS (list[list[Similar]]): For each, the nearest first.
        """
        cosines = _vectors(self.pipe, [self.nlp.make_doc(text) for text in texts]) @ self.vectors.T
        return [
            [
                Similar(self.texts[i], self.labels[i], float(row[i]), i)
                for i in np.argsort(-row, kind="stable")[:n].tolist()
            ]
            for row in cosines
        ]


def _annotated(path: Path, pipe: TransferTextCategorizer, nlp: Language) -> Iterator[tuple[Doc, list[str]]]:
    if path.is_dir() or path.suffix == SUFFIX:
        sources = sources_read_by([pipe])
        for file in find_docbins(path):
            for stored in read_docs(file, nlp.vocab):
                doc = nlp.make_doc(stored.text)
                carry_over(sources, stored, doc)
                yield doc, [label for label, value in stored.cats.items() if value >= _POSITIVE]
        return
    for record in read_records(path, Fields()):
        if isinstance(record, BadLine):
            raise ValueError(T749.format(problem=record))
        yield nlp.make_doc(record.text), [label for label, value in record.values.items() if value >= _POSITIVE]


def _vectors(pipe: TransferTextCategorizer, docs: list[Doc]) -> Floats:
    return unit_length(pipe.vectors(as_seen_by(pipe, docs)))
