"""The names of labels as the encoder reads them, for heads initialized from names."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import T146
from ...nn.devices.pinned import to_device
from ...nn.network import Network
from ...nn.pooling import MeanPooling
from ..text.batching import micro_batches
from ..text.collating import collate
from ..text.reader import TextReader

_SEPARATORS = re.compile(r"[\s_:/|.]+")
_BUDGET = 4096


def words_of(label: str) -> str:
    """A label's name as words: "card_lost", "card:lost", "CardLost" give "card lost".

    Words in capitals stay as they are: "HTTPError" gives "HTTP error".
    """
    split = ""
    for i, letter in enumerate(label):
        before, after = label[i - 1 : i], label[i + 1 : i + 2]
        begins = letter.isupper() and (before.islower() or (before.isupper() and after.islower()))
        split += f" {letter}" if begins else letter
    words = _SEPARATORS.sub(" ", split).split()
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in words)


def name_vectors(labels: Sequence[str], network: Network, reader: TextReader) -> Tensor:
    """The mean of the states of each name's pieces, special pieces included, as the encoder stands.

    labels (Sequence[str]): Names.
    network (Network): Left in evaluation mode.
    reader (TextReader): Of its encoder.
    RETURNS (Tensor): (n_labels, width).
    RAISES (ValueError): T146 for labels whose names give no pieces.
    """
    names = [words_of(label) for label in labels]
    pieces = reader.tokenizer.encode(names)
    if empty := [label for label, found in zip(labels, pieces, strict=True) if not found]:
        raise ValueError(T146.format(labels=empty))
    network.eval()
    documents, mean = reader.read(names, remember=False), MeanPooling().build(network.encoder.width)
    vectors = torch.zeros((len(labels), network.encoder.width), device=network.device)
    with torch.no_grad():
        for group in micro_batches(documents, _BUDGET, network.device.type, few_shapes=network.few_shapes):
            batch = collate([documents[i] for i in group], network.encoder.pad_id, network.device, network.max_pieces)
            places = to_device(group, network.device)
            vectors[places] = mean(network.encode(batch), batch.counted, batch.owner, batch.n_docs)
    return vectors
