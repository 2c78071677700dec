"""Refuses keys and names that nothing reads, before anything is built, and suggests the nearest known one."""

import inspect
import re
from collections.abc import Mapping

from spacy.language import Language
from spacy.schemas import ConfigSchemaInit, ConfigSchemaNlp, ConfigSchemaPretrain
from spacy.util import registry
from thinc.api import Config

from ..errors import T330, T334, T420, T421, T421_KIND, T422, T422_COMPONENT, T424, T425
from ..json_types import ConfigMapping
from .blocks import factory_of, filled, function_of, keys_of, keywords, needed_by, registered
from .nearest import nearest

# Sections that spaCy makes something of; in others a block is only a value.
_MADE = ("nlp", "components", "corpora", "training", "pretraining", "initialize")
_SCHEMAS = {"nlp": ConfigSchemaNlp, "initialize": ConfigSchemaInit, "pretraining": ConfigSchemaPretrain}
_SOURCED = ["source", "component", "replace_listeners", "factory"]


def check_keys(config: Config) -> None:
    """Check that every key of every block is one that its function reads, and that none is missing.

    config (Config): As it is given; defaults need not be written out.
    RAISES (ValueError): T330 for an unknown key of a section, T334 for a section that nothing reads, T420 for an
        unknown key of a block, T421 for a function that is not registered, T422 for the values of a component that is
        not there, T424 for a block that lacks a key it needs, T425 for training or dev data without a block.
    RAISES (ConfigValidationError, InterpolationError): For a variable that stands for nothing.
    """
    _check_sections(config)
    whole = filled(config).interpolate()
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
    _check_corpora(whole)
    _check_components(whole)


def _check_sections(config: Config) -> None:
    """A section that no variable refers to is for notes, unless it looks like one that is read: [trainig]."""
    text = config.to_str()
    for section in config:
        is_read = section in (*_MADE, "paths", "system") or re.search(rf"\$\{{\s*{re.escape(section)}\s*[.:}}]", text)
        if not is_read and (hint := nearest(section, _MADE)):
            raise ValueError(T334.format(key=f"[{section}]", hint=hint))


def _check_corpora(whole: Config) -> None:
    corpora, training = whole.get("corpora") or {}, whole["training"]
    for name, block in corpora.items():
        if isinstance(block, Mapping) and function_of(block) is None:
            known = [other for other in corpora if other != name]
            raise ValueError(T334.format(key=f"corpora.{name}", hint=nearest(name, known)))
    for key in ("train_corpus", "dev_corpus"):
        section, _, name = str(training.get(key)).partition(".")
        if section == "corpora" and corpora and name not in corpora:
            raise ValueError(T425.format(key=f"training.{key}", name=name, hint=nearest(name, corpora)))


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
        else:
            hint = nearest(str(block["factory"]), Language().factory_names)
            raise ValueError(T421.format(key=f"{key}.factory", name=block["factory"], hint=hint))
    for name in initialize:
        if name not in components:
            problem = T422_COMPONENT.format(name=name, hint=nearest(name, components))
            raise ValueError(T422.format(key=f"initialize.components.{name}", problem=problem))


def _with(keys: list[str] | None, key: str) -> list[str] | None:
    return None if keys is None else [key, *keys]


def _check_block(key: str, block: ConfigMapping) -> None:
    if (function := function_of(block)) is not None:
        kind, name = function
        kinds = registry.get_registry_names()
        if kind not in kinds:
            raise ValueError(T421.format(key=f"{key}.@{kind}", name=name, hint=nearest(kind, kinds)))
        if not _is_there(kind, name):
            # The hint for somebody who has the right name in the wrong place.
            others = [other for other in kinds if other != kind and name in registered(other)]
            hint = T421_KIND.format(kind=others[0]) if others else nearest(name, registered(kind))
            raise ValueError(T421.format(key=f"{key}.@{kind}", name=name, hint=hint))
        _check(key, name, block, keys_of(kind, name))
        if missing := [one for one in needed_by(kind, name) if one not in block]:
            example = f'{{"@{kind}": "{name}", "{missing[0]}": ...}}'
            raise ValueError(T424.format(key=key, name=name, missing=", ".join(missing), example=example))
    for part, value in block.items():
        if isinstance(value, Mapping):
            _check_block(f"{key}.{part}", value)


def _is_there(kind: str, name: str) -> bool:
    try:
        return registry.has(kind, name)
    except ImportError:
        # Of a package that lacks one of its own: what makes the block will say so.
        return True


def _check(key: str, what: str, block: ConfigMapping, known: list[str] | None) -> None:
    for name in block:
        if known is not None and name not in known and not name.startswith("@"):
            has = ", ".join(known) or "no keys"
            raise ValueError(T420.format(key=f"{key}.{name}", what=what, hint=nearest(name, known), known=has))
