"""What the folder of an encoder says beyond the encoder: pooling and dense layers of sentence-transformers."""

import json
from dataclasses import asdict, is_dataclass

import torch

from ...errors import T349, T349_LENGTH, T350, T350_GONE
from ...log import announce
from ...nn.encoders.pretrained import LoadedEncoder, transformers_version
from ...nn.network import Network
from ...nn.sentence_pooling import AutoPooling, SentenceModules
from ..cache.current_pathway import CurrentPathway
from ..learning.memory import PieceBudget
from ..text.reader import TextReader
from ..text.windows import FittedWindows
from .settings import PoolingBuilder, Settings


def follow_folder(loaded: LoadedEncoder, network: Network, pooling: PoolingBuilder, windows: FittedWindows) -> None:
    """Take the weights that a sentence-transformers folder has behind its pooling, or report what is not followed.

    loaded (LoadedEncoder): The encoder, as its folder gave it.
    network (Network): On it; its pooling may get weights.
    pooling (PoolingBuilder): The block of the config.
    windows (FittedWindows): As texts will be read.
    RAISES (ValueError): T350 where weights of the folder's pooling are not there.
    """
    said = SentenceModules.from_json(loaded.record.get("sentence"))
    if said is None:
        return
    if isinstance(pooling, AutoPooling):
        wanted = network.pooling.state_dict()
        if not wanted:
            return
        found = loaded.pooling_weights
        if {n: w.shape for n, w in found.items()} != {n: w.shape for n, w in wanted.items()}:
            raise ValueError(T350.format(problems=T350_GONE))
        network.pooling.load_state_dict(dict(found))
        return
    what, length = said.beyond_mean(), said.max_length
    if length is not None and length < windows.length:
        what.append(T349_LENGTH.format(length=length, window=windows.length))
    if what:
        announce(T349.format(name=loaded.record.get("source"), what="; ".join(what)))


def pathways_on(
    network: Network, loaded: LoadedEncoder, settings: Settings, room: PieceBudget, reader: TextReader
) -> CurrentPathway:
    """Make the cached forward of a network, whose cache is valid for this encoder and this pooling only.

    network (Network): The network.
    loaded (LoadedEncoder): What it was made on.
    settings (Settings): The blocks of the config.
    room (PieceBudget): Most pieces in a micro-batch.
    reader (TextReader): Reads training texts.
    RETURNS (CurrentPathway): Documents to logits.
    """
    said = SentenceModules.from_json(loaded.record.get("sentence"))
    config = json.dumps(loaded.record["config"], sort_keys=True)
    identity = [config, loaded.encoder.attention, transformers_version(), torch.__version__]
    fields = [_fields(settings.pooling), said.to_json() if said else None]
    pooled_by = json.dumps(fields, sort_keys=True, default=str)
    return CurrentPathway(network, settings.cache, room, reader, identity, pooled_by)


def _fields(block: object) -> list[object]:
    """What tells a block from others of its kind, in every process."""
    kind = f"{type(block).__module__}.{type(block).__qualname__}"
    return [kind, asdict(block)] if is_dataclass(block) and not isinstance(block, type) else [kind]
