"""Reads pictures and prepares them by the settings of their encoder's folder."""

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
import torch

from ....errors import T841_LONG, T841_PIXEL_TYPE, T841_PIXELS, T841_SHAPE, T847, require
from ....files.fields import list_of, maybe, real, take, whole
from ....files.strangers import UnusableFile
from ....json_types import JsonMapping, JsonObject
from .contents import Content, Numbers, Unreadable
from .medium import Prepared

if TYPE_CHECKING:
    from PIL.Image import Image

# No format whose reader starts another program (EPS), or reads other files.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
# As many as Pillow reads without a warning: some 270 MB.
_MOST_PIXELS = 89_478_485
# Of a picture after it was made smaller, before it is cut.
_MOST_RESIZED = 16_000_000
_MOST_EDGE = 4096
_KINDS = ("ViT", "DeiT", "CLIP", "Bit", "Siglip", "ConvNext")
# `ConvNextImageProcessor` cuts below, and squeezes from here on.
_SQUEEZED = 384

_SIZES = maybe(list_of(whole(1, _MOST_EDGE)))
_THREE = list_of(real(-1e6, 1e6))
_STORED = {
    "resize": _SIZES, "crop": _SIZES, "resample": whole(0, 5), "scale": real(0, 1e6), "mean": _THREE, "std": _THREE,
}  # fmt: skip


@final
@dataclass(frozen=True)
class Pictures:
    """How pictures become tensors: made smaller, cut, scaled, normalized.

    resize (list[int] | None): Height and width, or the length of the shorter edge alone; None leaves pictures as large
        as they are.
    crop (list[int] | None): Height and width of the middle that is kept.
    resample (int): Pillow's filter.
    scale (float): Factor on pixels of 0 to 255.
    mean (list[float]): Of the three channels, subtracted after scaling.
    std (list[float]): Of the three channels, divided by.
    """

    resize: list[int] | None
    crop: list[int] | None
    resample: int
    scale: float
    mean: list[float]
    std: list[float]

    @classmethod
    def of_processor(cls, said: JsonMapping, file: Path) -> "Pictures":
        """Take the settings of a preprocessor_config.json, current or old.

        said (Mapping): What it holds.
        file (Path): The file.
        RETURNS (Pictures): What prepares as transformers does.
        RAISES (UnusableFile): T847 for what is not known, T451 for values out of range.
        """
        kind = str(said.get("image_processor_type") or said.get("feature_extractor_type") or "")
        short = kind.removesuffix("Fast").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
        if short not in _KINDS:
            raise UnusableFile(T847.format(file=file, key="image_processor_type", value=repr(kind)[:80]))
        size, crop = said.get("size"), said.get("crop_size")
        sides = _sides(size, file, "size", whole_is_short=short in ("CLIP", "Bit", "ConvNext"))
        cut = _sides(crop, file, "crop_size", whole_is_short=False) if crop is not None else None
        resize = sides if said.get("do_resize", True) else None
        if short == "ConvNext" and resize is not None:
            edge = resize[0]
            resize, cut = ([edge, edge], None) if edge >= _SQUEEZED else ([_before_cut(edge, said)], [edge, edge])
        elif not said.get("do_center_crop", short in ("CLIP", "Bit", "DeiT")):
            cut = None
        normalizes = said.get("do_normalize", True)
        made = {
            "resize": resize, "crop": cut, "resample": said.get("resample", 2 if short in ("ViT", "ConvNext") else 3),
            "scale": said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 1.0,
            "mean": said.get("image_mean") if normalizes else [0.0] * 3,
            "std": said.get("image_std") if normalizes else [1.0] * 3,
        }  # fmt: skip
        return cls.of_record(made, file)

    @classmethod
    def of_record(cls, said: JsonMapping, file: Path | str) -> "Pictures":
        """Take what `to_json` gave.

        said (Mapping): From a stranger's file.
        file (Path | str): That file.
        RAISES (UnusableFile): T451, T847.
        """
        found = take(file, said, _STORED)
        for key, lengths in (("resize", (1, 2)), ("crop", (2,)), ("mean", (3,)), ("std", (3,))):
            if found[key] is not None and len(found[key]) not in lengths:
                raise UnusableFile(T847.format(file=file, key=key, value=repr(found[key])[:80]))
        if 0 in found["std"]:
            raise UnusableFile(T847.format(file=file, key="image_std", value=found["std"]))
        return cls(**found)

    def to_json(self) -> JsonObject:
        """See `Medium`."""
        return asdict(self)

    def check(self, content: Content) -> None:
        """See `Medium`."""
        if isinstance(content.data, bytes):
            _opened(content.name, content.data)
        else:
            _pixels(content.name, content.data)

    def prepare(self, content: Content) -> Prepared:
        """See `Medium`."""
        if isinstance(content.data, bytes):
            picture = _read(content.name, content.data)
        else:
            picture = _in_color(_of_pixels(_pixels(content.name, content.data)))
        return Prepared(self._prepared(picture, content.name))

    def trial(self) -> Prepared:
        """See `Medium`."""
        return Prepared(self._prepared(_of_pixels(np.zeros((64, 48, 3), dtype=np.uint8)), "a first try"))

    def _prepared(self, picture: "Image", name: str) -> torch.Tensor:
        width, height = picture.size
        if self.resize is not None:
            size = self._size(width, height)
            if size[0] * size[1] > _MOST_RESIZED:
                raise Unreadable(name, T841_LONG.format(ratio=max(width, height) / min(width, height)))
            picture = picture.resize(size, self.resample)
        if self.crop is not None:
            height, width = self.crop
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            # Beyond its edges it is black.
            picture = picture.crop((left, top, left + width, top + height))
        values = torch.from_numpy(np.asarray(picture, dtype=np.float32) * np.float32(self.scale))
        return ((values - torch.tensor(self.mean)) / torch.tensor(self.std)).permute(2, 0, 1).contiguous()

    def _size(self, width: int, height: int) -> tuple[int, int]:
        assert self.resize is not None
        if len(self.resize) == 2:
            return self.resize[1], self.resize[0]
        edge = self.resize[0]
        if width <= height:
            return edge, int(edge * height / width)
        return int(edge * width / height), edge


