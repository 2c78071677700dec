"""Where an encoder's files are: a folder, a spaCy pipeline with one of our components, the hub's cache or the hub."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import T011, T018


@dataclass(frozen=True)
class EncoderFolder:
    """A folder with an encoder.

    folder (Path): Where the files are. name (str): As the user gave it. revision (str | None): Commit on the hub.
    licence (str | None): Licence text found beside the weights, or the licence named in the model card.
    is_component (bool): The folder was written by one of our components.
    """

    folder: Path
    name: str
    revision: str | None
    licence: str | None
    is_component: bool


def find_encoder(name: str, revision: str | None) -> EncoderFolder:
    """Find the files of an encoder; only a hub name that is not in the cache needs the network.

    name (str): Folder, pipeline folder, installed pipeline package, or hub name.
    revision (str | None): Branch, tag or commit of a hub name.
    RAISES (OSError): T011 if it is nowhere, with what was tried.
    RAISES (ValueError): T018 for a pipeline without one of our components, or with several.
    """
    path = Path(name)
    if path.is_dir():
        return _in_folder(path, name, revision)
    if name.isidentifier() and (package := _package_data(name)):
        return _in_folder(package, name, None)
    return _in_folder(_from_hub(name, revision), name, revision)


def _in_folder(folder: Path, name: str, revision: str | None) -> EncoderFolder:
    component = folder
    if (folder / "meta.json").is_file() and (folder / "config.cfg").is_file():
        components = sorted(p.parent for p in folder.glob("*/encoder.json"))
        if len(components) != 1:
            found = [p.name for p in components] or "none"
            raise ValueError(T018.format(folder=folder, found=found))
        component = components[0]
    is_component = (component / "encoder.json").is_file() and (component / "weights.safetensors").is_file()
    if not is_component and not (component / "config.json").is_file():
        raise FileNotFoundError(T011.format(name=name, error=f"the folder has no config.json: {folder}"))
    return EncoderFolder(component, name, revision, _licence(component), is_component)


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


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model", "LICENSE*", "README.md"]
    try:
        try:
            # First without the network: a pinned revision in the cache needs none.
            return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, local_files_only=True))
        except (LocalEntryNotFoundError, FileNotFoundError):
            return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise FileNotFoundError(T011.format(name=name, error=str(error).splitlines()[0])) from error


def _licence(folder: Path) -> str | None:
    for pattern in ("LICENSE*", "LICENCE*", "licen[sc]e*"):
        for file in sorted(folder.glob(pattern)):
            return file.read_text("utf-8", errors="replace")
    card = folder / "README.md"
    if card.is_file():
        for line in card.read_text("utf-8", errors="replace").splitlines()[:60]:
            if line.startswith("license:"):
                return f"Licence of the encoder, as named in its model card: {line.removeprefix('license:').strip()}\n"
    return None
