"""A classifier on the encoder of a `transformer` component: from documents to logits, through its listener."""

from collections.abc import Sequence
from typing import final

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ...pipeline.interface import INTERFACE, Floats, SharedEncoderInterface
from ..architectures.classifier_model import ClassifierModel, resize_output
from ..features.joining import Inputs, begin
from ..features.layer import Backprop
from ..shims.settings import Settings
from .listener import StatesListener, body_of, find_upstream, states_on
from .shim import SharedEncoderShim
from .states import GiveBack, TransformerData


def build_shared(settings: Settings, layers: Sequence[Model] = ()) -> Model:
    """The model of `spacy-transfer.TransferClassifier.v1` with a `spacy-transfer.SharedEncoder.v1`.

    settings (Settings): The blocks.
    layers (Sequence[Model]): The layer of the features, if there are any.
    RAISES (ValueError): T205 for a setting that a shared encoder cannot follow.
    """
    shim = SharedEncoderShim(settings)
    listener = StatesListener(shim.builder.upstream)
    return Model(
        "transfer_classifier",
        _forward,
        dims={"nO": None},
        layers=[listener, *layers],
        # By this name `spacy debug model` looks for what has to run before.
        refs={"tok2vec": listener},
        shims=[shim],
        attrs={INTERFACE: SharedEncoderClassifier, "resize_output": resize_output},
    )


def _forward(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    return SharedEncoderClassifier(model).forward(docs, is_train)


@final
class SharedEncoderClassifier(ClassifierModel, SharedEncoderInterface):
    """A classifier that reads the states that a `transformer` component gives.

    model (Model[list[Doc], Floats2d]): The model; its first layer is the listener.
    """

    @property
    def shim(self) -> SharedEncoderShim:
        """The shim around pooling and head."""
        shim: SharedEncoderShim = self.model.shims[0]
        return shim

    @property
    def listener(self) -> StatesListener:
        """The layer through which states arrive."""
        listener: StatesListener = self.model.layers[0]
        return listener

    def _received(self, docs: Sequence[Doc]) -> tuple[list[TransformerData], GiveBack]:
        if (transformer := self.listener.upstream()) is not None:
            self.shim.meet(*body_of(transformer))
        return self.listener.received(docs, "transfer_textcat")

    def _seen(self, docs: Sequence[Doc]) -> Inputs[TransformerData]:
        return Inputs(states_on(docs, "transfer_textcat"), self.read(docs))

    def forward(self, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
        """Thinc's protocol.

        docs (Sequence[Doc]): Documents that the transformer has seen.
        is_train (bool): Whether the gradient of the logits will come back.
        RETURNS (tuple): Logits, (n_docs, n_labels), and what takes their gradient.
        """
        if is_train:
            data, give_back = self._received(docs)
            features = begin(self.model, docs, self.shim.network.device)
            logits, backprop = self.shim(Inputs(data, features), True, give_back)
        else:
            logits, backprop = self.shim(self._seen(docs), False)
        return self.model.ops.asarray2f(logits), backprop

    def connect(self, nlp: Language | None, name: str) -> None:
        """Before `initialize`: find the transformer, learn its width, freeze in it what tuning says.

        RAISES (ValueError): T201, T202 if it is not where it should be; T061 for more frozen layers than it has.
        """
        shim = self.shim
        transformer = find_upstream(nlp, name, shim.builder.upstream)
        shim.width = int(transformer.model.get_dim("nO"))
        shim.meet(*body_of(transformer))
        shim.upstream = transformer

    def initialize(
        self, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float], docs: Sequence[Doc]
    ) -> None:
        """Make a new head; see the shim."""
        self.shim.initialize(labels, positives, n_known)
        self.model.set_dim("nO", len(labels), force=True)

    def prepare(self, docs: Sequence[Doc], targets: Floats, known: Floats, *, is_streamed: bool = False) -> None:
        """Fit the head on what the transformer gives for the training texts, where its block says so; see the shim."""
        self.shim.prepare_head(docs, targets, known, lambda chosen: self.read([docs[i] for i in chosen]).joined)

    def scores(self, docs: Sequence[Doc]) -> Floats:
        """Compute scores, (n_docs, n_labels), on the host, of documents that the transformer has seen."""
        return self.shim.scores(self._seen(docs))

    def judge(self, docs: Sequence[Doc]) -> tuple[Floats, Floats | None]:
        """Compute scores and confidence, on the host, of documents that the transformer has seen."""
        return self.shim.judge(self._seen(docs))

    def vectors(self, docs: Sequence[Doc]) -> Floats:
        """Compute vectors, (n_docs, width), on the host, of documents that the transformer has seen."""
        return self.shim.vectors(states_on(docs, "transfer_textcat")).cpu().numpy()

    def step(self, docs: Sequence[Doc], targets: Floats, known: Floats, *, dropout: float) -> float:
        """Forward, loss and backward, down to the transformer; see the shim."""
        data, give_back = self._received(docs)
        shim, n_docs = self.shim, int((known > 0).any(axis=1).sum())
        features = begin(self.model, docs, shim.network.device, n_docs=n_docs, dropout=dropout)
        return shim.step(Inputs(data, features), targets, known, dropout=dropout, give_back=give_back)

    def merge_adapter(self) -> int:
        """A shared encoder has no adapter.

        RETURNS (int): 0.
        """
        return 0
