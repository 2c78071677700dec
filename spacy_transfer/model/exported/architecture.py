"""The architecture `spacy-transfer.OnnxClassifier.v1`: an exported classifier, which predicts without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias, cast, final

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model, Optimizer
from thinc.types import Floats2d

from ...depth_table import DepthRow
from ...errors import T001, T005, T540
from ...json_types import JsonObject
from ...pipeline.interface import INTERFACE, ClassifierInterface, ConfidenceFit, Floats
from ...pipeline.sources import WHOLE_TEXT
from ..features.layer import Backprop, as_layer, features_of, make_no_features, sources_of
from ..features.stored import load_features, save_features, without_features
from ..text.text import Text
from ..text.windows import Windows
from .graph_bytes import GraphBytes
from .onnx_shim import OnnxSettings, OnnxShim

ARCHITECTURE = "spacy-transfer.OnnxClassifier.v1"
RUNTIME = "ONNX Runtime"
_TOGETHER = 256  # documents whose features are computed together

# Model[list[Doc], Floats2d]; see `architectures.classifier`.
Classifier: TypeAlias = Model


def build_onnx_classifier(
    *,
    exclusive: bool,
    text: object = None,
    windows: object = None,
    features: object = None,
    piece_budget: int | Literal["auto"] = "auto",
    threads: int | Literal["auto"] = "auto",
) -> Classifier:
    """A classifier that `spacy transfer export --to onnx` made. It needs onnxruntime and tokenizers, and neither torch
    nor transformers.

    exclusive (bool): Exactly one label a document.
    text (object): `spacy-transfer.Text.v1`: what is read of a document, and how it is cleaned.
    windows (object): `spacy-transfer.Windows.v1`: how long documents are read.
    features (object): What is joined to the document vectors; None is none.
    piece_budget (int | "auto"): Most pieces in a micro-batch, padding included; "auto" is 4,096.
    threads (int | "auto"): Threads of one prediction. "auto" is what torch has, if torch is loaded, else
        OMP_NUM_THREADS, else all cores; one in a forked process.
    RETURNS (Model[list[Doc], Floats2d]): Scores, (n_docs, n_labels).
    RAISES (ValueError): T001 for a block of the wrong kind, T005 for a number out of range.
    """
    text = Text() if text is None else text
    if not isinstance(text, Text):
        _refuse_kind("text", "what is read of a document", text)
    windows = Windows() if windows is None else windows
    if not isinstance(windows, Windows):
        _refuse_kind("windows", "windows", windows)
    features = make_no_features() if features is None else features
    if not isinstance(features, Model):
        _refuse_kind("features", "features, a layer of Thinc", features)
    for field, value in (("piece_budget", piece_budget), ("threads", threads)):
        if value != "auto" and value < 1:
            raise ValueError(T005.format(block=ARCHITECTURE, field=field, value=value, want=f"{field} >= 1"))
    layer = as_layer(features)
    return Model(
        "transfer_onnx_classifier",
        _forward,
        dims={"nO": None},
        layers=[] if layer is None else [layer],
        shims=[OnnxShim(OnnxSettings(exclusive, text, windows, piece_budget, threads))],
        attrs={INTERFACE: OnnxClassifier},
    )


def _refuse_kind(field: str, want: str, got: object) -> NoReturn:
    raise ValueError(T001.format(field=field, arch=ARCHITECTURE, want=want, got=type(got).__name__))


def _forward(model: Classifier, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    if is_train:
        _refuse()
    return model.ops.asarray2f(OnnxClassifier(model).scores(docs)), lambda d_scores: _refuse()


def _refuse() -> NoReturn:
    raise ValueError(T540.format(name="transfer_onnx_classifier", runtime=RUNTIME))


@final
class OnnxClassifier(ClassifierInterface):
    """A classifier whose network was exported: it predicts, and refuses whatever would change it.

    model (Model[list[Doc], Floats2d]): The model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def shim(self) -> OnnxShim:
        """The shim around the graphs."""
        return cast(OnnxShim, self.model.shims[0])

    @property
    def runtime(self) -> str:
        """What it was exported to."""
        return RUNTIME

    @property
    def is_built(self) -> bool:
        """Whether the model has a network."""
        return self.shim.is_built

    @property
    def exclusive(self) -> bool:
        """Whether it gives exactly one label a document."""
        return self.shim.settings.exclusive

    @property
    def media(self) -> dict[str, str]:
        """No pictures, no sounds."""
        return {}

    @property
    def sources(self) -> list[str]:
        """Names of what is read of documents: texts, and attributes that are features."""
        return sources_of(self.model, self.shim.settings.text.sources)

    def computes_with(self) -> JsonObject:
        """Describe how the network computes: runtime and precision."""
        return self.shim.computes_with

    # ---- prediction ----------------------------------------------------------------------------------------------

    def scores(self, docs: Sequence[Doc]) -> Floats:
        """Compute scores, (n_docs, n_labels), on the host."""
        return self.shim.scores(self.shim.settings.text.read(docs), self._features(docs))

    def awaited(self) -> Sequence[int]:
        """Name no labels; see `ClassifierInterface`; what waits was exported with a score of 0."""
        return ()

    def vectors(self, docs: Sequence[Doc]) -> Floats:
        """Compute vectors, (n_docs, width), on the host, as the pooling gives them."""
        return self.shim.vectors(self.shim.settings.text.read(docs))

    @property
    def has_confidence(self) -> bool:
        """None can be exported."""
        return False

    def judge(self, docs: Sequence[Doc]) -> tuple[Floats, Floats | None]:
        """Compute scores, and no confidence."""
        return self.scores(docs), None

    @property
    def reads_whole_texts(self) -> bool:
        """Whether the text is all that it reads of a document."""
        return not self.model.layers and self.sources == [WHOLE_TEXT]

    def scores_of_texts(self, texts: Sequence[str]) -> Floats:
        """Compute scores of texts, (n_texts, n_labels), on the host."""
        return self.shim.scores(self.shim.settings.text.clean(texts))

    def _features(self, docs: Sequence[Doc]) -> Floats | None:
        features = features_of(self.model)
        if features is None:
            return None
        ops = features.ops
        parts = [ops.to_numpy(features.predict(list(docs[i : i + _TOGETHER]))) for i in range(0, len(docs), _TOGETHER)]
        return np.concatenate(parts).astype(np.float32) if parts else None

    def describe(self) -> Sequence[DepthRow]:
        """Nothing can be trained."""
        return []

    def forget_texts(self) -> None:
        """Nothing is kept."""
        self.shim.forget_texts()

    def weigh_labels(self, labels: Sequence[str]) -> bool:
        """There is no loss."""
        return True

    def made_of_texts(self) -> list[str]:
        """Nothing is."""
        return []

    # ---- what it refuses -----------------------------------------------------------------------------------------

    def scale_logits(self, factor: float) -> NoReturn:
        """Refuses: calibrate before the export.

        RAISES (ValueError): T540.
        """
        _refuse()

    def set_confidence(self, fit: ConfidenceFit | None) -> NoReturn:
        """Refuses.

        RAISES (ValueError): T540.
        """
        _refuse()

    def fit_features(self, docs: Sequence[Doc]) -> NoReturn:
        """Refuses.

        RAISES (ValueError): T540.
        """
        _refuse()

    def initialize(
        self, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float], docs: Sequence[Doc]
    ) -> NoReturn:
        """Refuses.

        RAISES (ValueError): T540.
        """
        _refuse()

    def prepare(self, docs: Sequence[Doc], targets: Floats, known: Floats, *, is_streamed: bool = False) -> NoReturn:
        """Refuses.

        RAISES (ValueError): T540.
        """
        _refuse()

    def resize(self, n_labels: int, labels: Sequence[str]) -> NoReturn:
        """Refuses.

        RAISES (ValueError): T540.
        """
        _refuse()

    def step(self, docs: Sequence[Doc], targets: Floats, known: Floats, *, dropout: float) -> NoReturn:
        """Refuses.

        RAISES (ValueError): T540.
        """
        _refuse()

    def finish_update(self, optimizer: Optimizer) -> NoReturn:
        """Refuses.

        RAISES (ValueError): T540.
        """
        _refuse()

    def drop_gradients(self) -> None:
        """There are none."""

    def loss_gradient(self, logits: Floats, targets: Floats, known: Floats) -> NoReturn:
        """Refuses.

        RAISES (ValueError): T540.
        """
        _refuse()

    def set_epoch(self, epoch: int) -> None:
        """Nothing follows from it."""

    def merge_adapter(self) -> int:
        """There is none: it was merged before.

        RETURNS (int): 0.
        """
        return 0

    # ---- storage -------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> JsonObject:
        """Write the network's files. Features go into a file of their own, Thinc's msgpack."""
        return {**self.shim.save(folder), **save_features(self.model, folder)}

    def load(self, folder: Path, state: JsonObject) -> None:
        """Read the network's files.

        RAISES (OSError): T082 for a damaged file, T544 for one that the runtime cannot run.
        RAISES (ValueError): T223 for other features than were saved.
        """
        self.shim.load(folder, without_features(self.model, state))
        load_features(self.model, folder, state, lambda path, sha256: GraphBytes.of_file(path, sha256).read())
        self.model.set_dim("nO", int(state["n_labels"]), force=True)
