"""Weights as safetensors."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ...errors import T082, T452, T452_DTYPE, T452_FINITE
from ...files import new_file, sha256_of
from ...files.strangers import UnusableFile
from ...repository.weight_files import is_finite, open_weights


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
    """Write weights; the file is whole or not there.

    RETURNS (str): SHA-256 of the file.
    RAISES (OSError): T372 for a full disk; what the file system says otherwise.
    """
    host = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    seen: set[int] = set()
    for name, value in host.items():
        # Thinc's arrays may be views of one buffer, which safetensors refuses.
        if value.untyped_storage().data_ptr() in seen or value.untyped_storage().nbytes() != value.nbytes:
            host[name] = value.clone()
        seen.add(host[name].untyped_storage().data_ptr())
    with new_file(path, needs=sum(value.nbytes for value in host.values())) as part:
        safetensors.torch.save_file(host, part)
        return sha256_of(part)


def weights_to_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """Weights as the bytes of a safetensors file."""
    return safetensors.torch.save({name: value.cpu() for name, value in weights.items()})


def weights_from_bytes(data: bytes) -> dict[str, Tensor]:
    """The inverse of `weights_to_bytes`.

    RAISES (OSError): T082 for damaged bytes, T452 for NaN or infinity.
    """
    where = "the message's weights"
    try:
        weights = safetensors.torch.load(data)
    except SafetensorError as error:
        raise OSError(T082.format(file=where, error=error)) from error
    for name, value in weights.items():
        if not is_finite(value):
            raise UnusableFile(T452.format(file=where, name=name, problem=T452_FINITE))
    return weights


def read_weights(path: Path) -> dict[str, Tensor]:
    """Map a file of weights.

    RAISES (OSError): T015 if it is damaged, T452 for NaN or infinity.
    """
    with open_weights([path]) as weights:
        return {name: weights.any_type(name) for name in weights.stored}


def fill_weights(network: nn.Module, weights: Mapping[str, Tensor], file: Path | str = "weights.safetensors") -> None:
    """Copy stored weights into every weight of a network.

    network (nn.Module): Changed in place.
    weights (Mapping[str, Tensor]): By name.
    file (Path | str): Where they come from.
    RAISES (OSError): T082 for weights of another network, T452 for weights of another type.
    """
    own = weights_of(network)
    if set(own) != set(weights) or any(own[name].shape != value.shape for name, value in weights.items()):
        differing = (
            sorted(set(own) ^ set(weights))[:3] or [n for n, v in weights.items() if own[n].shape != v.shape][:3]
        )
        raise OSError(T082.format(file="weights", error=f"other names or shapes: {', '.join(differing)}"))
    for name, value in weights.items():
        if value.dtype != own[name].dtype:
            problem = T452_DTYPE.format(dtype=value.dtype, want=own[name].dtype)
            raise UnusableFile(T452.format(file=file, name=name, problem=problem))
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)


def check_file(path: Path, checksum: str) -> None:
    """Compare a file with its SHA-256.

    RAISES (OSError): T082 if it is missing, cut short or altered.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        raise OSError(T082.format(file=path, error=error.strerror or error)) from error
    if found != checksum:
        raise OSError(T082.format(file=path, error="its SHA-256 is not the one in cfg"))
