"""Families of vision and audio encoders: which depth a weight belongs to, what states become a vector."""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["image", "audio"]
Pooling = Literal["auto", "first", "mean", "max"]


@dataclass(frozen=True)
class Family:
    """How transformers builds a family of encoders.

    kind (str): "image" or "audio".
    layers (re.Pattern): Finds the number of a layer, or stage, in the name of a weight.
    final (re.Pattern): Finds weights outside the layers and above them.
    layer_list (str): Name of the list of layers.
    has_class_position (bool): Whether the first state stands for the whole picture.
    """

    kind: Kind
    layers: re.Pattern[str]
    final: re.Pattern[str]
    layer_list: str
    has_class_position: bool = False

    def depth_of(self, name: str, n_layers: int) -> int:
        """Depth of a weight: 0 is what cuts pictures into patches, or sounds into frames.

        name (str): As the encoder of transformers calls it.
        n_layers (int): Its layers.
        RETURNS (int): 0 to n_layers.
        """
        if found := self.layers.search(name):
            return int(found.group(1)) + 1
        return n_layers if self.final.search(name) else 0

    @property
    def poolings(self) -> tuple[str, ...]:
        """What a vector can be made by; the first is meant by "auto"."""
        if self.kind == "audio":
            return ("mean", "max")
        return ("first", "mean") if self.has_class_position else ("mean",)


_NOTHING = re.compile(r"(?!)")
_LAYER = re.compile(r"^encoder\.layer\.(\d+)\.")
_SOUND_LAYER = re.compile(r"^encoder\.layers\.(\d+)\.")

# By `model_type` of transformers. In wav2vec2 and HuBERT the norm outside the layers stands before them, unless they
# have `do_stable_layer_norm`.
FAMILIES = {
    "vit": Family("image", _LAYER, re.compile(r"^layernorm\."), "encoder.layer", True),
    "dinov2": Family("image", _LAYER, re.compile(r"^layernorm\."), "encoder.layer", True),
    "clip_vision_model": Family(
        "image", re.compile(r"^vision_model\.encoder\.layers\.(\d+)\."), re.compile(r"^vision_model\.post_layernorm\."),
        "vision_model.encoder.layers", True,
    ),
    "resnet": Family("image", re.compile(r"^encoder\.stages\.(\d+)\."), _NOTHING, "encoder.stages"),
    "wav2vec2": Family("audio", _SOUND_LAYER, _NOTHING, "encoder.layers"),
    "hubert": Family("audio", _SOUND_LAYER, _NOTHING, "encoder.layers"),
    "whisper": Family("audio", re.compile(r"^layers\.(\d+)\."), re.compile(r"^layer_norm\."), "layers"),
}  # fmt: skip
STABLE = Family("audio", _SOUND_LAYER, re.compile(r"^encoder\.layer_norm\."), "encoder.layers")


def family_of(model_type: str, *, stable: bool = False) -> Family | None:
    """Find a family.

    model_type (str): As a configuration of transformers says it.
    stable (bool): Whether a wav2vec2 or HuBERT normalizes before each layer and once at the end.
    RETURNS (Family | None): None for one that is not known.
    """
    if stable and model_type in ("wav2vec2", "hubert"):
        return STABLE
    return FAMILIES.get(model_type)


def names_of(kind: Kind) -> str:
    """The families of a kind, for messages.

    kind (str): "image" or "audio".
    """
    return ", ".join(name for name, family in FAMILIES.items() if family.kind == kind)
