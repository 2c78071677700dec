"""A vision or audio encoder from a folder or from its stored record; the entry to transformers for these."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ...errors import T840, T844, T845, T846
from ...files.strangers import UnusableFile, read_object
from ...json_types import JsonMapping, JsonObject
from ...repository.encoder_folder import weight_paths
from ...repository.resolve import EncoderFolder
from ...repository.weight_files import WeightFiles, open_weights
from ..building import no_larger_than, without_draws
from ..encoders.body_weights import fill_body
from ..encoders.config import build_config, clean_config, naming_sizes
from ..encoders.pretrained import portable, quiet
from .encoder import MediaEncoder
from .families import Family, Kind, Pooling, family_of, names_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NORM_STATISTICS = ("running_mean", "running_var")


def read_media(found: EncoderFolder, kind: Kind, pooling: Pooling) -> tuple[MediaEncoder, JsonObject]:
    """Read the encoder of a folder; what else it holds, a head or the text half of CLIP, is left there.

    found (EncoderFolder): Of transformers.
    kind (str): "image" or "audio".
    pooling (str): As in `MediaEncoder`.
    RETURNS (tuple[MediaEncoder, dict]): With its weights, on the CPU, and the configuration of which it is
        rebuilt, JSON-able.
    RAISES (ValueError): T840 for an encoder of another kind, T844 for a pooling that it does not have.
    RAISES (UnusableFile): As `PretrainedEncoder.load` for damaged files.
    """
    file = found.folder / "config.json"
    said = read_object(file)
    if said.get("model_type") == "clip" and isinstance(said.get("vision_config"), dict):
        said = {**said["vision_config"], "model_type": "clip_vision_model"}
    check_kind(said, kind, found.name)
    made = build_config(clean_config(said, file, found.name), file)
    config = clean_config(made.to_dict(), file, found.name)
    config = portable({"config": config})["config"]
    with open_weights(weight_paths(found.folder)) as weights:
        with no_larger_than(weights.shapes):
            whole = _build(config, file)
        half = fill_body(whole, _encoder_half(whole), weights, config, file)
        _check_statistics(half, weights, found.name)
    return _wrapped(half, config, kind, pooling, found.name), config


def check_kind(config: JsonMapping, kind: Kind, name: str) -> Family:
    """Find the family of a configuration.

    config (Mapping): As config.json holds it.
    kind (str): "image" or "audio".
    name (str): What the user calls the encoder.
    RETURNS (Family): Of that kind.
    RAISES (ValueError): T840 for another kind, or a family that is not known.
    """
    family = family_of(str(config.get("model_type")), stable=config.get("do_stable_layer_norm") is True)
    if family is None or family.kind != kind:
        raise ValueError(T840.format(name=name, kind=kind, family=config.get("model_type"), families=names_of(kind)))
    return family


def rebuild_media(config: JsonMapping, kind: Kind, pooling: Pooling, file: Path | str) -> MediaEncoder:
    """Build a stored encoder again, offline and without drawing random weights.

    config (Mapping): As `read_media` gave it.
    kind (str): "image" or "audio".
    pooling (str): As in `MediaEncoder`.
    file (Path | str): Where it is stored.
    RETURNS (MediaEncoder): With arbitrary weights; the caller loads them all.
    RAISES (ValueError): T840, T844.
    RAISES (UnusableFile): T016, T451, T453 for a configuration of which no encoder can be built.
    """
    check_kind(config, kind, str(file))
    cleaned = clean_config(config, file, str(file))
    return _wrapped(_encoder_half(_build(cleaned, file)), cleaned, kind, pooling, str(file))


def mel_filters(n_bins: int, rate: int, n_fft: int) -> torch.Tensor:
    """The filters of Whisper's spectra: Slaney's mel scale up to half the sampling rate, at most 8,000 Hz.

    n_bins (int): Of the mel scale.
    rate (int): Samples a second.
    n_fft (int): Samples of a Fourier transform.
    RETURNS (Tensor): (n_fft // 2 + 1, n_bins).
    """
    from transformers.audio_utils import mel_filter_bank

    found = mel_filter_bank(1 + n_fft // 2, n_bins, 0.0, 8000.0, rate, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(found).float()


def _build(config: JsonObject, file: Path | str) -> "PreTrainedModel":
    from transformers import AutoModel

    made = build_config(config, file)
    with naming_sizes(config, file), quiet(), without_draws():
        return AutoModel.from_config(made, torch_dtype=torch.float32)


def _encoder_half(body: "PreTrainedModel") -> nn.Module:
    """Whisper's encoder alone; without a pooler, which a vector does not go through."""
    if body.config.is_encoder_decoder:
        body = body.get_encoder()
    if body.config.model_type in ("vit", "dinov2"):
        body.pooler = None
    return body


def _wrapped(body: nn.Module, config: JsonObject, kind: Kind, pooling: Pooling, name: str) -> MediaEncoder:
    family = check_kind(config, kind, name)
    if pooling != "auto" and pooling not in family.poolings:
        have = " or ".join(f'"{one}"' for one in family.poolings)
        raise ValueError(T844.format(name=name, pooling=pooling, family=config["model_type"], have=have))
    return MediaEncoder(body, config, family, pooling)


def _check_statistics(half: nn.Module, weights: WeightFiles, name: str) -> None:
    """Statistics of batch normalization that are not stored would be those of nothing.

    RAISES (UnusableFile): T845.
    """
    for own, _ in half.named_buffers():
        if own.endswith(_NORM_STATISTICS) and not any(stored.endswith(own) for stored in weights.stored):
            raise UnusableFile(T845.format(name=name, weight=own))


def try_media(encoder: MediaEncoder, inputs: torch.Tensor, n_inner: list[int] | None, name: str) -> None:
    """Encode something once: sizes that do not fit show now, not in the middle of a training.

    encoder (MediaEncoder): With weights.
    inputs (Tensor): As `MediaEncoder.forward` takes it.
    n_inner (list[int] | None): As `MediaEncoder.forward` takes it.
    name (str): What the user calls the encoder.
    RAISES (ValueError): T846.
    """
    try:
        with torch.no_grad():
            found = encoder(inputs, n_inner)
    except Exception as error:
        raise ValueError(T846.format(name=name, error=str(error).split("\n", maxsplit=1)[0])) from error
    if found.shape != (len(inputs), encoder.width) or not bool(found.isfinite().all()):
        raise ValueError(T846.format(name=name, error=f"its vectors have the shape {tuple(found.shape)}, or NaN"))
