"""Sounds as features: what is not as with pictures, which go the same way."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language

from house_kit.features import ALL, layer_of, with_features
from house_kit.media import AUDIO, PROBE, RATE, tone, wav, with_sounds, write_audio
from house_kit.texts import LABELS
from spacy_transfer.training.adamw import AdamW

pytest.importorskip("soundfile")
SOUNDS = [wav(tone(i % 3, 50 + i)) for i in range(6)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write_audio(tmp_path_factory.mktemp(family), family) for family in AUDIO}


def block(encoder: Path, **fields: Any) -> dict[str, Any]:
    return {"@layers": "spacy-transfer.AudioFeatures.v1", "encoder": str(encoder), **fields}


def solved(bert: Path, encoder: Path, *, make: Any = with_sounds, **fields: Any) -> Language:
    return with_features(bert, block(encoder, **fields), make, head_init=PROBE, **ALL)


def scores(nlp: Language, values: list[Any], text: str = "the card") -> torch.Tensor:
    docs = []
    for value in values:
        docs.append(nlp.make_doc(text))
        docs[-1]._.audio = value
    return torch.tensor([[doc.cats[label] for label in LABELS] for doc in nlp.pipe(docs)])


@pytest.mark.parametrize("family", AUDIO)
def test_a_task_that_only_the_sound_decides_is_learned(quiet_bert: Path, folders: dict[str, Path], family: str) -> None:
    nlp = solved(quiet_bert, folders[family], make=lambda nlp: with_sounds(nlp, text=""))
    assert scores(nlp, SOUNDS, "").argmax(dim=1).tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("family", ["wav2vec2", *(pytest.param(one, marks=pytest.mark.slow) for one in AUDIO[1:])])
def test_tuned_stored_and_pickled(quiet_bert: Path, folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    nlp = with_features(quiet_bert, block(folders[family], frozen_depth=1), with_sounds, **ALL)
    (shim,) = layer_of(nlp).layers[0].shims
    before = {name: value.clone() for name, value in shim.encoder.state_dict().items()}
    for _ in range(2):
        nlp.update(with_sounds(nlp), sgd=AdamW(learn_rate=1e-3))
    now = shim.encoder.state_dict()
    assert {shim.encoder.depth_of(name) for name in now if not torch.equal(before[name], now[name])} == {2}
    values = [*SOUNDS, None]
    wanted = scores(nlp, values)
    nlp.to_disk(tmp_path)
    assert torch.equal(scores(spacy.load(tmp_path), values), wanted)
    doc = nlp.make_doc("the card")
    doc._.audio = SOUNDS[0]
    model = nlp.get_pipe("transfer_textcat").model
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict([doc]), model.predict([doc]))
    np.testing.assert_array_equal(model.copy().predict([doc]), model.predict([doc]))


def test_a_path_bytes_and_arrays_are_the_same(quiet_bert: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    nlp = solved(quiet_bert, folders["wav2vec2"], folder=str(tmp_path))
    (tmp_path / "a.wav").write_bytes(SOUNDS[1])
    samples = tone(1, 51)
    twice = wav(np.repeat(samples, 3), 3 * RATE)
    values = [SOUNDS[1], "a.wav", samples, [samples, RATE], (samples, RATE), twice]
    found = scores(nlp, values)
    torch.testing.assert_close(found, found[:1].expand_as(found), atol=0.05, rtol=0)
    assert torch.equal(found[0], found[1])
    for wrong in ([samples], [samples, "fast"], [1, 2], {"array": samples}):
        with pytest.raises(ValueError, match=r"T848.*sampling rate"):
            scores(nlp, [wrong])
    with pytest.raises(ValueError, match=r"T841.*as a sound.*Format not recognised"):
        scores(nlp, [b"no sound"])


def test_a_sound_does_not_depend_on_its_batch(quiet_bert: Path, folders: dict[str, Path]) -> None:
    nlp = with_features(quiet_bert, block(folders["hubert"], frozen_depth=1), with_sounds, **ALL)
    values = [tone(0, 1, seconds) for seconds in (0.3, 0.1, 0.3, 0.2)]
    together = scores(nlp, values)
    torch.testing.assert_close(together, torch.cat([scores(nlp, [value]) for value in values]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fields", [{"max_seconds": 0.0}, {"max_seconds": 1e6}, {"frozen_depth": -2}])
def test_wrong_values_are_named(fields: dict[str, Any]) -> None:
    from spacy_transfer.model.features.media.audio import make_audio_features

    with pytest.raises(ValueError, match=f"T005.*{next(iter(fields))}"):
        make_audio_features("folder", **fields)


def test_an_encoder_of_pictures_is_refused(quiet_bert: Path, vit: Path) -> None:
    with pytest.raises(ValueError, match=r"T840.*audio.*'vit'.*wav2vec2"):
        solved(quiet_bert, vit)
