"""Tiny encoders from scratch, and classifiers on them."""

from typing import Any

import spacy
import torch
from spacy.language import Language

from house_kit.texts import exclusive_examples, multilabel_examples
from spacy_transfer.nn.encoders.encoder import Encoder
from spacy_transfer.nn.scratch.encoder import ScratchEncoder
from spacy_transfer.nn.scratch.tokenizer_training import SPECIAL, WordLevel

NAME = "transfer_textcat"
WORDS = {"@misc": "spacy-transfer.WordLevel.v1", "min_frequency": 1}
TINY: dict[str, Any] = {
    "@misc": "spacy-transfer.ScratchEncoder.v1", "width": 16, "depth": 3, "heads": 2, "feed_forward": 24,
    "dropout": 0.0, "word_dropout": 0.0, "max_pieces": 32, "tokenizer": WORDS,
}  # fmt: skip


def classifier(
    *, multilabel: bool = False, seed: int = 0, encoder: dict[str, Any] | None = None, initialize: bool = True,
    **blocks: Any,
) -> Language:  # fmt: skip
    """A pipeline with a tiny encoder from scratch."""
    factory = f"{NAME}_multilabel" if multilabel else NAME
    model = {
        "encoder": {**TINY, **(encoder or {})}, "windows": {"length": 32, "stride": 20}, "precision": "fp32", **blocks,
    }  # fmt: skip
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": model})
    if initialize:
        torch.manual_seed(seed)
        examples = multilabel_examples(nlp) if multilabel else exclusive_examples(nlp)
        nlp.initialize(lambda: examples)
    return nlp


def builder(**fields: Any) -> ScratchEncoder:
    """The tiny encoder's block."""
    values = {key: value for key, value in TINY.items() if key != "@misc"}
    return ScratchEncoder(**{**values, "tokenizer": WordLevel(min_frequency=1), **fields})


def batch(encoder: Encoder, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random rows, padded on the right."""
    torch.manual_seed(0)
    ids = torch.randint(len(SPECIAL), encoder.body.config.vocab_size, (len(lengths), max(lengths)))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return ids * mask, mask
