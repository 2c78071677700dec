"""The architecture `spacy-transfer.TransferClassifier.v1`: documents to logits."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast, final

from spacy.tokens import Doc
from thinc.api import Model

from ...errors import T001, T206
from ...nn.devices.precision import Precision
from ...nn.encoders.shared_encoder import SharedEncoder
from ...nn.heads.label_query import LabelQueryHead
from ...nn.heads.linear import Head
from ...nn.joined import Joined
from ...nn.losses import LossBuilder
from ...nn.tuning import Tuning
from ...pipeline.interface import INTERFACE, Floats
from ...pipeline.sources import WHOLE_TEXT
from ..cache.cache import EncoderCache
from ..features.joining import Inputs, begin
from ..features.layer import as_layer, make_no_features
from ..learning.augmentation import AugmentationBuilder, NoAugmentation
from ..learning.head_init import HeadInitBuilder
from ..shims.own_encoder_shim import OwnEncoderShim
from ..shims.settings import EncoderLoader, PoolingBuilder, Settings
from ..text.text import Text
from ..text.windows import Windows
from .classifier_model import ClassifierModel, resize_output

# Model[list[Doc], Floats2d]; thinc's own type variables say nothing to mypy through spaCy's stubs.
Classifier: TypeAlias = Model


def build_transfer_classifier(
    *,
    encoder: Any,
    pooling: Any,
    head: Any,
    loss: Any,
    tuning: Any,
    head_init: Any,
    windows: Any,
    cache: Any,
    text: Any = None,
    augmentation: Any = None,
    features: Any = None,
    piece_budget: int | Literal["auto"] = "auto",
    precision: Precision = "auto",
    device: str = "auto",
    gradient_checkpointing: bool = False,
) -> Classifier:
    """A Transformer text classifier: encoder -> pooling -> head, one torch network behind one shim.

    Building it costs nothing and needs no network: weights arrive in `initialize` or `from_disk`.

    encoder (Any): `spacy-transfer.PretrainedEncoder.v1`, `ScratchEncoder`, or `SharedEncoder` (a `transformer`
        component's).
    pooling (Any): `spacy-transfer.MeanPooling.v1`, `ClsPooling`, `MaxPooling`, `AttentionPooling`, or `AutoPooling`, as
        the encoder's folder says.
    head (Any): `spacy-transfer.Head.v1` or `LabelQueryHead`.
    loss (Any): `spacy-transfer.CrossEntropy.v1` (exclusive labels) or `BinaryCrossEntropy` (any number of labels), or
        another of `nn.losses`; several can be put around each other.
    tuning (Any): `spacy-transfer.Tuning.v1`: which weights move, when and how fast.
    head_init (Any): What the head starts from: `spacy-transfer.RandomInit.v1` or `LinearProbe`.
    windows (Any): `spacy-transfer.Windows.v1`: how long documents are read.
    cache (Any): `spacy-transfer.EncoderCache.v1`: keeps what the frozen depths compute.
    text (Any): `spacy-transfer.Text.v1`: what is read of a document, and how it is cleaned; None is its whole text as
        it is.
    augmentation (Any): how training texts are changed: `spacy-transfer.Augmentation.v1` or `NoAugmentation`, as None
        is.
    features (Any): what is joined to the document vectors, any layer of Thinc: `spacy-transfer.NoFeatures.v1`,
        `StaticVectors`, `Tok2VecFeatures`, `AttributeFeatures`, `JoinedFeatures`; None is none.
    piece_budget (int | "auto"): Most pieces in a micro-batch, padding included; sets the memory a step takes, not its
        result. "auto" is 4,096 on a CPU, where more is slower, and 65,536 on a GPU.
    precision (str): "auto", "fp32", "bf16" or "fp16", the encoder's arithmetic; weights stay fp32.
    device (str): "auto" (that of Thinc's ops), "cpu", "cuda", "cuda:1", "mps".
    gradient_checkpointing (bool): Compute the states of the trainable layers again in the backward pass instead of
        keeping them: less memory, a third more time, the same result.
    RETURNS (Model[list[Doc], Floats2d]): Logits, (n_docs, n_labels).
    RAISES (ValueError): T001 for a block of the wrong kind.
    """
    settings = Settings(
        encoder=cast(EncoderLoader, encoder),
        pooling=cast(PoolingBuilder, pooling),
        head=cast(Head | LabelQueryHead, head),
        loss=cast(LossBuilder, loss),
        tuning=cast(Tuning, tuning),
        head_init=cast(HeadInitBuilder, head_init),
        windows=cast(Windows, windows),
        cache=cast(EncoderCache, cache),
        text=Text() if text is None else cast(Text, text),
        augmentation=NoAugmentation() if augmentation is None else cast(AugmentationBuilder, augmentation),
        piece_budget=piece_budget,
        precision=precision,
        device=device,
        gradient_checkpointing=gradient_checkpointing,
    )
    features = make_no_features() if features is None else features
    if not isinstance(features, Model):
        arch, want = "spacy-transfer.TransferClassifier.v1", "features, a layer of Thinc"
        raise ValueError(T001.format(field="features", arch=arch, want=want, got=type(features).__name__))
    layer = as_layer(features)
    layers = [] if layer is None else [layer]
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


def _forward(model: Classifier, docs: Sequence[Doc], is_train: bool) -> tuple[Any, Any]:
    return OwnEncoderClassifier(model).forward(docs, is_train)


@final
class OwnEncoderClassifier(ClassifierModel):
    """A classifier that reads the texts of documents with an encoder of its own.

    model (Model[list[Doc], Floats2d]): The model.
    """

    @property
    def shim(self) -> OwnEncoderShim:
        """The shim around the network."""
        return cast(OwnEncoderShim, self.model.shims[0])

    def texts(self, docs: Sequence[Doc]) -> list[str]:
        """The text of each document, as the `text` block reads it."""
        return self.shim.settings.text.read(docs)

    def forward(self, docs: Sequence[Doc], is_train: bool) -> tuple[Any, Any]:
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
        """Compute scores of texts, (n_texts, n_labels), on the host."""
        return self.shim.scores(Inputs(self.shim.settings.text.clean(texts)))

    def vectors(self, docs: Sequence[Doc]) -> Floats:
        """Compute vectors, (n_docs, width), on the host, as the pooling gives them."""
        return cast(Floats, self.shim.vectors(self.texts(docs)).cpu().numpy())

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
