"""Pipelines with an adapter."""

from pathlib import Path
from typing import Any

from spacy.language import Language

from house_kit.pipelines import pipeline

LORA = {"@misc": "spacy-transfer.LoRA.v1", "rank": 2, "alpha": 4.0}


def adapted(folder: Path, block: dict[str, Any] = LORA, *, multilabel: bool = False, **tuning: Any) -> Language:
    """An initialized pipeline with an adapter."""
    return pipeline(folder, multilabel=multilabel, tuning={"frozen_depth": 1, "adapter": block, **tuning})
