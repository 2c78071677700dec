"""Config blocks: the function that each one names, its keys and its default values."""

import functools
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

import catalogue
from spacy.language import DEFAULT_CONFIG, Language
from spacy.util import get_lang_class, registry
from thinc.api import Config

from ..json_types import ConfigBlock, ConfigMapping

# Of an entry point whose package is not installed, or of a function that says nothing of itself.
_UNKNOWN = (ImportError, AttributeError, TypeError, ValueError)


def function_of(block: object) -> tuple[str, str] | None:
    """Registry and name of the function that a block names: ("layers", "spacy-transfer.MeanPooling.v1").

    block (object): Of a config.
    RETURNS (tuple | None): None for anything else.
    """
    if isinstance(block, Mapping):
        for key, name in block.items():
            if key.startswith("@"):
                return key[1:], str(name)
    return None


def keys_of(kind: str, name: str) -> list[str] | None:
    """Keys that a block of a registered function may have.

    kind (str): Registry.
    name (str): In it.
    RETURNS (list[str] | None): None where any goes, or nobody knows.
    """
    try:
        return keywords(registry.get(kind, name))
    except _UNKNOWN:
        return None


def keywords(function: Callable[..., object], without: tuple[str, ...] = ()) -> list[str] | None:
    """Names of the parameters of a function; None if it takes any.

    RAISES (ValueError, TypeError): If it has none.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return None
    # Positional values stand under "*".
    return ["*" if one.kind is one.VAR_POSITIONAL else one.name for one in parameters if one.name not in without]


def needed_by(kind: str, name: str) -> list[str]:
    """Keys that a block of a registered function must have.

    kind (str): Registry.
    name (str): In it.
    """
    try:
        parameters = inspect.signature(registry.get(kind, name)).parameters.values()
    except _UNKNOWN:
        return []
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in variable]


def registered(kind: str) -> set[str]:
    """Names in a registry; nothing is imported for them.

    kind (str): Such as "layers".
    """
    found = getattr(registry, kind)
    names = {path[-1] for path in catalogue.REGISTRY if path[:-1] == tuple(found.namespace)}
    return names | {point.name for point in entry_points(group=found.entry_point_namespace)}


def _knows_factory(config: ConfigMapping, block: ConfigMapping) -> tuple[type[Language], str] | None:
    """The language that has the factory of a component, and its name."""
    _register_factories()
    try:
        language = get_lang_class(config["nlp"]["lang"])
    except (KeyError, ImportError, TypeError, AttributeError):
        language = Language
    name = block.get("factory")
    return (language, name) if isinstance(name, str) and language.has_factory(name) else None


def factory_weights(config: ConfigMapping, block: ConfigMapping) -> dict[str, float | None] | None:
    """Scores that a component gives, and what each counts by default; None where nobody knows.

    config (Mapping): The whole config.
    block (Mapping): Of the component.
    """
    found = _knows_factory(config, block)
    return None if found is None else dict(found[0].get_factory_meta(found[1]).default_score_weights)


def factory_of(config: ConfigMapping, block: ConfigMapping) -> tuple[Callable[..., object], ConfigBlock] | None:
    """The factory of a component, and its default config; None where there is none.

    config (Mapping): The whole config.
    block (Mapping): Of the component.
    """
    if (found := _knows_factory(config, block)) is None:
        return None
    language, name = found
    own = language.get_factory_name(name)
    function = registry.factories.get(own if own in registry.factories else name)
    return function, language.get_factory_meta(name).default_config


@functools.cache
def _register_factories() -> None:
    """spaCy knows its own factories and those of other packages once a pipeline was made."""
    Language()


def filled(config: Config) -> Config:
    """A config with spaCy's defaults and the blocks that its components have where it names none.

    Of these blocks only what their components say themselves: the fields that a block leaves out have the defaults of
    its function, which the registry fills in.

    config (Config): Not changed, and nothing of it is made.
    """
    whole = DEFAULT_CONFIG.merge(config)
    for name, block in (whole.get("components") or {}).items():
        if isinstance(block, Mapping) and (found := factory_of(whole, block)) is not None:
            whole["components"][name] = dict(Config(found[1]).merge(dict(block)))
    return whole
