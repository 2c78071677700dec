"""Sounds are prepared as by transformers; what is odd about them is handled or refused before memory is spent."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from house_kit.media import AUDIO, RATE, tone, wav, write_audio
from spacy_transfer.files.strangers import UnusableFile
from spacy_transfer.model.features.media.contents import Content, Unreadable
from spacy_transfer.model.features.media.sounds import Sounds, resampled
from spacy_transfer.nn.media.encoder import MediaEncoder
from spacy_transfer.nn.media.reading import read_media
from spacy_transfer.repository.resolve import find_media_encoder

soundfile = pytest.importorskip("soundfile")
PLAIN = {"rate": RATE, "n_mels": 0, "n_fft": 0, "hop": 0, "n_frames": 0, "normalizes": False, "least": 1}


def plain(max_seconds: float = 30.0) -> Sounds:
    return Sounds(PLAIN, max_seconds)


def content(samples: Any, rate: int = RATE) -> Content:
    return Content("a.wav", wav(samples, rate))


def waves(given: Content, **options: Any) -> torch.Tensor:
    return plain(**options).prepare(given).values


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, MediaEncoder]]:
    found = {}
    for family in AUDIO:
        folder = write_audio(tmp_path_factory.mktemp(family), family)
        found[family] = (folder, read_media(find_media_encoder(str(folder)), "audio", "auto")[0])
    return found


@pytest.mark.parametrize("family", AUDIO)
def test_prepared_as_by_transformers(encoders: dict[str, tuple[Path, MediaEncoder]], family: str) -> None:
    folder, encoder = encoders[family]
    said = json.loads((folder / "preprocessor_config.json").read_text())
    sounds, own = (
        Sounds.of_processor(said, folder, encoder, 30.0),
        getattr(transformers, said["feature_extractor_type"]),
    )
    for seconds in (0.1, 0.31, 0.97):
        samples = tone(1, 3, seconds)
        wanted = own(**said)(samples, sampling_rate=RATE, return_tensors="pt")
        wanted = wanted.get("input_values", wanted.get("input_features"))[0]
        prepared = sounds.prepare(Content("array", samples))
        torch.testing.assert_close(prepared.values, wanted, atol=1e-5, rtol=1e-5)
        if family == "whisper":
            assert prepared.n_inner == -(-len(samples) // 320)
    again = Sounds.of_record(json.loads(json.dumps(sounds.to_json())), "file", 30.0)
    assert torch.equal(again.prepare(content(tone(0))).values, sounds.prepare(content(tone(0))).values)
    # However short, there is a state.
    short = sounds.prepare(Content("array", np.ones(3, dtype=np.float32)))
    assert encoder(short.values[None], None if short.n_inner is None else [short.n_inner]).isfinite().all()


@pytest.mark.parametrize(
    "change",
    [
        {"feature_extractor_type": "SpeechT5FeatureExtractor"}, {"sampling_rate": 0}, {"sampling_rate": "fast"},
        {"do_normalize": 3},
    ],
)  # fmt: skip
def test_unknown_preparations_are_refused(
    encoders: dict[str, tuple[Path, MediaEncoder]], change: dict[str, object]
) -> None:
    folder, encoder = encoders["wav2vec2"]
    said = json.loads((folder / "preprocessor_config.json").read_text())
    with pytest.raises(UnusableFile, match=r"T847|T451"):
        Sounds.of_processor({**said, **change}, folder, encoder, 30.0)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 11111])
def test_another_rate_is_resampled_and_said_once(rate: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sounds = plain()
    for _ in range(2):
        found = sounds.prepare(content(tone(1, 2, 0.3, rate), rate)).values.numpy()
    said = [record.message for record in caplog.records if "T849" in record.message]
    assert len(said) == 1
    assert f"{rate:,} samples a second" in said[0]
    assert len(found) == pytest.approx(0.3 * RATE, abs=2)
    # The same pitch: all but the ends, where the filter sees nothing.
    wanted = tone(1, 2, 0.3, RATE)[: len(found)]
    angle = (
        np.dot(found[400:-400], wanted[400:-400]) / np.linalg.norm(found[400:-400]) / np.linalg.norm(wanted[400:-400])
    )
    assert angle > 0.98
    silent = resampled(np.zeros(1000, dtype=np.float32), rate, RATE)
    assert not silent.any()
    assert silent.dtype == np.float32


def test_channels_and_numbers() -> None:
    left, right = tone(0, 1), tone(2, 1)
    both = np.stack([left, right], axis=1)
    mean = torch.from_numpy((left + right) / 2)
    torch.testing.assert_close(waves(content(both)), mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(waves(Content("array", both)), mean)
    loud = (left * 32768).astype(np.int16)
    torch.testing.assert_close(waves(Content("array", loud)), torch.from_numpy(left), atol=1e-4, rtol=0)
    torch.testing.assert_close(waves(Content("array", left.astype(np.float64))), torch.from_numpy(left))
    assert len(waves(Content("array", left, rate=RATE // 2))) == 2 * len(left)


def test_other_formats() -> None:
    import io

    for kind in ("FLAC", "OGG"):
        file = io.BytesIO()
        soundfile.write(file, tone(0), RATE, format=kind)
        found = waves(Content("a", file.getvalue())).numpy()
        assert np.corrcoef(found, tone(0)[: len(found)])[0, 1] > 0.98


def test_long_sounds_are_cut_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sounds = plain(max_seconds=0.25)
    long = tone(0, 0, 1.0)
    for given in (content(long), Content("array", long), content(long, RATE * 2)):
        assert len(sounds.prepare(given).values) == RATE // 4
    assert len([1 for record in caplog.records if "T850" in record.message]) == 1
    assert torch.equal(sounds.prepare(Content("array", long)).values, torch.from_numpy(long[: RATE // 4]))
    assert len(waves(content(tone(0, 0, 0.25)), max_seconds=0.25)) == RATE // 4


def header(rate: int = RATE, samples: int = 0) -> bytes:
    """A WAV whose head says what it likes."""
    data = bytearray(wav(np.zeros((10, 1), dtype=np.float32)))
    data[24:28] = rate.to_bytes(4, "little")
    if samples:
        data[40:44] = (2 * samples).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no sound", "Format not recognised"), (wav(np.zeros(0, dtype=np.float32)), "no samples"),
        (header(rate=2_000_000_000), "2,000,000,000 samples a second"),
        (np.zeros((2, 3, 4)), "shape"), (np.zeros((2, 5000)), "shape"), (np.zeros(9, dtype=np.uint8), "uint8"),
        (np.full(9, np.nan, dtype=np.float32), "NaN"),
    ],
    ids=["bytes", "empty", "rate", "dimensions", "channels first", "unsigned", "NaN"],
)  # fmt: skip
def test_what_cannot_be_read_says_why(data: Any, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        plain().prepare(Content("a.wav", data))
    assert reason in caught.value.reason
    assert caught.value.name == "a.wav"


def test_a_head_that_says_too_much_costs_nothing() -> None:
    """A file of some bytes that claims a gigabyte."""
    found = waves(Content("a.wav", header(samples=500_000_000)))
    assert len(found) <= 10
    with pytest.raises(Unreadable, match="channels"):
        plain(600.0).prepare(Content("array", np.zeros((10, 30), dtype=np.float32), rate=700_000))
