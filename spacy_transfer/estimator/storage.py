"""Saves an estimator to a folder or a pickle: the spaCy pipeline, and the attributes that scikit-learn expects."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from spacy.language import Language
from spacy.util import load_model_from_config
from thinc.api import Config

from ..config.instances import plain_block
from ..errors import T498, T499
from ..files import new_folder, write_text
from ..files.strangers import read_object
from ..json_types import JsonMapping, JsonObject
from ..pipeline.components import classifiers_of, name_meant
from ..pipeline.textcat import TransferTextCategorizer
from .data import Array, Kind

# Beside config.cfg and meta.json; spaCy does not look at it.
_FILE = "estimator.json"
_FORMAT = 1
_KINDS: tuple[Kind, ...] = ("exclusive", "indicator", "lists")


def classifier_of(nlp: Language, folder: Path | None = None) -> tuple[str, TransferTextCategorizer]:
    """Find the classifier of a pipeline.

    nlp (Language): The pipeline.
    folder (Path | None): Where it comes from, for the message.
    RETURNS (tuple[str, TransferTextCategorizer]): Name and component.
    RAISES (ValueError): T498 unless there is exactly one.
    """
    found = classifiers_of(nlp, enabled_only=True)
    if (name := name_meant(found, None)) is None:
        problem = f"its pipeline has {len(found)} spacy-transfer classifiers, and an estimator has one"
        raise ValueError(T498.format(folder=folder or nlp.meta.get("name"), problem=problem))
    return name, found[name]


def write_folder(folder: Path, nlp: Language, params: Mapping[str, object], classes: Array, kind: str) -> None:
    """Write a fitted estimator; the folder appears whole or not at all.

    folder (Path): Replaced if it holds a pipeline.
    nlp (Language): The pipeline.
    params (Mapping[str, object]): Parameters of the estimator.
    classes (Array): Labels, (n_labels,).
    kind (str): How labels are given.
    RAISES (FileExistsError): T499 for a folder that holds something else.
    """
    is_pipeline = (folder / "meta.json").is_file() and (folder / "config.cfg").is_file()
    if folder.exists() and not is_pipeline and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(T499.format(path=folder))
    weights = params["class_weight"]
    # The keys of a JSON object are str, but labels may be numbers.
    pairs = [[_scalar(label), weight] for label, weight in weights.items()] if isinstance(weights, Mapping) else weights
    plain = {**{name: plain_block(value) for name, value in params.items()}, "class_weight": pairs}
    content = {
        "format": _FORMAT,
        "kind": kind,
        "dtype": classes.dtype.kind,
        "classes": classes.tolist(),
        "params": plain,
    }
    text = json.dumps(content, indent=2, default=_scalar) + "\n"
    with new_folder(folder) as part:
        nlp.to_disk(part)
        write_text(part / _FILE, text)


def read_folder(folder: Path) -> tuple[JsonObject, tuple[Array, Kind] | None]:
    """Read what stands beside the pipeline.

    folder (Path): Of the pipeline.
    RETURNS (tuple[JsonObject, tuple[Array, Kind] | None]): Parameters; labels, and how they are given. Nothing and
        None for a pipeline that no estimator saved.
    RAISES (FileNotFoundError): T498 if there is no pipeline.
    RAISES (ValueError): T498 for a file that is damaged or of a later version.
    """
    if not (folder / "config.cfg").is_file():
        raise FileNotFoundError(T498.format(folder=folder, problem="it holds no spaCy pipeline (no config.cfg)"))
    path = folder / _FILE
    if not path.is_file():
        return {}, None
    try:
        content = read_object(path)
        form, said, params = content["format"], content["kind"], dict(content["params"])
        classes = np.asarray(content["classes"])
        if content["dtype"] == "O":
            classes = classes.astype(object)
        if isinstance(pairs := params["class_weight"], list):
            params["class_weight"] = dict(pairs)
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{_FILE} is damaged ({type(error).__name__}: {error})"
        raise ValueError(T498.format(folder=folder, problem=problem)) from error
    kind = next((one for one in _KINDS if one == said), None)
    if form != _FORMAT or kind is None:
        problem = f"{_FILE} has the form {form!r} of another version"
        raise ValueError(T498.format(folder=folder, problem=problem))
    return params, (classes, kind)


def nlp_state(nlp: Language) -> JsonObject:
    """Describe a pipeline for a pickle; weights stay safetensors.

    nlp (Language): The pipeline.
    RETURNS (JsonObject): For `nlp_from_state`.
    """
    return {"config": nlp.config.to_str(), "bytes": nlp.to_bytes()}


def nlp_from_state(state: JsonMapping) -> Language:
    """Make a pipeline of its description.

    state (JsonMapping): Of `nlp_state`.
    RETURNS (Language): The pipeline.
    """
    nlp = load_model_from_config(Config().from_str(state["config"], interpolate=False), auto_fill=True)
    return nlp.from_bytes(state["bytes"])


def _scalar(value: object) -> object:
    """numpy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")  # pragma: no cover
