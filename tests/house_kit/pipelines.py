"""Pipelines on a tiny encoder, and what is looked at in them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language

from house_kit.texts import exclusive_examples, multilabel_examples


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` put in, block by block; a block that names another function replaces the old one."""
    out = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


def model_config(folder: Path | str, **blocks: Any) -> dict[str, Any]:
    """The model block of a tiny pipeline, in fp32."""
    base = {
        "encoder": {"name": str(folder), "revision": None},
        "windows": {"length": 32, "stride": 20},
        "piece_budget": 2048,
        "precision": "fp32",
    }
    return merged(base, blocks)


def add_classifier(
    nlp: Language, folder: Path | str, *, multilabel: bool = False, name: str | None = None, settings: Any = None,
    **blocks: Any,
) -> Any:  # fmt: skip
    """Add our component; `blocks` go into its model block."""
    factory = "transfer_textcat_multilabel" if multilabel else "transfer_textcat"
    config = {**(settings or {}), "model": model_config(folder, **blocks)}
    return nlp.add_pipe(factory, name=name or factory, config=config)


def pipeline(
    folder: Path | str, *, multilabel: bool = False, seed: int = 0, settings: Any = None, **blocks: Any
) -> Language:
    """An initialized pipeline with one component of ours, of no language: English takes 50 ms longer to build, and
    120 ms to load."""
    nlp = spacy.blank("xx")
    add_classifier(nlp, folder, multilabel=multilabel, settings=settings, **blocks)
    torch.manual_seed(seed)
    examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


def network_of(nlp: Language, name: str | None = None) -> Any:
    """The torch network of a pipeline's component."""
    return shim_of(nlp, name).network


def shim_of(nlp: Language, name: str | None = None) -> Any:
    """The shim of a pipeline's component."""
    pipe = nlp.get_pipe(name) if name else next(pipe for _, pipe in nlp.pipeline if hasattr(pipe, "exclusive"))
    return pipe.model.shims[0]


def weights_of(nlp: Language, name: str | None = None) -> dict[str, torch.Tensor]:
    """A copy of all weights by name."""
    return {key: value.detach().clone() for key, value in network_of(nlp, name).named_parameters()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of the weights that are not bit for bit the same."""
    assert all(value.isfinite().all() for value in after.values())
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def scores_of(nlp: Language, texts: Sequence[str], **options: Any) -> torch.Tensor:
    """Scores (n_texts, n_labels) of all labels in `cats`."""
    return torch.tensor([list(doc.cats.values()) for doc in nlp.pipe(texts, **options)])


def read_json(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text("utf-8"))
