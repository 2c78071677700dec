"""Loads stored weights into an encoder: compares names, shapes and types first, then reads each tensor once."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import T014, T014_MISSING, T082, T453, T453_LAYERS, T453_SHAPE
from ...files.strangers import UnusableFile
from ...json_types import JsonMapping
from ...repository.weight_files import WeightFiles, names_for
from .config import suspects
from .encoder import Encoder


def fill_body(whole: nn.Module, half: nn.Module, weights: WeightFiles, config: JsonMapping, file: Path) -> nn.Module:
    """Load the weights of an encoder's folder.

    whole (nn.Module): A model of transformers.
    half (nn.Module): What of it is wanted, `whole` itself or its encoder.
    weights (WeightFiles): Of the folder.
    config (Mapping): Of which the model was built.
    file (Path): Its file.
    RETURNS (nn.Module): `half`, with its weights.
    RAISES (UnusableFile): T014 for weights that are missing, T452 for values or types that are wrong, T453 for sizes
        that are not those of the weights.
    """
    prefix = str(getattr(whole, "base_model_prefix", ""))
    lists = {name: len(module) for name, module in whole.named_modules() if isinstance(module, nn.ModuleList)}
    lists |= {f"{prefix}.{name}": length for name, length in lists.items()}
    if (found := weights.beyond(lists)) is not None:
        path, n_stored = found
        problem = T453_LAYERS.format(path=path, n_stored=n_stored, length=lists[path])
        raise UnusableFile(T453.format(file=file, keys=suspects(config, {lists[path]}), problem=problem))
    places = _places(whole, half, prefix, weights)
    if missing := [name for name, (_, stored) in places.items() if stored is None]:
        what = T014_MISSING.format(names=", ".join(sorted(missing)[:5]))
        raise UnusableFile(T014.format(name=file.parent.name, error=what))
    for own, stored in places.values():
        shape = weights.stored[str(stored)].shape
        if shape != tuple(own.shape):
            numbers = {n for n, other in zip(own.shape, shape, strict=False) if n != other} or set(own.shape)
            problem = T453_SHAPE.format(name=stored, found=shape, wanted=tuple(own.shape))
            raise UnusableFile(T453.format(file=file, keys=suspects(config, numbers), problem=problem))
    with torch.no_grad():
        for own, stored in places.values():
            own.copy_(weights.floats(str(stored)))
    return half


def _places(
    whole: nn.Module, half: nn.Module, prefix: str, weights: WeightFiles
) -> dict[str, tuple[Tensor, str | None]]:
    """Each weight of the encoder and the name under which it is stored, None where it is not."""
    wanted = {id(value): (name, value) for name, value in half.named_parameters()}
    kept = half.state_dict(keep_vars=True)
    buffers = {
        id(value): (name, value) for name, value in half.named_buffers() if name in kept and value.is_floating_point()
    }
    names: dict[int, list[str]] = {}
    for name, value in whole.state_dict(keep_vars=True).items():
        names.setdefault(id(value), []).append(name)
    places: dict[str, tuple[Tensor, str | None]] = {}
    for key, (name, value) in {**wanted, **buffers}.items():
        known = [one for own in names.get(key, [name]) for one in names_for(own, prefix)]
        stored = next((one for one in known if one in weights.stored), None)
        # Sines and cosines are computed, and need not be stored.
        if stored is not None or value.requires_grad:
            places[name] = (value, stored)
    return places


def fill_encoder(encoder: Encoder, weights: WeightFiles, *, is_whole: bool) -> None:
    """Load the encoder of one of our components.

    encoder (Encoder): Changed in place.
    weights (WeightFiles): Of the component.
    is_whole (bool): All of its weights are stored, not an adapter alone.
    RAISES (UnusableFile): T082 for weights of another encoder, T452 for values or types that are wrong.
    """
    own = encoder.state_dict(keep_vars=True)
    stored = {name.removeprefix("encoder."): name for name in weights.stored if name.startswith("encoder.")}
    first: dict[int, str] = {}
    for name, value in own.items():
        # Tied weights are stored once.
        first.setdefault(id(value), name)
    lacking = set(first.values()) - set(stored) if is_whole else set[str]()
    other = sorted(lacking | (set(stored) - set(own)))
    other += [name for name in stored if name in own and weights.stored[stored[name]].shape != tuple(own[name].shape)]
    if other:
        file = next(iter(weights.stored.values())).file if weights.stored else "weights.safetensors"
        raise UnusableFile(T082.format(file=file, error=f"other names or shapes: {', '.join(other[:3])}"))
    with torch.no_grad():
        for name, full in stored.items():
            own[name].copy_(weights.values(full, own[name].dtype))
