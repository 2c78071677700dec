"""The architecture `spacy-transfer.MaskedLM.v1`: an encoder learns from raw texts by predicting masked pieces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ...json_types import JsonObject
from ...nn.devices.precision import Precision
from ...pipeline.interface import INTERFACE, MaskedLMInterface
from ...pipeline.masked_lm import PIECES
from ..features.layer import Backprop
from ..shims.masked_lm_shim import MASKED_LM, MaskedLMSettings, MaskedLMShim, Objective
from ..shims.settings import ENCODER, TEXT, WINDOWS
from ..text.reader import Document
from ..text.text import Text
from ..text.windows import Row

# Model[list[Doc], Floats2d]; thinc's own type variables say nothing to mypy through spaCy's stubs.
Predictor: TypeAlias = Model


def build_masked_lm(
    *,
    encoder: object,
    windows: object,
    text: object = None,
    share: float = 0.15,
    seed: int = 0,
    objective: Objective = "masked_lm",
    whole_words: bool = False,
    piece_budget: int | Literal["auto"] = "auto",
    precision: Precision = "auto",
    device: str = "auto",
) -> Predictor:
    """An encoder, and a head whose output weights are the vectors of the pieces themselves.

    encoder (block): `spacy-transfer.PretrainedEncoder.v1` or `ScratchEncoder`, whose pieces are made of the training
        texts.
    windows (block): `spacy-transfer.Windows.v1`: how long documents are read.
    text (block): `spacy-transfer.Text.v1`: what is read of a document, and how it is cleaned; None is its whole text as
        it is.
    share (float): Of the pieces that is chosen for prediction, or left out by "tsdae"; 0 < share < 1.
    seed (int): Of what is chosen.
    objective (str): "masked_lm" predicts hidden pieces from the others. "tsdae" leaves pieces out and predicts the
        whole text from the vector of what is left, for sentence encoders.
    whole_words (bool): The pieces of a word are chosen together.
    piece_budget (int | Literal['auto']): As in `spacy-transfer.TransferClassifier.v1`.
    precision (Precision): As in `spacy-transfer.TransferClassifier.v1`.
    device (str): As in `spacy-transfer.TransferClassifier.v1`.
    RETURNS (Model[list[Doc], Floats2d]): Of each document the sum of its losses, the number of pieces asked for and of
        those that were right, (n_docs, 3).
    RAISES (ValueError): T001 for a block of the wrong kind, T005 for a number out of range.
    """
    settings = MaskedLMSettings(
        encoder=ENCODER.check(encoder, MASKED_LM),
        windows=WINDOWS.check(windows, MASKED_LM),
        text=Text() if text is None else TEXT.check(text, MASKED_LM),
        share=share,
        seed=seed,
        objective=objective,
        whole_words=whole_words,
        piece_budget=piece_budget,
        precision=precision,
        device=device,
    )
    return Model("transfer_masked_lm", _forward, shims=[MaskedLMShim(settings)], attrs={INTERFACE: MaskedLM})


def _forward(model: Predictor, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    return model.ops.asarray2f(MaskedLM(model).figures(docs).astype(np.float32)), lambda d_figures: []


@final
class MaskedLM(MaskedLMInterface):
    """An encoder that predicts the pieces hidden from it.

    model (Model[list[Doc], Floats2d]): The model.
    """

    def __init__(self, model: Predictor) -> None:
        self.model = model

    @property
    def shim(self) -> MaskedLMShim:
        """The shim around the network."""
        shim: MaskedLMShim = self.model.shims[0]
        return shim

    @property
    def is_built(self) -> bool:
        """Whether the model has weights."""
        return self.shim.is_built

    @property
    def media(self) -> dict[str, str]:
        """No pictures, no sounds."""
        return {}

    @property
    def sources(self) -> list[str]:
        """Names of what is read of documents."""
        return list(self.shim.settings.text.sources)

    def computes_with(self) -> JsonObject:
        """Describe how the network computes: precision, machine and versions."""
        return self.shim.computes_with

    def initialize(self, docs: Sequence[Doc]) -> None:
        """Load or make the encoder; see the shim."""
        self.shim.initialize(lambda: self.shim.settings.text.read(docs))

    def step(self, docs: Sequence[Doc]) -> tuple[float, int]:
        """Hide pieces, loss and backward; see the shim."""
        return self.shim.step(self._rows(docs, remember=True))

    def figures(self, docs: Sequence[Doc]) -> NDArray[np.float64]:
        """Measure how well hidden pieces are predicted, (n_docs, 3); see the shim."""
        return self.shim.figures(self._rows(docs, remember=False))

    def _rows(self, docs: Sequence[Doc], *, remember: bool) -> list[Document]:
        """Rows of each document: the pieces it brings along, else those of its text."""
        found: dict[int, Document] = {}
        for i, doc in enumerate(docs):
            if (ids := doc.user_data.get(PIECES)) is not None:
                found[i] = Document([Row(ids, (0, len(ids)))])
        others = [i for i in range(len(docs)) if i not in found]
        if others:
            shim = self.shim
            texts = shim.settings.text.read([docs[i] for i in others])
            found.update(zip(others, shim.reader.read(texts, remember=remember), strict=True))
        return [found[i] for i in range(len(docs))]

    def save(self, folder: Path) -> JsonObject:
        """Write the network's files."""
        return self.shim.save(folder)

    def load(self, folder: Path, state: JsonObject) -> None:
        """Read the network's files.

        RAISES (OSError): T082 for a damaged file.
        """
        self.shim.load(folder, state)
