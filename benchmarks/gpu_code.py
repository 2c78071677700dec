"""For `--code` of the lines in gpu.sh: what GPU_CODE names (waits, memory, small), comma-separated.

waits: torch warns wherever the host waits for the GPU. memory: at the end, the most that torch has held. small: as much
GPU memory as GPU_SHARE says (0.03 of it), as if the card were so small.
"""

import atexit
import os
import warnings

import torch

_asked = os.environ.get("GPU_CODE", "").split(",")
if torch.cuda.is_available():
    if "waits" in _asked:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
    if "small" in _asked:
        torch.cuda.set_per_process_memory_fraction(float(os.environ.get("GPU_SHARE", "0.03")))
    if "memory" in _asked:
        atexit.register(lambda: print(f"most memory: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"))
