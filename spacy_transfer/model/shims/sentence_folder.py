"""What the folder of an encoder says beyond the encoder: pooling and dense layers of sentence-transformers."""

from ...errors import T349, T349_LENGTH, T350, T350_GONE
from ...log import announce
from ...nn.encoders.pretrained import LoadedEncoder
from ...nn.network import Network
from ...nn.sentence_pooling import AutoPooling, SentenceModules
from ..text.windows import FittedWindows
from .settings import PoolingBuilder


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
