"""Explain the scores of texts by their words, and by similar training texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ...errors import T740, T741, T741_OTHER, T748, T748_NO_SUCH
from ...pipeline.components import classifiers_of, name_meant, require_whole_documents
from ...pipeline.explanations.explanation import Explanation, Method
from ...pipeline.explanations.occlusion import occlude
from ...pipeline.explanations.words import check_words, columns_of
from ...pipeline.interface import Floats
from ...pipeline.textcat import TransferTextCategorizer
from .similar import Similar, TrainingTexts


@dataclass(frozen=True)
class Explained:
    """A text and why it has its scores.

    doc (Doc): As the pipeline predicted it.
    component (str): The component that was looked at.
    scores (dict[str, float]): Its scores, the highest first.
    explanations (list[Explanation]): One for each label that was asked for.
    similar (list[Similar]): The training texts most like it, the nearest first.
    """

    doc: Doc
    component: str
    scores: dict[str, float]
    explanations: list[Explanation]
    similar: list[Similar]


def explain(
    pipeline: Language,
    texts: Iterable[str],
    *,
    component: str | None = None,
    labels: Sequence[str] | None = None,
    method: Method | Literal["auto"] = "auto",
    like: Path | None = None,
    n_like: int = 5,
) -> list[Explained]:
    """Explain the scores of texts: by how much each word adds to them, and by similar training texts.

    pipeline (Language): A trained pipeline.
    texts (Iterable[str]): The texts.
    component (str | None): The component whose scores are explained: any that writes `doc.cats`. None: the only
        spacy-transfer classifier, or the only one at all.
    labels (Sequence[str] | None): Those to explain. None: the predicted ones of each text, or its best.
    method (str): "gradients", "occlusion", which works for every component, or "auto": gradients where there are any.
    like (Path | None): Annotated texts, .spacy or a file that `convert` reads: the ones most like each text are found
        by the cosine of their vectors.
    n_like (int): How many.
    RETURNS (list[Explained]): One for each text.
    RAISES (FileNotFoundError): T440 for a missing file.
    RAISES (ValueError): T740 for a pipeline that gives no scores, T741 for gradients of a model that has none, T742 and
        T743 for an encoder or a label that has none, T744 for a text without words, T745 for a label that does not
        exist, T748 where it is unclear which component is meant, T749 for similar texts that cannot be looked for, T791
        for a classifier of sentences or spans.
    """
    name = scoring_component(pipeline, component)
    pipe = pipeline.get_pipe(name)
    ours = isinstance(pipe, TransferTextCategorizer)
    if method == "gradients" and not ours:
        raise ValueError(T741.format(name=name, reason=T741_OTHER))
    known = list(pipe.labels)
    if labels is not None:
        columns_of(labels, known, name)
    if ours:
        require_whole_documents(pipeline)
    training = None if like is None else TrainingTexts.read(like, name, pipe, pipeline)
    blank = [pipeline.make_doc(text) for text in texts]
    check_words(blank)
    docs = list(pipeline.pipe(blank))
    if ours:
        found = pipe.explain(docs, labels=labels, method=method)
    else:
        found = [_by_occlusion(pipeline, name, known, doc, labels) for doc in docs]
    similar = [[] for _ in docs] if training is None else training.nearest([doc.text for doc in docs], n_like)
    return [
        Explained(doc, name, _ranked(doc, known), explanations, near)
        for doc, explanations, near in zip(docs, found, similar, strict=True)
    ]


def scoring_component(pipeline: Language, asked: str | None) -> str:
    """Find the component whose scores are meant.

    pipeline (Language): The pipeline.
    asked (str | None): As the user names it.
    RETURNS (str): Its name.
    RAISES (ValueError): T740 where none gives scores, T748 where it is unclear.
    """
    scoring = [name for name in pipeline.pipe_names if "doc.cats" in pipeline.get_pipe_meta(name).assigns]
    if not scoring:
        raise ValueError(T740.format(components=", ".join(pipeline.pipe_names) or "none"))
    name = name_meant(scoring, asked)
    if name is None and asked is None:
        name = name_meant(classifiers_of(pipeline, enabled_only=True), None)
    if name is None:
        given = "" if asked is None else T748_NO_SUCH.format(name=asked)
        raise ValueError(T748.format(given=given, components=", ".join(scoring)))
    return name


def _by_occlusion(
    pipeline: Language, name: str, known: Sequence[str], doc: Doc, labels: Sequence[str] | None
) -> list[Explanation]:
    """With the whole pipeline: another package's component may read whatever comes before it."""
    scores = _scores([doc], known)[0]
    if labels is None:
        above = np.flatnonzero(scores >= pipeline.get_pipe(name).cfg.get("threshold", 0.5)).tolist()
        is_multilabel = float(scores.sum()) > 1.0 + 1e-3 and len(above) > 1
        columns = above if is_multilabel else [int(scores.argmax())]
    else:
        columns = columns_of(labels, known, name)
    chosen = [known[j] for j in columns]
    return occlude(doc, chosen, columns, lambda docs: _scores(list(pipeline.pipe(docs)), known))


def _scores(docs: Sequence[Doc], labels: Sequence[str]) -> Floats:
    return np.asarray([[doc.cats.get(label, 0.0) for label in labels] for doc in docs], dtype=np.float32)


def _ranked(doc: Doc, labels: Sequence[str]) -> dict[str, float]:
    scores = {label: float(doc.cats.get(label, 0.0)) for label in labels}
    return dict(sorted(scores.items(), key=lambda one: -one[1]))
