"""A classifier on the encoder of a `transformer` component: documents to logits by way of its listener."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model

from ..features.joining import begin, read
from ..shims.settings import Settings
from ..shims.shim import Floats
from .listener import StatesListener, body_of, find_upstream, states_on
from .shim import SharedShim


def build_shared(settings: Settings, attrs: dict[str, Any], layers: Sequence[Model] = ()) -> Model:
    """The model of `spacy-transfer.TransferClassifier.v1` with a `spacy-transfer.SharedEncoder.v1`.

    settings (Settings): The blocks.
    attrs (dict): What the component calls, where nothing differs.
    layers (Sequence[Model]): The layer of the features, if there are any.
    RAISES (ValueError): T205 for a setting that a shared encoder cannot follow.
    """
    shim = SharedShim(settings)
    listener = StatesListener(shim.builder.upstream)
    return Model(
        "transfer_classifier",
        _forward,
        dims={"nO": None},
        layers=[listener, *layers],
        # By this name `spacy debug model` looks for what has to run before.
        refs={"tok2vec": listener},
        shims=[shim],
        attrs={**attrs, "step": step, "scores": scores, "vectors": vectors, "prepare": prepare, "connect": connect},
    )


def shim_of(model: Model) -> SharedShim:
    """The shim of a classifier with a shared encoder."""
    return cast(SharedShim, model.shims[0])


def _listener(model: Model) -> StatesListener:
    return cast(StatesListener, model.layers[0])


def _received(model: Model, docs: Sequence[Doc]) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    listener = _listener(model)
    if (transformer := listener.upstream()) is not None:
        shim_of(model).meet(*body_of(transformer))
    return listener.received(docs, "transfer_textcat")


def _forward(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[Any, Any]:
    device = shim_of(model).network.device
    if is_train:
        data, give_back = _received(model, docs)
        logits, backprop = shim_of(model)(data, True, begin(model, docs, device), give_back)
    else:
        logits, backprop = shim_of(model)(states_on(docs, "transfer_textcat"), False, read(model, docs, device))
    return model.ops.asarray2f(logits), backprop


def step(model: Model, docs: Sequence[Doc], targets: Floats, known: Floats, *, dropout: float) -> float:
    """Forward, loss and backward, down to the transformer; see `SharedShim.step`."""
    data, give_back = _received(model, docs)
    n_docs = int((known > 0).any(axis=1).sum())
    joined = begin(model, docs, shim_of(model).network.device, n_docs=n_docs, dropout=dropout)
    return shim_of(model).step(data, targets, known, dropout=dropout, joined=joined, give_back=give_back)


def scores(model: Model, docs: Sequence[Doc]) -> Floats:
    """Scores (n_docs, n_labels) on the host, of documents that the transformer has seen."""
    joined = read(model, docs, shim_of(model).network.device)
    return shim_of(model).scores(states_on(docs, "transfer_textcat"), joined)


def vectors(model: Model, docs: Sequence[Doc]) -> Floats:
    """Vectors (n_docs, width) on the host, of documents that the transformer has seen."""
    return cast(Floats, shim_of(model).vectors(states_on(docs, "transfer_textcat")).cpu().numpy())


def connect(model: Model, nlp: Language | None, name: str) -> None:
    """Before `initialize`: find the transformer, learn its width, freeze in it what tuning says.

    RAISES (ValueError): T201, T202 if it is not where it should be; T061 for more frozen layers than it has.
    """
    transformer = find_upstream(nlp, name, shim_of(model).builder.upstream)
    shim = shim_of(model)
    shim.width = int(transformer.model.get_dim("nO"))
    shim.meet(*body_of(transformer))
    shim.upstream = transformer


def prepare(model: Model, docs: Sequence[Doc], targets: Floats, known: Floats, *, is_streamed: bool = False) -> None:
    """Solve the head on what the transformer gives for the training texts; see `SharedShim.prepare_head`."""
    shim = shim_of(model)
    transformer, shim.upstream = shim.upstream, None
    shim.prepare_head(
        lambda chosen: transformer.predict([docs[i] for i in chosen]).doc_data,
        targets,
        known,
        lambda chosen: read(model, [docs[i] for i in chosen], shim.network.device),
    )
