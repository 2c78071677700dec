"""The estimator `TransferClassifier`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import spacy
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted
from spacy.language import Language

from ..errors import T490, T496, T500
from ..json_types import ConfigMapping, JsonObject
from ..pipeline.factories import DEFAULT_ENCODER
from .config import COMPONENT
from .data import Array, Kind, Labels, Targets, check_texts, give_back, label_lists, read_labels
from .fitting import Fitted, fit
from .parameters import check_parameters
from .storage import classifier_of, nlp_from_state, nlp_state, read_folder, write_folder

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from ..model.learning.head_init import HeadInitBuilder
    from ..model.shims.settings import EncoderLoader, PoolingBuilder
    from ..nn.encoders.adapters import Adapter
    from ..nn.losses.loss import LossBuilder

Self = TypeVar("Self", bound="TransferClassifier")


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify texts with a pretrained Transformer, by scikit-learn's conventions.

    A thin face over a spaCy pipeline of one component, trained by the loop of `spacy transfer train`. Parameters have
    the names of the config; `spacy_transfer` has the blocks that some of them take. Whatever has no parameter is
    reached through `config`.

    encoder (str | Path | block): Folder, pipeline or hub name of a pretrained encoder; or a `ScratchEncoder(...)`.
    revision (str | None): Commit of a hub name.
    frozen_depth (int | "all"): Depths up to this one keep their weights: -1 none, 0 the embeddings, 1..L also the
        lowest layers, "all" the whole encoder.
    trainable (str): "all", or "bias_and_norm" to train only biases and norms of what is not frozen.
    lr_decay (float): Each depth learns at this share of the rate of the depth above it.
    head_lr_factor (float): Multiplies the learning rate of pooling and head.
    embeddings_lr_factor (float): Multiplies the learning rate of the embeddings.
    adapter (block | None): `LoRA()` or `IA3()`.
    pooling (str | block): "MeanPooling", "ClsPooling", "LastPooling", "MaxPooling", "AttentionPooling", "AutoPooling".
    hidden (list[int] | None): Widths of hidden layers of the head; None for a linear head.
    dropout (float): Dropout of the head.
    head_init (str | block): "RandomInit", or "LinearProbe" to fit the head on the frozen encoder first.
    loss (str | block | None): "Focal", `RDrop(loss=CrossEntropy())`; None for cross-entropy, of a softmax or of one yes
        or no per label.
    label_smoothing (float): As the loss has it, 0 <= label_smoothing < 1.
    class_weight ("balanced" | dict | None): Weights of labels; a dict has a weight for each label, others weigh 1.
    threshold (float): Score from which a label is predicted where a text may have several.
    window_length (int): Pieces in a window; longer texts are cut into several.
    window_stride (int): Pieces from the start of a window to that of the next.
    learn_rate (float | None): Peak of the learning rate. None: 1e-2 where the head alone learns, else 3e-4, which suits
        small encoders such as the default one; use 2e-5 to 1e-4 for larger ones.
    batch_size (int): Texts in a batch.
    n_epochs (int | None): Passes over the training texts. 0 only fits the head, which needs `frozen_depth="all"` and
        `head_init="LinearProbe"`; None goes on, at a constant rate, until `max_seconds` or `early_stopping` end it.
    max_seconds (float | None): Training ends at the first step after so many seconds of it, if it is not done before;
        in the last fifth of them the rate falls to 0, unless it is constant. One step is always made.
    early_stopping (bool): Hold texts out, evaluate about once an epoch and keep the weights with the best score there.
    validation_fraction (float): Share of the texts held out by `early_stopping`.
    n_iter_no_change (int): Epochs without a better score after which `early_stopping` ends.
    seed (int): Of everything random.
    lang (str): Language of the spaCy pipeline, "en"; "xx" is any, since texts are cut by the encoder's own tokenizer.
    device (str): "auto" is a GPU where there is one; "cpu", "cuda", "cuda:1".
    progress (bool): Show a progress bar while training.
    config (dict | None): Further values of the config by dotted key, {"model.piece_budget": 2048,
        "training.optimizer.weight_decay": 0.1}; "model." is the component's model block.

    After `fit`: `classes_` (n_labels,), `nlp_` the spaCy pipeline (also `nlp`), `n_steps_` updates made, `kind_` how
    labels were given, `validation_score_` the pipeline's main score (`cats_score`) on held-out texts, or None.

    EXAMPLE: A CSV file with the columns text and label, to a model that is saved.

        import csv
        from sklearn.metrics import classification_report
        from sklearn.model_selection import train_test_split
        from spacy_transfer import TransferClassifier

        with open("support.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        texts = [row["text"] for row in rows]
        labels = [row["label"] for row in rows]
        train_texts, test_texts, train_labels, test_labels = train_test_split(
            texts, labels, test_size=0.25, stratify=labels, random_state=0
        )

        classifier = TransferClassifier(frozen_depth=3, class_weight="balanced", n_epochs=4)
        classifier.fit(train_texts, train_labels)

        print(classification_report(test_labels, classifier.predict(test_texts), zero_division=0))
        print(classifier.predict_proba(["Where is my order?"]).round(3), classifier.classes_)
        classifier.save("support_model")
        nlp = TransferClassifier.load("support_model").nlp
        print(nlp("Where is my order?").cats)
    """

    def __init__(
        self,
        encoder: "str | Path | ConfigMapping | EncoderLoader" = DEFAULT_ENCODER,
        *,
        revision: str | None = None,
        frozen_depth: int | Literal["all"] = -1,
        trainable: Literal["all", "bias_and_norm"] = "all",
        lr_decay: float = 0.9,
        head_lr_factor: float = 5.0,
        embeddings_lr_factor: float = 1.0,
        adapter: "ConfigMapping | Adapter | None" = None,
        pooling: "str | ConfigMapping | PoolingBuilder" = "MeanPooling",
        hidden: list[int] | None = None,
        dropout: float = 0.1,
        head_init: "str | ConfigMapping | HeadInitBuilder" = "RandomInit",
        loss: "str | ConfigMapping | LossBuilder | None" = None,
        label_smoothing: float = 0.0,
        class_weight: Literal["balanced"] | Mapping[object, float] | None = None,
        threshold: float = 0.5,
        window_length: int = 256,
        window_stride: int = 192,
        learn_rate: float | None = None,
        batch_size: int = 16,
        n_epochs: int | None = 6,
        max_seconds: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 3,
        seed: int = 0,
        lang: str = "xx",
        device: str = "auto",
        progress: bool = False,
        config: ConfigMapping | None = None,
    ) -> None:
        self.encoder = encoder
        self.revision = revision
        self.frozen_depth = frozen_depth
        self.trainable = trainable
        self.lr_decay = lr_decay
        self.head_lr_factor = head_lr_factor
        self.embeddings_lr_factor = embeddings_lr_factor
        self.adapter = adapter
        self.pooling = pooling
        self.hidden = hidden
        self.dropout = dropout
        self.head_init = head_init
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.threshold = threshold
        self.window_length = window_length
        self.window_stride = window_stride
        self.learn_rate = learn_rate
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.max_seconds = max_seconds
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.seed = seed
        self.lang = lang
        self.device = device
        self.progress = progress
        self.config = config

    # ---- learning ------------------------------------------------------------------------------------------------

    def fit(self: Self, X: Iterable[str], y: Labels | None, sample_weight: None = None) -> Self:
        """Train on texts, from the pretrained encoder.

        X (Iterable[str]): Texts.
        y (Labels): A label (str, int, bool) for each text; or a 0/1 matrix (n_texts, n_labels), or a list of str for
            each text, where a text may have any number of labels. scikit-learn's own functions, such as
            `cross_val_score`, take the matrix, not lists.
        sample_weight (None): Not supported.
        RETURNS (TransferClassifier): Itself.
        RAISES (ValueError): T490 to T492 and T503 for texts and labels, T493 to T495 and T497 for parameters, T496 for
            `sample_weight`, and what `spacy_transfer.train` raises.
        """
        texts, targets = self._read(X, y, sample_weight, fresh=True)
        return self._take(fit(self._checked(), texts, targets), targets)

    def partial_fit(
        self: Self, X: Iterable[str], y: Labels | None, classes: ArrayLike | None = None, sample_weight: None = None
    ) -> Self:
        """Train for one epoch, at a constant learning rate, on from where the weights are.

        The first call begins with the pretrained encoder, and its labels, or `classes`, are all that there will ever
        be; later calls keep the model and read the other parameters, such as `learn_rate`. The optimizer starts again
        with each call, so give it many texts at a time.

        X (Iterable[str]): Texts.
        y (Labels): As for `fit`.
        classes (ArrayLike | None): All labels, at the first call.
        sample_weight (None): Not supported.
        RETURNS (TransferClassifier): Itself.
        RAISES (ValueError): As `fit`; T491 for a label that is not in `classes_`, T500 for a pipeline of several
            components.
        """
        if not hasattr(self, "nlp_"):
            texts, targets = self._read(X, y, sample_weight, fresh=True, classes=classes)
            params = {**self._checked(), "n_epochs": 1, "early_stopping": False, "constant_rate": True}
            return self._take(fit(params, texts, targets), targets)
        texts, targets = self._read(X, y, sample_weight, fresh=False)
        if self.nlp_.pipe_names != [COMPONENT]:
            raise ValueError(T500.format(names=self.nlp_.pipe_names))
        params = {**self._checked(), "n_epochs": 1, "early_stopping": False, "constant_rate": True}
        return self._take(fit(params, texts, targets, source=self.nlp_.to_disk), targets)

    def _read(
        self, X: object, y: Labels | None, sample_weight: object, *, fresh: bool, classes: ArrayLike | None = None
    ) -> tuple[list[str], Targets]:
        if sample_weight is not None:
            raise ValueError(T496)
        texts = check_texts(X)
        if not texts:
            raise ValueError(T490.format(problem="none at all"))
        if fresh:
            return texts, read_labels(y, len(texts), classes=classes)
        return texts, read_labels(y, len(texts), classes=self.classes_, kind=self.kind_)

    def _checked(self) -> JsonObject:
        return check_parameters(self.get_params(deep=False))

    def _take(self: Self, fitted: Fitted, targets: Targets) -> Self:
        self.nlp_: Language = fitted.nlp
        self.classes_: Array = targets.classes
        self.kind_: Kind = targets.kind
        self.n_steps_: int = fitted.n_steps
        self.validation_score_: float | None = fitted.score
        return self

    # ---- prediction ----------------------------------------------------------------------------------------------

    @property
    def nlp(self) -> Language:
        """The spaCy pipeline inside."""
        check_is_fitted(self, "nlp_")
        return self.nlp_

    def predict_proba(self, X: Iterable[str]) -> NDArray[np.float32]:
        """Score texts.

        X (Iterable[str]): Texts.
        RETURNS (NDArray[np.float32]): (n_texts, n_labels), columns in the order of `classes_`; rows sum to 1 where a
            text has exactly one label.
        RAISES (ValueError): T490 for anything but texts.
        """
        check_is_fitted(self, "nlp_")
        texts = check_texts(X)
        _, pipe = classifier_of(self.nlp_)
        scores = np.zeros((len(texts), len(self.classes_)), dtype=np.float32)
        for row, doc in zip(scores, self.nlp_.pipe(texts), strict=True):
            row[:] = [doc.cats[label] for label in pipe.labels]
        return scores

    def predict(self, X: Iterable[str]) -> Array | list[list[str]]:
        """Predict labels.

        X (Iterable[str]): Texts.
        RETURNS (Array | list[list[str]]): In the form that labels had in `fit`: (n_texts,), a 0/1 matrix (n_texts,
            n_labels), or a list of str for each text.
        RAISES (ValueError): T490 for anything but texts.
        """
        scores = self.predict_proba(X)
        if self.kind_ == "exclusive":
            best = scores.argmax(axis=1)
            return self.classes_[best]
        _, pipe = classifier_of(self.nlp_)
        return give_back(self.kind_, self.classes_, scores >= float(pipe.cfg["threshold"]))

    def score(self, X: Iterable[str], y: Labels, sample_weight: ArrayLike | None = None) -> float:
        """Measure the accuracy: the share of texts with exactly the right labels.

        X (Iterable[str]): Texts.
        y (Labels): Their labels, in the form of `fit`.
        sample_weight (ArrayLike | None): Weight of each text, (n_texts,).
        RETURNS (float): From 0 to 1.
        """
        predicted = self.predict(X)
        if self.kind_ == "lists":
            # Labels that `fit` has not seen are errors, not a reason to stop.
            found = [set(one) for one in predicted]
            correct = [set(one) == have for one, have in zip(label_lists(y), found, strict=True)]
            weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
            return float(np.average(np.asarray(correct, dtype=np.float64), weights=weights))
        return float(accuracy_score(np.asarray(y), predicted, sample_weight=sample_weight))

    # ---- files ---------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write a folder that `load` reads, and `spacy.load` too.

        folder (str | Path): Replaced, whole, if it holds a pipeline.
        RAISES (FileExistsError): T499 for a folder that holds something else.
        RAISES (OSError): T372 for a full disk.
        """
        check_is_fitted(self, "nlp_")
        write_folder(Path(folder), self.nlp_, self.get_params(deep=False), self.classes_, self.kind_)

    @classmethod
    def load(cls: type[Self], folder: str | Path) -> Self:
        """Read what `save` or `spacy transfer train` wrote. Nothing in the folder is unpickled.

        folder (str | Path): Of the pipeline.
        RETURNS (TransferClassifier): Fitted; one that was trained by command has default parameters.
        RAISES (FileNotFoundError): T498 if there is none.
        RAISES (ValueError): T498 for another pipeline.
        """
        params, known = read_folder(Path(folder))
        estimator = cls(**params)
        estimator.nlp_ = spacy.load(folder)
        _, pipe = classifier_of(estimator.nlp_, folder=Path(folder))
        kind: Kind = "exclusive" if pipe.exclusive else "lists"
        estimator.classes_, estimator.kind_ = (np.asarray(pipe.labels), kind) if known is None else known
        estimator.n_steps_, estimator.validation_score_ = 0, None
        return estimator

    def __getstate__(self) -> JsonObject:
        """What copies and pickles hold: the pipeline as config and bytes, whose weights are safetensors."""
        state = dict(super().__getstate__())
        if "nlp_" in state:
            state["nlp_"] = nlp_state(state["nlp_"])
        return state

    def __setstate__(self, state: JsonObject) -> None:
        """The inverse of `__getstate__`."""
        state = dict(state)
        if "nlp_" in state:
            state["nlp_"] = nlp_from_state(state["nlp_"])
        super().__setstate__(state)

    def __sklearn_tags__(self) -> "Tags":
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.classifier_tags.multi_label = True
        return tags
