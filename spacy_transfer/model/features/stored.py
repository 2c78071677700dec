"""A classifier's features in its files: Thinc's msgpack, next to those of the network."""

from collections.abc import Callable
from pathlib import Path

from thinc.api import Model

from ...errors import T223
from ...files import write_data
from ...json_types import JsonObject
from .layer import features_of

_FILE, _KEY = "features.msgpack", "features"


def save_features(model: Model, folder: Path) -> JsonObject:
    """Write the features, if there are any.

    model (Model[list[Doc], Floats2d]): The model of a classifier.
    folder (Path): An existing folder.
    RETURNS (JsonObject): What joins the state of the network.
    """
    features = features_of(model)
    return {} if features is None else {_KEY: write_data(folder / _FILE, features.to_bytes())}


def without_features(model: Model, state: JsonObject) -> JsonObject:
    """Take the network's part of a state, if the features are those of the config.

    model (Model[list[Doc], Floats2d]): The model of a classifier.
    state (JsonObject): As it was saved.
    RETURNS (JsonObject): Without what `save_features` gave.
    RAISES (ValueError): T223 where only one of the two has features.
    """
    if (features_of(model) is None) != (state.get(_KEY) is None):
        raise ValueError(T223.format(stored=int(state.get("n_features", 0)), reason="the config has others"))
    return {key: value for key, value in state.items() if key != _KEY}


def load_features(model: Model, folder: Path, state: JsonObject, read: Callable[[Path, str], bytes]) -> None:
    """Read the features, if there are any; after `without_features`.

    model (Model[list[Doc], Floats2d]): The model of a classifier.
    folder (Path): Where they were written.
    state (JsonObject): As it was saved.
    read (Callable): Reads a file that must have a SHA-256.
    RAISES (OSError): T082 for a damaged file.
    RAISES (ValueError): T223 for other features than were saved.
    """
    features, checksum = features_of(model), state.get(_KEY)
    if features is None or checksum is None:
        return
    data = read(folder / _FILE, checksum)
    try:
        features.from_bytes(data)
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(T223.format(stored=int(state["n_features"]), reason=error)) from error
