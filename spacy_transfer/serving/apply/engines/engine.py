"""What a run asks of whatever scores its rows, and how blocks of rows come back in order."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from spacy.language import Language
from thinc.compat import has_torch

from ....errors import T530
from ....json_types import JsonObject
from ....pipeline.interface import Floats, classifier_of
from ..reading.blocks import Block
from ..reading.rows import Bad, Row
from ..scoring import (
    Component,
    DirectScoring,
    Spans,
    active_classifiers,
    attributes_read_by,
    make_scoring,
    media_read_in,
    reads_only_text,
)
from ..writing.docs_writer import pack_docs

if TYPE_CHECKING:
    from spacy.vocab import Vocab


@dataclass(frozen=True)
class Facts:
    """What a run must know of its pipeline.

    components (tuple[Component, ...]): Whose scores are written.
    attributes (tuple[str, ...]): Attributes of documents that they read.
    media (tuple[str, ...]): Those of them that hold pictures or sounds.
    reads_only_text (bool): Whether documents with the same text have the same scores.
    makes_docs (bool): Whether rows become documents.
    machine (dict): How the networks compute: threads, and what "auto" stands for, JSON-able.
    """

    components: tuple[Component, ...]
    attributes: tuple[str, ...]
    media: tuple[str, ...]
    reads_only_text: bool
    makes_docs: bool
    machine: JsonObject

    @property
    def n_columns(self) -> int:
        """Of the scores of all components."""
        return sum(one.n_columns for one in self.components)


@dataclass(frozen=True)
class Work:
    """A block, and what of it is to be scored.

    number (int): Of the block, from 0.
    block (Block): Its rows.
    new (list[Row]): Rows that are scored together. The same ones, wherever that is done.
    keys (list[bytes] | None): Of the texts of all rows; None where each row is scored.
    """

    number: int
    block: Block
    new: list[Row]
    keys: list[bytes] | None


@dataclass(frozen=True)
class Scored:
    """What comes of rows.

    scores (Floats): Of all components next to each other, (n_rows, n_labels).
    docs (bytes): The documents, for a `.spacy` file.
    bad (list[Bad]): Rows whose documents cannot be written.
    spans (list[list[Spans]]): As in `ScoredRows`.
    """

    scores: Floats
    docs: bytes = b""
    bad: list[Bad] = field(default_factory=list)
    spans: list[list[Spans]] = field(default_factory=list)


class Engine(Protocol):
    """Scores blocks."""

    @property
    def facts(self) -> Facts:
        """What the run must know of the pipeline."""

    @property
    def vocab(self) -> "Vocab | None":
        """For the documents of `.spacy` files; None where nobody needs them as documents."""

    def digest(self) -> str:
        """Give the SHA-256 of the pipeline."""

    def score_all(self, works: Iterable[Work]) -> Generator[tuple[Work, Scored], None, None]:
        """Score blocks.

        works (Iterable[Work]): Blocks, read as they are needed.
        YIELDS (tuple): The same blocks in the same order, each with what comes of its rows.
        """


class LoadedPipeline:
    """A pipeline that scores blocks, in this process or in that of a worker.

    nlp (Language): The pipeline, loaded within `computing`.
    machine (dict): As `computing` gave it.
    keeps_docs (bool): Whether documents are written.
    RAISES (ValueError): T527 for a pipeline without a spacy-transfer component, T006 for one that was never trained,
        T530 for one that computes in another way than the run began.
    """

    def __init__(self, nlp: Language, machine: JsonObject, *, keeps_docs: bool, folder: Path) -> None:
        self.nlp, self._keeps_docs = nlp, keeps_docs
        self._scoring = make_scoring(nlp, keeps_docs=keeps_docs)
        components = {
            pipe.name: str(classifier_of(pipe.model).computes_with().get("precision", ""))
            for pipe in active_classifiers(nlp)
        }
        if machine.get("components", components) != components:
            raise ValueError(T530.format(folder=folder, what="the precision"))
        self.facts = Facts(
            tuple(self._scoring.components),
            tuple(attributes_read_by(nlp)),
            tuple(media_read_in(nlp)),
            reads_only_text(nlp),
            not isinstance(self._scoring, DirectScoring),
            {**machine, "components": components},
        )

    def score(self, rows: Sequence[Row]) -> Scored:
        """Score rows.

        rows (Sequence[Row]): A block's. The same ones give the same bits.
        RETURNS (Scored): What comes of them.
        """
        if not rows:
            return Scored(np.zeros((0, self.facts.n_columns), dtype=np.float32))
        scores, docs, spans = self._scoring.score(rows)
        return Scored(scores, *pack_docs(rows, docs)) if self._keeps_docs else Scored(scores, spans=spans)


@contextmanager
def computing(machine: JsonObject) -> Iterator[JsonObject]:
    """Within: networks compute as a run began: sums differ in their last bits with another number of threads.

    Exported pipelines need no torch, and ask nothing of this where it is not installed.

    machine (dict): What is known of the run; empty at its beginning.
    YIELDS (dict): What holds; its "precision" grows as pipelines are loaded.
    """
    if not has_torch:
        yield {**machine}
        return
    import torch

    from ....nn.devices.precision import recorded

    before, wanted = torch.get_num_threads(), machine.get("n_threads")
    if wanted is not None and wanted != before:
        torch.set_num_threads(wanted)
    try:
        with recorded(machine.get("precision")) as precision:
            yield {**machine, "precision": precision, "n_threads": torch.get_num_threads()}
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
