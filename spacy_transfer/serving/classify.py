"""Classify a few texts with a trained pipeline."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import T510, T511
from ..pipeline.loading import load_pipeline


def classify(pipeline: str | Path, texts: Sequence[str], *, top: int | None = None) -> list[list[tuple[str, float]]]:
    """Load a pipeline and score some texts.

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
