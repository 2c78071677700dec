"""Features of every kind, and pipelines with them."""

from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Model

from house_kit.pipelines import add_classifier
from house_kit.runs import CNN
from house_kit.texts import LABELS, TEXTS, exclusive_examples, one_hot
from spacy_transfer.model.features.layer import features_of

STARS = {"@layers": "spacy-transfer.AttributeFeatures.v1", "names": ["_.n_stars"]}
TOK2VEC = {"@layers": "spacy-transfer.Tok2VecFeatures.v1", "tok2vec": CNN}
# With a layer of torch, which Thinc wraps in a shim of its own.
LSTM = {
    **TOK2VEC,
    "tok2vec": {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2", "width": 8, "attrs": ["NORM"], "rows": [50],
            "include_static_vectors": False,
        },
        "encode": {"@architectures": "spacy.TorchBiLSTMEncoder.v1", "width": 8, "depth": 1, "dropout": 0.0},
    },
}  # fmt: skip
SOLVED = {"@misc": "spacy-transfer.LinearProbe.v1"}
LEARNED = {"@layers": "test.Learned.v1", "n_docs": len(TEXTS), "width": 3}
ALL = {"tuning": {"frozen_depth": "all"}}


def give(docs: list[Doc], values: list[Any], name: str = "n_stars") -> list[Doc]:
    for doc, value in zip(docs, values, strict=True):
        setattr(doc._, name, value)
    return docs


def starred(nlp: Language, n: int = len(TEXTS)) -> list[Example]:
    """The label shows in the stars alone: texts are all the same."""
    examples = []
    for i in range(n):
        example = Example.from_dict(nlp.make_doc("the card"), {"cats": one_hot(LABELS[i % 3])})
        give([example.predicted, example.reference], [i % 3, i % 3])
        examples.append(example)
    return examples


def with_features(
    folder: Path, features: Any, make: Any = exclusive_examples, seed: int = 0, **blocks: Any
) -> Language:
    # Before the blocks are built: torch's own layers draw their weights there.
    torch.manual_seed(seed)
    np.random.seed(seed)
    nlp = spacy.blank("xx")
    add_classifier(nlp, folder, features=features, **blocks)
    nlp.initialize(lambda: make(nlp))
    return nlp


def layer_of(nlp: Language) -> Model:
    layer = features_of(nlp.get_pipe("transfer_textcat").model)
    assert layer is not None
    return layer


def params(model: Model) -> dict[str, np.ndarray]:
    return {
        f"{i}.{name}": np.array(node.get_param(name))
        for i, node in enumerate(model.walk()) for name in node.param_names if node.has_param(name)
    }  # fmt: skip


def _learned(model: Model, docs: list[Doc], is_train: bool) -> Any:
    at = [int(doc.user_data.get("place", 0)) for doc in docs]

    def backprop(d_out: Any) -> list[Any]:
        gradient = np.zeros_like(model.get_param("E"))
        np.add.at(gradient, at, d_out)
        model.inc_grad("E", gradient)
        return []

    return model.get_param("E")[at], backprop


@spacy.registry.layers("test.Learned.v1")
def make_learned(n_docs: int, width: int) -> Model:
    """A layer whose features are its one weight, by the place of the document: its gradient is that of the features."""
    values = np.random.default_rng(0).normal(size=(n_docs, width)).astype("f")
    return Model("learned", _learned, params={"E": values}, dims={"nO": width})


def placed(nlp: Language) -> list[Example]:
    examples = exclusive_examples(nlp)
    for i, example in enumerate(examples):
        example.predicted.user_data["place"] = i
        example.reference.user_data["place"] = i
    return examples
