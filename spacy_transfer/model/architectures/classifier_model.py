"""The interface between a component and a classifier's model, with an own or a shared encoder."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from spacy.tokens import Doc
from thinc.api import Model, Optimizer
from thinc.util import get_torch_default_device

from ...json_types import JsonObject
from ...nn.devices.precision import resolve_device
from ...nn.tuning import DepthRow
from ...pipeline.interface import ClassifierInterface, ConfidenceFit, Floats, classifier_of
from ..features.joining import FeatureBatch, finish, place, read, settle, sum_gradients
from ..features.layer import features_of, sources_of
from ..features.media.layer import shims_of
from ..features.stored import load_features, save_features, without_features
from ..learning.thinc_optimizers import forget_gradients
from ..shims.classifier_shim import ClassifierShim
from ..storage.weights import check_file


class ClassifierModel(ClassifierInterface):
    """Wraps the Thinc model of a classifier for one use: a shim around the network, and perhaps a layer of features.

    model (Model[list[Doc], Floats2d]): The model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    @abstractmethod
    def shim(self) -> ClassifierShim:
        """The shim around the network."""

    def read(self, docs: Sequence[Doc]) -> FeatureBatch:
        """Compute the features of documents that are only predicted.

        docs (Sequence[Doc]): Any number.
        RETURNS (FeatureBatch): What is joined to their vectors.
        """
        return read(self.model, docs, self.shim.network.device)

    @property
    def is_built(self) -> bool:
        """Whether the model has weights."""
        return self.shim.is_built

    @property
    def exclusive(self) -> bool:
        """Whether its loss is for exactly one label a document."""
        return self.shim.settings.loss.exclusive

    @property
    def sources(self) -> list[str]:
        """Names of what is read of documents: texts, and attributes that are features."""
        return sources_of(self.model, self.shim.settings.text.sources)

    @property
    def media(self) -> dict[str, str]:
        """Names of attributes that hold pictures or sounds, bare, and the folder where their relative paths start;
        empty for that of the file."""
        features = features_of(self.model)
        shims = [] if features is None else shims_of(features)
        return {shim.settings.attribute: shim.settings.folder for shim in shims}

    def computes_with(self) -> JsonObject:
        """Describe how the network computes: precision, machine and versions."""
        return self.shim.computes_with

    # ---- before training -----------------------------------------------------------------------------------------

    def fit_features(self, docs: Sequence[Doc]) -> None:
        """Initialize the features; the head gets their width.

        RAISES (ValueError): T215 to T221.
        """
        if (features := features_of(self.model)) is not None:
            place(features, resolve_device(self.shim.settings.device, get_torch_default_device()))
            features.initialize(X=list(docs))
            self.shim.n_features = int(features.get_dim("nO"))

    def made_of_texts(self) -> list[str]:
        """Names of the blocks that take something from the annotated training texts, other than labels."""
        found = self.shim.settings.made_of_texts()
        features = features_of(self.model)
        if features is not None and any("fits_data" in node.attrs for node in features.walk()):
            found.append("features")
        return found

    def weigh_labels(self, labels: Sequence[str]) -> bool:
        """Weigh labels as the config says, in place of what was stored; see the shim."""
        return self.shim.weigh_labels(labels)

    def resize(self, n_labels: int, labels: Sequence[str]) -> None:
        """Make room for new labels; before `initialize` there is nothing to do.

        n_labels (int): Of all labels.
        labels (Sequence[str]): All of them, for what starts from names.
        """
        if self.shim.is_built:
            self.shim.resize(n_labels, labels)
            self.model.set_dim("nO", n_labels, force=True)

    def describe(self) -> list[DepthRow]:
        """Per depth: weights, trainable weights, rate factor; top first."""
        return self.shim.describe()

    def awaited(self) -> Sequence[int]:
        """Name labels that were added and not yet trained, by their place."""
        return self.shim.network.head.awaited

    # ---- learning ------------------------------------------------------------------------------------------------

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step network and features, both with the mean gradient over all documents since the last step, or neither."""
        shim, features = self.shim, features_of(self.model)
        n_docs = shim.gradients.n_docs
        if features is not None and shim.sum_over_ranks is not None:
            n_docs = sum_gradients(features, n_docs, shim.sum_over_ranks)
        shim.finish_update(optimizer)
        if features is None:
            return
        # Asking makes a GPU be waited for; so does Thinc, for each weight, where it clips its gradient.
        if shim.was_left_out:
            forget_gradients(features)
        else:
            finish(self.model, optimizer, 1.0 / (n_docs or 1))

    def drop_gradients(self) -> None:
        """Forget what was summed since the last step."""
        self.shim.drop_gradients()

    def loss_gradient(self, logits: Floats, targets: Floats, known: Floats) -> tuple[float, Floats]:
        """Compute the mean loss of logits, and its gradient on them; see the shim."""
        return self.shim.loss_gradient(logits, targets, known)

    def set_epoch(self, epoch: int) -> None:
        """Let unfreezing by epochs follow."""
        self.shim.set_epoch(epoch)

    def forget_texts(self) -> None:
        """Free what is remembered of texts for the next epoch."""
        self.shim.forget_texts()

    def scale_logits(self, factor: float) -> None:
        """Multiply all logits, by the weights of the head.

        factor (float): Above 0.
        """
        self.shim.scale_logits(factor)

    @property
    def has_confidence(self) -> bool:
        """Whether the network knows what documents with known labels look like."""
        return self.shim.is_built and self.shim.n_groups > 0

    def set_confidence(self, fit: ConfidenceFit | None) -> None:
        """Keep what the confidence is computed from; see the shim."""
        self.shim.set_confidence(fit)

    # ---- storage -------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> JsonObject:
        """Write the network's files. Features go into a file of their own, Thinc's msgpack."""
        state = self.shim.save(folder)
        if (features := features_of(self.model)) is not None:
            settle(features)
        return {**state, **save_features(self.model, folder)}

    def load(self, folder: Path, state: JsonObject) -> None:
        """Read the network's files.

        RAISES (OSError): T082 for a damaged file.
        RAISES (ValueError): T223 for other features than were saved.
        """
        self.shim.load(folder, without_features(self.model, state))
        load_features(self.model, folder, state, _read)
        self.model.set_dim("nO", int(state["n_labels"]), force=True)


def _read(path: Path, sha256: str) -> bytes:
    check_file(path, sha256)
    return path.read_bytes()


def resize_output(model: Model, n_labels: int) -> Model:
    """Make room for new labels, as spaCy's `TrainablePipe.set_output` asks for it: by this name in the model's attrs.

    model (Model[list[Doc], Floats2d]): The model of a classifier.
    n_labels (int): Of all labels.
    RETURNS (Model[list[Doc], Floats2d]): The same model.
    """
    classifier_of(model).resize(n_labels, ())
    return model
