"""Evaluate a trained pipeline and keep every score."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import srsly
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example

from ..docbins import find_docbins, read_docs
from ..errors import T033, T036, T084, T640, T640_NONE, T642
from ..files import no_such_file, refuse_others_file, refuse_same, write_text
from ..json_types import Scores
from ..pipeline.components import classifiers_of, components_of, make_examples, sources_read_by
from ..pipeline.gold import is_score
from ..pipeline.sources import carry_over
from ..pipeline.targets.target import DOCUMENTS
from .error_rows import refuse_errors_file, write_errors
from .predictions import Predictions, predictions_of
from .summary import Summary, summarize

# Labels that a message names.
_N_SHOWN = 10


@dataclass(frozen=True)
class Judged:
    """What a pipeline made of annotated documents.

    scores (dict): What `evaluate` returns.
    components (list[Predictions]): Of each spacy-transfer classifier.
    summaries (list[Summary]): What matters about them.
    docs (list[Doc]): As the pipeline predicted them; none where sentences or spans were looked at: their numbers are
        not those of documents.
    references (list[Doc]): As they are annotated; none as for `docs`.
    """

    scores: Scores
    components: list[Predictions]
    summaries: list[Summary]
    docs: list[Doc]
    references: list[Doc]


def evaluate(
    pipeline: Language,
    data: Path,
    *,
    component: str | None = None,
    errors: Path | None = None,
    batch_size: int = 256,
) -> Scores:
    """Evaluate a pipeline on annotated documents.

    pipeline (Language): A trained pipeline.
    data (Path): A .spacy file or a folder of them.
    component (str | None): The spacy-transfer classifier that is looked at closely; None takes all of them.
    errors (Path | None): Gets the texts that are wrong, with their right and predicted labels and the score; .csv, .tsv
        or .jsonl.
    batch_size (int): Documents a batch.
    RETURNS (dict): What `nlp.evaluate` gives, and `accuracy` (share of documents with exactly the right labels; with
        several of our components, of the first), `n_docs`, `docs_per_second` (whole pipeline, tokenizing included),
        `components` (by name: accuracy and F with intervals, labels, confusions, what a score is worth, calibration).
    RAISES (FileNotFoundError): T440 for a file that is missing.
    RAISES (FileExistsError): T376 for a file that is no older one of errors.
    RAISES (ValueError): T084 for a file without documents, T391 for a table or a folder without .spacy files, T047 and
        T397 for a .spacy file that cannot be read, T033 and T036 for annotations that are no values from 0 to 1, T640
        for documents without a label of the pipeline, T641 for another suffix, T642 for a component that is none.
    """
    if errors is not None:
        refuse_errors_file(errors, [data])
    judged = judge(pipeline, data, component=component, batch_size=batch_size)
    if errors is not None:
        write_errors(judged.components, errors)
    return judged.scores


def judge(pipeline: Language, data: Path, *, component: str | None = None, batch_size: int = 256) -> Judged:
    """Evaluate a pipeline and keep what it predicted; see `evaluate`.

    pipeline (Language): A trained pipeline.
    data (Path): A .spacy file or a folder of them.
    component (str | None): The only classifier to look at.
    batch_size (int): Documents a batch.
    RETURNS (Judged): Scores and predictions.
    RAISES (FileNotFoundError): As `evaluate`.
    RAISES (ValueError): As `evaluate`.
    """
    names = list(classifiers_of(pipeline, enabled_only=True))
    if component is not None and component not in names:
        raise ValueError(T642.format(component=component, components=", ".join(names) or "none"))
    if not data.exists():
        raise no_such_file(data)
    examples: list[Example] = list(annotated_examples(pipeline, data))
    if not examples:
        raise ValueError(T084.format(file=data, error="it holds no documents"))
    keeping = _KeepingScorer(nlp=pipeline)
    start = perf_counter()
    scores: Scores = pipeline.evaluate(examples, batch_size=batch_size, scorer=keeping)
    seconds = perf_counter() - start
    scores.pop("speed", None)
    accuracy = next((value for key, value in scores.items() if key.endswith("cats_acc")), None)
    n_docs = len(examples)
    found = [one for one in predictions_of(pipeline, keeping.examples) if component in (None, one.name)]
    if found and not any(one.texts for one in found):
        raise ValueError(_other_labels(data, found))
    # Of several components, some may be annotated in other data.
    found = [one for one in found if one.texts]
    summaries = [summarize(one) for one in found]
    scores = {
        "accuracy": accuracy, "n_docs": n_docs, "docs_per_second": round(n_docs / seconds, 1), **scores,
        "components": {one.name: one.to_json() for one in summaries},
    }  # fmt: skip
    docs, references = ([getattr(one, side) for one in keeping.examples] for side in ("predicted", "reference"))
    pipes = classifiers_of(pipeline)
    if any(pipes[one.name].target.name != DOCUMENTS for one in found):
        docs, references = [], []
    return Judged(scores, found, summaries, docs, references)


class _KeepingScorer(Scorer):  # type: ignore[misc]
    """spaCy's scorer, which also keeps what was predicted."""

    examples: Sequence[Example] = ()

    def score(self, examples: Any, *, per_component: bool = False) -> Scores:
        """Score, and keep the examples."""
        self.examples = list(examples)
        scores: Scores = super().score(self.examples, per_component=per_component)
        return scores


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


def annotated_examples(pipeline: Language, data: Path) -> Iterator[Example]:
    """Read annotated documents, for a pipeline to predict.

    pipeline (Language): A trained pipeline.
    data (Path): A .spacy file or a folder of them.
    YIELDS (Example): With all that its components read beside the text.
    RAISES (FileNotFoundError, ValueError): As `evaluate`.
    """
    sources = sources_read_by(components_of(pipeline).values())
    for file in find_docbins(data):
        for example in make_examples(pipeline, read_docs(file, pipeline.vocab)):
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


def _other_labels(data: Path, components: Sequence[Predictions]) -> str:
    known = list(dict.fromkeys(label for one in components for label in one.labels))
    unknown = list(dict.fromkeys(label for one in components for label in one.unknown))
    has = T640_NONE if not unknown else f"labels {_shown(unknown)}"
    return T640.format(data=data, found=has, labels=_shown(known))


def _shown(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _N_SHOWN} more" if len(labels) > _N_SHOWN else ""
    return ", ".join(f"'{label}'" for label in labels[:_N_SHOWN]) + more
