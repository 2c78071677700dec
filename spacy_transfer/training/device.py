"""Chooses the device of a command."""

import os

from thinc.api import require_gpu
from thinc.compat import has_torch
from thinc.util import has_cupy_gpu

from ..errors import T071


def use_device(gpu_id: int) -> None:
    """Compute on a GPU, or on the CPU.

    gpu_id (int): -1 for the CPU. With CuPy all of the pipeline computes there; without it our networks do, which need
        none, and other components stay on the CPU.
    RAISES (ValueError): T071 for a GPU that is not there.
    """
    if gpu_id < 0 and not has_torch:
        # Exported pipelines need none.
        return
    import torch

    from ..nn.devices.precision import prefer_device

    if gpu_id < 0:
        prefer_device(None)
        return
    if gpu_id >= torch.cuda.device_count():
        have = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise ValueError(T071.format(device=f"cuda:{gpu_id}", have=have))
    if has_cupy_gpu:
        require_gpu(gpu_id)
    else:
        torch.cuda.set_device(gpu_id)
        prefer_device(torch.device("cuda", gpu_id))


def use_deterministic_kernels() -> None:
    """For the rest of the process: the same bits at every run on the same GPU, at some cost. Without it, attention's
    backward pass and sums over windows add in whatever order threads finish."""
    import torch

    # Read when cuBLAS makes its handle, so before the first product.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Else every `torch.empty` is filled, which no result depends on.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
