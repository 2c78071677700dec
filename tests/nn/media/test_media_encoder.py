"""Vision and audio encoders give what transformers gives, know their depths, and refuse what they are not."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from house_kit.media import AUDIO, SIDE, VISION, write_audio, write_vision
from spacy_transfer.nn.media.encoder import MediaEncoder
from spacy_transfer.nn.media.reading import read_media, rebuild_media
from spacy_transfer.repository.resolve import find_media_encoder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write_vision(tmp_path_factory.mktemp(family), family) for family in VISION}


def read(folder: Path, pooling: str = "auto") -> MediaEncoder:
    return read_media(find_media_encoder(str(folder)), "image", pooling)[0]


def pixels(family: str) -> torch.Tensor:
    side = 32 if family == "resnet" else SIDE
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", VISION)
def test_vectors_are_those_of_transformers(folders: dict[str, Path], family: str) -> None:
    inputs = pixels(family)
    with torch.no_grad():
        if family == "clip":
            given = transformers.CLIPModel.from_pretrained(folders[family]).eval().vision_model(inputs)
            first = given.pooler_output
        else:
            given = transformers.AutoModel.from_pretrained(folders[family]).eval()(inputs)
            first = given.pooler_output.flatten(1) if family == "resnet" else given.last_hidden_state[:, 0]
        assert torch.equal(read(folders[family])(inputs), first)
        if family in ("vit", "dinov2"):
            mean = given.last_hidden_state[:, 1:].mean(dim=1)
            assert torch.equal(read(folders[family], "mean")(inputs), mean)
    assert bool((first[0] - first[1]).abs().max() > 1e-4)


@pytest.mark.parametrize("family", VISION)
def test_what_is_frozen_gets_no_gradient(folders: dict[str, Path], family: str) -> None:
    encoder = read(folders[family])
    depths = {encoder.depth_of(name) for name, _ in encoder.named_parameters()}
    assert depths == set(range(encoder.n_layers + 1))
    for depth in (-1, 0, 1, encoder.n_layers):
        encoder.freeze(depth)
        vectors = encoder(pixels(family))
        assert vectors.requires_grad == (depth < encoder.n_layers)
        if vectors.requires_grad:
            vectors.sum().backward()
        moved = {encoder.depth_of(name) for name, w in encoder.named_parameters() if w.grad is not None}
        assert moved == {one for one in depths if one > depth}
        encoder.zero_grad()


@pytest.mark.parametrize("family", VISION)
def test_rebuilt_from_its_record(folders: dict[str, Path], family: str) -> None:
    encoder, config = read_media(find_media_encoder(str(folders[family])), "image", "auto")
    again = rebuild_media(json.loads(json.dumps(config)), "image", "auto", "a file")
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(pixels(family)), encoder(pixels(family)))
    assert str(folders[family]) not in json.dumps(config)


@pytest.mark.parametrize("family", AUDIO)
def test_audio_encoders_too(family: str, tmp_path: Path) -> None:
    folder = write_audio(tmp_path / "plain", family)
    encoder, config = read_media(find_media_encoder(str(folder)), "audio", "max")
    own = transformers.AutoModel.from_pretrained(folder).eval()
    own = own.get_encoder() if family == "whisper" else own
    size = (2, 20, 100) if family == "whisper" else (2, 1000)
    inputs = torch.randn(size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = own(inputs).last_hidden_state
        assert torch.equal(encoder(inputs), states.amax(dim=1))
        if family == "whisper":
            found = encoder(inputs, [7, 50])
            assert torch.equal(found, torch.stack([states[0, :7].amax(dim=0), states[1].amax(dim=0)]))
    again = rebuild_media(json.loads(json.dumps(config)), "audio", "max", "a file")
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(inputs), encoder(inputs))
    encoder.freeze(1)
    encoder(inputs).sum().backward()
    assert {encoder.depth_of(name) for name, w in encoder.named_parameters() if w.grad is not None} == {2}


def test_old_names_and_norms_before_the_layers(tmp_path: Path) -> None:
    """Folders on the hub name the weight of the convolution over positions as an older torch did."""
    folder = write_audio(tmp_path / "stable", do_stable_layer_norm=True, feat_extract_norm="layer")
    new = read_media(find_media_encoder(str(folder)), "audio", "auto")[0]
    assert new.depth_of("body.encoder.layer_norm.weight") == 2
    weights = load_file(folder / "model.safetensors")
    stem = "encoder.pos_conv_embed.conv."
    for number, old in ((0, "weight_g"), (1, "weight_v")):
        weights[f"wav2vec2.{stem}{old}"] = weights.pop(f"{stem}parametrizations.weight.original{number}")
    save_file(weights, folder / "model.safetensors")
    inputs = torch.randn(1, 800)
    assert torch.equal(read_media(find_media_encoder(str(folder)), "audio", "auto")[0](inputs), new(inputs))


def altered(folder: Path, target: Path, **config: object) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    said = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**said, **config}))
    return target


def test_other_encoders_are_refused(folders: dict[str, Path], encoder_folder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"T844.*'mean' or 'max'|T844.*\"max\".*\"first\" or \"mean\""):
        read(folders["vit"], "max")
    with pytest.raises(ValueError, match=r"T054.*preprocessor_config.json missing"):
        read(encoder_folder("bert"))
    text = altered(encoder_folder("bert"), tmp_path / "text")
    (text / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"T840.*'bert'.*vit, dinov2"):
        read(text)
    with pytest.raises(FileNotFoundError, match="T440"):
        read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"T453.*num_hidden_layers"):
        read(altered(folders["vit"], tmp_path / "deeper", num_hidden_layers=1))
    with pytest.raises(ValueError, match="T016"):
        read(altered(folders["vit"], tmp_path / "code", auto_map={"AutoModel": "evil.Evil"}))
    torso = altered(folders["resnet"], tmp_path / "torso")
    weights = {name: w for name, w in load_file(torso / "model.safetensors").items() if "running_var" not in name}
    save_file(weights, torso / "model.safetensors")
    with pytest.raises(ValueError, match=r"T845.*running_var"):
        read(torso)
