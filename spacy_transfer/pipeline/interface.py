"""What a component asks of its model; each architecture has a class that answers.

A model says by `model.attrs[INTERFACE]` what makes its interface: a callable that takes the model, the class itself in
ours. It is called at each use, so that copied and pickled models have interfaces of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model, Optimizer

from ..depth_table import DepthRow
from ..json_types import JsonObject
from .explanations.attribution import Attribution, Exactness

Floats = NDArray[np.float32]
INTERFACE = "transfer_interface"


@dataclass(frozen=True)
class ConfidenceFit:
    """What the confidence that a document has one of the known labels is computed from.

    means (Floats): Mean vector of each group of documents, multiplied by the whitening, (n_groups, width).
    whitening (Floats): The Mahalanobis distance of x and y is the length of (x - y) @ whitening, (width, width).
    center (Floats): Mean of all documents, multiplied by the background, (width,).
    background (Floats): As the whitening, of all documents as one group, (width, width).
    prototypes (Floats): Means of small clusters of documents of a group, (n_prototypes, width).
    weights (Floats): On the squared distance to the center less that to the nearest mean, on the log odds of the best
        label, and on how close the nearest prototype is, (3,).
    quantiles (Floats): Of their sum over documents with known labels: 0 %, 1 %, ... 100 %, (101,).
    """

    means: Floats
    whitening: Floats
    center: Floats
    background: Floats
    prototypes: Floats
    weights: Floats
    quantiles: Floats


@runtime_checkable
class NetworkInterface(Protocol):
    """A model around one torch network."""

    @property
    def is_built(self) -> bool:
        """Whether the model has weights."""

    @property
    def sources(self) -> list[str]:
        """Names of what is read of documents: texts, and attributes that are features."""

    @property
    def media(self) -> dict[str, str]:
        """Names of attributes that hold pictures or sounds, bare, and the folder where their relative paths start;
        empty for that of the file."""

    def computes_with(self) -> JsonObject:
        """Describe how the network computes.

        RETURNS (JsonObject): Exactness, machine and versions, JSON-able.
        """

    def save(self, folder: Path) -> JsonObject:
        """Write the network's files.

        folder (Path): An existing folder.
        RETURNS (JsonObject): What `load` needs besides the files, JSON-able.
        """

    def load(self, folder: Path, state: JsonObject) -> None:
        """Read the network's files.

        folder (Path): Where `save` wrote them.
        state (JsonObject): What `save` gave.
        RAISES (OSError): T082 for a damaged file.
        """


@runtime_checkable
class ClassifierInterface(NetworkInterface, Protocol):
    """A model that scores labels: `spacy-transfer.TransferClassifier.v1`."""

    @property
    def exclusive(self) -> bool:
        """Whether its loss is for exactly one label a document."""

    # ---- before training -----------------------------------------------------------------------------------------

    def fit_features(self, docs: Sequence[Doc]) -> None:
        """Initialize the features; before `initialize`, whose head gets their width.

        docs (Sequence[Doc]): The training documents.
        RAISES (ValueError): T215 to T221 for documents that lack what the features are made of.
        """

    def initialize(
        self, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float], docs: Sequence[Doc]
    ) -> None:
        """Load the encoder and make a new head.

        labels (Sequence[str]): All labels.
        positives (Sequence[float]): Sum of each label's targets over the training data.
        n_known (Sequence[float]): Documents annotated for each label.
        docs (Sequence[Doc]): The training documents.
        RAISES (ValueError): What the blocks find wrong.
        """

    def prepare(self, docs: Sequence[Doc], targets: Floats, known: Floats, *, is_streamed: bool = False) -> None:
        """Show the network what it will be trained on: caches expect it, and the head may be fitted on it.

        docs (Sequence[Doc]): All training documents, or the first of a stream.
        targets (Floats): 0..1, (n_docs, n_labels).
        known (Floats): 0 where the annotation is missing, (n_docs, n_labels).
        is_streamed (bool): The documents never come again.
        RAISES (ValueError): T064, T147 for a head that cannot be fitted.
        """

    def made_of_texts(self) -> list[str]:
        """Names of the blocks that take something from the annotated training texts, other than labels."""

    def weigh_labels(self, labels: Sequence[str]) -> bool:
        """Weigh labels as the config says, in place of what was stored.

        labels (Sequence[str]): All, in order.
        RETURNS (bool): False where the config says "balanced" and the stored weights are not.
        RAISES (ValueError): T034 for a weight whose label does not exist.
        """

    def resize(self, n_labels: int, labels: Sequence[str]) -> None:
        """Make room for new labels; before `initialize` there is nothing to do.

        n_labels (int): Of all labels.
        labels (Sequence[str]): All of them, for what starts from names.
        """

    def describe(self) -> Sequence[DepthRow]:
        """Per depth: weights, trainable weights, rate factor; top first."""

    # ---- prediction ----------------------------------------------------------------------------------------------

    def awaited(self) -> Sequence[int]:
        """Name labels that were added and not yet trained, by their place: they score 0."""

    def scores(self, docs: Sequence[Doc]) -> Floats:
        """Compute scores.

        docs (Sequence[Doc]): At least one.
        RETURNS (Floats): (n_docs, n_labels), on the host.
        """

    def vectors(self, docs: Sequence[Doc]) -> Floats:
        """Compute document vectors, as the pooling gives them, without features.

        docs (Sequence[Doc]): Any number.
        RETURNS (Floats): (n_docs, width), on the host.
        """

    @property
    def has_confidence(self) -> bool:
        """Whether it can tell how sure it is that a document has one of its labels."""

    def judge(self, docs: Sequence[Doc]) -> tuple[Floats, Floats | None]:
        """Compute scores and confidence in one go.

        docs (Sequence[Doc]): At least one.
        RETURNS (tuple[Floats, Floats | None]): Scores, (n_docs, n_labels), and confidence, (n_docs,), on the host; None
            where it has none.
        """

    def set_confidence(self, fit: ConfidenceFit | None) -> None:
        """Keep what the confidence is computed from, until weights change.

        fit (ConfidenceFit | None): None for no confidence.
        """

    # ---- learning ------------------------------------------------------------------------------------------------

    def step(self, docs: Sequence[Doc], targets: Floats, known: Floats, *, dropout: float) -> float:
        """Forward, loss and backward; gradients are summed.

        docs (Sequence[Doc]): The documents of a batch.
        targets (Floats): 0..1, (n_docs, n_labels).
        known (Floats): 0 where the annotation is missing, (n_docs, n_labels).
        dropout (float): Of the head, where its block sets none.
        RETURNS (float): Sum of the documents' losses; a tensor without dimensions for a loop that asked for one.
        """

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step network and features, both with the mean gradient over all documents since the last step, or neither.

        optimizer (Optimizer): `spacy-transfer.AdamW.v1`, or any of Thinc's.
        """

    def drop_gradients(self) -> None:
        """Forget what was summed since the last step."""

    def loss_gradient(self, logits: Floats, targets: Floats, known: Floats) -> tuple[float, Floats]:
        """Compute the loss of logits that the caller has.

        logits (Floats): (n_docs, n_labels).
        targets (Floats): 0..1, (n_docs, n_labels).
        known (Floats): 0 where the annotation is missing, (n_docs, n_labels).
        RETURNS (tuple[float, Floats]): Mean of the documents' losses, and its gradient on the logits.
        """

    def set_epoch(self, epoch: int) -> None:
        """Let unfreezing by epochs follow.

        epoch (int): From 0.
        """

    def forget_texts(self) -> None:
        """Free what is remembered of texts for the next epoch."""

    def scale_logits(self, factor: float) -> None:
        """Multiply all logits, by the weights of the head.

        factor (float): Above 0.
        """

    def merge_adapter(self) -> int:
        """Add the adapter to the encoder's weights.

        RETURNS (int): Weights the adapter had; 0 if there is none.
        """


