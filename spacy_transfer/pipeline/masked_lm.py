"""The component `transfer_masked_lm`: an encoder learns from raw texts in the same loop as classifiers."""

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer

from ..errors import T039, T241
from ..json_types import Scores
from .interface import MaskedLMInterface, interface_of, masked_lm_of
from .length import forget_counted_steps, look_ahead
from .stored_pipe import StoredPipe

# Where a document brings its row of pieces along in place of a text: `doc.user_data[PIECES]`, ids of int32, special
# pieces included. And where a prediction leaves loss, number asked for and number right.
PIECES, FIGURES = "transfer_pieces", "transfer_masked_lm"


class MaskedLMPredictor(StoredPipe):
    """Predicts pieces that are hidden from it; what it learns with, its encoder, is what a classifier starts from.

    vocab (Vocab): The shared vocabulary.
    model (Model): A `spacy-transfer.MaskedLM.v1`.
    name (str): Name of the component.
    RAISES (ValueError): T241 for another model.
    """

    def __init__(self, vocab: Vocab, model: Model, name: str = "transfer_masked_lm") -> None:
        if not isinstance(interface_of(model), MaskedLMInterface):
            raise ValueError(T241.format(name=name, got=model.name))
        self.vocab, self.model, self.name = vocab, model, name
        self.cfg = {}

    @property
    def _net(self) -> MaskedLMInterface:
        return masked_lm_of(self.model)

    def initialize(self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None) -> None:
        """Load the encoder, or make it and its pieces of the training texts.

        get_examples (Callable): Gives the training data; read once.
        nlp (Language | None): The pipeline.
        RAISES (ValueError): T039 without data, T135 for an encoder without a mask piece, and what the blocks say.
        """
        if not callable(get_examples):
            validate_get_examples(get_examples, "MaskedLMPredictor.initialize")
        examples = list(get_examples())
        if not examples:
            raise ValueError(T039.format(name=self.name))
        validate_examples(examples, "MaskedLMPredictor.initialize")
        self._net.initialize([eg.predicted for eg in examples])
        look_ahead(nlp, examples)
        self._note_machine(nlp)

    # ---- learning ------------------------------------------------------------------------------------------------

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch. `finish_update` divides by the number of chosen pieces of all batches since the last
        step, so how the documents of a step are divided up changes nothing.

        examples (Iterable[Example]): Documents; no annotation is looked at.
        drop (float): Not used: the encoder's dropout is in its configuration.
        sgd (Optimizer | None): Steps at once; without it `finish_update` does.
        losses (dict | None): Under the component's name is added the mean loss of a chosen piece, in nats, times the
            number of documents: loops that divide by that number show the mean.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "MaskedLMPredictor.update")
        if not examples:
            return losses
        self._require_weights()
        forget_counted_steps()
        loss, n_chosen = self._net.step([eg.predicted for eg in examples])
        losses[self.name] += loss * (len(examples) / max(n_chosen, 1))
        if sgd not in (None, False):
            self.finish_update(sgd)
        return losses

    # ---- prediction ----------------------------------------------------------------------------------------------

    def predict(self, docs: Iterable[Doc]) -> NDArray[np.float64]:
        """How well hidden pieces are predicted; the same pieces are hidden at every call.

        RETURNS (NDArray): Sum of losses in nats, pieces asked for, pieces right, (n_docs, 3).
        RAISES (ValueError): T006 before `initialize`.
        """
        docs = list(docs)
        self._require_weights()
        return self._net.figures(docs)

    def set_annotations(self, docs: Iterable[Doc], scores: NDArray[np.float64]) -> None:
        """Leave the three figures in `doc.user_data[FIGURES]`."""
        for doc, row in zip(docs, scores.tolist(), strict=True):
            doc.user_data[FIGURES] = row

    def score(self, examples: Iterable[Example], **kwargs: object) -> Scores:
        """How well the hidden pieces of predicted documents were found.

        RETURNS (dict): `masked_lm_loss`, the mean loss of a hidden piece in nats; `masked_lm_score`, its
            exponential, the probability that was given to the right piece (one over the perplexity), higher is better;
            `masked_lm_acc`, the share that was right. None where nothing was hidden.
        """
        rows = [eg.predicted.user_data[FIGURES] for eg in examples if FIGURES in eg.predicted.user_data]
        loss, n, right = np.asarray(rows, dtype=np.float64).reshape(-1, 3).sum(axis=0).tolist()
        names = ("masked_lm_score", "masked_lm_loss", "masked_lm_acc")
        values = (math.exp(-loss / n), loss / n, right / n) if n else (None, None, None)
        return dict(zip(names, values, strict=True))
