"""Describes the machine for the records of runs and pipelines: device, CPU or GPU model, threads, versions."""

import functools
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ...json_types import JsonObject

PACKAGES = ("spacy-transfer", "spacy", "thinc", "torch", "transformers", "tokenizers", "numpy")
# Of a CPU's instructions, those that decide how fast it multiplies matrices.
_FLAGS = (
    "avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "amx_fp16", "avx_vnni",
    "neon", "bf16", "sve", "sve2", "dot",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Installed versions of what computes; a package that is not installed is missing."""
    found = ((name, _version(name)) for name in PACKAGES)
    return {name: installed for name, installed in found if installed is not None}


@functools.cache
def _version(name: str) -> str | None:
    # Each checkpoint has them, and the metadata of a package are a long file to read.
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def describe_machine(device: torch.device) -> JsonObject:
    """Describe what a network computes on.

    device (torch.device): Where its weights are.
    RETURNS (dict): JSON-able: device, model, system, threads; of a CPU also cores and flags, of a GPU its memory in
        bytes and the version of CUDA.
    """
    facts: JsonObject = {"device": str(device), "threads": torch.get_num_threads(), "system": _system()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts.update(
            model=torch.cuda.get_device_name(device), memory=int(properties.total_memory), cuda=str(torch.version.cuda),
            cpu=cpu_model(),
        )  # fmt: skip
    else:
        facts.update(model=cpu_model(), cores=os.cpu_count(), flags=cpu_flags())
    return facts


@functools.cache
def cpu_model() -> str:
    """Name of the processor, as its maker gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@functools.cache
def cpu_flags() -> list[str]:
    """Of the processor's instructions those that matter here."""
    # Since torch 2.6.
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is None:
        return [torch.backends.cpu.get_cpu_capability().lower()]
    found = ask()
    return [name for name in _FLAGS if found.get(name)]


def _system() -> str:
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
