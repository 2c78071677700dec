"""Keys and names that nothing reads: refused before anything is built, with the nearest that there is."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from confection import ConfigValidationError
from spacy.schemas import ConfigSchemaInit, ConfigSchemaNlp, ConfigSchemaPretrain
from spacy.util import registry
from thinc.api import Config

from ..errors import T330, T420, T421, T422, T422_COMPONENT
from .blocks import factory_of, filled, function_of, keys_of, keywords
from .nearest import nearest

# Sections that spaCy makes something of; in others a block is only a value.
_MADE = ("nlp", "components", "corpora", "training", "pretraining", "initialize")
_SCHEMAS = {"nlp": ConfigSchemaNlp, "initialize": ConfigSchemaInit, "pretraining": ConfigSchemaPretrain}
_SOURCED = ["source", "component", "replace_listeners", "factory"]


def check_keys(config: Config) -> None:
    """Check that every key of every block is one that its function reads.

    config (Config): As it is given; defaults need not be written out.
    RAISES (ValueError): T330 for an unknown key of a section, T420 for one of a block, T421 for a function that is not
        registered, T422 for the values of a component that is not there.
    """
    try:
        whole = filled(config).interpolate()
    except (ValueError, ConfigValidationError):
        # spaCy names the variable when it loads the config.
        return
    for section, schema in _SCHEMAS.items():
        if whole.get(section):
            known = [field.alias or name for name, field in schema.model_fields.items()]
            for key in whole[section]:
                if key not in known:
                    raise ValueError(
                        T330.format(
                            key=f"{section}.{key}", hint=nearest(key, known), section=section,
                            known=", ".join(sorted(known)),
                        )
                    )  # fmt: skip
    for section in _MADE:
        if isinstance(block := whole.get(section), Mapping):
            _check_block(section, block)
    _check_components(whole)


def _check_components(whole: Config) -> None:
    components, initialize = whole["components"], (whole.get("initialize") or {}).get("components") or {}
    for name, block in components.items():
        key = f"components.{name}"
        if not isinstance(block, Mapping) or not block.keys() & {"factory", "source"}:
            known = [other for other in components if other != name]
            problem = T422_COMPONENT.format(name=name, hint=nearest(name, known))
            raise ValueError(T422.format(key=key, problem=problem))
        if "source" in block:
            _check(key, f"a component from {block['source']}", block, _SOURCED)
        elif (found := factory_of(whole, block)) is not None:
            _check(key, str(block["factory"]), block, _with(keywords(found[0], ("nlp", "name")), "factory"))
            made = inspect.signature(found[0]).return_annotation
            takes = getattr(made, "initialize", None) if inspect.isclass(made) else None
            if takes is not None and isinstance(given := initialize.get(name), Mapping):
                what = f"the initialization of {block['factory']}"
                _check(f"initialize.{key}", what, given, keywords(takes, ("self", "get_examples", "nlp")))


def _with(keys: list[str] | None, key: str) -> list[str] | None:
    return None if keys is None else [key, *keys]


def _check_block(key: str, block: Mapping[str, Any]) -> None:
    if (function := function_of(block)) is not None:
        kind, name = function
        if kind not in registry.get_registry_names():
            hint = nearest(kind, registry.get_registry_names())
            raise ValueError(T421.format(key=f"{key}.@{kind}", name=name, hint=hint))
        names = _registered(kind)
        # An older function of spaCy's that has moved to a package of its own.
        if name not in names and name.replace("spacy.", "spacy-legacy.") not in names:
            raise ValueError(T421.format(key=f"{key}.@{kind}", name=name, hint=nearest(name, names)))
        _check(key, name, block, keys_of(kind, name))
    for part, value in block.items():
        if isinstance(value, Mapping):
            _check_block(f"{key}.{part}", value)


def _registered(kind: str) -> set[str]:
    found = getattr(registry, kind)
    names = {".".join(path[len(found.namespace) :]) for path in _paths(found)}
    return names | {point.name for point in found._get_entry_points()}


def _paths(found: Any) -> Iterable[tuple[str, ...]]:
    from catalogue import REGISTRY

    return [path for path in REGISTRY if path[: len(found.namespace)] == found.namespace]


def _check(key: str, what: str, block: Mapping[str, Any], known: list[str] | None) -> None:
    for name in block:
        if known is not None and name not in known and not name.startswith("@"):
            has = ", ".join(known) or "no keys"
            raise ValueError(T420.format(key=f"{key}.{name}", what=what, hint=nearest(name, known), known=has))
