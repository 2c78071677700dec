"""Where to find an encoder: a folder, an installed package, the Hugging Face cache, the hub, in this order."""

import importlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import errors
from ..redaction import without_secrets
from .encoder_folder import WEIGHTS, WEIGHTS_INDEX, check_encoder, pick_files, refuse_pickled
from .known_encoders import KNOWN, KnownEncoder

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
SHA256 = re.compile(r"[0-9a-f]{64}")
SECONDS_TO_ANSWER = 20.0

Origin = Literal["folder", "package", "cache", "hub"]


@dataclass(frozen=True)
class Copy:
    """A copy of an encoder that is at hand now.

    name (str): The name on the hub, or the name of the folder.
    folder (Path): Where its files lie.
    files (list[str]): Those of them that make the encoder.
    origin (Origin): What kind of place that is.
    revision (str | None): The commit, if it came from the hub.
    sha256 (dict[str, str]): What is known of its files beforehand.
    authority (str): Who says so.
    """

    name: str
    folder: Path
    files: list[str]
    origin: Origin
    revision: str | None
    sha256: dict[str, str]
    authority: str


def locate(source: str, revision: str | None, *, download: bool = True) -> Copy:
    """Find a copy of an encoder, and download it if no copy is here.

    source (str): A folder, or a name on the hub.
    revision (str | None): Branch, tag or commit on the hub; None is the pinned one of a known encoder, else "main".
    download (bool): Whether the hub may be asked.
    RETURNS (Source): The copy; the revision of a name on the hub is a commit.
    RAISES (FileNotFoundError): T050, T052 if there is no such thing; T157_NOT_HERE if it would have to be downloaded.
    RAISES (ConnectionError): T051 if it is not here and the hub cannot be reached.
    RAISES (ValueError): T053, T054 if it is not safe or not complete, T059 for a folder with a revision.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(errors.T059.format(revision=revision, source=source))
        return Copy(folder.resolve().name, folder, check_encoder(folder, source), "folder", None, {}, "")
    if folder.exists() or not HUB_NAME.fullmatch(source):
        raise FileNotFoundError(errors.T050.format(source=source))
    tried = [f"folder {folder}: not found"]
    known = KNOWN.get(source)
    if known and revision in (None, known.revision):
        revision = known.revision
        carried = _carried(known)
        if carried:
            return carried
        tried.append(f"package {known.package}: not installed")
    cached = _cached(source, revision, tried)
    if cached is None and not download:
        lines = "\n".join(f"  {line}" for line in tried)
        raise FileNotFoundError(errors.T157_NOT_HERE.format(name=source, revision=revision or "main", tried=lines))
    return cached or _downloaded(source, revision, tried)


def _carried(known: KnownEncoder) -> Copy | None:
    spec = importlib.util.find_spec(known.package)
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        return None
    files = check_encoder(folder, f"{known.name} in the package {known.package}")
    return Copy(known.name, folder, files, "package", known.revision, known.sha256, "spacy-transfer")


def _trusted(name: str, revision: str, told: dict[str, str]) -> tuple[dict[str, str], str]:
    """The digests to hold a copy to, and who says so: our own table before what the hub tells."""
    known = KNOWN.get(name)
    if known and known.revision == revision:
        return {**told, **known.sha256}, "spacy-transfer"
    return told, "the hub"


def _cached(name: str, revision: str | None, tried: list[str]) -> Copy | None:
    from huggingface_hub import constants, try_to_load_from_cache

    place = f"Hugging Face cache {constants.HF_HUB_CACHE}"
    try:
        # not snapshot_download: in huggingface_hub 1.x a snapshot without the ONNX copies counts as incomplete
        config = try_to_load_from_cache(name, "config.json", revision=revision)
        if not isinstance(config, str):
            tried.append(f"{place}: not found")
            return None
        folder = Path(config).parent
        files = check_encoder(folder, name)
    except ValueError as error:
        tried.append(f"{place}: {error}")
        return None
    # A large file is a link to a blob that is named by its SHA-256, so the hub's word is at hand without a network.
    blobs = {file: (folder / file).resolve().name for file in files}
    told = {file: blob for file, blob in blobs.items() if SHA256.fullmatch(blob)}
    sha256, authority = _trusted(name, folder.name, told)
    return Copy(name, folder, files, "cache", folder.name, sha256, authority)


def _downloaded(name: str, revision: str | None, tried: list[str]) -> Copy:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    wanted = revision or "main"
    try:
        info = HfApi().model_info(name, revision=wanted, files_metadata=True, timeout=SECONDS_TO_ANSWER)
        there = [file.rfilename for file in info.siblings]
        if not {WEIGHTS, WEIGHTS_INDEX} & set(there):
            refuse_pickled(there, name)
        # by the branch, not the commit: so the cache notes which commit the branch is, for a day without a network
        folder = Path(snapshot_download(name, revision=wanted, allow_patterns=pick_files(there)))
    except HFValidationError as error:
        raise FileNotFoundError(errors.T050.format(source=name)) from error
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        message = errors.T052.format(source=name, revision=wanted, reason=_first_line(error))
        raise FileNotFoundError(message) from error
    except (OSError, HfHubHTTPError, *_httpx_errors()) as error:
        tried.append(f"hub: {_first_line(error)}")
        raise ConnectionError(_unreachable(name, wanted, tried)) from error
    told = {file.rfilename: file.lfs["sha256"] for file in info.siblings if file.lfs}
    sha256, authority = _trusted(name, folder.name, told)
    return Copy(name, folder, check_encoder(folder, name), "hub", folder.name, sha256, authority)


def _httpx_errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub lets through when the network fails: of httpx in 1.x, of httpx2 in 2.x; those of 0.x are
    OSErrors."""
    found = []
    for name in ("httpx", "httpx2"):
        if importlib.util.find_spec(name) is not None:
            found.append(importlib.import_module(name).HTTPError)
    return tuple(found)


def _first_line(error: BaseException) -> str:
    """What went wrong at the bottom: on top of a failing look-up lie several layers of wrapping."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return without_secrets(next(iter(str(error).strip().splitlines()), type(error).__name__))


def _unreachable(name: str, revision: str, tried: list[str]) -> str:
    ways_out = errors.T051_COPY
    if name in KNOWN:
        ways_out = f"{KNOWN[name].way_out}, which carries it; or {ways_out}"
    # A folder that was not made yet looks like a name on the hub.
    example = next(iter(KNOWN))
    fetch = (
        errors.T051_FETCH.format(source=name)
        if name in KNOWN
        else errors.T051_FOLDER.format(known=example, folder=name)
    )
    ways_out = f"{fetch}; or {ways_out}"
    return errors.T051.format(
        source=name, revision=revision, tried="\n".join(f"  {line}" for line in tried), ways_out=ways_out
    )
