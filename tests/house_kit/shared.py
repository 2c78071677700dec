"""Pipelines whose components share the encoder of a `transformer`."""

from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.training import Example

from house_kit.pipelines import merged
from house_kit.texts import TEXTS, exclusive_examples, multilabel_examples
from spacy_transfer.training.adamw import AdamW

NAME = "transfer_textcat"
# Of the transformer: in tokens.
WINDOW, STRIDE = 16, 12
LONG = " ".join(TEXTS[:6])


def add_transformer(nlp: Language, folder: Path, *, name: str = "transformer", **options: Any) -> Any:
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": str(folder),
        "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1", "window": WINDOW, "stride": STRIDE},
    }
    return nlp.add_pipe("transformer", name=name, config={"model": model}, **options)


def add_shared(nlp: Language, *, multilabel: bool = False, name: str = NAME, encoder: Any = None, **blocks: Any) -> Any:
    base = {
        "encoder": {"@misc": "spacy-transfer.SharedEncoder.v1", **(encoder or {})},
        "windows": {"length": 32, "stride": 20},
    }
    factory = "transfer_textcat_multilabel" if multilabel else "transfer_textcat"
    return nlp.add_pipe(factory, name=name, config={"model": merged(base, blocks)})


def add_tagger(nlp: Language, **options: Any) -> Any:
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    return nlp.add_pipe(
        "tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}}, **options
    )


def shared_pipeline(folder: Path, *, tagger: str = "", multilabel: bool = False, **blocks: Any) -> Language:
    """transformer, tagger "before" or "after" or none, classifier; initialized."""
    nlp = spacy.blank("xx")
    add_transformer(nlp, folder)
    add_shared(nlp, multilabel=multilabel, **blocks)
    if tagger:
        add_tagger(nlp, **{tagger: nlp.pipe_names[-1]})
    torch.manual_seed(0)
    examples = tagged(nlp, multilabel=multilabel)
    nlp.initialize(lambda: examples)
    return nlp


def tagged(nlp: Language, *, multilabel: bool = False) -> list[Example]:
    """Examples with cats and tags."""
    found = []
    for example in (multilabel_examples if multilabel else exclusive_examples)(nlp):
        tags = ["AB"[len(token) % 2] for token in example.reference]
        found.append(Example.from_dict(example.predicted, {"tags": tags, "cats": example.reference.cats}))
    return found


def body_of(nlp: Language) -> torch.nn.Module:
    return nlp.get_pipe("transformer").model.transformer


def body_weights(nlp: Language) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in body_of(nlp).named_parameters()}


def body_gradients(nlp: Language) -> dict[str, torch.Tensor]:
    return {n: w.grad.clone() for n, w in body_of(nlp).named_parameters() if w.grad is not None}


def depth_of(nlp: Language, name: str) -> int:
    if ".layer." in name:
        return int(name.split(".layer.")[1].split(".")[0]) + 1
    return 0


def train(nlp: Language, n_steps: int = 3, rate: float = 1e-2) -> Language:
    sgd = AdamW(learn_rate=rate)
    for _ in range(n_steps):
        nlp.update(tagged(nlp, multilabel="late" in nlp.get_pipe(nlp.pipe_names[1]).labels), sgd=sgd)
    return nlp
