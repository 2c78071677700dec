"""Classify texts in Python: a stream of them, or a few to try a trained pipeline."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from spacy.language import Language

from ..corpora.excerpt import excerpt
from ..errors import T510, T511, T537, T538, T538_SURROGATE
from ..pipeline.components import name_meant
from ..pipeline.loading import load_pipeline
from .apply.reading.rows import TEXT, Row
from .apply.scoring import Component, Scoring, make_scoring, require_documents


def classify(
    pipeline: Language | str | Path,
    texts: Iterable[str],
    *,
    component: str | None = None,
    batch_size: int | None = None,
) -> Iterator[tuple[str, float]]:
    """Classify a stream of texts: the best label of each, and its score.

    Where the pipeline is one spacy-transfer component no `Doc` is made; the scores are those of `nlp.pipe`.

    pipeline (Language | str | Path): A pipeline, or its folder or package.
    texts (Iterable[str]): Read batch by batch; it may have no end.
    component (str | None): Whose labels; not needed where there is one spacy-transfer component.
    batch_size (int | None): Texts that are scored together. None: that of the pipeline.
    RETURNS (Iterator[tuple[str, float]]): Labels and scores, in the order of the texts.
    RAISES (ValueError): T527 for a pipeline without a spacy-transfer component, T537 where it is unclear which one is
        meant, T790 for one that scores sentences or spans alone; while it runs T538 for what is no text.
    """
    nlp = pipeline if isinstance(pipeline, Language) else load_pipeline(pipeline)
    scoring = make_scoring(nlp, keeps_docs=False)
    names = [one.name for one in scoring.components]
    if (name := name_meant(names, component)) is None:
        raise ValueError(T537.format(component=component, components=", ".join(names)))
    require_documents([scoring.components[names.index(name)]])
    return _classified(scoring, names.index(name), texts, max(1, batch_size or nlp.batch_size))


def _classified(scoring: Scoring, chosen: int, texts: Iterable[str], size: int) -> Iterator[tuple[str, float]]:
    begin = sum(one.n_columns for one in scoring.components[:chosen])
    of: Component = scoring.components[chosen]
    waiting = iter(texts)
    while batch := list(islice(waiting, size)):
        scores = scoring.score([_row(text) for text in batch])[0][:, begin : begin + len(of.labels)]
        for label, row in zip(scores.argmax(axis=1).tolist(), scores, strict=True):
            yield of.labels[label], float(row[label])


def _row(text: object) -> Row:
    if not isinstance(text, str):
        raise ValueError(T538.format(kind=type(text).__name__, value=excerpt(text)))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(T538.format(kind=T538_SURROGATE.format(position=error.start), value=excerpt(text))) from error
    return Row(0, 0, 0, {}, text, TEXT)


def rank_labels(pipeline: str | Path, texts: Sequence[str], *, top: int | None = None) -> list[list[tuple[str, float]]]:
    """Load a pipeline and score some texts, with whatever component writes `doc.cats`.

    pipeline (str | Path): Folder or package of a trained pipeline.
    texts (Sequence[str]): Texts to score.
    top (int | None): Most labels per text; None gives all.
    RETURNS (list[list[tuple[str, float]]]): Labels and scores of each text, best first.
    RAISES (ValueError): T510 without a text, T511 for a pipeline that gives no scores.
    """
    if not any(text.strip() for text in texts):
        raise ValueError(T510)
    nlp = load_pipeline(pipeline)
    scored = [sorted(doc.cats.items(), key=lambda item: -item[1])[:top] for doc in nlp.pipe(texts)]
    if not any(scored):
        raise ValueError(T511.format(pipeline=pipeline, components=", ".join(nlp.pipe_names) or "none"))
    return scored
