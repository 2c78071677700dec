"""Optimizers of Thinc on torch weights: one weight after the other, through arrays."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn


def step_by_weight(
    optimizer: Any, owner: int, weights: Mapping[str, nn.Parameter], rates: Mapping[str, float], scale: float
) -> None:
    """Let an optimizer of Thinc move the weights that have a gradient.

    optimizer: Any optimizer of Thinc. owner (int): Id of the shim, under which it keeps moments.
    weights (Mapping): Moving weights by name. rates (Mapping): Factor on the learning rate of each.
    scale (float): Factor on the summed gradients.
    """
    rate = optimizer.learn_rate
    try:
        for name, weight in weights.items():
            gradient = cast(Tensor, weight.grad).mul_(scale)
            # Not by `lr_scale`, which Thinc's RAdam ignores.
            optimizer.learn_rate = rate * rates[name]
            key = (owner, name)
            _forget_other_shapes(optimizer, key, weight)
            values, _ = optimizer(key, to_xp(weight.data), to_xp(gradient))
            weight.data.copy_(from_xp(values, weight.device).view_as(weight))
    finally:
        optimizer.learn_rate = rate


@contextlib.contextmanager
def averaged(weights: Mapping[str, nn.Parameter], params: Mapping[Any, Any], owner: int) -> Iterator[None]:
    """Within: weights are the averages that an optimizer kept of them.

    weights (Mapping): By name. params (Mapping): Averages under (owner, name). owner (int): Id of the shim.
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


def from_xp(array: Any, device: torch.device) -> Tensor:
    """An array of numpy or CuPy, or a tensor, as a tensor on a device."""
    if isinstance(array, Tensor):
        return array.to(device)
    if isinstance(array, np.ndarray):
        return torch.from_numpy(array).to(device)
    from thinc.util import xp2torch

    return cast(Tensor, xp2torch(array, device=device))


def _forget_other_shapes(optimizer: Any, key: tuple[int, str], weight: Tensor) -> None:
    """New labels make the head grow; Thinc's moments of its old shape would not fit."""
    for moments in (optimizer.mom1, optimizer.mom2, optimizer.averages or {}):
        if key in moments and moments[key].size != weight.numel():
            del moments[key]
            optimizer.nr_update.pop(key, None)


def to_xp(tensor: Tensor) -> Any:
    """A tensor as an array of CuPy on CUDA, else of numpy."""
    if tensor.device.type == "cuda":
        from thinc.util import torch2xp

        return torch2xp(tensor)
    return tensor.detach().cpu().numpy()
