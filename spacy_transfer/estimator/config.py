"""Makes a training config from the parameters of the estimator."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path

from thinc.api import Config

from ..config.blocks import function_of, keys_of
from ..config.instances import block_config, plain_block
from ..config.values import put_values
from ..errors import T494, T495, T497
from ..json_types import ConfigBlock
from .parameters import Parameters

# Name of the component in the pipeline inside.
COMPONENT = "transfer_textcat"
# An evaluation once at the end: a number of steps that no training reaches.
NEVER = 10**9
_SECTIONS = ("paths", "system", "nlp", "components", "corpora", "training", "initialize")
_HEAD_ALONE, _ENCODER_TOO = 1e-2, 3e-4


def training_config(
    params: Parameters, labels: list[str], *, exclusive: bool, data: Path, n_texts: int, source: Path | None
) -> Config:
    """Write the config that a fit trains with.

    params (Parameters): Parameters of the estimator, checked.
    labels (list[str]): As the pipeline knows them, in the order of the scores.
    exclusive (bool): Exactly one label a text.
    data (Path): Folder with train.spacy and dev.spacy.
    n_texts (int): Training texts.
    source (Path | None): A pipeline to go on from; None begins with the pretrained encoder.
    RETURNS (Config): A whole config.
    RAISES (ValueError): T493, T495, T497 for parameters that fit nothing.
    """
    factory = "transfer_textcat" if exclusive else "transfer_textcat_multilabel"
    fresh = {"factory": factory, "threshold": params["threshold"], "model": _model(params, labels, exclusive=exclusive)}
    component = fresh if source is None else {"source": str(source), "component": COMPONENT}
    config: ConfigBlock = {
        "paths": {"train": str(data / "train.spacy"), "dev": str(data / "dev.spacy")},
        "nlp": {"lang": params["lang"], "pipeline": [COMPONENT]},
        "components": {COMPONENT: component},
        "corpora": {
            name: {"@readers": "spacy.Corpus.v1", "path": f"${{paths.{name}}}"} for name in ("train", "dev")
        },
        "training": _training(params, n_texts),
        "initialize": {"components": {COMPONENT: {"labels": labels}} if source is None else {}},
    }  # fmt: skip
    given = {_place(key): plain_block(value) for key, value in (params["config"] or {}).items()}
    if source is not None:
        # The pipeline to go on from was made with them.
        given = {key: value for key, value in given.items() if not key.startswith(("components.", "initialize."))}
    return put_values(Config(config), given)


def without_data(config: Config) -> Config:
    """Take out what was true of one training: paths to its texts, which are gone.

    config (Config): Of a pipeline.
    RETURNS (Config): A copy.
    """
    clean = Config(copy.deepcopy(dict(config)))
    paths = clean.get("paths", {})
    for name in ("train", "dev"):
        if name in paths:
            paths[name] = None
    return clean


# ---- blocks ------------------------------------------------------------------------------------------------------


def _model(params: Parameters, labels: list[str], *, exclusive: bool) -> dict[str, object]:
    encoder = params["encoder"]
    if isinstance(encoder, str | Path):
        encoder_block = {
            "@misc": "spacy-transfer.PretrainedEncoder.v1", "name": str(encoder), "revision": params["revision"],
        }  # fmt: skip
    else:
        encoder_block = block_config("encoder", "misc", encoder)
    adapter = params["adapter"]
    tuning = {name: params[name] for name in (
        "frozen_depth", "trainable", "lr_decay", "head_lr_factor", "embeddings_lr_factor",
    )}  # fmt: skip
    return {
        "@architectures": "spacy-transfer.TransferClassifier.v1",
        "encoder": encoder_block,
        "pooling": block_config("pooling", "layers", params["pooling"]),
        "head": {"@layers": "spacy-transfer.Head.v1", "hidden": plain_block(params["hidden"])},
        "loss": _loss(params, labels, exclusive=exclusive),
        "tuning": {
            "@misc": "spacy-transfer.Tuning.v1", **tuning,
            "adapter": None if adapter is None else block_config("adapter", "misc", adapter),
        },
        "head_init": block_config("head_init", "misc", params["head_init"]),
        "windows": {
            "@misc": "spacy-transfer.Windows.v1", "length": params["window_length"], "stride": params["window_stride"],
        },
    }  # fmt: skip


def _loss(params: Parameters, labels: list[str], *, exclusive: bool) -> dict[str, object]:
    given = params["loss"]
    if given is None:
        given = "CrossEntropy" if exclusive else "BinaryCrossEntropy"
    block = block_config("loss", "losses", given)
    inner = block
    # A loss around another one has kind and weights from it.
    while isinstance(inner.get("loss"), dict):
        inner = inner["loss"]
    kind, name = function_of(inner) or ("losses", "")
    fields = keys_of(kind, name) or []
    if "exclusive" in fields:
        inner.setdefault("exclusive", exclusive)
    for parameter, field, is_default, value in (
        ("label_smoothing", "label_smoothing", params["label_smoothing"] == 0.0, params["label_smoothing"]),
        ("class_weight", "class_weights", params["class_weight"] is None, _class_weights(params["class_weight"])),
    ):
        if is_default:
            continue
        if field not in fields:
            raise ValueError(T495.format(loss=name, field=field, parameter=parameter, value=params[parameter]))
        inner[field] = value
    return block


def _class_weights(given: object) -> object:
    if isinstance(given, Mapping):
        return [[str(label), float(weight)] for label, weight in given.items()]
    if given not in (None, "balanced"):
        want = '"balanced", a dict of label and weight, or None'
        raise ValueError(T494.format(parameter="class_weight", value=repr(given), want=want))
    return given


def learn_rate(params: Parameters) -> float:
    """Say which learning rate a training has.

    params (Parameters): Parameters of the estimator.
    RETURNS (float): Peak of the rate.
    """
    if params["learn_rate"] is not None:
        return float(params["learn_rate"])
    return _HEAD_ALONE if params["frozen_depth"] == "all" and params["adapter"] is None else _ENCODER_TOO


def _training(params: Parameters, n_texts: int) -> dict[str, object]:
    rate: object = learn_rate(params)
    n_epochs = params["n_epochs"]
    if not params["constant_rate"]:
        rate = {"@schedules": "spacy-transfer.WarmupLinear.v1", "peak": rate, "warmup": 0.1}
    every = patience = NEVER
    if params["early_stopping"]:
        every = math.ceil(n_texts / params["batch_size"])
        patience = every * params["n_iter_no_change"]
    limit = {"max_epochs": n_epochs or 0, "max_steps": 0}
    if n_epochs == 0:
        # The head alone, as its block solves it: one step that moves nothing.
        limit, rate = {"max_epochs": 0, "max_steps": 1}, 0.0
    return {
        "seed": params["seed"], "gpu_allocator": "pytorch", **limit,
        "patience": patience, "eval_frequency": every, "dropout": params["dropout"],
        # Unfreezing by epochs, where `config` asks for it, needs to be told them.
        "before_update": {"@callbacks": "spacy-transfer.set_epoch.v1"},
        "batcher": {"@batchers": "spacy-transfer.batch_by_pieces.v1", "docs": params["batch_size"]},
        "optimizer": {"@optimizers": "spacy-transfer.AdamW.v1", "learn_rate": rate},
    }  # fmt: skip


def _place(key: str) -> str:
    """Where in the config a key of the parameter `config` stands."""
    section, _, rest = key.partition(".")
    if section in ("model", "threshold", "scorer", "score_prefix"):
        return f"components.{COMPONENT}.{key}"
    if section not in _SECTIONS or not rest:
        raise ValueError(T497.format(key=key, sections=", ".join(f"{name}." for name in _SECTIONS)))
    return key
