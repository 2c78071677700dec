"""Thinc optimizers on torch weights: one weight at a time, through arrays."""

import contextlib
from collections.abc import Iterator, Mapping
from types import ModuleType

import numpy as np
import torch
from thinc.api import Model, Optimizer
from thinc.types import ArrayXd
from thinc.util import has_cupy_gpu, torch2xp, xp2torch
from torch import Tensor, nn


def step_by_weight(
    optimizer: Optimizer, owner: int, weights: Mapping[str, nn.Parameter], rates: Mapping[str, float], scale: float
) -> None:
    """Let an optimizer of Thinc move the weights that have a gradient.

    optimizer (Optimizer): Of Thinc, or ours.
    owner (int): Id of the shim, under which it keeps moments.
    weights (Mapping): Moving weights by name.
    rates (Mapping): Factor on the learning rate of each.
    scale (float): Factor on the summed gradients.
    """
    rate = optimizer.learn_rate
    try:
        for name, weight in weights.items():
            if weight.grad is None:
                continue
            gradient = weight.grad.mul_(scale)
            # Not by `lr_scale`, which Thinc's RAdam ignores.
            optimizer.learn_rate = rate * rates[name]
            key = (owner, name)
            values = array_of(weight.data)
            _make_moments_fit(optimizer, key, values)
            values, _ = optimizer(key, values, array_of(gradient))
            weight.data.copy_(from_xp(values, weight.device).view_as(weight))
    finally:
        optimizer.learn_rate = rate


def forget_gradients(model: Model) -> None:
    """Forget what a model of Thinc has summed since the last step, as if the batch had not been."""
    for node in model.walk():
        for name in node.param_names:
            if node.has_grad(name):
                # In place: layers keep views of it.
                node.get_grad(name)[...] = 0.0
        for shim in node.shims:
            if hasattr(shim, "drop_gradients"):
                shim.drop_gradients()
            elif hasattr(shim._model, "zero_grad"):
                shim._model.zero_grad()


@contextlib.contextmanager
def averaged(
    weights: Mapping[str, nn.Parameter], params: Mapping[tuple[int, str], ArrayXd], owner: int
) -> Iterator[None]:
    """Within: weights are the averages that an optimizer kept of them.

    weights (Mapping): By name.
    params (Mapping): Averages under (owner, name).
    owner (int): Id of the shim.
    """
    kept: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if (value := params.get((owner, name))) is not None and tuple(value.shape) == tuple(weight.shape):
            kept[name] = weight.data
            weight.data = from_xp(value, weight.device).view_as(weight)
    try:
        yield
    finally:
        for name, data in kept.items():
            weights[name].data = data


def from_xp(array: ArrayXd, device: torch.device) -> Tensor:
    """An array of numpy or CuPy, or a tensor, as a tensor on a device."""
    if isinstance(array, Tensor):
        return array.to(device)
    if isinstance(array, np.ndarray):
        return torch.from_numpy(array).to(device)
    return xp2torch(array, device=device)


def _make_moments_fit(optimizer: Optimizer, key: tuple[int, str], values: ArrayXd) -> None:
    """New labels make the head grow, whose old moments are forgotten; a weight that was moved to another device, or
    whose run goes on on one, takes its moments along.

    values (Array): The weight.
    """
    for moments in (optimizer.mom1, optimizer.mom2, optimizer.averages or {}):
        if key not in moments:
            continue
        if moments[key].size != values.size:
            del moments[key]
            optimizer.nr_update.pop(key, None)
        elif type(moments[key]) is not type(values):
            host = from_xp(moments[key], torch.device("cpu"))
            moments[key] = host.numpy() if isinstance(values, np.ndarray) else torch2xp(host.cuda())


def array_of(tensor: Tensor, xp: ModuleType | None = None) -> ArrayXd:
    """A tensor as an array.

    tensor (Tensor): On any device.
    xp (ModuleType | None): The module that makes arrays for whoever takes it, `ops.xp` of Thinc; None for CuPy where
        the tensor is on CUDA and CuPy is there, else numpy.
    RETURNS (ArrayXd): The same numbers.
    """
    if tensor.device.type == "cuda" and (has_cupy_gpu if xp is None else xp is not np):
        return torch2xp(tensor)
    return tensor.detach().cpu().numpy()
