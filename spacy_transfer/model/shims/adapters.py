"""The life of an encoder with an adapter: build, store, rebuild, merge."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ...errors import T161
from ...json_types import JsonMapping, JsonObject
from ...nn.building import no_larger_than
from ...nn.encoders.adapters import Adapter, attach, check_same, fingerprint, is_adapter_weight, merge, reattach
from ...nn.encoders.encoder import Encoder
from ...nn.encoders.pretrained import LoadedEncoder, PretrainedEncoder
from ...nn.network import Network
from ...nn.tuning import Tuning
from ..storage.snapshot import StoredNetwork
from ..storage.weights import fill_weights, weights_of
from .settings import EncoderLoader, Settings, loads_base


def with_adapter(loaded: LoadedEncoder, tuning: Tuning) -> LoadedEncoder:
    """Put the adapter that tuning asks for into a fresh encoder, in place.

    RETURNS (LoadedEncoder): Its record tells of the adapter.
    RAISES (ValueError): T155, T156 where it finds no place, T061, T062 for wrong depths.
    """
    adapter: Adapter | None = tuning.adapter
    if adapter is None:
        return loaded
    encoder = loaded.encoder
    tuning.check(encoder.n_layers, str(loaded.record.get("source", encoder.family)))
    stored = attach(encoder, adapter, tuning.lowest_depth(encoder.n_layers))
    return replace(loaded, record={**loaded.record, "adapter": stored})


def for_disk(stored: StoredNetwork, network: Network, settings: Settings) -> StoredNetwork:
    """What `to_disk` writes: all of it, or, where the adapter says so, all but the encoder's own weights.

    RETURNS (StoredNetwork): With a record of the encoder to be loaded, its name, revision and SHA-256.
    """
    adapter: Adapter | None = settings.tuning.adapter
    if adapter is None or adapter.save == "all":
        return stored
    builder = _base_of(settings.encoder)
    base = {"name": builder.name, "revision": builder.revision, "sha256": fingerprint(network.encoder)}
    return replace(stored, record={**stored.record, "base": base}, weights=_without_base(stored.weights))


def rebuild(stored: StoredNetwork, settings: Settings) -> LoadedEncoder:
    """The encoder of a stored network, its adapter in it; `fill` loads the weights.

    RAISES (OSError): T157, T158 if only the adapter was stored and the encoder is not to be had.
    RAISES (ValueError): T160 for another adapter than the config's, T161 for a block that cannot load it.
    RAISES (ImportError): T081 if there is an adapter and no peft.
    """
    record = dict(stored.record)
    base: JsonObject | None = record.pop("base", None)
    shapes = [tuple(weight.shape) for weight in stored.weights.values()]
    if base is None:
        with no_larger_than(shapes):
            encoder = settings.encoder.rebuild(record)
    else:
        encoder = _base_of(settings.encoder).load_base(base["sha256"])
    with no_larger_than(shapes):
        _put_back(encoder, record.get("adapter"), settings.tuning.adapter)
    return LoadedEncoder(encoder, stored.tokenizer, record)


def _base_of(encoder: EncoderLoader) -> PretrainedEncoder:
    if not loads_base(encoder):
        raise ValueError(T161.format(block=type(encoder).__name__))
    return encoder


def fill(network: Network, stored: StoredNetwork) -> None:
    """Load the stored weights into a network on the encoder that `rebuild` gave.

    RAISES (OSError): T082 for weights of another network.
    """
    weights = dict(stored.weights)
    if "base" in stored.record:
        kept = _without_base(own := weights_of(network))
        weights.update((name, value) for name, value in own.items() if name not in kept)
    fill_weights(network, weights)
    network.forget_copies()


def merged(network: Network, settings: Settings, record: JsonObject) -> tuple[Settings, JsonObject, int]:
    """Merge the adapter of a network, in place.

    RETURNS (tuple): Settings and record without the adapter, and how many weights it had.
    """
    n_weights = merge(network.encoder)
    network.forget_copies()
    tuning = replace(settings.tuning, adapter=None)
    return replace(settings, tuning=tuning), {k: v for k, v in record.items() if k != "adapter"}, n_weights


def _put_back(encoder: Encoder, stored: JsonMapping | None, adapter: Adapter | None) -> None:
    if stored is None:
        if adapter is not None:
            check_same({}, adapter)
        return
    if adapter is not None:
        check_same(stored, adapter)
    reattach(encoder, stored, adapter)


def _without_base(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adapter, pooling and head."""
    return {n: value for n, value in weights.items() if not n.startswith("encoder.") or is_adapter_weight(n)}
