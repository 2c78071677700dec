"""The architecture `spacy-transfer.TransferClassifier.v1`: documents to logits."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, final

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ...errors import T001, T206, T662
from ...nn.devices.precision import Precision
from ...nn.encoders.shared_encoder import SharedEncoder
from ...nn.joined import Joined
from ...nn.losses.wrapper import LOSS
from ...pipeline.explanations.attribution import Attribution, Exactness
from ...pipeline.interface import INTERFACE, Floats
from ...pipeline.sources import WHOLE_TEXT
from ..explaining.attributing import attribute
from ..features.joining import Inputs, begin
from ..features.layer import Backprop, as_layer, make_no_features
from ..learning.augmentation import NoAugmentation
from ..shims.own_encoder_shim import OwnEncoderShim
from ..shims.settings import (
    AUGMENTATION,
    CACHE,
    CLASSIFIER,
    ENCODER,
    HEAD,
    HEAD_INIT,
    LABEL_TEXTS,
    POOLING,
    TEXT,
    TUNING,
    WINDOWS,
    Settings,
)
from ..text.text import Text
from .classifier_model import ClassifierModel, resize_output

# Model[list[Doc], Floats2d]; thinc's own type variables say nothing to mypy through spaCy's stubs.
Classifier: TypeAlias = Model


def build_transfer_classifier(
    *,
    encoder: object,
    pooling: object,
    head: object,
    loss: object,
    tuning: object,
    head_init: object,
    windows: object,
    cache: object,
    text: object = None,
    augmentation: object = None,
    label_texts: object = None,
    features: object = None,
    piece_budget: int | Literal["auto"] = "auto",
    precision: Precision = "auto",
    device: str = "auto",
    gradient_checkpointing: bool = False,
) -> Classifier:
    """A Transformer text classifier: encoder -> pooling -> head, one torch network behind one shim.

    Building it costs nothing and needs no network: weights arrive in `initialize` or `from_disk`.

    encoder (block): `spacy-transfer.PretrainedEncoder.v1`, `ScratchEncoder`, or `SharedEncoder` (a `transformer`
        component's).
    pooling (block): `spacy-transfer.MeanPooling.v1`, `ClsPooling`, `LastPooling`, `MaxPooling`, `AttentionPooling`, or
        `AutoPooling`, as the encoder's folder says.
    head (block): `spacy-transfer.Head.v1` or `LabelQueryHead`.
    loss (block): `spacy-transfer.CrossEntropy.v1` (exclusive labels) or `BinaryCrossEntropy` (any number of labels), or
        another of `nn.losses`; several can be put around each other.
    tuning (block): `spacy-transfer.Tuning.v1`: which weights move, when and how fast.
    head_init (block): What the head starts from: `spacy-transfer.RandomInit.v1` or `LinearProbe`.
    windows (block): `spacy-transfer.Windows.v1`: how long documents are read.
    cache (block): `spacy-transfer.EncoderCache.v1`: keeps what the frozen depths compute.
    text (block): `spacy-transfer.Text.v1`: what is read of a document, and how it is cleaned; None is its whole text as
        it is.
    augmentation (block): how training texts are changed: `spacy-transfer.Augmentation.v1` or `NoAugmentation`, as None
        is.
    label_texts (block): `spacy-transfer.LabelTexts.v1`, the names of labels as further texts to learn from; None is
        none.
    features (Model): what is joined to the document vectors, any layer of Thinc: `spacy-transfer.NoFeatures.v1`,
        `StaticVectors`, `Tok2VecFeatures`, `AttributeFeatures`, `JoinedFeatures`; None is none.
    piece_budget (int | "auto"): Most pieces in a micro-batch, padding included; sets the memory a step takes, not its
        result. "auto" is 4,096 on a CPU, where more is slower, and 65,536 on a GPU.
    precision (str): "auto", "fp32", "bf16" or "fp16", the encoder's arithmetic; weights stay fp32.
    device (str): "auto" (that of Thinc's ops), "cpu", "cuda", "cuda:1", "mps".
    gradient_checkpointing (bool): Compute the states of the trainable layers again in the backward pass instead of
        keeping them: less memory, a third more time, the same result.
    RETURNS (Model[list[Doc], Floats2d]): Logits, (n_docs, n_labels).
    RAISES (ValueError): T001 for a block of the wrong kind, T662 for texts of labels beside features.
    """
    settings = Settings(
        encoder=ENCODER.check(encoder, CLASSIFIER),
        pooling=POOLING.check(pooling, CLASSIFIER),
        head=HEAD.check(head, CLASSIFIER),
        loss=LOSS.check(loss, CLASSIFIER),
        tuning=TUNING.check(tuning, CLASSIFIER),
        head_init=HEAD_INIT.check(head_init, CLASSIFIER),
        windows=WINDOWS.check(windows, CLASSIFIER),
        cache=CACHE.check(cache, CLASSIFIER),
        text=Text() if text is None else TEXT.check(text, CLASSIFIER),
        augmentation=AUGMENTATION.check(NoAugmentation() if augmentation is None else augmentation, CLASSIFIER),
        label_texts=None if label_texts is None else LABEL_TEXTS.check(label_texts, CLASSIFIER),
        piece_budget=piece_budget,
        precision=precision,
        device=device,
        gradient_checkpointing=gradient_checkpointing,
    )
    features = make_no_features() if features is None else features
    if not isinstance(features, Model):
        want, got = "features, a layer of Thinc", type(features).__name__
        raise ValueError(T001.format(field="features", arch=CLASSIFIER, want=want, got=got))
    layer = as_layer(features)
    layers = [] if layer is None else [layer]
    if layers and settings.label_texts is not None:
        raise ValueError(T662)
    if isinstance(encoder, SharedEncoder):
        return _shared(settings, layers)
    return Model(
        "transfer_classifier",
        _forward,
        dims={"nO": None},
        layers=layers,
        shims=[OwnEncoderShim(settings)],
        attrs={INTERFACE: OwnEncoderClassifier, "resize_output": resize_output},
    )


def _shared(settings: Settings, layers: list[Model]) -> Classifier:
    try:
        # Here, since everything else also works without spacy-transformers.
        from ..shared.architecture import build_shared
    except ImportError as error:
        raise ImportError(T206) from error
    return build_shared(settings, layers)


def _forward(model: Classifier, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    return OwnEncoderClassifier(model).forward(docs, is_train)


@final
class OwnEncoderClassifier(ClassifierModel):
    """A classifier that reads the texts of documents with an encoder of its own.

    model (Model[list[Doc], Floats2d]): The model.
    """

    @property
    def shim(self) -> OwnEncoderShim:
        """The shim around the network."""
        shim: OwnEncoderShim = self.model.shims[0]
        return shim

    def texts(self, docs: Sequence[Doc]) -> list[str]:
        """The text of each document, as the `text` block reads it."""
        return self.shim.settings.text.read(docs)

    def forward(self, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
        """Thinc's protocol.

        docs (Sequence[Doc]): The documents.
        is_train (bool): Whether the gradient of the logits will come back.
        RETURNS (tuple): Logits, (n_docs, n_labels), and what takes their gradient.
        """
        features = begin(self.model, docs, self.shim.network.device) if is_train else self.read(docs)
        logits, backprop = self.shim(Inputs(self.texts(docs), features), is_train)
        return self.model.ops.asarray2f(logits), backprop

    def initialize(
        self, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float], docs: Sequence[Doc]
    ) -> None:
        """Load the encoder, or make it of the documents, and make a new head; see the shim."""
        self.shim.initialize(labels, positives, n_known, lambda: self.texts(docs))
        self.model.set_dim("nO", len(labels), force=True)

    def prepare(self, docs: Sequence[Doc], targets: Floats, known: Floats, *, is_streamed: bool = False) -> None:
        """Let the cache expect the texts, and fit the head on them where its block says so; see the shim."""

        def join(chosen: Sequence[int]) -> Joined:
            """Read the features of some documents."""
            return self.read([docs[i] for i in chosen]).joined

        self.shim.prepare(self.texts(docs), targets, known, join, is_streamed=is_streamed)

    def scores(self, docs: Sequence[Doc]) -> Floats:
        """Compute scores, (n_docs, n_labels), on the host."""
        return self.shim.scores(Inputs(self.texts(docs), self.read(docs)))

    @property
    def reads_whole_texts(self) -> bool:
        """Whether the text is all that it reads of a document."""
        return not self.model.layers and self.sources == [WHOLE_TEXT]

    def scores_of_texts(self, texts: Sequence[str]) -> Floats:
        """Compute scores of texts, (n_texts, n_labels), on the host; one more column is the confidence, if any."""
        scores, confidence = self.shim.judge(Inputs(self.shim.settings.text.clean(texts)))
        return scores if confidence is None else np.column_stack([scores, confidence])

    def judge(self, docs: Sequence[Doc]) -> tuple[Floats, Floats | None]:
        """Compute scores, (n_docs, n_labels), and confidence, (n_docs,), on the host."""
        return self.shim.judge(Inputs(self.texts(docs), self.read(docs)))

    def vectors(self, docs: Sequence[Doc]) -> Floats:
        """Compute vectors, (n_docs, width), on the host, as the pooling gives them."""
        return self.shim.vectors(self.texts(docs)).cpu().numpy()

    def attribution(self, doc: Doc, label: int, exactness: Exactness) -> Attribution:
        """Compute what each piece of a document adds to a logit; its features stay as they are."""
        return attribute(self.shim, self.shim.settings.text.parts(doc), self.read([doc]).joined, label, exactness)

    def step(self, docs: Sequence[Doc], targets: Floats, known: Floats, *, dropout: float) -> float:
        """Forward, loss and backward; see the shim."""
        shim, n_docs = self.shim, int((known > 0).any(axis=1).sum())
        features = begin(self.model, docs, shim.network.device, n_docs=n_docs, dropout=dropout)
        return shim.step(Inputs(self.texts(docs), features), targets, known, dropout=dropout)

    def merge_adapter(self) -> int:
        """Add the adapter to the encoder's weights.

        RETURNS (int): Weights the adapter had; 0 if there is none.
        """
        return self.shim.merge_adapter()
