"""Fits the confidence that a document has one of the known labels, on training documents and others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ...corpora.inspection.repeats import normalize
from ...errors import T084, T680, T680_DEV, T680_TRAIN, T683
from ...evaluation.evaluate import annotated_examples
from ...evaluation.measures import Flags, Numbers
from ...evaluation.temperature import log_odds_of
from ...evaluation.unknown_labels import auroc, find_min_confidence, fit_confidence, fit_groups
from ...pipeline.components import classifiers_of
from ...pipeline.gold import Gold, read_gold
from ...pipeline.interface import JudgedScores
from ...pipeline.textcat import TransferTextCategorizer

# Documents with known labels that quantiles need, and training documents that are enough for means and covariance.
_LEAST = 10
_MOST_TRAIN = 50_000
# Of the documents, how many may be training documents: duplicates in the data.
_SHARED = 0.1

# Annotated documents, and the same as the pipeline leaves them.
Pairs = tuple[list[Doc], list[Doc]]


@dataclass(frozen=True)
class FittedConfidence:
    """The confidence that a document has one of the known labels.

    min_confidence (float): From which it counts as one.
    n_train (int): Training documents that it was fitted on.
    n_unknown (int): Documents that have other labels only.
    auroc (float | None): How well it tells these from the others; None without them.
    """

    min_confidence: float
    n_train: int
    n_unknown: int
    auroc: float | None


def predicted_docs(nlp: Language, data: Path, *, scored: bool = True) -> Pairs:
    """Read annotated documents and run a pipeline over them.

    nlp (Language): The pipeline.
    data (Path): A .spacy file or a folder of them.
    scored (bool): False leaves the classifiers out: documents are ready for them.
    RETURNS (tuple[list[Doc], list[Doc]]): As they are annotated, and as they are predicted.
    RAISES (ValueError): T084 without documents; as `evaluate` for wrong annotations.
    """
    examples = list(annotated_examples(nlp, data))
    if not examples:
        raise ValueError(T084.format(file=data, error="it holds no documents"))
    left_out = [] if scored else list(classifiers_of(nlp))
    with nlp.select_pipes(disable=[*nlp.disabled, *left_out]):
        return [eg.reference for eg in examples], list(nlp.pipe([eg.predicted for eg in examples]))


def refuse_trained_on(docs: Sequence[Doc], trained: Sequence[Doc], data: Path, train: Path) -> None:
    """Refuse to find a threshold on what was trained on.

    docs (Sequence[Doc]): For the threshold.
    trained (Sequence[Doc]): Of the training.
    data (Path): Where the first came from.
    train (Path): Where the others came from.
    RAISES (ValueError): T683 where more than a tenth of them are training documents.
    """
    known = {normalize(doc.text) for doc in trained}
    shared = [doc.text for doc in docs if normalize(doc.text) in known]
    if len(shared) > _SHARED * len(docs):
        raise ValueError(T683.format(data=data, train=train, n=len(shared), text=shared[0][:80]))


def fit_unknown(pipe: TransferTextCategorizer, train: Pairs, dev: Pairs, data: Path) -> FittedConfidence:
    """Fit a component's confidence, and put it into the component.

    pipe (TransferTextCategorizer): Calibrated.
    train (tuple[list[Doc], list[Doc]]): Training documents, annotated and predicted.
    dev (tuple[list[Doc], list[Doc]]): Others.
    data (Path): Where these came from, for messages.
    RETURNS (FittedConfidence): What was found.
    RAISES (ValueError): T680 for too few documents.
    """
    chosen, members = _groups(pipe, train[0])
    if len(chosen) > _MOST_TRAIN:
        chosen = [chosen[i * len(chosen) // _MOST_TRAIN] for i in range(_MOST_TRAIN)]
    members = members[chosen]
    groups = fit_groups(pipe.vectors([train[1][i] for i in chosen]), members) if len(chosen) else None
    if groups is None:
        problem = T680_TRAIN.format(n_docs=len(chosen), n_labels=len(pipe.labels))
        raise ValueError(T680.format(name=pipe.name, data=data, problem=problem, least=_LEAST))
    familiar, _ = _groups(pipe, dev[0])
    if len(familiar) < _LEAST:
        problem = T680_DEV.format(n_docs=len(familiar))
        raise ValueError(T680.format(name=pipe.name, data=data, problem=problem, least=_LEAST))
    docs = [dev[1][i] for i in familiar]
    odds = log_odds_of(pipe.predict(docs), exclusive=pipe.exclusive)
    pipe.set_confidence(fit_confidence(groups, pipe.vectors(docs), odds))
    others = _unknown(pipe, dev[0])
    known, unknown = _confidence(pipe, docs), _confidence(pipe, [dev[1][i] for i in others])
    least = find_min_confidence(known, unknown)
    pipe.cfg["min_confidence"] = {"auto": least}
    return FittedConfidence(least, len(chosen), len(others), auroc(known, unknown) if others else None)


def _gold(pipe: TransferTextCategorizer, docs: Sequence[Doc]) -> Gold:
    return read_gold(docs, pipe.labels, exclusive=pipe.exclusive, name=pipe.name)


def _groups(pipe: TransferTextCategorizer, docs: Sequence[Doc]) -> tuple[list[int], Flags]:
    """Documents with known labels, and the groups that all belong to: their labels; and where a document may have no
    label, those that have none."""
    gold = _gold(pipe, docs)
    members = (gold.targets * gold.known) >= 0.5
    if not pipe.exclusive:
        strangers = set(_unknown(pipe, docs))
        none = gold.known.all(axis=1) & ~members.any(axis=1) & ~np.isin(np.arange(len(docs)), list(strangers))
        members = np.column_stack([members, none])
    return np.flatnonzero(members.any(axis=1)).tolist(), members


def _unknown(pipe: TransferTextCategorizer, docs: Sequence[Doc]) -> list[int]:
    """Documents that have labels, and none of the component's."""
    own = set(pipe.labels)
    found = []
    for i, doc in enumerate(docs):
        labels = {label for label, value in doc.cats.items() if value >= 0.5}
        if labels and not labels & own:
            found.append(i)
    return found


def _confidence(pipe: TransferTextCategorizer, docs: Sequence[Doc]) -> Numbers:
    scores = pipe.predict(docs)
    found = scores.confidence if isinstance(scores, JudgedScores) else np.zeros(0)
    return np.asarray(found, dtype=np.float64)