@runtime_checkable
class TextInterface(Protocol):
    """A classifier that can score texts for which there are no documents."""

    @property
    def reads_whole_texts(self) -> bool:
        """Whether the text is all that it reads of a document."""

    def scores_of_texts(self, texts: Sequence[str]) -> Floats:
        """Compute scores.

        texts (Sequence[str]): As `doc.text` would give them; any number.
        RETURNS (Floats): (n_texts, n_labels), those of `scores`; one more column is the confidence, if there is one.
        """


@runtime_checkable
class GradientInterface(Protocol):
    """A classifier whose logits have gradients on the pieces of a document."""

    def attribution(self, doc: Doc, label: int, exactness: Exactness) -> Attribution:
        """Compute what each piece of a document adds to a logit.

        doc (Doc): With a text that is not empty.
        label (int): Column of the label.
        exactness (Exactness): How exactly.
        RETURNS (Attribution): Of all pieces.
        RAISES (ValueError): T742 for an encoder without a table of pieces, T743 for a label that is not trained yet.
        """


@runtime_checkable
class ExportedInterface(Protocol):
    """A classifier that was exported, and cannot learn."""

    @property
    def runtime(self) -> str:
        """What it was exported to, for messages."""


@runtime_checkable
class SharedEncoderInterface(Protocol):
    """A model whose encoder is another component's."""

    def connect(self, nlp: Language | None, name: str) -> None:
        """Find the component that runs the encoder; before `initialize`.

        nlp (Language | None): The pipeline.
        name (str): Of the classifier.
        RAISES (ValueError): T201, T202 if the other component is not where it should be; T061 for more frozen layers
            than the encoder has.
        """


