"""The way from texts to vectors where an encoder is static: pieces are looked up and averaged, without rows."""

from collections.abc import Sequence
from itertools import chain
from typing import final

import numpy as np
import torch
from torch import Tensor

from ...nn.network import Network
from ...nn.pooling import Pooling
from ...nn.static.body import StaticBody
from ..text.known_words import KnownWords
from ..text.reader import TextReader


@final
class LookedUp:
    """Gives the vectors that the network gives, up to rounding, several times as fast.

    network (Network): With a static encoder, a mean over the states, and the largest values of their context.
    reader (TextReader): Its tokenizer and windows.
    """

    def __init__(self, network: Network, reader: TextReader) -> None:
        self._network, self._reader = network, reader
        self._words = KnownWords(reader.tokenizer)

    @classmethod
    def of(cls, network: Network, reader: TextReader) -> "LookedUp | None":
        """Take this way where it leads to the same vectors.

        network (Network): Of a classifier.
        reader (TextReader): Its tokenizer and windows.
        RETURNS (LookedUp | None): None for an encoder that is not static, another pooling, or a head that reads
            states.
        """
        body, pooling = network.encoder.body, network.pooling
        if not isinstance(body, StaticBody) or reader.tokenizer.n_special or not isinstance(pooling, Pooling):
            return None
        fits = pooling.n_largest == body.n_context and network.head.reads == "vectors"
        return cls(network, reader) if fits else None

    def vectors(self, texts: Sequence[str]) -> Tensor | None:
        """Average the states of each text.

        texts (Sequence[str]): The texts.
        RETURNS (Tensor | None): (n_texts, width), on the network's device; None where a text is longer than a row: its
            windows know what is read of it.
        """
        body = self._network.encoder.body
        pieces = self._words.encode(texts)
        counts = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
        if not isinstance(body, StaticBody) or not len(counts) or counts.max() > self._reader.windows.length:
            return None
        if not counts.all():
            # As a row of its own has it: piece 0 stands in.
            pieces = [one or [0] for one in pieces]
            counts = np.maximum(counts, 1)
        ids = np.fromiter(chain.from_iterable(pieces), dtype=np.int64, count=int(counts.sum()))
        starts = counts.cumsum() - counts
        device = self._network.device
        return body.pooled(torch.from_numpy(ids).to(device), torch.from_numpy(starts).to(device))
