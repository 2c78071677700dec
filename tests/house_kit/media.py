"""Tiny random vision and audio encoders; pictures and sounds made on the spot."""

import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from spacy.language import Language
from spacy.training import Example

from house_kit.texts import LABELS, one_hot

# Without choosing among several, which would take most of the time of a test.
PROBE = {"@misc": "spacy-transfer.LinearProbe.v1", "Cs": [10.0]}
COLORS = [(230, 30, 20), (20, 200, 40), (30, 40, 220)]
SIDE = 16
_SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "image_size": SIDE,
    "patch_size": 8,
}  # fmt: skip
_VIT = {"do_resize": True, "size": {"height": SIDE, "width": SIDE}, "resample": 2}
_CUT = {
    "do_resize": True, "size": {"shortest_edge": SIDE}, "resample": 3, "do_center_crop": True,
    "crop_size": {"height": SIDE, "width": SIDE}, "do_convert_rgb": True,
}  # fmt: skip
_NUMBERS = {
    "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}  # fmt: skip


def _vision(family: str) -> tuple[Any, dict[str, Any]]:
    if family == "vit":
        return transformers.ViTModel(transformers.ViTConfig(**_SMALL)), {
            **_VIT,
            "image_processor_type": "ViTImageProcessor",
        }
    if family == "dinov2":
        config = transformers.Dinov2Config(**{**_SMALL, "mlp_ratio": 2})
        cut = {**_CUT, "size": {"shortest_edge": SIDE + 4}, "image_processor_type": "BitImageProcessor"}
        return transformers.Dinov2Model(config), cut
    if family == "clip":
        text = {
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "intermediate_size": 8,
            "vocab_size": 20,
        }
        config = transformers.CLIPConfig(text_config=text, vision_config=_SMALL, projection_dim=8)
        return transformers.CLIPModel(config), {**_CUT, "image_processor_type": "CLIPImageProcessor"}
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic"
    )
    whole = {
        "size": {"shortest_edge": 32},
        "crop_pct": 0.875,
        "resample": 3,
        "image_processor_type": "ConvNextImageProcessor",
    }
    return transformers.ResNetModel(config), whole


VISION = ("vit", "dinov2", "clip", "resnet")


def write_vision(folder: Path, family: str = "vit", seed: int = 0) -> Path:
    """A tiny random encoder, with the preparation that is usual for its family."""
    torch.manual_seed(seed)
    model, preparation = _vision(family)
    for weight in model.parameters():
        # As drawn, all pictures would be nearly the same to it.
        weight.data.add_(0.2 * torch.randn(weight.shape))
    for name, value in model.named_buffers():
        if name.endswith("running_mean"):
            value.add_(0.1 * torch.randn(value.shape))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**_NUMBERS, **preparation}))
    return folder


def picture(label: int, seed: int = 0, size: tuple[int, int] = (24, 20)) -> Image.Image:
    """Mostly of one color, with noise: (width, height)."""
    noise = np.random.default_rng(seed).integers(-40, 40, size=(size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(COLORS[label]) + noise, 0, 255).astype(np.uint8))


def png(label: int, seed: int = 0) -> bytes:
    file = io.BytesIO()
    picture(label, seed).save(file, "PNG")
    return file.getvalue()


# ---- sounds ------------------------------------------------------------------------------------------------------

AUDIO = ("wav2vec2", "hubert", "whisper")
RATE = 16_000
TONES = (200.0, 900.0, 3000.0)
_CONVOLUTIONS = {
    "conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [5, 8], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "vocab_size": 20,
}  # fmt: skip


def _audio(family: str, **config: Any) -> tuple[Any, dict[str, Any]]:
    if family == "whisper":
        made = transformers.WhisperConfig(
            d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=24, decoder_layers=1,
            decoder_attention_heads=2, decoder_ffn_dim=8, vocab_size=20, num_mel_bins=20, max_source_positions=50,
            max_target_positions=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, **config,
        )  # fmt: skip
        said = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 20, "chunk_length": 1}
        return transformers.WhisperModel(made), {**said, "n_fft": 400, "hop_length": 160, "sampling_rate": RATE}
    size = {
        key: _SMALL[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    }
    kinds = {
        "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
        "hubert": (transformers.HubertConfig, transformers.HubertModel),
    }  # fmt: skip
    make, model = kinds[family]
    said = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True, "sampling_rate": RATE}
    return model(make(**size, **_CONVOLUTIONS, **config)), said


def write_audio(folder: Path, family: str = "wav2vec2", seed: int = 0, **config: Any) -> Path:
    """A tiny random encoder, with the preparation that is usual for its family."""
    torch.manual_seed(seed)
    model, preparation = _audio(family, **config)
    for name, weight in model.named_parameters():
        if "parametrizations" not in name:
            weight.data.add_(0.2 * torch.randn(weight.shape))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preparation))
    return folder


def tone(label: int, seed: int = 0, seconds: float = 0.3, rate: int = RATE) -> Any:
    """Samples of one pitch, with noise: (n_samples,)."""
    places = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=len(places))
    return (0.5 * np.sin(2 * np.pi * TONES[label] * places + seed) + 0.02 * noise).astype(np.float32)


def wav(samples: Any, rate: int = RATE) -> bytes:
    """A file of 16 bits; (n_samples,) or (n_samples, n_channels)."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def with_sounds(nlp: Language, n: int = 12, *, text: str = "the card") -> list[Example]:
    """The label shows in the sound alone."""
    examples = []
    for i in range(n):
        example = Example.from_dict(nlp.make_doc(text), {"cats": one_hot(LABELS[i % 3])})
        example.predicted._.audio = example.reference._.audio = wav(tone(i % 3, i))
        examples.append(example)
    return examples


def with_pictures(nlp: Language, n: int = 12, *, text: str = "the card", first_seed: int = 0) -> list[Example]:
    """The label shows in the picture alone."""
    examples = []
    for i in range(n):
        example = Example.from_dict(nlp.make_doc(text), {"cats": one_hot(LABELS[i % 3])})
        example.predicted._.image = example.reference._.image = png(i % 3, first_seed + i)
        examples.append(example)
    return examples
