"""One vector per piece, made from a Transformer encoder: its output for each piece alone."""

import json

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ...json_types import JsonObject
from ..encoders.encoder import Encoder, in_evaluation
from ..sentence_pooling import SentenceModules

# Rows that run through the encoder together.
_TOGETHER = 512


@torch.no_grad()
def piece_vectors(encoder: Encoder, tokenizer: str, record: JsonObject) -> tuple[Tensor, list[int]]:
    """Run every piece through an encoder, framed as a text of its own.

    encoder (Encoder): With weights; modes are left as they are.
    tokenizer (str): Its tokenizer as JSON.
    record (dict): As `LoadedEncoder.record`: what it says of pooling decides which state is taken.
    RETURNS (tuple[Tensor, list[int]]): Vectors, (n_pieces, width), 0 for special pieces; and the ids of the others.
    """
    prefix, suffix = _frame(tokenizer)
    ordinary = ordinary_pieces(tokenizer, encoder.n_pieces)
    modes = SentenceModules.of(record).modes
    vectors = torch.zeros((encoder.n_pieces, encoder.width))
    with in_evaluation(encoder):
        for begin in range(0, len(ordinary), _TOGETHER):
            ids = torch.tensor([[*prefix, i, *suffix] for i in ordinary[begin : begin + _TOGETHER]])
            states = encoder(ids, torch.ones_like(ids), is_full=True).float()
            taken = (
                states[:, 0] if modes == ["cls"] else states[:, -1] if modes == ["lasttoken"] else states.mean(dim=1)
            )
            vectors[ordinary[begin : begin + _TOGETHER]] = taken
    return vectors, ordinary


def ordinary_pieces(tokenizer: str, n_pieces: int) -> list[int]:
    """Ids of the pieces that a text can have, in order.

    tokenizer (str): As JSON.
    n_pieces (int): Rows of the encoder's table.
    """
    read = Tokenizer.from_str(tokenizer)
    special = {i for i, token in read.get_added_tokens_decoder().items() if token.special}
    return sorted(i for i in read.get_vocab().values() if i not in special and i < n_pieces)


def _frame(tokenizer: str) -> tuple[list[int], list[int]]:
    """Special pieces before and after those of a text."""
    read = Tokenizer.from_str(tokenizer)
    # MiniLM's file pads to 128 pieces.
    read.no_padding()
    encoding = read.encode("a")
    inside = [i for i, special in enumerate(encoding.special_tokens_mask) if not special] or [len(encoding.ids)]
    return encoding.ids[: inside[0]], encoding.ids[inside[-1] + 1 :]


def principal_components(vectors: Tensor, n_components: int) -> Tensor:
    """Center vectors and turn them to their principal components; the same on every run.

    vectors (Tensor): (n, width).
    n_components (int): At most the width.
    RETURNS (Tensor): (n, n_components), fp32.
    """
    centered = vectors.double() - vectors.double().mean(dim=0)
    # Ascending.
    _, axes = torch.linalg.eigh(centered.T @ centered / len(centered))
    axes = axes.flip(1)[:, :n_components]
    # An axis may point either way: its largest entry shall be positive.
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    return (centered @ (axes * largest.sign())).float()


def frequency_weights(n_pieces: int, smoothing: float) -> Tensor:
    """Weights that are lower for frequent pieces. Tokenizers list their pieces by frequency, which falls as the rank
    rises (Zipf's law), so no texts need be counted.

    n_pieces (int): Pieces, the most frequent first.
    smoothing (float): Relative frequency of a piece that weighs a half; 0 weighs all alike.
    RETURNS (Tensor): 0 to 1, (n_pieces,).
    SOURCE: smooth inverse frequency: Arora et al. 2017, "A simple but tough-to-beat baseline for sentence embeddings";
        for pieces by rank: van Dongen & Tulkens 2024 (Model2Vec).
    """
    if smoothing == 0.0:
        return torch.ones(n_pieces)
    shares = 1.0 / torch.arange(1, n_pieces + 1, dtype=torch.float64)
    shares = shares / shares.sum()
    return (smoothing / (smoothing + shares)).float()


def without_frame(tokenizer: str) -> str:
    """A tokenizer that adds no special pieces: in a mean they would weigh as much as words.

    tokenizer (str): As JSON.
    """
    return json.dumps({**json.loads(tokenizer), "post_processor": None}, ensure_ascii=False)
