"""Checks that a checkpoint belongs to this pipeline and these texts before any of it is used."""

import torch
from spacy.language import Language
from torch import Tensor

from ...errors import T452, T452_ADAM, T452_OWNER, T452_SIZE
from ...files.fields import refuse
from ...files.strangers import UnusableFile
from ...json_types import JsonMapping
from ..loop.batch_order import Order
from .checkpoint import Checkpoint
from .pipeline_state import all_weights, network_shims, owners

_ADAM = {"step", "exp_avg", "exp_avg_sq"}


def check_optimizer(nlp: Language, checkpoint: Checkpoint) -> None:
    """Compare what an optimizer remembers with the weights that it is of.

    RAISES (UnusableFile): T451 or T452 for what belongs to no weight, or is of another size.
    """
    folder, data, tensors = checkpoint.folder, checkpoint.state["optimizer"], checkpoint.tensors["optimizer"]
    file = folder / "optimizer.safetensors"
    known, shims = set(owners(nlp).values()), network_shims(nlp)
    weights = all_weights(nlp, only_trainable=False)
    trained = {f"{owner}|{name}" for owner, shim in shims.items() for name, _ in shim.network.named_parameters()}
    moments: dict[str, set[str]] = {}
    for full, value in tensors.items():
        what, _, name = full.partition("|")
        if what.startswith("adam."):
            if name not in trained:
                _refuse(file, full, T452_OWNER)
            moments.setdefault(name, set()).add(what.removeprefix("adam."))
            fits = value.numel() == 1 if what == "adam.step" else value.shape == weights[name].shape
        elif what not in ("mom1", "mom2", "average") or name.rpartition("|")[0] not in known:
            _refuse(file, full, T452_OWNER)
        else:
            if full not in data["kinds"]:
                refuse(folder / "state.json", "optimizer.kinds", data["kinds"], f"a value for {full}")
            # Thinc keeps them flat; what a network of somebody else's calls its weights is not known here.
            fits = name not in weights or value.numel() == weights[name].numel()
        if not fits or not value.is_floating_point():
            _refuse(file, full, T452_SIZE)
    for name, found in moments.items():
        if found != _ADAM:
            _refuse(file, name, T452_ADAM)
    for what in ("nr_update", "last_seen"):
        for name in data[what]:
            if name.rpartition("|")[0] not in known:
                refuse(folder / "state.json", f"optimizer.{what}", name, "the name of a weight of this pipeline")


def check_networks(nlp: Language, checkpoint: Checkpoint) -> None:
    """Compare the states of the networks with the networks that are there.

    RAISES (UnusableFile): T451.
    """
    file, then = checkpoint.folder / "state.json", checkpoint.state["networks"]
    for name, shim in network_shims(nlp).items():
        now: JsonMapping = shim.checkpoint_state()[0]
        missing = sorted(set(now) - set(then.get(name, ())))
        if missing:
            refuse(file, f"networks.{name}", then.get(name), f"an object with {', '.join(missing)}")
        n_labels = len(now.get("label_weights", ()))
        if len(then[name].get("label_weights", ())) != n_labels:
            refuse(file, f"networks.{name}.label_weights", then[name]["label_weights"], f"{n_labels} numbers")
        if max(then[name].get("awaited", ()), default=-1) >= n_labels > 0:
            refuse(file, f"networks.{name}.awaited", then[name]["awaited"], f"places of the {n_labels} labels")


def check_order(order: Order, checkpoint: Checkpoint) -> None:
    """Compare the order of the texts with the texts that were read.

    RAISES (UnusableFile): T451 or T452.
    """
    found: Tensor | None = checkpoint.tensors["places"].get("order")
    if not order.is_streamed:
        n_texts = len(order.examples)
        if found is None or found.dtype != torch.int32 or sorted(found.flatten().tolist()) != list(range(n_texts)):
            _refuse(checkpoint.folder / "places.safetensors", "order", T452_SIZE)
    begun, n = checkpoint.state["order"]["begun"], len(order.batching.schedules)
    if begun is not None and len(begun["positions"]) != n:
        refuse(checkpoint.folder / "state.json", "order.begun.positions", begun["positions"], f"{n} numbers")


def _refuse(file: object, name: str, problem: str) -> None:
    raise UnusableFile(T452.format(file=file, name=name, problem=problem))
