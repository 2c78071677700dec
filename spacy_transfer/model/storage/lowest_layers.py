"""A stored network with fewer layers."""

from collections.abc import Callable
from dataclasses import replace

from ...errors import T552
from ...json_types import JsonObject
from ...nn.encoders.encoder import Encoder
from .snapshot import StoredNetwork

# What families call the number of layers, and lists with a value for each layer.
_NUMBERS = ("num_hidden_layers", "n_layers", "encoder_layers", "num_layers")
_LISTS = ("attention_window", "layer_types")


def lowest_layers(
    stored: StoredNetwork, rebuild: Callable[[JsonObject], Encoder], *, have: int, keep: int, name: str
) -> StoredNetwork:
    """Leave out the layers above a depth. Norms after the last layer stay, after another one.

    stored (StoredNetwork): The network, without an adapter.
    rebuild (Callable): Makes an encoder of a record; see `EncoderLoader`.
    have (int): Layers of its encoder.
    keep (int): Layers to keep.
    name (str): Of the component, for the message.
    RETURNS (StoredNetwork): With its lowest layers, pooling and head.
    RAISES (ValueError): T552 for a configuration that cannot be changed.
    """
    config = dict(stored.record["config"])
    numbers = [key for key in _NUMBERS if config.get(key) == have]
    # Layers of one group share weights, and which are in it depends on how many there are.
    if not numbers or (config.get("num_hidden_groups") or 1) > 1:
        raise ValueError(T552.format(name=name, family=config["model_type"]))
    config.update(dict.fromkeys(numbers, keep))
    config.update({key: config[key][:keep] for key in _LISTS if isinstance(config.get(key), list)})
    record = {**stored.record, "config": config}
    own = {f"encoder.{key}" for key in rebuild(record).state_dict()}
    weights = {key: value for key, value in stored.weights.items() if not key.startswith("encoder.") or key in own}
    return replace(stored, record=record, weights=weights)
