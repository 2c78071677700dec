"""A spaCy `tok2vec` as features: its token vectors pooled, trained by the same optimizer."""

from collections.abc import Sequence
from typing import Literal

from spacy.pipeline.tok2vec import Tok2VecListener
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d, Ints2d

from ...errors import T221
from .layer import Backprop, check_lr_factor, has_no_width

_SAMPLE = 10


def make_tok2vec_features(tok2vec: Model, *, pooling: Literal["mean", "max"] = "mean", lr_factor: float = 1.0) -> Model:
    """`spacy-transfer.Tok2VecFeatures.v1`: token vectors of a `tok2vec`, one pooled vector a document.

    Its own weights learn with ours; those of a listener (`spacy.Tok2VecListener.v1`) belong to the component it listens
    to, which gets the mean gradient over the documents of each batch and steps them itself. An empty document has
    features of zeros.

    tok2vec (Model[list[Doc], list[Floats2d]]): `spacy.HashEmbedCNN.v2`, `spacy.Tok2Vec.v2`, `spacy.Tok2VecListener.v1`
        or any other.
    pooling (str): "mean" or "max" over the tokens.
    lr_factor (float): Factor on the learning rate of its weights: they start from nothing and learn at 1e-3, where a
        Transformer wants 1e-5 to 3e-4. Not for a listener.
    RETURNS (Model[list[Doc], Floats2d]): As wide as the tok2vec.
    RAISES (ValueError): T005 for a lr_factor of 0 or below, T221 for a layer that gives no vectors of tokens.
    """
    lr_factor = check_lr_factor(lr_factor)
    if not isinstance(tok2vec, Model) or has_no_width(tok2vec):
        raise ValueError(T221.format(name=type(tok2vec).__name__, got="no vectors of tokens", n_docs="some"))
    # divisor: what gradients of a listener are divided by; set by whoever knows the documents of a step.
    attrs = {"pooling": pooling, "lr_factor": lr_factor, "divisor": 1}
    return Model("tok2vec_features", _forward, init=_init, layers=[tok2vec], dims={"nO": None}, attrs=attrs)


def _init(model: Model, X: Sequence[Doc] | None = None, Y: Floats2d | None = None) -> Model:
    tok2vec = model.layers[0]
    if X is None:
        return model
    sample = [doc for doc in X if len(doc)][:_SAMPLE]
    tok2vec.initialize(X=sample or None)
    if not sample:
        model.set_dim("nO", tok2vec.get_dim("nO"), force=True)
        return model
    found = tok2vec.predict(sample)
    shapes = [getattr(one, "shape", ()) for one in found] if isinstance(found, list) else []
    if [shape[:1] for shape in shapes] != [(len(doc),) for doc in sample] or len(set(map(_width, shapes))) != 1:
        raise ValueError(T221.format(name=tok2vec.name, got="no vectors of tokens", n_docs=len(sample)))
    model.set_dim("nO", _width(shapes[0]), force=True)
    return model


def _width(shape: tuple[int, ...]) -> int:
    return int(shape[1]) if len(shape) == 2 else -1


def _forward(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    tok2vec, ops = model.layers[0], model.ops
    out = ops.alloc2f(len(docs), model.get_dim("nO"))
    filled = [i for i, doc in enumerate(docs) if len(doc)]
    if not filled:
        return out, lambda d_out: []
    listeners = [node for node in tok2vec.walk() if isinstance(node, Tok2VecListener)]
    # What a listener has received is in the order of the batch, empty documents included; elsewhere they only disturb.
    whole = is_train and any(node._batch_id is not None for node in listeners)
    states, take_back = tok2vec(list(docs) if whole else [docs[i] for i in filled], is_train)
    states = [ops.asarray2f(states[i]) for i in filled] if whole else [ops.asarray2f(one) for one in states]
    lengths = ops.asarray1i([len(one) for one in states])
    together = ops.as_contig(ops.xp.vstack(states))
    which: Ints2d | None = None
    if model.attrs["pooling"] == "max":
        pooled, which = ops.reduce_max(together, lengths)
    else:
        pooled = ops.reduce_mean(together, lengths)
    out[filled] = pooled
    divisor = model.attrs["divisor"] if listeners else 1

    def backprop(d_out: Floats2d) -> list[Doc]:
        """Give the tok2vec layer the gradient of the states that were pooled."""
        given = ops.as_contig(d_out[filled] / divisor)
        if which is None:
            d_together = ops.backprop_reduce_mean(given, lengths)
        else:
            d_together = ops.backprop_reduce_max(given, which, lengths)
        d_states = ops.unflatten(d_together, lengths)
        if whole:
            found = dict(zip(filled, d_states, strict=True))
            d_states = [found[i] if i in found else ops.alloc2f(0, out.shape[1]) for i in range(len(docs))]
        take_back(d_states)
        return []

    return out, backprop
