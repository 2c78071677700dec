"""The most memory that a training has held at once: of the process, or of a GPU."""

from contextlib import suppress
from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_PEAK = "VmHWM:"


def forget_peak() -> None:
    """Begin to measure. Where the system cannot forget what was held before, that counts too."""
    with suppress(OSError):
        # Linux: 5 sets the peak to what is resident now.
        _CLEAR.write_text("5")
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: torch.device) -> float | None:
    """Say how much was held at most since `forget_peak`.

    device (torch.device): Where the networks compute: on a GPU its own memory counts, elsewhere that of the process.
    RETURNS (float | None): Megabytes; None where it is not known, as on Windows and macOS.
    """
    if device.type == "cuda":
        held = torch.cuda.max_memory_allocated(device) if torch.cuda.is_initialized() else 0
        return round(held / 1e6, 1) or None
    with suppress(OSError, ValueError):
        lines = _STATUS.read_text("utf-8").splitlines()
        return round(next((int(line.split()[1]) for line in lines if line.startswith(_PEAK)), 0) * 1.024e-3, 1) or None
    return None
