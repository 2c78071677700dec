"""The files of an encoder folder, their completeness, and the lock file that records what was fetched."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

from .. import errors
from ..files import sha256_of, write_text
from ..files.fields import NAME, OBJECT, SHA256, TEXT, dict_of, maybe, one_of, take, whole
from ..files.strangers import UnusableFile, check_inside, read_bytes, read_object, stays_inside
from .encoder_demands import check_asks_nothing, check_no_adapter

LOCK_FILE = "encoder.lock.json"
LOCK_FORMAT = 1
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
)
COMPANIONS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
# Of vision and audio encoders: how pictures and sounds are prepared.
PREPROCESSOR = "preprocessor_config.json"
# Of sentence-transformers: what follows the encoder, and how long its texts are.
MODULES = "modules.json"
SENTENCE_FILES = (MODULES, "sentence_bert_config.json")
MODULE_FILE = re.compile(r"\d+_[A-Za-z]+/(config\.json|model\.safetensors)")
LICENSES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*")
_SHARD = re.compile(r"[\w.-]+\.safetensors")
_ORIGINS = ("folder", "package", "cache", "hub")
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.ot")


class PickledWeights(ValueError):
    """All weights of a source are pickled, so that none can be read."""


@dataclass(frozen=True)
class FileRecord:
    """A file as it was fetched: sha256 (str), hexadecimal, and size (int), in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Lock:
    """What a fetched folder holds and where it came from.

    source (str): The name on the hub, or the name of the folder (without its path: it is nobody's business).
    origin (str): "folder", "package", "cache" or "hub".
    requested (str | None): The revision that was asked for.
    revision (str | None): The commit that it was.
    license (str | None): As the source names it.
    files (dict[str, FileRecord]): All files but the lock.
    """

    source: str
    origin: str
    requested: str | None
    revision: str | None
    license: str | None
    files: dict[str, FileRecord]


_LOCK = {
    "source": TEXT, "origin": one_of(*_ORIGINS), "requested": maybe(TEXT),
    "revision": maybe(TEXT), "license": maybe(TEXT), "files": dict_of(OBJECT),
}  # fmt: skip
_FILE = {"sha256": SHA256, "size": whole()}


def pick_files(names: Iterable[str]) -> list[str]:
    """Pick from the files of a source those that make the encoder: configuration, weights, tokenizer, license.

    names (Iterable[str]): File names; of those in subfolders only what modules.json may name: pooling and dense layers
        of sentence-transformers, not copies in other formats.
    RETURNS (list[str]): The names to fetch, sorted. One model.safetensors is preferred to shards.
    """
    names = set(names)
    modules = {name for name in names if MODULE_FILE.fullmatch(name)} if MODULES in names else set()
    names = {name for name in names if "/" not in name}
    wanted = [WEIGHTS, *TOKENIZERS, *COMPANIONS, *SENTENCE_FILES, "README.md", *LICENSES]
    if WEIGHTS not in names and WEIGHTS_INDEX in names:
        wanted += [WEIGHTS_INDEX, "*.safetensors"]
    picked = {name for name in names if any(fnmatch(name.upper(), pattern.upper()) for pattern in wanted)}
    return sorted(picked | modules)


def check_encoder(folder: Path, source: str, *, of_text: bool = True) -> list[str]:
    """Make sure that a folder holds a complete encoder with safe weights.

    folder (Path): The folder.
    source (str): What the user calls it.
    of_text (bool): It has a tokenizer; else the preprocessor_config.json of a vision or audio encoder.
    RETURNS (list[str]): The files that make the encoder, sorted.
    RAISES (ValueError): T053 if all weights are pickled, T054 if something is missing or cut off, T016 for a folder
        that asks for code, quantized weights or an adapter, T450 for a link that leaves it.
    """
    present = [path.name for path in folder.iterdir() if path.is_file()]
    present += [path.relative_to(folder).as_posix() for path in folder.glob("[0-9]*_*/*") if path.is_file()]
    names = pick_files(present) + [name for name in present if name == PREPROCESSOR and not of_text]
    check_inside(folder, names)
    check_no_adapter(folder, source)
    weights = _weight_files(folder, names, source)
    if not weights:
        refuse_pickled(present, source)
    missing = [name for name in ("config.json", *(weights or [WEIGHTS])) if name not in names]
    if of_text and not set(TOKENIZERS) & set(names):
        missing.append("a tokenizer")
    if not of_text and PREPROCESSOR not in names:
        missing.append(PREPROCESSOR)
    if missing:
        raise _incomplete(source, errors.T054_MISSING.format(files=", ".join(missing)))
    _check_config(folder, source)
    for name in weights:
        _check_weights(folder / name, source)
    return names


def refuse_pickled(names: Iterable[str], source: str) -> None:
    """Refuse a source without safetensors that has weights of another kind.

    names (Iterable[str]): Its files.
    source (str): What the user calls it.
    RAISES (PickledWeights): T053 with the way to convert them; nothing if there are no weights at all.
    """
    found = sorted(name for name in names if "/" not in name and any(fnmatch(name, pattern) for pattern in PICKLED))
    if found:
        raise PickledWeights(errors.T053.format(source=source, found=", ".join(found)))


