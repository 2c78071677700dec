"""Pictures are prepared as by transformers; what is odd about them is handled or refused before memory is spent."""

import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from house_kit.media import VISION, picture, write_vision
from spacy_transfer.files.strangers import UnusableFile
from spacy_transfer.model.features.media.contents import Content, Unreadable
from spacy_transfer.model.features.media.pictures import Pictures

PLAIN = Pictures([4, 4], None, 2, 1.0, [0.0] * 3, [1.0] * 3)
SIZES = [(24, 20), (20, 31), (9, 40), (16, 16)]


def content(image: Image.Image, kind: str = "PNG", **options: object) -> Content:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Content("a.png", file.getvalue())


def colors(given: Content) -> list[float]:
    """Of the upper left pixel."""
    return PLAIN.prepare(given).values[:, 0, 0].tolist()


def assert_equal(said: dict[str, object], tmp_path: Path) -> None:
    name = str(said.get("image_processor_type", said.get("feature_extractor_type")))
    own = getattr(transformers, name.replace("FeatureExtractor", "ImageProcessor"))(**said)
    pictures = Pictures.of_processor(said, tmp_path)
    for size in SIZES:
        image = picture(1, 3, size)
        wanted = own(image, return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(pictures.prepare(content(image)).values, wanted.float(), atol=1e-5, rtol=1e-5)
        assert torch.equal(
            pictures.prepare(Content("array", np.asarray(image))).values, pictures.prepare(content(image)).values
        )
    assert Pictures.of_record(json.loads(json.dumps(pictures.to_json())), "file") == pictures


@pytest.mark.parametrize("family", VISION)
def test_prepared_as_by_transformers(family: str, tmp_path: Path) -> None:
    write_vision(tmp_path, family)
    assert_equal(json.loads((tmp_path / "preprocessor_config.json").read_text()), tmp_path)


NUMBERS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


@pytest.mark.parametrize(
    "said",
    [
        {"image_processor_type": "ViTImageProcessor", "size": 12, "do_normalize": False},
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 390}},
        {"image_processor_type": "CLIPImageProcessor", "size": 12, "crop_size": 18, "do_rescale": False},
        {"image_processor_type": "DeiTImageProcessor", "size": {"height": 20, "width": 20}, "crop_size": 12},
        {"image_processor_type": "SiglipImageProcessor", "size": {"height": 14, "width": 10}},
        {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 9}, "do_center_crop": False},
    ],
    ids=lambda said: said["image_processor_type"],
)
def test_other_settings(said: dict[str, object], tmp_path: Path) -> None:
    assert_equal({**NUMBERS, **said}, tmp_path)


def test_old_names_of_processors(tmp_path: Path) -> None:
    said = {"feature_extractor_type": "ViTFeatureExtractor", "size": 12, **NUMBERS}
    assert Pictures.of_processor(said, tmp_path).resize == [12, 12]
    assert Pictures.of_processor(
        {**said, "feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 9}, tmp_path
    ) == (Pictures([12], [9, 9], 3, 1 / 255, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))


@pytest.mark.parametrize(
    "change",
    [
        {"image_processor_type": "LayoutLMv2ImageProcessor"}, {"size": {"longest_edge": 3}}, {"size": 10**9},
        {"image_std": [0.1, 0.0, 0.1]}, {"image_mean": None}, {"image_mean": [0.1]},
        {"resample": 77}, {"size": "large"},
    ],
)  # fmt: skip
def test_unknown_preparations_are_refused(change: dict[str, object], tmp_path: Path) -> None:
    said = {"image_processor_type": "ViTImageProcessor", "size": 12, **NUMBERS}
    with pytest.raises(UnusableFile, match=r"T847|T451"):
        Pictures.of_processor({**said, **change}, tmp_path)


def test_channels_and_depths() -> None:
    red = Image.new("RGB", (8, 8), (200, 0, 0))
    assert colors(content(red)) == [200, 0, 0]
    assert colors(content(Image.new("L", (8, 8), 90))) == [90, 90, 90]
    assert colors(content(Image.new("1", (8, 8), 1))) == [255, 255, 255]
    assert colors(content(red.quantize(4))) == [200, 0, 0]
    assert colors(content(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "TIFF")) == [255, 255, 255]
    # Transparent is white, whatever color hides there.
    assert colors(content(Image.new("RGBA", (8, 8), (200, 0, 0, 0)))) == [255, 255, 255]
    assert colors(content(Image.new("LA", (8, 8), (10, 0)))) == [255, 255, 255]
    deep = Image.fromarray(np.full((8, 8), 257 * 90, dtype=np.uint16))
    assert colors(content(deep)) == [90, 90, 90]
    assert colors(Content("array", np.full((8, 8), 257 * 90, dtype=np.uint16))) == [90, 90, 90]
    assert colors(Content("array", np.full((8, 8, 3), 0.2))) == [51, 51, 51]
    assert colors(Content("array", np.full((8, 8, 1), 7, dtype=np.int64))) == [7, 7, 7]
    assert colors(Content("array", np.ones((8, 8), dtype=bool))) == [255, 255, 255]
    assert colors(Content("array", np.zeros((8, 8, 4), dtype=np.uint8))) == [255, 255, 255]


def test_turned_as_the_camera_says() -> None:
    image = Image.fromarray(np.repeat(np.asarray([[0], [255]], dtype=np.uint8), 8, axis=1).repeat(4, axis=0))
    exif = Image.Exif()
    exif[0x0112] = 3
    assert colors(content(image)) == [0, 0, 0]
    assert colors(content(image, exif=exif)) == [255, 255, 255]


def test_an_animation_shows_its_first_picture() -> None:
    first, second = Image.new("RGB", (8, 8), (200, 0, 0)), Image.new("RGB", (8, 8), (0, 200, 0))
    assert colors(content(first, "GIF", save_all=True, append_images=[second])) == [200, 0, 0]


def bomb() -> bytes:
    """A PNG of a few bytes whose head says 60,000 times 60,000 pixels."""
    parts = ((b"IHDR", (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])), (b"IDAT", zlib.compress(b"0")))
    chunks = [
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big") for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no picture", "not a picture of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture of a known format"),
        (bomb(), "pixels"), (content(picture(0)).data[:300], "truncated"),
        (np.zeros((3, 8, 8), dtype=np.uint8), "shape"), (np.full((8, 8), 3.5), "float64"),
        (np.full((8, 8), -1), "int64"), (np.full((8, 8), np.nan), "float64"),
    ],
    ids=["bytes", "eps", "bomb", "truncated", "channels first", "floats", "negative", "NaN"],
)  # fmt: skip
def test_what_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        PLAIN.prepare(Content("a.png", data))
    assert reason in caught.value.reason
    assert caught.value.name == "a.png"


def test_a_line_is_no_picture() -> None:
    line = Content("array", np.zeros((1, 50_000), dtype=np.uint8))
    with pytest.raises(Unreadable, match="50,000 times"):
        Pictures([224], [224, 224], 2, 1.0, [0.0] * 3, [1.0] * 3).prepare(line)


def test_the_digest_is_of_the_content() -> None:
    data = content(picture(0)).data
    assert Content("a.png", data).digest == Content("b.png", data).digest
    pixels = np.zeros((4, 6), dtype=np.uint8)
    digests = {
        Content("a", one).digest
        for one in (pixels, pixels.reshape(6, 4), pixels.astype(np.int16), pixels.tobytes(), pixels + 1)
    }
    assert len(digests) == 5
    assert Content("a", pixels[:, ::2]).digest == Content("a", pixels[:, ::2].copy()).digest
