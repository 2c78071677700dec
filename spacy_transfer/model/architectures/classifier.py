"""The architecture `spacy-transfer.TransferClassifier.v1`: documents to logits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model

from ...errors import T001, T206, T223
from ...files import write_data
from ...nn.devices.precision import Precision
from ...nn.encoders.shared_encoder import SharedEncoder
from ...nn.heads.label_query import LabelQueryHead
from ...nn.heads.linear import Head
from ...nn.losses import LossBuilder
from ...nn.tuning import DepthRow, Tuning
from ..cache.cache import EncoderCache
from ..features.joining import Joined, begin, finish, read, settle
from ..features.layer import as_layer, features_of, make_no_features
from ..learning.augmentation import AugmentationBuilder, NoAugmentation
from ..learning.head_init import HeadInitBuilder
from ..learning.thinc_optimizers import forget_gradients
from ..shims.settings import EncoderLoader, PoolingBuilder, Settings
from ..shims.shim import NetworkShim
from ..storage.weights import check_file
from ..text.text import Text
from ..text.windows import Windows

Floats = NDArray[np.float32]
# Model[list[Doc], Floats2d]; thinc's own type variables say nothing to mypy through spaCy's stubs.
Classifier: TypeAlias = Model

_FEATURES = "features.msgpack"


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

    encoder: `spacy-transfer.PretrainedEncoder.v1`, `ScratchEncoder`, or `SharedEncoder` (a `transformer` component's).
    pooling: `spacy-transfer.MeanPooling.v1`, `ClsPooling`, `MaxPooling`, `AttentionPooling`, or
        `AutoPooling`, as the encoder's folder says.
    head: `spacy-transfer.Head.v1` or `LabelQueryHead`.
    loss: `spacy-transfer.CrossEntropy.v1` (exclusive labels) or `BinaryCrossEntropy` (any number of labels), or another
        of `nn.losses`; several can be put around each other.
    tuning: `spacy-transfer.Tuning.v1`: which weights move, when and how fast.
    head_init: What the head starts from: `spacy-transfer.RandomInit.v1` or `LinearProbe`.
    windows: `spacy-transfer.Windows.v1`: how long documents are read.
    cache: `spacy-transfer.EncoderCache.v1`: keeps what the frozen depths compute.
    text: `spacy-transfer.Text.v1`: what is read of a document, and how it is cleaned; None is its whole text as it is.
    augmentation: how training texts are changed: `spacy-transfer.Augmentation.v1` or `NoAugmentation`, as None is.
    features: what is joined to the document vectors, any layer of Thinc: `spacy-transfer.NoFeatures.v1`,
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
    # Plain functions that take the model, as spaCy's own `resize_output` does: they survive copying and pickling.
    attrs = {
        "step": step, "scores": scores, "vectors": vectors,
        "initialize_network": initialize_network, "is_built": is_built,
        "resize_output": resize_output, "describe": describe, "set_epoch": set_epoch,
        "prepare": prepare, "save_network": save_network, "load_network": load_network,
        "loss_gradient": loss_gradient, "merge_adapter": merge_adapter, "fit_features": fit_features,
        "finish_update": finish_update, "made_of_texts": made_of_texts, "drop_gradients": drop_gradients,
        "weigh_labels": weigh_labels, "computes_with": computes_with, "forget_texts": forget_texts,
        "exclusive": settings.loss.exclusive, "sources": list(settings.text.sources),
        "feature_sources": [name for node in features.walk() for name in node.attrs.get("sources", [])],
    }  # fmt: skip
    if isinstance(encoder, SharedEncoder):
        return _shared(settings, attrs, layers)
    shims = [NetworkShim(settings)]
    return Model("transfer_classifier", _forward, dims={"nO": None}, layers=layers, shims=shims, attrs=attrs)


def _shared(settings: Settings, attrs: dict[str, Any], layers: list[Model]) -> Classifier:
    try:
        # Here, since everything else also works without spacy-transformers.
        from ..shared.architecture import build_shared
    except ImportError as error:
        raise ImportError(T206) from error
    return build_shared(settings, attrs, layers)


def shim_of(model: Classifier) -> NetworkShim:
    """The shim of a classifier."""
    return cast(NetworkShim, model.shims[0])


def _forward(model: Classifier, docs: Sequence[Doc], is_train: bool) -> tuple[Any, Any]:
    joined = begin(model, docs, _device(model)) if is_train else read(model, docs, _device(model))
    logits, backprop = shim_of(model)(texts_of(model, docs), is_train, joined)
    return model.ops.asarray2f(logits), backprop


def texts_of(model: Classifier, docs: Sequence[Doc]) -> list[str]:
    """The text of each document, as the `text` block reads it."""
    return shim_of(model).settings.text.read(docs)


def _device(model: Classifier) -> torch.device:
    return shim_of(model).network.device


def step(model: Classifier, docs: Sequence[Doc], targets: Floats, known: Floats, *, dropout: float) -> float:
    """Forward, loss and backward; see `NetworkShim.step`."""
    joined = begin(model, docs, _device(model), n_docs=int((known > 0).any(axis=1).sum()), dropout=dropout)
    return shim_of(model).step(texts_of(model, docs), targets, known, dropout=dropout, joined=joined)


def scores(model: Classifier, docs: Sequence[Doc]) -> Floats:
    """Scores (n_docs, n_labels) on the host."""
    return shim_of(model).scores(texts_of(model, docs), read(model, docs, _device(model)))


def vectors(model: Classifier, docs: Sequence[Doc]) -> Floats:
    """Vectors (n_docs, width) on the host, as the pooling gives them; see `NetworkShim.vectors`."""
    return cast(Floats, shim_of(model).vectors(texts_of(model, docs)).cpu().numpy())


def fit_features(model: Classifier, docs: Sequence[Doc]) -> None:
    """Before `initialize_network`: initialize the features on the training documents; the head gets their width.

    RAISES (ValueError): T215 to T221 for documents that lack what the features are made of.
    """
    if (features := features_of(model)) is not None:
        features.initialize(X=list(docs))
        shim_of(model).n_features = int(features.get_dim("nO"))


def initialize_network(
    model: Classifier, labels: Sequence[str], positives: Sequence[float], n_known: Sequence[float],
    docs: Sequence[Doc] = (),
) -> None:  # fmt: skip
    """Load the encoder, make the head; see `NetworkShim.initialize`."""
    shim_of(model).initialize(labels, positives, n_known, lambda: texts_of(model, docs))
    model.set_dim("nO", len(labels), force=True)


def made_of_texts(model: Classifier) -> list[str]:
    """Names of the blocks that take something from the annotated training texts, other than labels."""
    found = shim_of(model).settings.made_of_texts()
    features = features_of(model)
    if features is not None and any("fits_data" in node.attrs for node in features.walk()):
        found.append("features")
    return found


def drop_gradients(model: Classifier) -> None:
    """Forget what was summed since the last step."""
    shim_of(model).drop_gradients()


def is_built(model: Classifier) -> bool:
    """Whether the model has weights."""
    return shim_of(model).is_built


def resize_output(model: Classifier, n_labels: int, labels: Sequence[str] = ()) -> Classifier:
    """Make room for new labels; before `initialize` there is nothing to do. labels: All, for what starts from names."""
    if shim_of(model).is_built:
        shim_of(model).resize(n_labels, labels)
        model.set_dim("nO", n_labels, force=True)
    return model


def computes_with(model: Classifier) -> dict[str, Any]:
    """Precision, machine and versions; see `TrainingShim.computes_with`."""
    return shim_of(model).computes_with


def describe(model: Classifier) -> list[DepthRow]:
    """Per depth: weights, trainable weights, rate factor; top first."""
    return shim_of(model).describe()


def set_epoch(model: Classifier, epoch: int) -> None:
    """Tell unfreezing which epoch it is."""
    shim_of(model).set_epoch(epoch)


def prepare(
    model: Classifier, docs: Sequence[Doc], targets: Floats, known: Floats, *, is_streamed: bool = False
) -> None:
    """Show the network what it will be trained on; see `NetworkShim.prepare`."""

    def join(chosen: Sequence[int]) -> Joined | None:
        return read(model, [docs[i] for i in chosen], _device(model))

    shim_of(model).prepare(texts_of(model, docs), targets, known, join, is_streamed=is_streamed)


def forget_texts(model: Classifier) -> None:
    """Drop what is remembered of texts; see `TrainingShim.forget_texts`."""
    shim_of(model).forget_texts()


def finish_update(model: Classifier, optimizer: Any) -> None:
    """Step network and features, both with the mean gradient over all documents since the last step, or neither."""
    shim = shim_of(model)
    n_docs = shim.gradients.n_docs
    shim.finish_update(optimizer)
    if (features := features_of(model)) is None:
        return
    # Asking makes a GPU be waited for; so does Thinc, for each weight, where it clips its gradient.
    if shim.was_left_out:
        forget_gradients(features)
    else:
        finish(model, optimizer, 1.0 / (n_docs or 1))


def save_network(model: Classifier, folder: Path) -> dict[str, Any]:
    """Write the network's files; see `NetworkShim.save`. Features go into a file of their own, Thinc's msgpack."""
    state = shim_of(model).save(folder)
    if (features := features_of(model)) is not None:
        settle(features)
        state["features"] = write_data(folder / _FEATURES, features.to_bytes())
    return state


def load_network(model: Classifier, folder: Path, state: dict[str, Any]) -> None:
    """Read the network's files; see `NetworkShim.load`.

    RAISES (OSError): T082 for a damaged file. RAISES (ValueError): T223 for other features than were saved.
    """
    features, checksum = features_of(model), state.get("features")
    if (features is None) != (checksum is None):
        raise ValueError(T223.format(stored=int(state.get("n_features", 0)), reason="the config has others"))
    shim_of(model).load(folder, {key: value for key, value in state.items() if key != "features"})
    if features is not None and checksum is not None:
        check_file(folder / _FEATURES, checksum)
        try:
            features.from_bytes((folder / _FEATURES).read_bytes())
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(T223.format(stored=int(state["n_features"]), reason=error)) from error
    model.set_dim("nO", int(state["n_labels"]), force=True)


def loss_gradient(model: Classifier, logits: Floats, targets: Floats, known: Floats) -> tuple[float, Floats]:
    """Mean loss of documents and its gradient on their logits; see `NetworkShim.loss_gradient`."""
    return shim_of(model).loss_gradient(logits, targets, known)


def weigh_labels(model: Classifier, labels: Sequence[str]) -> bool:
    """Weigh labels as the config says, in place of what was stored; see `NetworkLife.weigh_labels`."""
    return shim_of(model).weigh_labels(labels)


def merge_adapter(model: Classifier) -> int:
    """Add the adapter to the encoder's weights; see `NetworkShim.merge_adapter`."""
    return shim_of(model).merge_adapter()
