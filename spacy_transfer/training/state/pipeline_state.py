"""The weights of every trained component as named tensors, spacy-transfer's and others'."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from spacy.language import Language
from thinc.api import Model
from thinc.shims import Shim
from torch import Tensor

from ...model.features.media.shim import MediaShim
from ...model.learning.thinc_optimizers import from_xp
from ...model.shims.torch_shim import TorchShim
from ...model.storage.weights import weights_of


def owners(nlp: Language) -> dict[int, str]:
    """Names of what an optimizer may key by id: nodes and shims of all models, by their place in the pipeline.

    RETURNS (dict[int, str]): Thinc's ids hold for one process, and nodes and shims are counted apart: the keys are
        id * 2 for a node and id * 2 + 1 for a shim.
    """
    found: dict[int, str] = {}
    for component, i, node in _nodes(nlp):
        found.setdefault(node.id * 2, f"{component}/{i}")
        for j, shim in enumerate(node.shims):
            found.setdefault(shim.id * 2 + 1, f"{component}/{i}/{j}")
    return found


def network_shims(nlp: Language) -> dict[str, TorchShim]:
    """Our networks that have weights, by the names that `owners` gives them."""
    return {
        f"{component}/{i}/{j}": shim
        for component, i, node in _nodes(nlp)
        for j, shim in enumerate(node.shims)
        if isinstance(shim, TorchShim) and shim.is_built
    }


def all_weights(nlp: Language, *, only_trainable: bool, frozen: Sequence[str] = ()) -> dict[str, Tensor]:
    """Weights by name.

    nlp (Language): The pipeline.
    only_trainable (bool): Only what may have moved: not the frozen depths of our networks, nor the frozen components.
    frozen (Sequence[str]): Names of these.
    RETURNS (dict[str, Tensor]): The tensors themselves, not copies.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for component, i, node in _nodes(nlp):
        if id(node) in seen or (only_trainable and component in frozen):
            continue
        seen.add(id(node))
        for name in node.param_names:
            if node.has_param(name):
                found[f"{component}/{i}|{name}"] = from_xp(node.get_param(name), torch.device("cpu"))
        for j, shim in enumerate(node.shims):
            for name, value in _shim_weights(shim, only_trainable).items():
                found[f"{component}/{i}/{j}|{name}"] = value
    return found


def fill_all_weights(nlp: Language, weights: Mapping[str, Tensor]) -> list[str]:
    """Put weights in their place; those without a place are named.

    RETURNS (list[str]): Names that do not fit this pipeline.
    """
    rest = dict(weights)
    for component, i, node in _nodes(nlp):
        for name in node.param_names:
            full = f"{component}/{i}|{name}"
            if (value := rest.pop(full, None)) is None:
                continue
            if node.has_param(name) and tuple(node.get_param(name).shape) != tuple(value.shape):
                rest[full] = value
                continue
            node.set_param(name, node.ops.asarray(value.numpy().copy()))
        for j, shim in enumerate(node.shims):
            prefix = f"{component}/{i}/{j}|"
            mine = {name.removeprefix(prefix): rest.pop(name) for name in list(rest) if name.startswith(prefix)}
            if not mine:
                continue
            if isinstance(shim, TorchShim) or hasattr(shim._model, "state_dict"):
                own = _shim_weights(shim, False)
                with torch.no_grad():
                    for name, value in mine.items():
                        if name in own and own[name].shape == value.shape:
                            own[name].copy_(value)
                        else:
                            rest[f"{prefix}{name}"] = value
            elif set(mine) == {""}:
                shim.from_bytes(mine[""].numpy().tobytes())
            else:
                rest.update({f"{prefix}{name}": value for name, value in mine.items()})
    return sorted(rest)


def _shim_weights(shim: Shim, only_trainable: bool) -> dict[str, Tensor]:
    if isinstance(shim, TorchShim):
        if not shim.is_built:
            return {}
        weights = weights_of(shim.network)
        return {name: value for name, value in weights.items() if name in shim.trainable} if only_trainable else weights
    if only_trainable and isinstance(shim, MediaShim):
        return {name: weight.detach() for name, weight in shim.trainable.items()}
    if hasattr(shim._model, "state_dict"):
        # Not `to_bytes`, which pickles for torch's modules; tied weights once.
        return {name: value for name, value in weights_of(shim._model).items() if isinstance(value, Tensor)}
    data = shim.to_bytes()
    return {"": torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())} if data else {}


def _nodes(nlp: Language) -> Iterator[tuple[str, int, Model]]:
    for name, proc in nlp.pipeline:
        model = getattr(proc, "model", None)
        if isinstance(model, Model):
            for i, node in enumerate(model.walk()):
                yield name, i, node
