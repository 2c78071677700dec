"""Applies values from the command line or a search to a config."""

import copy
import json
from collections.abc import Mapping

from thinc.api import Config

from ..errors import T422, T422_BLOCK, T422_COMPONENT, T422_NAME, T422_SECTION, T422_VARIABLE, T423, T426
from ..json_types import ConfigMapping
from ..log import announce
from .blocks import filled, function_of, keys_of
from .nearest import nearest

# What was dropped of a block is said once: a study reads the same config many times.
_told: set[str] = set()


def put_values(config: Config, values: ConfigMapping) -> Config:
    """Put values into a config, whether it writes out their keys or not.

    Another function for a block ("components.x.model.pooling.@layers") takes the place of the block; keys that the new
    one has as well stay, others are dropped, and announced (T423). A dict with the name of a function replaces the
    whole block; one without sets only the keys that it has.

    config (Config): Not interpolated; not changed.
    values (Mapping): By dotted key.
    RETURNS (Config): A new one.
    RAISES (ValueError): T422 for a key that cannot be set, T426 for a block in broken JSON. Whether something reads a
        key is for `check_keys` to say.
    """
    result = config.copy()
    # A block's function first, then what stands in it, whatever the order they were given in.
    for key in sorted(values, key=_depth):
        _put(result, key, values[key])
    return result


def _depth(key: str) -> int:
    parts = key.split(".")
    return len(parts) - parts[-1].startswith("@")


def _put(config: Config, key: str, value: object) -> None:
    *parents, last = key.split(".")
    if not parents or not last:
        raise ValueError(T422.format(key=key, problem=T422_SECTION))
    components = config.get("components") or {}
    if parents[0] == "components" and [*parents, last][1] not in components:
        name = [*parents, last][1]
        raise ValueError(T422.format(key=key, problem=T422_COMPONENT.format(name=name, hint=nearest(name, components))))
    node: dict[str, object] = config
    for i, part in enumerate(parents):
        child = node.get(part)
        if not isinstance(child, Mapping):
            path, is_named = ".".join(parents[: i + 1]), last.startswith("@") and i == len(parents) - 1
            if isinstance(child, str) and "${" in child and not is_named:
                raise ValueError(T422.format(key=key, problem=T422_VARIABLE.format(key=path, value=child)))
            if child is not None and not is_named:
                raise ValueError(T422.format(key=key, problem=T422_BLOCK.format(key=path, value=child)))
            node[part] = child = {}
        node = child  # type: ignore[assignment]
    if last.startswith("@"):
        _name(node, filled(config), parents, last, value)
    elif isinstance(value, Mapping) and function_of(value) is None and _names_function(config, [*parents, last]):
        for name, one in value.items():
            _put(config, f"{key}.{name}", one)
    else:
        if isinstance(value, str) and "${" not in value:
            _refuse_text(key, value, function_of(_at(filled(config), [*parents, last])))
        node[last] = copy.deepcopy(dict(value) if isinstance(value, Mapping) else value)


def _refuse_text(key: str, value: str, function: tuple[str, str] | None) -> None:
    """A text that was to be a block.

    RAISES (ValueError): T426 for broken JSON, T422 in the place of a block.
    """
    if value.lstrip().startswith("{"):
        try:
            json.loads(value)
        except ValueError as error:
            raise ValueError(T426.format(key=key, value=value, reason=error)) from error
    if function is not None:
        raise ValueError(T422.format(key=key, problem=T422_NAME.format(key=key, kind=function[0])))


def _name(node: dict[str, object], whole: Config, parents: list[str], key: str, name: object) -> None:
    """Name the function of a block; what the new one does not read goes."""
    before, now = function_of(_at(whole, parents)), (key[1:], str(name))
    if before != now:
        known = keys_of(*now)
        dropped = [one for one in node if not one.startswith("@") and known is not None and one not in known]
        if dropped:
            text = ", ".join(f"{one} = {node[one]!r}" for one in dropped)
            _tell(T423.format(key=".".join(parents), new=name, old=before[1] if before else "none", dropped=text))
        for one in [*dropped, *(one for one in node if one.startswith("@"))]:
            del node[one]
    # As files have it: the name first.
    rest = dict(node)
    node.clear()
    node.update({key: name, **{one: value for one, value in rest.items() if one != key}})


def _names_function(config: Config, path: list[str]) -> bool:
    return function_of(_at(filled(config), path)) is not None


def _at(config: ConfigMapping, path: list[str]) -> object:
    found: object = config
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _tell(message: str) -> None:
    if message not in _told:
        _told.add(message)
        announce(message)
