"""Resolves a config's `encoder.name`: a pipeline with a spacy-transfer component, or an encoder."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import T018
from ..files import no_such_file
from ..files.strangers import check_inside, read_bytes
from .encoder_copies import locate
from .encoder_folder import LOCK_FILE, check_encoder, license_files, named_license, read_lock, verify
from .known_encoders import KNOWN


@dataclass(frozen=True)
class EncoderFolder:
    """A folder with an encoder.

    folder (Path): Where the files are.
    name (str): Its name on the hub or of its folder, without a path.
    revision (str | None): Commit on the hub.
    license (str | None): License text, or what its model card says.
    is_component (bool): The folder was written by one of our components.
    """

    folder: Path
    name: str
    revision: str | None
    license: str | None
    is_component: bool


def find_encoder(name: str, revision: str | None, *, download: bool = True) -> EncoderFolder:
    """Find the files of an encoder; only a hub name that is nowhere on this machine needs the network.

    name (str): Folder, pipeline folder, installed pipeline package, or hub name.
    revision (str | None): Branch, tag or commit of a hub name; None is the pinned commit of a known encoder, else main.
    download (bool): Whether the hub may be asked.
    RAISES (ValueError): T018 for a pipeline without one of our components, or with several; T053, T054, T057, T059 for
        a folder that is no complete, safe, unaltered encoder.
    RAISES (OSError): T050 to T052 if it is nowhere, with what was tried.
    """
    pipeline = Path(name).expanduser()
    if not pipeline.is_dir() and name.isidentifier():
        pipeline = _package_data(name) or pipeline
    if (component := _component(pipeline)) is not None:
        return EncoderFolder(component, name, None, None, True)
    copy = locate(name, revision, download=download)
    source, commit = copy.name, copy.revision
    if (copy.folder / LOCK_FILE).is_file():
        lock = read_lock(copy.folder)
        verify(copy.folder, lock)
        source, commit = lock.source, lock.revision
    return EncoderFolder(copy.folder, source, commit, _license(copy.folder, copy.files, source), False)


def find_media_encoder(name: str) -> EncoderFolder:
    """Find the folder of a vision or audio encoder.

    name (str): A folder, "~" is the home folder.
    RETURNS (EncoderFolder): With the license that is in it.
    RAISES (FileNotFoundError): T440 if there is no such folder.
    RAISES (ValueError): T053, T054 for a folder that is no complete, safe encoder.
    """
    folder = Path(name).expanduser()
    if not name or not folder.is_dir():
        raise no_such_file(folder)
    files = check_encoder(folder, name, of_text=False)
    own = folder.resolve().name
    return EncoderFolder(folder, own, None, _license(folder, files, own), False)


def _component(folder: Path) -> Path | None:
    """The folder of our component in a pipeline folder, or of a component itself; None if it is neither."""
    if (folder / "encoder.json").is_file() and (folder / "weights.safetensors").is_file():
        return folder
    if not (folder / "meta.json").is_file() or not (folder / "config.cfg").is_file():
        return None
    components = sorted(path.parent for path in folder.glob("*/encoder.json"))
    if len(components) != 1:
        found = ", ".join(path.name for path in components) or "none"
        raise ValueError(T018.format(folder=folder, found=found))
    return components[0]


def _package_data(name: str) -> Path | None:
    """The data folder of an installed pipeline package, `name/name-version`."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    if not (root / "meta.json").is_file():
        return None
    version = json.loads((root / "meta.json").read_text("utf-8"))["version"]
    return root / f"{name}-{version}"


def _license(folder: Path, files: list[str], name: str) -> str | None:
    found = license_files(files)
    # The text goes into every pipeline that is trained on the encoder, and so into what is handed on.
    check_inside(folder, found)
    texts = [read_bytes(folder / file).decode("utf-8", "replace") for file in found]
    if texts:
        return "\n".join(texts)
    if name in KNOWN:
        return KNOWN[name].notice
    named = named_license(folder)
    return f"License of the encoder {name}, as its model card names it: {named}\n" if named else None
