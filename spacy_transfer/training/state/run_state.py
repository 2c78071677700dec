"""The complete state of a run as JSON and tensors, and back."""

import platform
from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import T167
from ...json_types import JsonObject
from ...nn.devices import machine
from ..loop.loop import Run
from ..loop.position import Position
from .checkpoint import Checkpoint
from .checkpoint_fit import check_networks, check_optimizer, check_order
from .optimizer_state import optimizer_state, restore_optimizer
from .pipeline_state import all_weights, fill_all_weights, network_shims
from .random_state import RandomState


def versions() -> dict[str, str]:
    """Of what computes."""
    # Another model of GPU adds in another order, and draws other dropout from the same state.
    n_gpus = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
    gpus = ", ".join(sorted({torch.cuda.get_device_name(i) for i in range(n_gpus)}))
    kernels = "deterministic" if torch.are_deterministic_algorithms_enabled() else "any"
    return {**machine.versions(), "machine": platform.machine(), "GPU": gpus or "none", "kernels": kernels}


def precisions(run: Run) -> dict[str, str]:
    """Arithmetic and kind of device of each of our networks."""
    shims = network_shims(run.nlp)
    return {name: f"{shim.precision} on {shim.device.type}" for name, shim in shims.items()}


def run_state(run: Run) -> tuple[JsonObject, dict[str, dict[str, Tensor]]]:
    """Everything that `restore_run` needs beside the weights that the run began with."""
    nlp, optimizer = run.nlp, run.optimizer
    # Between two steps every listener has handed its states on: they are in no checkpoint.
    nodes = (node for _, proc in run.trainable if hasattr(proc.model, "walk") for node in proc.model.walk())
    assert not any(getattr(node, "is_waiting", False) for node in nodes)
    order, order_tensors = run.order.state()
    sums, moments = optimizer_state(nlp, optimizer)
    networks: JsonObject = {}
    places = dict(order_tensors)
    for name, shim in network_shims(nlp).items():
        networks[name], tensors = shim.checkpoint_state()
        places.update({f"{name}|{key}": value for key, value in tensors.items()})
    # Not `asdict`, which copies tensors deeply.
    position = dict(vars(run.at))
    for what in ("losses", "norms"):
        position[what] = {name: float(value) for name, value in position[what].items()}
    state = {
        "position": position,
        "order": order,
        "optimizer": sums,
        "networks": networks,
        "random": (run.random or RandomState.now()).to_json(),
        "score_weights": run.evaluation.weights,
        "performance": nlp.meta.get("performance", {}),
        "extras": {name: part.training_state() for name, part in _extras(run).items()},
    }
    weights = all_weights(nlp, only_trainable=True, frozen=run.settings["frozen_components"])
    return state, {"weights": weights, "optimizer": moments, "places": places}


def restore_run(run: Run, checkpoint: Checkpoint, *, same_run: bool = True, same_batches: bool = True) -> None:
    """Put a run where a checkpoint was taken; its training data are read already.

    run (Run): Begun with the same config.
    checkpoint (Checkpoint): What was read.
    same_run (bool): Nothing is other than it was; else what is cached is computed as if it were new.
    same_batches (bool): Neither data nor batcher are; else the epoch begins anew.
    RAISES (ValueError): T167 for weights of another network; T451 or T452 for anything else that does not belong to
        this pipeline and these texts.
    """
    state, tensors, nlp = checkpoint.state, checkpoint.tensors, run.nlp
    unfit = fill_all_weights(nlp, {**tensors["start"], **tensors["weights"]})
    if unfit:
        lines = "\n".join(f"weight {name}: no such weight, or another shape" for name in unfit[:10])
        raise ValueError(T167.format(folder=checkpoint.folder, differences=lines))
    check_optimizer(nlp, checkpoint)
    check_networks(nlp, checkpoint)
    if same_batches:
        check_order(run.order, checkpoint)
    position = Position(**state["position"])
    position.results = [(score, step) for score, step in position.results]
    run.skip_to(position)
    restore_optimizer(nlp, run.optimizer, state["optimizer"], tensors["optimizer"], keep_settings=same_run)
    places = tensors["places"]
    for name, shim in network_shims(nlp).items():
        known = dict(state["networks"][name])
        if not same_run:
            known["pathway"] = {"boundary": None}
        shim.restore_state(known, _under(places, name))
    for name, part in _extras(run).items():
        if name in state["extras"]:
            part.restore_training_state(state["extras"][name])
    run.evaluation.weights = dict(state["score_weights"])
    nlp.meta["performance"] = state["performance"]
    if same_batches:
        run.order.restore(state["order"], {"order": places["order"]} if "order" in places else {})
    else:
        run.order.epoch = state["order"]["epoch"]
    RandomState.from_json(state["random"]).restore()


def _under(places: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}|"): value for key, value in places.items() if key.startswith(f"{name}|")}


def _extras(run: Run) -> JsonObject:
    """Whatever else has a state of its own: components, readers, the batcher and callbacks may have the methods
    `training_state() -> JSON` and `restore_training_state(JSON)`."""
    parts = {
        **{f"component {name}": proc for name, proc in run.nlp.pipeline},
        "train corpus": run.order.corpus,
        "dev corpus": run.evaluation.corpus,
        "batcher": run.order.batching.batcher,
        "before_update": run.settings["before_update"],
    }
    return {name: part for name, part in parts.items() if hasattr(part, "training_state")}
