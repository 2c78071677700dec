"""Where the sequence classifiers of transformers keep their heads, family by family.

Those of encoders read one vector of a text, the state of its first piece but in ModernBERT, and put a hidden layer with
an activation on it. A `Head` with one hidden layer is the same function. Those of decoders have one linear map without
bias on the state of the last piece.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...errors import T566, T566_ACTIVATION, T566_EPS, T566_FAMILY, T566_LACKS, T566_POOLING, T567, T567_SHAPE
from ...files.strangers import UnusableFile
from ...json_types import JsonMapping, JsonObject
from ...repository.weight_files import WeightFiles
from .head_weights import HeadWeights, HiddenLayer, Norm
from .linear import Activation

PoolingMode = Literal["cls", "mean", "lasttoken"]
_ACTIVATIONS: Mapping[str, Activation] = {"relu": "relu", "gelu": "gelu", "tanh": "tanh"}
# Of torch's norm, and so of a `Head`.
_EPS = 1e-5


@dataclass(frozen=True)
class SequenceClassifier:
    """The sequence classifier of a family.

    architecture (str): Its class.
    dense (str): Name of the hidden layer on the vector of a text; "" for a decoder's, which has none.
    output (str): Name of the last layer.
    activation (Activation): After the hidden layer.
    activation_key (str): Of the configuration, where it chooses another activation.
    pooling_key (str): Of the configuration, where it chooses the pooling.
    norm (str): Name of the norm after the activation.
    """

    architecture: str
    dense: str
    output: str
    activation: Activation
    activation_key: str = ""
    pooling_key: str = ""
    norm: str = ""

    def fits(self, head: HeadWeights, mode: str) -> bool:
        """Whether the class can hold a head exactly.

        head (HeadWeights): All weights of it.
        mode (str): How the vector is made: "cls", "mean", or anything else.
        RETURNS (bool): False for a linear head, which has no hidden layer, and for a decoder, whose class has no bias.
        """
        if not self.dense:
            return False
        if mode not in (("cls", "mean") if self.pooling_key else ("cls",)):
            return False
        if head.norm is not None or len(head.hidden) != 1:
            return False
        layer = head.hidden[0]
        same = bool(self.activation_key) or head.activation == self.activation
        return same and layer.weight.shape == (head.width, head.width) and (layer.norm is not None) == bool(self.norm)

    def tensors(self, head: HeadWeights, config: JsonMapping) -> dict[str, Tensor]:
        """The head's weights under the names of the class.

        head (HeadWeights): One that fits.
        config (Mapping): Of the encoder, as its class of transformers has it.
        RETURNS (dict[str, Tensor]): By name.
        """
        layer, weight, bias = head.hidden[0], head.weight, head.bias
        found = {f"{self.dense}.weight": layer.weight, f"{self.dense}.bias": layer.bias}
        if layer.norm is not None:
            found[f"{self.norm}.weight"] = layer.norm.weight
            if config.get("norm_bias"):
                found[f"{self.norm}.bias"] = layer.norm.bias
            else:
                # What the norm would add, the last layer adds.
                bias = bias + weight @ layer.norm.bias
        return {**found, f"{self.output}.weight": weight, f"{self.output}.bias": bias}

    def config(self, head: HeadWeights, mode: str) -> JsonObject:
        """What the configuration says of the head.

        head (HeadWeights): One that fits.
        mode (str): "cls" or "mean".
        RETURNS (dict): JSON-able.
        """
        found: JsonObject = {"architectures": [self.architecture]}
        if self.activation_key:
            found[self.activation_key] = head.activation
        if self.pooling_key:
            found |= {self.pooling_key: mode, "classifier_bias": True}
        return found

    def read(self, weights: WeightFiles, config: JsonMapping, name: str) -> tuple[HeadWeights, PoolingMode]:
        """Read the head of a trained classifier.

        weights (WeightFiles): Of its folder.
        config (Mapping): Its config.json.
        name (str): What the user calls it.
        RETURNS (tuple): The head, and how the vector that it reads is made.
        RAISES (UnusableFile): T566 for a head that `Head` cannot hold, T567 for shapes that do not fit, T452 for values
            or types that are wrong.
        """
        if not self.dense:
            weight = _tensor(weights, f"{self.output}.weight", name, 2)
            return HeadWeights(weight, torch.zeros(len(weight))), "lasttoken"
        activation = config.get(self.activation_key, self.activation) if self.activation_key else self.activation
        if activation not in _ACTIVATIONS:
            raise UnusableFile(T566.format(name=name, problem=T566_ACTIVATION.format(activation=repr(activation)[:80])))
        mode = config.get(self.pooling_key, "cls") if self.pooling_key else "cls"
        if mode not in ("cls", "mean"):
            raise UnusableFile(T566.format(name=name, problem=T566_POOLING.format(pooling=repr(mode)[:80])))
        if self.norm and config.get("norm_eps", _EPS) != _EPS:
            raise UnusableFile(T566.format(name=name, problem=T566_EPS.format(eps=repr(config["norm_eps"])[:80])))

        weight = _tensor(weights, f"{self.dense}.weight", name, 2)
        norm, bias_name = None, f"{self.dense}.bias"
        if self.norm:
            # Where a layer has no bias, it adds nothing.
            bias = _tensor(weights, bias_name, name) if bias_name in weights.stored else torch.zeros(len(weight))
            factors, added = _tensor(weights, f"{self.norm}.weight", name), f"{self.norm}.bias"
            norm = Norm(
                factors, _tensor(weights, added, name) if added in weights.stored else torch.zeros(len(factors))
            )
        else:
            bias = _tensor(weights, bias_name, name)
        last, offset = _tensor(weights, f"{self.output}.weight", name, 2), _tensor(weights, f"{self.output}.bias", name)
        head = HeadWeights(last, offset, (HiddenLayer(weight, bias, norm),), _ACTIVATIONS[str(activation)])
        head.check(next(iter(weights.stored.values())).file)
        return head, "mean" if mode == "mean" else "cls"


def _tensor(weights: WeightFiles, place: str, name: str, n_dims: int = 1) -> Tensor:
    if place not in weights.stored:
        raise UnusableFile(T566.format(name=name, problem=T566_LACKS.format(weight=place)))
    found = weights.floats(place).float()
    if found.ndim != n_dims:
        problem = T567_SHAPE.format(name=place, found=list(found.shape), wanted=f"{n_dims} dimension(s)")
        raise UnusableFile(T567.format(file=weights.stored[place].file, problem=problem))
    return found


def _like_roberta(architecture: str, activation: Activation = "tanh") -> SequenceClassifier:
    return SequenceClassifier(architecture, "classifier.dense", "classifier.out_proj", activation)


def _of_decoder(architecture: str) -> SequenceClassifier:
    return SequenceClassifier(architecture, "", "score", "gelu")


CLASSIFIERS: Mapping[str, SequenceClassifier] = {
    "albert": SequenceClassifier("AlbertForSequenceClassification", "albert.pooler", "classifier", "tanh"),
    "bert": SequenceClassifier("BertForSequenceClassification", "bert.pooler.dense", "classifier", "tanh"),
    "camembert": _like_roberta("CamembertForSequenceClassification"),
    "deberta-v2": SequenceClassifier(
        "DebertaV2ForSequenceClassification", "pooler.dense", "classifier", "gelu", activation_key="pooler_hidden_act"
    ),
    "distilbert": SequenceClassifier("DistilBertForSequenceClassification", "pre_classifier", "classifier", "relu"),
    "electra": _like_roberta("ElectraForSequenceClassification", "gelu"),
    "gemma": _of_decoder("GemmaForSequenceClassification"),
    "gemma2": _of_decoder("Gemma2ForSequenceClassification"),
    "gpt2": _of_decoder("GPT2ForSequenceClassification"),
    "llama": _of_decoder("LlamaForSequenceClassification"),
    "mistral": _of_decoder("MistralForSequenceClassification"),
    "modernbert": SequenceClassifier(
        "ModernBertForSequenceClassification", "head.dense", "classifier", "gelu",
        activation_key="classifier_activation", pooling_key="classifier_pooling", norm="head.norm",
    ),
    "mpnet": _like_roberta("MPNetForSequenceClassification"),
    "qwen2": _of_decoder("Qwen2ForSequenceClassification"),
    "qwen3": _of_decoder("Qwen3ForSequenceClassification"),
    "roberta": _like_roberta("RobertaForSequenceClassification"),
    "xlm-roberta": _like_roberta("XLMRobertaForSequenceClassification"),
}  # fmt: skip


def classifier_of_family(family: str, name: str) -> SequenceClassifier:
    """Find the sequence classifier of a family.

    family (str): As config.json has it in `model_type`.
    name (str): What the user calls the model.
    RAISES (UnusableFile): T566 for a family whose head is none of these.
    """
    if family not in CLASSIFIERS:
        problem = T566_FAMILY.format(family=family[:80], known=", ".join(CLASSIFIERS))
        raise UnusableFile(T566.format(name=name, problem=problem))
    return CLASSIFIERS[family]