def _sides(said: object, file: Path, key: str, *, whole_is_short: bool) -> list[int]:
    """Sizes as current and old folders write them."""
    if isinstance(said, int):
        return [said] if whole_is_short else [said, said]
    if isinstance(said, dict) and set(said) == {"shortest_edge"}:
        return [said["shortest_edge"]]
    if isinstance(said, dict) and set(said) == {"height", "width"}:
        return [said["height"], said["width"]]
    raise UnusableFile(T847.format(file=file, key=key, value=repr(said)[:80]))


def _before_cut(edge: int, said: JsonMapping) -> int:
    share = said.get("crop_pct", 224 / 256)
    return int(edge / share) if isinstance(share, float) and 0.1 <= share <= 1.0 else edge


def _opened(name: str, data: bytes) -> "Image":
    """Read the head of a picture.

    RAISES (Unreadable): For what is no picture, or a larger one than is read.
    """
    require("PIL", "image")
    from PIL import Image

    try:
        # Of those that this Pillow was built with.
        Image.init()
        picture = Image.open(io.BytesIO(data), formats=[one for one in _FORMATS if one in Image.OPEN])
    except Exception as error:
        # Readers of formats raise all kinds.
        raise Unreadable(name, _reason(error)) from error
    n_pixels = picture.width * picture.height
    if not 0 < n_pixels <= _MOST_PIXELS:
        raise Unreadable(name, T841_PIXELS.format(n_pixels=n_pixels, most=_MOST_PIXELS))
    return picture


def _read(name: str, data: bytes) -> "Image":
    from PIL import ImageOps

    picture = _opened(name, data)
    try:
        picture.load()
        # Turned as the camera says.
        return _in_color(ImageOps.exif_transpose(picture))
    except Exception as error:
        raise Unreadable(name, _reason(error)) from error


def _reason(error: Exception) -> str:
    # Pillow names an object in memory.
    return "it is not a picture of a known format" if "cannot identify" in str(error) else str(error)


def _in_color(picture: "Image") -> "Image":
    """Three channels of 8 bits; what is transparent shows white."""
    from PIL import Image

    if picture.mode.startswith(("I", "F")):
        picture = _of_pixels(_eight_bits(np.asarray(picture), "the picture"))
    if picture.mode in ("LA", "PA", "La", "RGBa", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _of_pixels(pixels: Numbers) -> "Image":
    from PIL import Image

    return Image.fromarray(pixels).convert("RGBA" if pixels.ndim == 3 and pixels.shape[2] == 4 else "RGB")


def _pixels(name: str, pixels: Numbers) -> Numbers:
    """An array as 8 bits, (height, width) or (height, width, 3 or 4).

    RAISES (Unreadable): For other shapes and numbers.
    """
    require("PIL", "image")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
        want = "(height, width), or (height, width, n) with 1, 3 or 4 channels"
        raise Unreadable(name, T841_SHAPE.format(shape=pixels.shape, want=want))
    n_pixels = pixels.shape[0] * pixels.shape[1]
    if n_pixels > _MOST_PIXELS:
        raise Unreadable(name, T841_PIXELS.format(n_pixels=n_pixels, most=_MOST_PIXELS))
    return _eight_bits(pixels, name)


def _eight_bits(pixels: Numbers, name: str) -> Numbers:
    kind, least, most = pixels.dtype.kind, pixels.min(), pixels.max()
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if kind in "ui" and least >= 0 and most <= 65535 and pixels.dtype.itemsize > 1:
        # Of 16 bits, which Pillow also gives as 32; where they are 8 bits in a wider type, as they are.
        return (pixels if most <= 255 and pixels.dtype.itemsize > 2 else pixels.astype(np.uint32) // 257).astype(
            np.uint8
        )
    if kind == "f" and least >= 0 and most <= 1:
        return np.rint(pixels * 255).astype(np.uint8)
    raise Unreadable(name, T841_PIXEL_TYPE.format(dtype=f"{pixels.dtype} from {least} to {most}"))
