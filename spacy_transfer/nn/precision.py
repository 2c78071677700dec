"""Device and arithmetic: what the machine is asked, never measured, so that a run and its resume agree."""

from typing import Literal

import torch

from ..errors import T071, T072

Precision = Literal["auto", "fp32", "bf16", "fp16"]
# What "auto" means for our networks where a loop of ours has been told a GPU and Thinc cannot use one without CuPy.
_preferred: torch.device | None = None


def prefer_device(device: torch.device | None) -> None:
    """Set what "auto" means from now on. device (torch.device | None): None for the device of Thinc's ops."""
    global _preferred
    _preferred = device


def resolve_device(device: str, default: torch.device) -> torch.device:
    """The torch device for a setting.

    device (str): "auto", "cpu", "cuda", "cuda:1", "mps".
    default (torch.device): What "auto" means: the device of Thinc's ops.
    RAISES (ValueError): T071 for a device that is not there.
    """
    if device == "auto":
        return _preferred or default
    have = ["cpu"]
    have += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    have += ["mps"] if torch.backends.mps.is_available() else []
    # The current one: that of `require_gpu`, of --gpu-id, of a rank.
    wanted = f"cuda:{torch.cuda.current_device()}" if device == "cuda" and torch.cuda.is_available() else device
    if wanted not in have:
        raise ValueError(T071.format(device=device, have=", ".join(have)))
    return torch.device(wanted)


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """dtype of the encoder's arithmetic.

    precision (str): "auto" takes bf16 where the hardware has it: a CPU with AVX512-BF16 or AMX, a GPU from compute
        capability 8.0; otherwise fp32.
    RAISES (ValueError): T072 for a precision the device lacks.
    """
    have: dict[str, torch.dtype] = {"fp32": torch.float32}
    if device.type == "cuda":
        have["fp16"] = torch.float16
        if torch.cuda.get_device_capability(device) >= (8, 0):
            have["bf16"] = torch.bfloat16
    elif device.type == "cpu" and _cpu_has_bf16():
        have["bf16"] = torch.bfloat16
    if precision == "auto":
        return have.get("bf16", torch.float32)
    if precision not in have:
        raise ValueError(T072.format(precision=precision, device=device, have=", ".join(have)))
    return have[precision]


def _cpu_has_bf16() -> bool:
    # Since torch 2.6; `mkldnn._is_mkldnn_bf16_supported()` also says yes where bf16 is emulated.
    ask = getattr(torch.cpu, "get_capabilities", None)
    found = ask() if ask else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
