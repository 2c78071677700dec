"""Config blocks from Python: a name, a dict, or an instance of the block class."""

import dataclasses
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import catalogue
from spacy.util import registry

from ..errors import T493
from ..json_types import ConfigBlock
from .blocks import registered

_PREFIX, _VERSION = "spacy-transfer.", ".v1"
# Where blocks are registered, and the key that names them in a config.
_GROUPS = ("misc", "layers", "losses", "optimizers", "schedules")


def block_config(parameter: str, group: str, value: object) -> ConfigBlock:
    """Describe a block as the config does.

    parameter (str): Name of the parameter, for the message.
    group (str): Registry of the block: "misc", "layers", "losses".
    value (object): "MaxPooling" or "spacy-transfer.MaxPooling.v1"; a dict, {"@layers": ..., ...}; or an instance,
        `MaxPooling()`, of a registered dataclass.
    RETURNS (ConfigBlock): {"@layers": "spacy-transfer.MaxPooling.v1"}.
    RAISES (ValueError): T493 for a name that is not registered, or an instance of a class that is not.
    """
    if isinstance(value, str):
        names = [value, f"{_PREFIX}{value}{_VERSION}"]
        name = next((name for name in names if registry.has(group, name)), None)
        if name is None:
            known = ", ".join(sorted(_names_in(group)))
            raise ValueError(T493.format(parameter=parameter, value=repr(value), known=known))
        return {f"@{group}": name}
    plain = plain_block(value)
    if not isinstance(plain, dict) or not any(str(key).startswith("@") for key in plain):
        known = ", ".join(sorted(_names_in(group)))
        raise ValueError(T493.format(parameter=parameter, value=repr(value), known=known))
    return plain


def plain_block(value: object) -> object:
    """Replace block instances, at any depth, by what a config says of them; everything else stays as it is.

    value (object): A block, a dict or list that may hold blocks, or a plain value.
    RETURNS (object): Dicts, lists and plain values, JSON-able where the plain values are.
    """
    if isinstance(value, Mapping):
        return {key: plain_block(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_block(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        key, name = _registered(type(value))
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {key: name, **{field: plain_block(part) for field, part in fields.items()}}
    return value


def _registered(builder: type) -> tuple[str, str]:
    """Key and name under which a config reaches a class."""
    target = f"{builder.__module__}:{builder.__qualname__}"
    for group in _GROUPS:
        for library in ("spacy", "thinc"):
            for point in entry_points(group=f"{library}_{group}"):
                if point.value == target:
                    return f"@{group}", point.name
    classes = {path: one for path, one in catalogue.REGISTRY.items() if isinstance(one, type)}
    same = [path for path, one in classes.items() if one is builder]
    same = same or [path for path, one in classes.items() if _is_read_again(builder, one)]
    if same:
        return f"@{same[0][-2]}", str(same[0][-1])
    raise ValueError(T493.format(parameter="block", value=builder.__name__, known="a class that is registered"))


def _is_read_again(builder: type, other: type) -> bool:
    """Whether another class is the same one, made once more: a notebook's cell or a file of `--code` was run again."""
    if builder.__qualname__ != other.__qualname__ or not dataclasses.is_dataclass(other):
        return False
    return [field.name for field in dataclasses.fields(builder)] == [field.name for field in dataclasses.fields(other)]


def _names_in(group: str) -> set[str]:
    """Short names of the package's own blocks in a registry."""
    ours = {name for name in registered(group) if name.startswith(_PREFIX)}
    return {name.removeprefix(_PREFIX).removesuffix(_VERSION) for name in ours if name.split(".")[1][0].isupper()}
