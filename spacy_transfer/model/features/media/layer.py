"""The Thinc layer of picture and sound features: documents to standardized vectors, one that is learned for none."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from torch import Tensor

from ....errors import T841, T842, T842_ALL, T842_ONE, T843, T848_AUDIO, T848_IMAGE
from ....log import announce
from ...learning.thinc_optimizers import array_of, from_xp
from ..layer import Backprop, deviations
from .contents import Content, Unreadable, content_of, shown_text
from .settings import MediaSettings
from .shim import MediaShim

# Training documents of whose vectors mean and deviation are taken, from all of them.
_MEASURED = 256
# Of the root mean square of all deviations: what hardly differs in these may be something else in others.
_LEAST_DEVIATION = 0.1
_NAMED = 5  # pictures in a message
_AT_ONCE = 16  # documents whose files are in memory together


def make_media_features(settings: MediaSettings, lr_factor: float) -> Model:
    """Vectors of pictures or sounds.

    settings (MediaSettings): The block.
    lr_factor (float): Factor on the learning rate of the encoder and of the vector for none.
    RETURNS (Model[list[Doc], Floats2d]): As wide as the encoder.
    """
    return Model(
        f"{settings.kind}_features",
        _forward,
        init=_init,
        dims={"nO": None},
        # Mean and deviation are measured, never learned: no gradient arrives, so no optimizer moves them.
        params={"missing": None, "mean": None, "deviation": None},
        shims=[MediaShim(settings)],
        attrs={"lr_factor": lr_factor, "fits_data": True, "sources": [f"_.{settings.attribute}"]},
    )


def shims_of(features: Model) -> list[MediaShim]:
    """The encoders of pictures and sounds in a layer and those below it.

    features (Model[list[Doc], Floats2d]): Any layer.
    """
    return [shim for node in features.walk() for shim in node.shims if isinstance(shim, MediaShim)]


def _init(model: Model, X: Sequence[Doc] | None = None, Y: Floats2d | None = None) -> Model:
    if not X:
        return model
    shim = _shim_of(model)
    shim.load()
    lost, given = dict[int, Unreadable](), list[Doc]()
    for place, doc in enumerate(X):
        # One after the other: all together may be more than fits in memory.
        try:
            if (content := _content(shim, doc)) is not None:
                shim.medium.check(content)
                given.append(doc)
        except Unreadable as error:
            lost[place] = error
    _tell(shim, X, lost, len(given) + len(lost))
    found, _ = _contents(shim, given[:: -(-len(given) // _MEASURED) or 1])
    chosen = [content for content in found if content is not None]
    if not chosen:
        raise ValueError(T842.format(attribute=shim.settings.attribute, where=T842_ALL))
    unread, vectors = shim.encode(chosen, False)
    if len(unread) == len(chosen):
        raise ValueError(T842.format(attribute=shim.settings.attribute, where=T842_ALL))
    mean, deviation = deviations(vectors.cpu().numpy())
    usual = float(np.sqrt((deviation[deviation != 1.0] ** 2).mean())) if (deviation != 1.0).any() else 1.0
    model.set_dim("nO", len(mean), force=True)
    model.set_param("mean", model.ops.asarray1f(mean.astype(np.float32)))
    model.set_param(
        "deviation", model.ops.asarray1f(np.maximum(deviation, _LEAST_DEVIATION * usual).astype(np.float32))
    )
    model.set_param("missing", model.ops.alloc1f(len(mean)))
    return model


def _forward(model: Model, docs: Sequence[Doc], is_train: bool) -> tuple[Floats2d, Backprop]:
    shim, ops = _shim_of(model), model.ops
    parts = [_encoded(shim, docs[i : i + _AT_ONCE], is_train) for i in range(0, len(docs), _AT_ONCE)]
    known = np.concatenate([part[0] for part in parts] or [np.zeros(0, dtype=bool)])
    there, none = ops.asarray(known), ops.asarray(~known)
    vectors = torch.cat([part[1] for part in parts] or [shim.encode([], is_train)[1]])
    mean, deviation = (from_xp(model.get_param(name), vectors.device) for name in ("mean", "deviation"))
    standardized = (vectors - mean) / deviation
    out = ops.alloc2f(len(docs), model.get_dim("nO"))
    out[none] = model.get_param("missing")
    out[there] = array_of(standardized.detach(), ops.xp)

    def backprop(d_out: Floats2d) -> list[Doc]:
        """Give the vector for none its gradient, and the encoder its own where it is tuned."""
        model.inc_grad("missing", ops.asarray1f(d_out[none].sum(axis=0)))
        if standardized.requires_grad:
            standardized.backward(from_xp(ops.as_contig(d_out[there]), vectors.device))
        return []

    return out, backprop


def _encoded(shim: MediaShim, docs: Sequence[Doc], is_train: bool) -> tuple[NDArray[np.bool_], Tensor]:
    """Which of some documents have a vector, and these."""
    contents, lost = _contents(shim, docs)
    places = [place for place, content in enumerate(contents) if content is not None]
    unread, vectors = shim.encode([content for content in contents if content is not None], is_train)
    n_given = len(places) + len(lost)
    lost |= {places[i]: error for i, error in unread.items()}
    _tell(shim, docs, lost, n_given)
    there = np.zeros(len(docs), dtype=bool)
    there[[place for place in places if place not in lost]] = True
    return there, vectors


def _shim_of(model: Model) -> MediaShim:
    shim: MediaShim = model.shims[0]
    return shim


def _contents(shim: MediaShim, docs: Sequence[Doc]) -> tuple[list[Content | None], dict[int, Unreadable]]:
    """What each document has; None where that is nothing, or cannot be read.

    RAISES (ValueError): T842 where nothing may be missing, T848 for values of other types.
    """
    lost, found = dict[int, Unreadable](), list[Content | None]()
    for place, doc in enumerate(docs):
        try:
            found.append(_content(shim, doc))
        except Unreadable as error:
            lost[place] = error
            found.append(None)
    return found, lost


def _content(shim: MediaShim, doc: Doc) -> Content | None:
    """What a document has; None where that is nothing, and may be.

    RAISES (Unreadable): Where it cannot be read.
    RAISES (ValueError): As `_contents`.
    """
    settings = shim.settings
    is_sound = settings.kind == "audio"
    more = T848_AUDIO if is_sound else T848_IMAGE
    content = content_of(doc, settings.attribute, settings.root, more, has_rate=is_sound)
    if content is None and settings.missing == "error":
        where = T842_ONE.format(text=shown_text(doc))
        raise ValueError(T842.format(attribute=settings.attribute, where=where))
    return content


def _tell(shim: MediaShim, docs: Sequence[Doc], lost: dict[int, Unreadable], n_given: int) -> None:
    """Say what cannot be read, each once.

    RAISES (ValueError): T841 where it may not be skipped.
    """
    settings = shim.settings
    if lost and settings.unreadable == "error":
        place = min(lost)
        raise ValueError(
            T841.format(
                name=lost[place].name, attribute=settings.attribute, what=settings.what, reason=lost[place].reason,
                text=shown_text(docs[place]),
            )
        )  # fmt: skip
    new = {error.name: error.reason for _, error in sorted(lost.items()) if error.name not in shim.told}
    if not new:
        return
    shim.told |= set(new)
    names = ", ".join(f"{name} ({reason})" for name, reason in list(new.items())[:_NAMED])
    more = f", and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
    whats = "pictures" if settings.kind == "image" else "sounds"
    announce(
        T843.format(n=len(lost), n_given=n_given, whats=whats, attribute=settings.attribute, names=f"{names}{more}")
    )