def _incomplete(source: str, problem: str) -> ValueError:
    return ValueError(errors.T054.format(source=source, problem=problem))


def _weight_files(folder: Path, names: list[str], source: str) -> list[str]:
    if WEIGHTS in names:
        return [WEIGHTS]
    if WEIGHTS_INDEX not in names:
        return []
    return _shards(folder)


def weight_paths(folder: Path) -> list[Path]:
    """The files that hold the weights of a complete encoder."""
    names = [WEIGHTS] if (folder / WEIGHTS).is_file() else _shards(folder)
    check_inside(folder, names)
    return [folder / name for name in names]


def _shards(folder: Path) -> list[str]:
    """RAISES (UnusableFile): T450, T451 for an index that names anything but safetensors files next to it."""
    path = folder / WEIGHTS_INDEX
    shards = take(path, read_object(path), {"weight_map": dict_of(NAME)})["weight_map"].values()
    for name in shards:
        if not _SHARD.fullmatch(name):
            problem = errors.T450_NAME.format(name=name[:80], want="safetensors files")
            raise UnusableFile(errors.T450.format(file=path, problem=problem))
    return sorted(set(shards))


def _check_config(folder: Path, source: str) -> None:
    config = read_object(folder / "config.json")
    if not NAME.holds(config.get("model_type")):
        raise _incomplete(source, errors.T054_CONFIG.format(reason=repr(config.get("model_type"))[:80]))
    check_asks_nothing(config, source)


def _check_weights(path: Path, source: str) -> None:
    """Read the header only: it must fit the size of the file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise _incomplete(source, errors.T054_WEIGHTS.format(file=path.name, reason=error)) from error


def record(path: Path) -> FileRecord:
    """Digest a file.

    path (Path): The file.
    RETURNS (FileRecord): Its SHA-256 and size.
    """
    return FileRecord(sha256_of(path), path.stat().st_size)


def named_license(folder: Path) -> str | None:
    """Find the license that an encoder's README names in its front matter.

    folder (Path): Folder of the encoder.
    RETURNS (str | None): Such as "apache-2.0".
    """
    readme = folder / "README.md"
    text = read_bytes(readme).decode("utf-8", "replace") if readme.is_file() and stays_inside(folder, readme) else ""
    front = re.match(r"\ufeff?---\s*\n(.*?)\n---", text, re.DOTALL)
    named = re.search(r"^license:\s*['\"]?([\w.+-]+)", front.group(1), re.MULTILINE) if front else None
    return named.group(1) if named else None


def license_files(names: Iterable[str]) -> list[str]:
    """Those of some file names that hold a license.

    names (Iterable[str]): File names.
    RETURNS (list[str]): LICENSE, COPYING and the like; a NOTICE alone is none.
    """
    patterns = [pattern for pattern in LICENSES if pattern != "NOTICE*"]
    return [name for name in names if any(fnmatch(name.upper(), pattern) for pattern in patterns)]


def write_lock(folder: Path, lock: Lock) -> None:
    """Write down what was fetched.

    folder (Path): The folder that was fetched.
    lock (Lock): What it holds.
    """
    text = json.dumps({"format": LOCK_FORMAT, **asdict(lock)}, ensure_ascii=False, indent=2)
    write_text(folder / LOCK_FILE, text + "\n")


def read_lock(folder: Path) -> Lock:
    """Read what was fetched.

    folder (Path): A folder with an encoder.lock.json.
    RETURNS (Lock): What it should hold.
    RAISES (ValueError): T057 if the lock is unreadable.
    """
    path = folder / LOCK_FILE
    try:
        data = read_object(path)
        if data.get("format") != LOCK_FORMAT:
            raise ValueError(errors.T057_FORMAT)
        fields = take(path, data, _LOCK)
        for name, found in fields["files"].items():
            if not _is_ours(name):
                want = "files of an encoder"
                raise UnusableFile(errors.T450.format(file=path, problem=errors.T450_NAME.format(name=name, want=want)))
            fields["files"][name] = FileRecord(**take(path, found, _FILE, within=f"files.{name}."))
        return Lock(**fields)
    except ValueError as error:
        problem = errors.T057_LOCK.format(reason=error)
        raise ValueError(errors.T057.format(path=folder, problem=problem)) from error


def _is_ours(name: str) -> bool:
    """Whether `fetch` writes a file of this name."""
    return name not in ("", ".", "..") and ("/" not in name or bool(MODULE_FILE.fullmatch(name))) and "\0" not in name


def verify(folder: Path, lock: Lock) -> None:
    """Make sure that a folder still holds what was fetched.

    folder (Path): The folder.
    lock (Lock): Its lock.
    RAISES (ValueError): T057 at the first file that is missing or changed.
    """
    for name, expected in lock.files.items():
        path = folder / name
        if not path.is_file():
            problem = errors.T057_MISSING.format(file=name)
            raise ValueError(errors.T057.format(path=folder, problem=problem))
        found = record(path)
        if found != expected:
            problem = errors.T057_CHANGED.format(file=name, found=found.sha256, expected=expected.sha256)
            raise ValueError(errors.T057.format(path=folder, problem=problem))
