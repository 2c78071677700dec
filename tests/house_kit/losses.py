"""Pipelines with every loss, and a few steps of them."""

from pathlib import Path
from typing import Any

import torch

from house_kit.pipelines import pipeline
from house_kit.texts import exclusive_examples, multilabel_examples
from spacy_transfer.training.adamw import AdamW


def block(name: str, inner: Any = None, **values: Any) -> dict[str, Any]:
    """The block of a loss."""
    return {"@losses": f"spacy-transfer.{name}.v1", **values, **({} if inner is None else {"loss": inner})}


CE, BCE = block("CrossEntropy"), block("BinaryCrossEntropy")
CONTRAST = block("SupervisedContrastive", CE, weight=0.7, temperature=0.5)
NESTED = block("RDrop", block("SupervisedContrastive", block("Mixup", CE, alpha=0.5)), alpha=0.5)
# Name: whether labels are independent, and the block.
LOSSES: dict[str, tuple[bool, dict[str, Any]]] = {
    "focal": (False, block("Focal", exclusive=True, class_weights="balanced")),
    "binary focal": (True, block("Focal", exclusive=False, gamma=1.0, class_weights="balanced")),
    "asymmetric": (True, block("Asymmetric", class_weights=[["card", 2.0]])),
    "squared error": (True, block("SquaredError")),
    "squared earth mover": (False, block("SquaredError", targets="ordinal")),
    "smooth L1": (True, block("SmoothL1", class_weights=[["card", 2.0]])),
    "smooth L1 of ranks": (False, block("SmoothL1", targets="ordinal", class_weights="balanced", beta=0.5)),
    "contrastive": (False, CONTRAST),
    "contrastive of several labels": (True, block("SupervisedContrastive", BCE)),
    "R-Drop": (False, block("RDrop", CE)),
    "R-Drop of several labels": (True, block("RDrop", block("Asymmetric"))),
    "mixup": (False, block("Mixup", CE)),
    "mixup of several labels": (True, block("Mixup", BCE, alpha=1.0)),
    "nested": (False, NESTED),
}
WHOLE = [name for name in LOSSES if list(LOSSES).index(name) >= list(LOSSES).index("contrastive")]
FEW = ["contrastive of several labels", "R-Drop", "nested"]
COUPLED = [name for name in WHOLE if not name.startswith("R-Drop")]


def make(folder: Path, name: str, **blocks: Any) -> tuple[Any, list[Any]]:
    """A pipeline with that loss, and its examples."""
    multilabel, loss = LOSSES[name]
    nlp = pipeline(folder, multilabel=multilabel, loss=loss, **blocks)
    return nlp, multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)


def train(nlp: Any, examples: list[Any], n_steps: int = 2, **options: Any) -> float:
    """A few steps. RETURNS: Sum of their losses."""
    sgd = AdamW(**{"learn_rate": 1e-2, "eps": 1e-3, **options})
    torch.manual_seed(7)
    losses: dict[str, float] = {}
    for _ in range(n_steps):
        nlp.update(examples, sgd=sgd, losses=losses)
    return losses[nlp.pipe_names[0]]


def assert_alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float = 5e-6) -> None:
    assert set(one) == set(other)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=atol, rtol=1e-4, msg=name)
