"""The architecture `spacy-transfer.MaskedLM.v1`: an encoder learns from raw texts by predicting masked pieces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model

from ...nn.devices.precision import Precision
from ...pipeline.masked_lm import PIECES
from ..shims.masked_lm_shim import MaskedLMSettings, MaskedLMShim
from ..shims.settings import EncoderLoader
from ..text.reader import Document
from ..text.text import Text
from ..text.windows import Row, Windows

# Model[list[Doc], Floats2d]; thinc's own type variables say nothing to mypy through spaCy's stubs.
Predictor: TypeAlias = Model


def build_masked_lm(
    *,
    encoder: Any,
    windows: Any,
    text: Any = None,
    share: float = 0.15,
    seed: int = 0,
    piece_budget: int | Literal["auto"] = "auto",
    precision: Precision = "auto",
    device: str = "auto",
) -> Predictor:
    """An encoder, and a head whose output weights are the vectors of the pieces themselves.

    encoder: `spacy-transfer.PretrainedEncoder.v1` or `ScratchEncoder`, whose pieces are made of the training texts.
    windows: `spacy-transfer.Windows.v1`: how long documents are read.
    text: `spacy-transfer.Text.v1`: what is read of a document, and how it is cleaned; None is its whole text as it is.
    share (float): Of the pieces that is chosen for prediction; 0 < share < 1.
    seed (int): Of what is chosen. piece_budget, precision, device: As in `spacy-transfer.TransferClassifier.v1`.
    RETURNS (Model[list[Doc], Floats2d]): Of each document the sum of its losses, the number of pieces asked for and of
        those that were right, (n_docs, 3).
    RAISES (ValueError): T001 for a block of the wrong kind, T005 for a number out of range.
    """
    settings = MaskedLMSettings(
        encoder=cast(EncoderLoader, encoder),
        windows=cast(Windows, windows),
        text=Text() if text is None else cast(Text, text),
        share=share,
        seed=seed,
        piece_budget=piece_budget,
        precision=precision,
        device=device,
    )
    # Plain functions that take the model, as spaCy's own `resize_output` does: they survive copying and pickling.
    attrs = {
        "hide_and_learn": hide_and_learn, "figures": figures, "initialize_network": initialize_network,
        "is_built": is_built, "save_network": save_network, "load_network": load_network,
        "computes_with": computes_with,
    }  # fmt: skip
    return Model("transfer_masked_lm", _forward, shims=[MaskedLMShim(settings)], attrs=attrs)


def shim_of(model: Predictor) -> MaskedLMShim:
    """The shim of a predictor of hidden pieces."""
    return cast(MaskedLMShim, model.shims[0])


def computes_with(model: Predictor) -> dict[str, Any]:
    """Precision, machine and versions; see `TrainingShim.computes_with`."""
    return shim_of(model).computes_with


def _forward(model: Predictor, docs: Sequence[Doc], is_train: bool) -> tuple[Any, Any]:
    return model.ops.asarray2f(figures(model, docs).astype(np.float32)), lambda d_figures: []


def _rows(model: Predictor, docs: Sequence[Doc], *, remember: bool) -> list[Document]:
    """Rows of each document: the pieces it brings along, else those of its text."""
    found: dict[int, Document] = {}
    for i, doc in enumerate(docs):
        if (ids := doc.user_data.get(PIECES)) is not None:
            found[i] = Document([Row(ids, (0, len(ids)))])
    others = [i for i in range(len(docs)) if i not in found]
    if others:
        shim = shim_of(model)
        texts = shim.settings.text.read([docs[i] for i in others])
        found.update(zip(others, shim.reader.read(texts, remember=remember), strict=True))
    return [found[i] for i in range(len(docs))]


def hide_and_learn(model: Predictor, docs: Sequence[Doc]) -> tuple[float, int]:
    """Loss and backward; see `MaskedLMShim.step`."""
    return shim_of(model).step(_rows(model, docs, remember=True))


def figures(model: Predictor, docs: Sequence[Doc]) -> NDArray[np.float64]:
    """How well hidden pieces are predicted, (n_docs, 3); see `MaskedLMShim.figures`."""
    return shim_of(model).figures(_rows(model, docs, remember=False))


def initialize_network(model: Predictor, docs: Sequence[Doc]) -> None:
    """Load or make the encoder; see `MaskedLMShim.initialize`."""
    shim = shim_of(model)
    shim.initialize(lambda: shim.settings.text.read(docs))


def is_built(model: Predictor) -> bool:
    """Whether the model has weights."""
    return shim_of(model).is_built


def save_network(model: Predictor, folder: Path) -> dict[str, Any]:
    """Write the network's files; see `TrainingShim.save`."""
    return shim_of(model).save(folder)


def load_network(model: Predictor, folder: Path, state: dict[str, Any]) -> None:
    """Read the network's files; see `TrainingShim.load`. RAISES (OSError): T082 for a damaged file."""
    shim_of(model).load(folder, state)
