"""Scores, and how sure it is that they say anything."""

import numpy as np

from .interface import Floats


class JudgedScores(np.ndarray[tuple[int, int], np.dtype[np.float32]]):
    """Scores of documents, (n_docs, n_labels), as an array like any other; `confidence` (n_docs,) goes along."""

    confidence: Floats

    @classmethod
    def of(cls, scores: Floats, confidence: Floats) -> "JudgedScores":
        """Join both.

        scores (Floats): (n_docs, n_labels).
        confidence (Floats): (n_docs,).
        RETURNS (JudgedScores): The same array of scores.
        """
        made = scores.view(cls)
        made.confidence = confidence
        return made
