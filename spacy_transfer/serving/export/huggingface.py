"""A classifier as a folder of transformers: with its head where the family's class can hold it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from spacy.language import Language
from torch import Tensor

from ...errors import (
    T207,
    T560,
    T560_BOTH_WAYS,
    T560_FEATURES,
    T560_HALF,
    T560_HEAD,
    T560_POOLING,
    T560_SCORES,
    T560_SCRATCH,
    T560_SHARED,
    T560_STATIC,
    T561_HEAD_TAIL,
    T561_SOURCES,
    T561_TEXT,
    T561_WINDOWS,
)
from ...files import write_text
from ...json_types import JsonObject
from ...model.networks import networks_of
from ...model.shared.shim import SharedEncoderShim
from ...model.shims.own_encoder_shim import OwnEncoderShim
from ...model.text.normalization import Normalization
from ...nn.encoders.config import BIDIRECTIONAL
from ...nn.encoders.handing_over import is_half, tensors_of, tokenizer_settings
from ...nn.heads.head_weights import HEAD_FILE, HeadWeights
from ...nn.heads.linear import Head, LabelHead
from ...nn.heads.sequence_classifiers import CLASSIFIERS, SequenceClassifier
from ...nn.losses import LossBuilder
from ...nn.pooling import AttentionPooling, ClsPooling, LastPooling, MaxPooling, MeanPooling
from ...nn.scratch.transformer import SCRATCH
from ...nn.sentence_pooling import AutoPooling, SentenceModules
from ...nn.static.body import STATIC
from ...pipeline.components import name_meant
from ...pipeline.sources import WHOLE_TEXT
from .huggingface_card import card, loading_lines
from .sentence_files import write_modules

_MODES: Mapping[type, str] = {ClsPooling: "cls", LastPooling: "lasttoken", MaxPooling: "max", MeanPooling: "mean"}
_MASK = re.compile(r"[\[<]mask[\]>]", re.IGNORECASE)


@dataclass(frozen=True)
class HuggingFaceFolder:
    """What was exported.

    folder (Path): Where it is.
    loads_with (str): The class of transformers that loads it: "AutoModelForSequenceClassification", or "AutoModel",
        with the head in a file of its own.
    labels (list[str]): In the order of the logits.
    exclusive (bool): Scores are a softmax of the logits; otherwise a sigmoid.
    max_length (int): Longest text in pieces, special pieces included; longer ones are cut.
    differences (list[str]): Where its scores are not those of the pipeline, in words.
    """

    folder: Path
    loads_with: str
    labels: list[str]
    exclusive: bool
    max_length: int
    differences: list[str]


def write_huggingface(
    nlp: Language, folder: Path, *, component: str | None = None, place: Path | None = None
) -> HuggingFaceFolder:
    """Write a classifier's files of transformers, with the same scores.

    `AutoModelForSequenceClassification` loads them where the head is that of the family's class (`ClsPooling`, one
    hidden layer as wide as the encoder, the family's activation). Any other head lies in `model_head.safetensors` next
    to a model for `AutoModel`; README.md shows the lines that use both.

    nlp (Language): The pipeline; adapters of the classifier are merged in place.
    folder (Path): An empty folder.
    component (str | None): Name of the classifier; None for the only one.
    place (Path | None): Where the folder will be in the end, for the result.
    RETURNS (HuggingFaceFolder): What was written.
    RAISES (ValueError): T207 if there is no such classifier, T560 for one that transformers cannot hold.
    """
    name, shim = _find(nlp, component)
    shim.merge_adapter()
    exclusive = _is_softmax(shim.settings.loss, name)
    head = HeadWeights.of(cast(LabelHead, shim.network.head), cast(Head, shim.settings.head).activation)
    modules = _modules(shim, name)
    labels = list(nlp.get_pipe(name).labels)
    config = _config(shim, labels, exclusive)
    kind = _class_for(shim, head, modules)
    encoder, more = shim.network.encoder, dict[str, Tensor]()
    if kind is not None:
        mode = modules.modes[0] if modules else ""
        config |= kind.config(head, mode)
        prefix = f"{encoder.body.base_model_prefix}."
        tensors = {**tensors_of(encoder, prefix), **kind.tensors(head, config)}
    else:
        config["architectures"] = [type(encoder.body).__name__]
        tensors = tensors_of(encoder)
        if modules is None:
            more = {f"pooling.{key}": value.cpu() for key, value in shim.network.pooling.state_dict().items()}
        head.write(folder / HEAD_FILE, more, {"problem": "single-label" if exclusive else "multi-label"})
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", config)
    _write_tokenizer(shim, folder)
    if modules is not None:
        write_modules(folder, modules, shim.network.pooling, encoder.width, shim.windows.length)
    if shim.record.get("license"):
        write_text(folder / "LICENSE.encoder", shim.record["license"])
    differences = _differences(shim)
    lines = loading_lines(encoder.body, head, modules, has_class=kind is not None, exclusive=exclusive)
    source = str(shim.record.get("source") or encoder.family)
    write_text(folder / "README.md", card(str(nlp.meta["name"]), source, labels, lines, differences))
    loads_with = "AutoModel" if kind is None else "AutoModelForSequenceClassification"
    return HuggingFaceFolder(place or folder, loads_with, labels, exclusive, shim.windows.length, differences)


def _find(nlp: Language, component: str | None) -> tuple[str, OwnEncoderShim]:
    """RAISES (ValueError): T207, T560."""
    built = {name: shim for name, shim in networks_of(nlp).items() if shim.is_built}
    name = name_meant(built, component)
    if name is None:
        found = ", ".join(built) or "none"
        raise ValueError(T207.format(name=component or "the component", want="weights of its own", found=found))
    shim = built[name]
    problem = ""
    if isinstance(shim, SharedEncoderShim):
        problem = T560_SHARED.format(upstream=shim.builder.upstream)
    elif not isinstance(shim, OwnEncoderShim):
        problem = T560_HEAD.format(head=type(shim).__name__)
    elif shim.record["config"]["model_type"] == SCRATCH:
        problem = T560_SCRATCH
    elif shim.record["config"]["model_type"] == STATIC:
        problem = T560_STATIC
    elif is_half(shim.network.encoder, shim.record):
        problem = T560_HALF.format(family=shim.network.encoder.family)
    elif shim.record["config"].get(BIDIRECTIONAL):
        problem = T560_BOTH_WAYS.format(family=shim.network.encoder.family)
    elif not isinstance(shim.network.head, LabelHead):
        problem = T560_HEAD.format(head=type(shim.settings.head).__name__)
    elif shim.n_features:
        problem = T560_FEATURES
    else:
        return name, shim
    raise ValueError(T560.format(name=name, problem=problem))


def _is_softmax(loss: LossBuilder, name: str) -> bool:
    """Whether scores are a softmax of the logits, or a sigmoid.

    RAISES (ValueError): T560 where they are neither.
    """
    logits = torch.linspace(-2.0, 3.0, 12).reshape(3, 4).sin() * 2
    scores = loss.activate(logits)
    for is_softmax, wanted in ((True, logits.softmax(dim=1)), (False, logits.sigmoid())):
        if torch.allclose(scores, wanted, atol=1e-6):
            return is_softmax
    raise ValueError(T560.format(name=name, problem=T560_SCORES.format(loss=type(loss).__name__)))


def _modules(shim: OwnEncoderShim, name: str) -> SentenceModules | None:
    """The pooling in the form of sentence-transformers; None for attention, which that does not have.

    RAISES (ValueError): T560 for a pooling of another package.
    """
    pooling = shim.settings.pooling
    if isinstance(pooling, AttentionPooling):
        return None
    if isinstance(pooling, AutoPooling):
        said = SentenceModules.from_json(shim.record.get("sentence"))
        return SentenceModules(["mean"]) if said is None else said
    if type(pooling) not in _MODES:
        raise ValueError(T560.format(name=name, problem=T560_POOLING.format(pooling=type(pooling).__name__)))
    return SentenceModules([_MODES[type(pooling)]])


def _class_for(
    shim: OwnEncoderShim, head: HeadWeights, modules: SentenceModules | None
) -> SequenceClassifier | None:  # fmt: skip
    """The family's class, where it can hold pooling and head exactly."""
    kind = CLASSIFIERS.get(shim.network.encoder.family)
    if kind is None or modules is None or modules.after or len(modules.modes) != 1:
        return None
    return kind if kind.fits(head, modules.modes[0]) else None


