"""Evaluate a trained pipeline and keep every score."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import srsly
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Corpus, Example

from ..corpora.docbins import find_docbins, read_docs
from ..errors import T033, T036, T084
from ..files import no_such_file, refuse_others_file, refuse_same, write_text
from ..json_types import Scores
from ..pipeline.components import components_of, sources_read_by
from ..pipeline.gold import is_score
from ..pipeline.sources import carry_over


def evaluate(pipeline: Language, data: Path, *, batch_size: int = 256) -> Scores:
    """Evaluate a pipeline on annotated documents.

    pipeline (Language): A trained pipeline.
    data (Path): A .spacy file or a folder of them.
    batch_size (int): Documents a batch.
    RETURNS (dict): What `nlp.evaluate` gives, and `accuracy` (share of documents with exactly the right labels; with
        several of our components, of the first), `n_docs`, `docs_per_second` (whole pipeline, tokenizing included).
    RAISES (FileNotFoundError): T440 for a file that is missing.
    RAISES (ValueError): T084 for a file without documents, T391 for a table or a folder without .spacy files, T047 and
        T397 for a .spacy file that cannot be read, T033 and T036 for annotations that are no values from 0 to 1.
    """
    if not data.exists():
        raise no_such_file(data)
    examples: list[Example] = list(examples_of(pipeline, data))
    if not examples:
        raise ValueError(T084.format(file=data, error="it holds no documents"))
    start = perf_counter()
    scores: Scores = pipeline.evaluate(examples, batch_size=batch_size)
    seconds = perf_counter() - start
    scores.pop("speed", None)
    accuracy = next((value for key, value in scores.items() if key.endswith("cats_acc")), None)
    n_docs = len(examples)
    return {"accuracy": accuracy, "n_docs": n_docs, "docs_per_second": round(n_docs / seconds, 1), **scores}


def refuse_output(path: Path, inputs: Sequence[Path]) -> None:
    """Refuse to write scores over anything but older scores, before time is spent.

    RAISES (ValueError): T373 for one of the inputs.
    RAISES (FileExistsError): T376 for another file.
    """
    refuse_same([path], inputs)
    refuse_others_file(path, what="a file of scores", keys=["n_docs", "docs_per_second"])


def write_scores(scores: Scores, path: Path) -> None:
    """Write scores as JSON; whole or not there.

    RAISES (FileExistsError): T376 for another file that is there.
    RAISES (OSError): T372 for a full disk.
    """
    refuse_output(path, [])
    write_text(path, srsly.json_dumps(scores, indent=2))


def examples_of(pipeline: Language, data: Path) -> Iterator[Example]:
    """Read annotated documents for a pipeline.

    pipeline (Language): The pipeline.
    data (Path): A .spacy file or a folder of them.
    YIELDS (Example): With predicted documents that hold what the components read, and no annotation.
    RAISES (ValueError): T033, T036 for annotations that are no values from 0 to 1; T047, T391, T397 as `evaluate`.
    """
    sources = sources_read_by(components_of(pipeline).values())
    for file in find_docbins(data):
        for example in Corpus(file).make_examples(pipeline, read_docs(file, pipeline.vocab)):
            _check_cats(example.reference)
            # What our components read beside the text is input, not annotation: the predicted documents need it too.
            carry_over(sources, example.reference, example.predicted)
            yield example


def _check_cats(doc: Doc) -> None:
    """As in training: the scorer would end in a TypeError, or take NaN for a no."""
    for label, value in doc.cats.items():
        if not isinstance(label, str):
            raise ValueError(T036.format(label=label, type=type(label).__name__))
        if not is_score(value):
            raise ValueError(T033.format(label=label, value=value, text=doc.text[:80]))
