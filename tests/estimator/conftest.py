"""The estimator on a tiny encoder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def make(bert: Path) -> Callable[..., Any]:
    """A classifier on the tiny BERT, in one epoch."""
    # Not above: without scikit-learn the files are skipped.
    from spacy_transfer import TransferClassifier

    def made(**changes: Any) -> TransferClassifier:
        values = {
            "frozen_depth": 2, "window_length": 32, "window_stride": 20, "learn_rate": 3e-3, "batch_size": 8,
            "n_epochs": 1, "device": "cpu", "config": {"model.precision": "fp32"},
        }  # fmt: skip
        return TransferClassifier(str(bert), **{**values, **changes})

    return made
