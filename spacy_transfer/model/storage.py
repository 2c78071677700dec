"""Weights as safetensors, files written beside and renamed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import T082


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's weights by name, each storage once (tied weights are written under their first name)."""
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, value in network.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            found[name] = value.detach().contiguous()
    return found


def write_weights(weights: Mapping[str, Tensor], path: Path) -> str:
    """Write weights; the file is complete or not there.

    RETURNS (str): SHA-256 of the file.
    """
    beside = path.with_name(path.name + ".part")
    safetensors.torch.save_file({name: value.cpu() for name, value in weights.items()}, beside)
    with beside.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    beside.replace(path)
    return checksum


def weights_to_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """Weights as the bytes of a safetensors file."""
    return safetensors.torch.save({name: value.cpu() for name, value in weights.items()})


def weights_from_bytes(data: bytes) -> dict[str, Tensor]:
    """The inverse of `weights_to_bytes`. RAISES (OSError): T082 for damaged bytes."""
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise OSError(T082.format(file="the message's weights", error=error)) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Map a file of weights. RAISES (OSError): T082 if it is damaged."""
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise OSError(T082.format(file=path, error=error)) from error


def fill_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy stored weights into every weight of a network.

    RAISES (OSError): T082 for weights of another network.
    """
    own = weights_of(network)
    if set(own) != set(weights) or any(own[name].shape != value.shape for name, value in weights.items()):
        differing = (
            sorted(set(own) ^ set(weights))[:3] or [n for n, v in weights.items() if own[n].shape != v.shape][:3]
        )
        raise OSError(T082.format(file="weights", error=f"other names or shapes: {', '.join(differing)}"))
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)


def check_file(path: Path, checksum: str) -> None:
    """Compare a file with its SHA-256. RAISES (OSError): T082 if it is missing, cut short or altered."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OSError(T082.format(file=path, error=error.strerror)) from error
    if found != checksum:
        raise OSError(T082.format(file=path, error="its SHA-256 is not the one in cfg"))


def write_file(path: Path, text: str) -> str:
    """Write a text file; complete or not there.

    RETURNS (str): SHA-256 of the file.
    """
    return write_data(path, text.encode("utf-8"))


def write_data(path: Path, data: bytes) -> str:
    """Write a file; complete or not there.

    RETURNS (str): SHA-256 of the file.
    """
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(data)
    beside.replace(path)
    return hashlib.sha256(data).hexdigest()