def _config(shim: OwnEncoderShim, labels: Sequence[str], exclusive: bool) -> JsonObject:
    config: JsonObject = {
        **shim.record["config"],
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": "single_label_classification" if exclusive else "multi_label_classification",
    }
    if "attention_type" in config:
        # BigBird: that of the network, which is full attention.
        body: Any = shim.network.encoder.body
        config["attention_type"] = body.config.attention_type
    return config


def _write_tokenizer(shim: OwnEncoderShim, folder: Path) -> None:
    form = json.loads(shim.tokenizer.text)
    # Of the folder that it came from; transformers is told at each call, and by model_max_length.
    form |= {"truncation": None, "padding": None}
    text = json.dumps(form, ensure_ascii=False)
    write_text(folder / "tokenizer.json", text)
    special = {piece["id"]: piece["content"] for piece in form.get("added_tokens") or [] if piece["special"]}
    roles = {
        "cls_token": special.get(next(iter(shim.tokenizer.prefix), -1)),
        "sep_token": special.get(next(reversed(shim.tokenizer.suffix), -1)),
        "mask_token": next((piece for piece in special.values() if _MASK.fullmatch(piece)), None),
        "unk_token": _unknown(form["model"]) if _unknown(form["model"]) in special.values() else None,
    }
    settings = tokenizer_settings(shim.network.encoder, text) | {"model_max_length": shim.windows.length}
    settings |= {role: piece for role, piece in roles.items() if piece is not None}
    _write_json(folder / "tokenizer_config.json", settings)


def _unknown(model: JsonObject) -> str | None:
    if model.get("type") == "Unigram":
        return None if model.get("unk_id") is None else str(model["vocab"][model["unk_id"]][0])
    return cast(str | None, model.get("unk_token"))


def _differences(shim: OwnEncoderShim) -> list[str]:
    """Where the same network will not see what the pipeline sees."""
    settings, length = shim.settings, shim.windows.length
    windows = T561_HEAD_TAIL if shim.windows.keep == "head_tail" else T561_WINDOWS
    found = [windows.format(length=length)]
    if tuple(settings.text.sources) != (WHOLE_TEXT,):
        found.append(T561_SOURCES.format(sources=", ".join(settings.text.sources)))
    if settings.text.normalization != Normalization():
        found.append(T561_TEXT)
    return found


def _write_json(path: Path, data: object) -> None:
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
