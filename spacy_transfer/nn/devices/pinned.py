"""Copies to a device without making the host wait."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def together_to_device(arrays: Sequence[NDArray[np.int64]], device: torch.device) -> list[Tensor]:
    """Copy arrays of one kind to a device as `to_device` does, all in one copy.

    arrays (Sequence[NDArray]): Of any shapes.
    device (torch.device): On the CPU, nothing is copied.
    RETURNS (list[Tensor]): On the device, in the same shapes; at a GPU parts of one block of memory.
    """
    if device.type != "cuda":
        return [to_device(array, device) for array in arrays]
    block = to_device(np.concatenate([array.ravel() for array in arrays]), device)
    parts = block.split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def to_device(values: NDArray[np.generic] | Tensor | Sequence[int], device: torch.device) -> Tensor:
    """Copy values of the host to a device.

    On CUDA by way of pinned memory: a copy from any other memory holds the host up until the device has done all that
    it was given before, whatever `non_blocking` says.

    values (NDArray[np.generic] | Tensor | Sequence[int]): Of any shape; a sequence becomes int64.
    device (torch.device): On the CPU, an array or tensor is not copied.
    RETURNS (Tensor): On the device.
    """
    if isinstance(values, Tensor):
        host = values
    else:
        host = torch.tensor(values, dtype=torch.int64) if isinstance(values, Sequence) else torch.from_numpy(values)
    if device.type == "cuda" and host.device.type == "cpu":
        return host.pin_memory().to(device, non_blocking=True)
    return host.to(device)