@runtime_checkable
class MaskedLMInterface(NetworkInterface, Protocol):
    """A model that predicts hidden pieces: `spacy-transfer.MaskedLM.v1`."""

    def initialize(self, docs: Sequence[Doc]) -> None:
        """Load the encoder, or make it of the training documents.

        docs (Sequence[Doc]): The training documents.
        RAISES (ValueError): T135 for an encoder without a mask piece, and what the blocks find wrong.
        """

    def step(self, docs: Sequence[Doc]) -> tuple[float, int]:
        """Hide pieces, forward, loss and backward; gradients are summed.

        docs (Sequence[Doc]): The documents of a batch.
        RETURNS (tuple[float, int]): Sum of the losses of the chosen pieces, and how many were chosen.
        """

    def figures(self, docs: Sequence[Doc]) -> NDArray[np.float64]:
        """Measure how well hidden pieces are predicted; the same pieces are hidden at every call.

        docs (Sequence[Doc]): Any number.
        RETURNS (NDArray): Of each document the sum of the losses in nats, pieces asked for, pieces right, (n_docs, 3).
        """


def interface_of(model: Model | None) -> NetworkInterface | None:
    """Make the interface of a model.

    model (Model | None): Any model of Thinc.
    RETURNS (NetworkInterface | None): For this use only; None for a model of another package.
    """
    make = getattr(model, "attrs", {}).get(INTERFACE)
    made: NetworkInterface | None = None if make is None else make(model)
    return made


def classifier_of(model: Model) -> ClassifierInterface:
    """Make the interface of a classifier's model.

    model (Model): Of a component that has checked it.
    RETURNS (ClassifierInterface): For this use only.
    """
    made: ClassifierInterface = model.attrs[INTERFACE](model)
    return made


def masked_lm_of(model: Model) -> MaskedLMInterface:
    """Make the interface of a masked LM's model.

    model (Model): Of a component that has checked it.
    RETURNS (MaskedLMInterface): For this use only.
    """
    made: MaskedLMInterface = model.attrs[INTERFACE](model)
    return made


class JudgedScores(np.ndarray[tuple[int, int], np.dtype[np.float32]]):
    """Scores of documents, (n_docs, n_labels), as an array like any other; `confidence` (n_docs,) goes along."""

    confidence: Floats

    @classmethod
    def of(cls, scores: Floats, confidence: Floats) -> "JudgedScores":
        """Join both.

        scores (Floats): (n_docs, n_labels).
        confidence (Floats): (n_docs,).
        RETURNS (JudgedScores): The same array of scores.
        """
        made = scores.view(cls)
        made.confidence = confidence
        return made
