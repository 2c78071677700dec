"""Reads sounds and prepares them by the settings of their encoder's folder."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray

from ....errors import (
    T841_EMPTY,
    T841_FINITE,
    T841_SAMPLE_TYPE,
    T841_SAMPLES,
    T841_SHAPE,
    T847,
    T849,
    T850,
    require,
)
from ....files.fields import FLAG, take, whole
from ....files.strangers import UnusableFile
from ....json_types import JsonMapping, JsonObject
from ....log import announce
from ....nn.media.encoder import MediaEncoder
from ....nn.media.reading import mel_filters
from .contents import Content, Numbers, Unreadable
from .medium import Prepared

Samples = NDArray[np.float32]

_WAVES, _SPECTRA = "Wav2Vec2FeatureExtractor", "WhisperFeatureExtractor"
_MOST_RATE = 768_000
_MOST_CHANNELS = 32
# Of all channels together; 200 MB.
_MOST_SAMPLES = 50_000_000
_STORED = {
    "rate": whole(1000, _MOST_RATE), "n_mels": whole(0, 1024), "n_fft": whole(0, 65_536), "hop": whole(0, 65_536),
    "n_frames": whole(0, 100_000), "normalizes": FLAG, "least": whole(1, 10_000_000),
}  # fmt: skip


class _SoundFile(Protocol):
    """What is used of `soundfile.SoundFile`."""

    samplerate: int
    channels: int
    frames: int

    def read(self, frames: int, dtype: str, always_2d: bool) -> Samples:
        """Read samples, (n_frames, n_channels)."""


@final
class Sounds:
    """How sounds become tensors: one channel, the encoder's sampling rate, waves or log-mel spectra.

    settings (dict): As `to_json` gives them.
    max_seconds (float): What is read of a sound.
    """

    def __init__(self, settings: JsonObject, max_seconds: float) -> None:
        self._settings = settings
        self.rate: int = settings["rate"]
        self._window: int = settings["n_frames"] * settings["hop"]
        n_most = int(max_seconds * self.rate)
        # Samples at the encoder's rate.
        self._most = max(1, min(n_most, self._window) if self._window else n_most)
        self._filters: torch.Tensor | None = None
        # Other rates, and -1 for a sound that was cut, that were reported.
        self._told: set[int] = set()

    @classmethod
    def of_processor(cls, said: JsonMapping, file: Path, encoder: MediaEncoder, max_seconds: float) -> "Sounds":
        """Take the settings of a preprocessor_config.json.

        said (Mapping): What it holds.
        file (Path): The file.
        encoder (MediaEncoder): Of its folder.
        max_seconds (float): What is read of a sound.
        RETURNS (Sounds): What prepares as transformers does.
        RAISES (UnusableFile): T847 for what is not known, T451 for values out of range.
        """
        kind = said.get("feature_extractor_type")
        if kind not in (_WAVES, _SPECTRA):
            raise UnusableFile(T847.format(file=file, key="feature_extractor_type", value=repr(kind)[:80]))
        made: JsonObject = {
            "rate": said.get("sampling_rate", 16_000), "n_mels": 0, "n_fft": 0, "hop": 0, "n_frames": 0,
            "normalizes": False, "least": 1,
        }  # fmt: skip
        if kind == _SPECTRA:
            made |= {
                "n_mels": said.get("feature_size", 80),
                "n_fft": said.get("n_fft", 400),
                "hop": said.get("hop_length", 160),
            }
            # Of which one convolution leaves every second.
            made["n_frames"] = 2 * encoder.config["max_source_positions"]
        else:
            made |= {"normalizes": said.get("do_normalize", True), "least": _least(encoder.config)}
        return cls.of_record(made, file, max_seconds)

    @classmethod
    def of_record(cls, said: JsonMapping, file: Path | str, max_seconds: float) -> "Sounds":
        """Take what `to_json` gave.

        said (Mapping): From a stranger's file.
        file (Path | str): That file.
        max_seconds (float): What is read of a sound.
        RAISES (UnusableFile): T451, T847.
        """
        found = take(file, said, _STORED)
        if found["n_mels"] and not 0 < found["hop"] <= found["n_fft"]:
            raise UnusableFile(T847.format(file=file, key="n_fft", value=found["n_fft"]))
        if found["n_frames"] * found["hop"] > _MOST_SAMPLES or bool(found["n_mels"]) != bool(found["n_frames"]):
            raise UnusableFile(T847.format(file=file, key="n_frames", value=found["n_frames"]))
        return cls(found, max_seconds)

    def to_json(self) -> JsonObject:
        """See `Medium`."""
        return dict(self._settings)

    def check(self, content: Content) -> None:
        """See `Medium`."""
        if isinstance(content.data, bytes):
            _opened(content.name, content.data)
        else:
            _channels(content.name, content.data)

    def prepare(self, content: Content) -> Prepared:
        """See `Medium`."""
        samples, rate, is_cut = self._read(content)
        if not len(samples):
            raise Unreadable(content.name, T841_EMPTY)
        if not np.isfinite(samples).all():
            raise Unreadable(content.name, T841_FINITE)
        if rate != self.rate:
            if rate not in self._told:
                self._told.add(rate)
                announce(T849.format(name=content.name, rate=rate, want=self.rate))
            samples = resampled(samples, rate, self.rate)
        if (is_cut or len(samples) > self._most) and -1 not in self._told:
            self._told.add(-1)
            announce(T850.format(name=content.name, seconds=self._most / self.rate))
        return self._prepared(samples[: self._most])

    def trial(self) -> Prepared:
        """See `Medium`."""
        n_samples = max(min(self.rate // 2, self._most), self._settings["least"])
        return self._prepared(np.sin(np.arange(n_samples, dtype=np.float32) / 10))

    def _read(self, content: Content) -> tuple[Samples, int, bool]:
        """RETURNS (tuple): Samples of one channel, their rate, and whether there were more."""
        if isinstance(content.data, bytes):
            file = _opened(content.name, content.data)
            n_read = self._n_read(content.name, file.samplerate, file.channels)
            try:
                samples = file.read(min(n_read, file.frames), "float32", True)
            except Exception as error:
                raise Unreadable(content.name, error) from error
            return samples.mean(axis=1), file.samplerate, file.frames > n_read
        rate = content.rate or self.rate
        if not 0 < rate <= _MOST_RATE:
            raise Unreadable(content.name, T841_SAMPLES.format(n_channels=1, rate=rate))
        values = _channels(content.name, content.data)
        n_read = self._n_read(content.name, rate, values.shape[1])
        return _scaled(content.name, values[:n_read]).mean(axis=1), rate, len(values) > n_read

    def _n_read(self, name: str, rate: int, n_channels: int) -> int:
        n_read = math.ceil(self._most / self.rate * rate)
        if n_read * n_channels > _MOST_SAMPLES:
            raise Unreadable(name, T841_SAMPLES.format(n_channels=n_channels, rate=rate))
        return n_read

    def _prepared(self, samples: Samples) -> Prepared:
        settings = self._settings
        if settings["n_mels"]:
            return self._spectrum(torch.from_numpy(samples))
        if settings["normalizes"]:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        short = settings["least"] - len(samples)
        return Prepared(torch.from_numpy(np.pad(samples, (0, short)) if short > 0 else samples))

    def _spectrum(self, samples: torch.Tensor) -> Prepared:
        """Logarithms of power on the mel scale, (n_mels, n_frames), from 8 powers of ten below the loudest, as Whisper
        was trained on; SOURCE: Radford et al. 2022, arXiv:2212.04356."""
        n_fft, hop, n_mels = (self._settings[key] for key in ("n_fft", "hop", "n_mels"))
        if self._filters is None:
            self._filters = mel_filters(n_mels, self.rate, n_fft)
        whole = torch.nn.functional.pad(samples, (0, self._window - len(samples)))
        waves = torch.stft(whole, n_fft, hop, window=torch.hann_window(n_fft), return_complex=True)
        power = self._filters.T @ waves[:, :-1].abs().square()
        loudness = power.clamp(min=1e-10).log10()
        loudness = torch.maximum(loudness, loudness.max() - 8.0)
        # One frame of the encoder stands for two of these.
        n_inner = math.ceil(math.ceil(len(samples) / hop) / 2)
        return Prepared((loudness + 4.0) / 4.0, max(n_inner, 1))


def resampled(samples: Samples, rate: int, want: int) -> Samples:
    """Another sampling rate, by a polyphase filter.

    samples (NDArray): (n_samples,).
    rate (int): Samples a second.
    want (int): Samples a second afterwards.
    RETURNS (NDArray): (about n_samples * want / rate,).
    RAISES (ImportError): T081 without SciPy.
    """
    common = math.gcd(rate, want)
    found = require("scipy.signal", "audio").resample_poly(samples, want // common, rate // common)
    return np.ascontiguousarray(found, dtype=np.float32)


def _least(config: JsonMapping) -> int:
    """Samples of which a stack of convolutions makes one state."""
    n_samples = 1
    for kernel, stride in zip(
        reversed(_numbers(config, "conv_kernel")), reversed(_numbers(config, "conv_stride")), strict=True
    ):
        n_samples = (n_samples - 1) * stride + kernel
    return n_samples


def _numbers(config: JsonMapping, key: str) -> Sequence[int]:
    return [int(one) for one in config[key]]


def _opened(name: str, data: bytes) -> _SoundFile:
    """Read the head of a sound.

    RAISES (Unreadable): For what is no sound, or one of more samples a second or channels than is read.
    """
    soundfile = require("soundfile", "audio")
    try:
        file: _SoundFile = soundfile.SoundFile(io.BytesIO(data))
    except Exception as error:
        raise Unreadable(name, str(error).partition(": ")[2] or error) from error
    if not 0 < file.samplerate <= _MOST_RATE or not 0 < file.channels <= _MOST_CHANNELS:
        raise Unreadable(name, T841_SAMPLES.format(n_channels=file.channels, rate=file.samplerate))
    if file.frames <= 0:
        raise Unreadable(name, T841_EMPTY)
    return file


def _channels(name: str, values: Numbers) -> Numbers:
    """An array as (n_samples, n_channels).

    RAISES (Unreadable): For other shapes.
    """
    if values.ndim == 1:
        return values[:, None]
    if values.ndim != 2 or not 0 < values.shape[1] <= _MOST_CHANNELS:
        want = f"(n_samples,), or (n_samples, n_channels) with at most {_MOST_CHANNELS} channels"
        raise Unreadable(name, T841_SHAPE.format(shape=values.shape, want=want))
    return values


def _scaled(name: str, values: Numbers) -> Samples:
    """Samples from -1 to 1."""
    kind = values.dtype.kind
    if kind == "f":
        return values.astype(np.float32)
    if kind == "i":
        return (values.astype(np.float64) / 2.0 ** (8 * values.dtype.itemsize - 1)).astype(np.float32)
    raise Unreadable(name, T841_SAMPLE_TYPE.format(dtype=values.dtype))
