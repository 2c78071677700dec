"""The state of an optimizer by the names of weights: moments, averages, step counts."""

from collections.abc import Mapping

import torch
from spacy.language import Language
from thinc.api import Optimizer
from torch import Tensor

from ...json_types import JsonMapping, JsonObject
from ...model.learning.thinc_optimizers import from_xp
from .pipeline_state import network_shims, owners

_SETTINGS = ("learn_rate", "grad_clip", "b1", "b2", "eps", "L2")


def optimizer_state(nlp: Language, optimizer: Optimizer) -> tuple[JsonObject, dict[str, Tensor]]:
    """Take down an optimizer of Thinc or our own.

    RETURNS (tuple[dict, dict[str, Tensor]]): JSON and tensors; weights are named OWNER|NAME, the owner by its place in
        the pipeline.
    """
    shims = network_shims(nlp)
    ours = {shim.id: name for name, shim in shims.items()}
    names = owners(nlp)
    tensors: dict[str, Tensor] = {}

    def name_of(key: tuple[int, str]) -> str | None:
        """Name a weight OWNER|NAME by the key under which Thinc keeps its moments; None for nobody's."""
        owner, weight = key
        # Nodes and shims are numbered apart: which one it is shows in the names of its weights.
        node, shim = names.get(owner * 2), names.get(owner * 2 + 1)
        if shim is not None and (owner in ours and weight in weight_names[ours[owner]]):
            return f"{shim}|{weight}"
        if node is not None and weight in node_weights[node]:
            return f"{node}|{weight}"
        return f"{shim}|{weight}" if shim is not None else None

    weight_names = {name: set(dict(shim.network.named_parameters())) for name, shim in shims.items()}
    node_weights = {
        names[node.id * 2]: set(node.param_names)
        for _, proc in nlp.pipeline if hasattr(getattr(proc, "model", None), "walk") for node in proc.model.walk()
    }  # fmt: skip
    kinds: dict[str, str] = {}
    for what, values in (("mom1", optimizer.mom1), ("mom2", optimizer.mom2), ("average", optimizer.averages or {})):
        for key, value in values.items():
            if (name := name_of(key)) is not None:
                tensors[f"{what}|{name}"] = from_xp(value, torch.device("cpu")).contiguous()
                kinds[f"{what}|{name}"] = "torch" if isinstance(value, Tensor) else "array"
    counts = {
        what: {name: int(n) for key, n in values.items() if (name := name_of(key)) is not None}
        for what, values in (("nr_update", optimizer.nr_update), ("last_seen", optimizer.last_seen))
    }
    if hasattr(optimizer, "network_moments"):
        for owner, shim in shims.items():
            for weight, moments in optimizer.network_moments(shim.network).items():
                for what, value in moments.items():
                    tensors[f"adam.{what}|{owner}|{weight}"] = value
    settings = {field: float(getattr(optimizer, field)) for field in _SETTINGS}
    return {"settings": settings, "kinds": kinds, "radam": optimizer._radam_buffer, **counts}, tensors


def restore_optimizer(
    nlp: Language,
    optimizer: Optimizer,
    data: JsonMapping,
    tensors: Mapping[str, Tensor],
    *,
    keep_settings: bool = True,
) -> None:
    """Take what `optimizer_state` gave; its schedules are at their place already.

    nlp (Language): The pipeline.
    optimizer (Optimizer): Changed in place.
    data (JsonMapping): JSON of `optimizer_state`.
    tensors (Mapping[str, Tensor]): Those of `optimizer_state`.
    keep_settings (bool): Take its rate and other settings too; else those of the config count.
    """
    shims = network_shims(nlp)
    key_of: dict[str, int] = {name: key // 2 for key, name in owners(nlp).items()}
    ops = {}
    for _, proc in nlp.pipeline:
        if hasattr(getattr(proc, "model", None), "walk"):
            ops.update({node.id: node.ops for node in proc.model.walk()})
    some_ops = next(iter(ops.values()), None)
    moments: dict[str, dict[str, dict[str, Tensor]]] = {}
    for full, value in tensors.items():
        what, _, rest = full.partition("|")
        owner, _, weight = rest.rpartition("|")
        if what.startswith("adam."):
            moments.setdefault(owner, {}).setdefault(weight, {})[what.removeprefix("adam.")] = value
            continue
        key = (key_of[owner], weight)
        kept: object = value
        if data["kinds"][full] == "torch":
            kept = value.to(shims[owner].device) if owner in shims else value
        elif some_ops is not None:
            kept = some_ops.asarray(value.numpy().copy())
        store = {"mom1": optimizer.mom1, "mom2": optimizer.mom2}.get(what, optimizer.averages)
        if store is not None:
            store[key] = kept
    # Of another optimizer's, where somebody insists on one, nothing is taken.
    for owner, by_weight in moments.items() if hasattr(optimizer, "take_network_moments") else ():
        optimizer.take_network_moments(shims[owner].network, by_weight)
    for what, values in (("nr_update", optimizer.nr_update), ("last_seen", optimizer.last_seen)):
        for full, n in data[what].items():
            owner, _, weight = full.rpartition("|")
            values[(key_of[owner], weight)] = n
    optimizer._radam_buffer[:] = [list(one) for one in data["radam"]]
    for field, value in data["settings"].items() if keep_settings else ():
        if float(getattr(optimizer, field)) != value:
            setattr(optimizer, field, value)
