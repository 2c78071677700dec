"""A static encoder: one vector per piece, made from a Transformer encoder."""

from dataclasses import dataclass

import torch

from ...checks import check_least, check_number, check_share
from ...errors import T700
from ...json_types import JsonObject
from ..encoders.encoder import Encoder
from ..encoders.pretrained import LoadedEncoder, PretrainedEncoder, build_encoder
from ..scratch.tokenizer_training import Texts, no_texts
from .body import STATIC, StaticBody
from .piece_vectors import frequency_weights, piece_vectors, principal_components, without_frame


@dataclass(frozen=True)
class StaticEncoder:
    """One vector per piece, made from a Transformer encoder: what it gives for each piece alone, turned to the
    principal components, frequent pieces weighing less. Then they are trained as any embeddings are.

    No piece knows its neighbors but through `context` and `bigrams`, so texts are looked up and averaged: a small share
    of the Transformer's time, and a few points of accuracy less.

    name (str): As in `PretrainedEncoder`. Only read by `initialize`.
    revision (str | None): As in `PretrainedEncoder`.
    width (int | None): Principal components to keep, all where the encoder is narrower; None keeps its own axes.
    smoothing (float): Relative frequency of a piece that weighs a half; frequent ones weigh less. 0 weighs all alike.
    bigrams (int): Rows of a table for pairs of neighboring pieces, which start at 0; pairs share rows by chance. 0 has
        none: then the order of the words means nothing.
    context (int): Further dimensions of a state, that a convolution makes of a piece and its two neighbors: phrases
        such as "how many", "what country". `MixedPooling` takes their largest values. 0 has none.
    word_dropout (float): Share of pieces that are left out in training, drawn anew each time.
    RAISES (ValueError): T005 for a number out of range.
    SOURCE: Tulkens & van Dongen 2024 (Model2Vec); pairs: Joulin et al. 2017 (fastText), arXiv:1607.01759;
        a convolution over vectors and its largest values: Kim 2014, arXiv:1408.5882.
    """

    name: str
    revision: str | None = None
    width: int | None = 256
    smoothing: float = 1e-4
    bigrams: int = 0
    context: int = 0
    word_dropout: float = 0.0

    def __post_init__(self) -> None:
        block = "StaticEncoder"
        if self.width is not None:
            check_least(block, self, "width", 1)
        check_least(block, self, "bigrams", 0)
        check_least(block, self, "context", 0)
        check_number(block, self, "smoothing", "smoothing >= 0", lambda value: 0.0 <= value < float("inf"))
        check_share(block, self, "word_dropout")

    def load(self, texts: Texts = no_texts) -> LoadedEncoder:
        """Make the vectors: every piece runs through the encoder once.

        texts (Callable): The training texts, which are not looked at.
        RAISES (ValueError, OSError): As `PretrainedEncoder.load`; T700 for an encoder that is static itself.
        """
        loaded = PretrainedEncoder(self.name, self.revision).load(texts)
        encoder = loaded.encoder
        if encoder.family == STATIC:
            raise ValueError(T700.format(name=self.name))
        vectors, ordinary = piece_vectors(encoder, loaded.tokenizer, loaded.record)
        found = vectors[ordinary]
        found = principal_components(found, self.width) if self.width is not None else found - found.mean(dim=0)
        found = found / found.square().mean().sqrt().clamp(min=1e-12)
        width = found.shape[1]
        config: JsonObject = {
            "model_type": STATIC, "vocab_size": encoder.n_pieces, "hidden_size": width + self.context,
            "n_bigrams": self.bigrams, "n_context": self.context, "word_dropout": self.word_dropout,
            "pad_token_id": encoder.pad_id,
        }  # fmt: skip
        body = StaticBody(config)
        with torch.no_grad():
            body.embeddings.pieces.weight.zero_()
            weights = frequency_weights(len(ordinary), self.smoothing)
            body.embeddings.pieces.weight[ordinary] = found * weights.unsqueeze(1)
            if body.embeddings.bigrams is not None:
                body.embeddings.bigrams.weight.zero_()
        kept = {key: loaded.record.get(key) for key in ("source", "revision", "license")}
        record = {"config": config, **kept}
        return LoadedEncoder(Encoder(body, config), without_frame(loaded.tokenizer), record)

    def rebuild(self, record: JsonObject) -> Encoder:
        """Build the encoder of a saved pipeline.

        RETURNS (Encoder): With arbitrary weights; the caller loads them.
        """
        return build_encoder(record)
