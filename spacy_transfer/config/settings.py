"""Checks `[training]` and command-line values before anything is read or written."""

import math
import re
from collections.abc import Iterator, Mapping

from confection import ConfigValidationError
from spacy.language import DEFAULT_CONFIG
from spacy.schemas import ConfigSchemaTraining
from thinc.api import Config

from ..errors import T330, T331, T332, T333, T334
from ..files.fields import is_whole
from ..json_types import ConfigMapping
from .nearest import nearest

_WHOLE: dict[str, tuple[int, int | None, str]] = {
    "eval_frequency": (1, None, "a whole number of steps, 1 or more"),
    "accumulate_gradient": (1, None, "a whole number, 1 or more"),
    "max_steps": (0, None, "a whole number of steps, 0 for no limit"),
    "max_epochs": (-1, None, "a whole number of epochs, 0 for no limit, -1 to stream the data without one"),
    "patience": (0, None, "a whole number of steps, 0 to ignore it"),
    "seed": (0, 2**32 - 1, "a whole number from 0 to 4294967295, or null"),
}
# Sections that spaCy reads itself, whose keys are checked where they are resolved.
_READ = ("nlp", "components", "corpora", "training", "pretraining", "initialize")


def check_overrides(overrides: Mapping[str, object]) -> None:
    """Refuse numbers that are not finite among the values given for a config.

    RAISES (ValueError): T333 for a value that is no finite number.
    """
    for key, value in overrides.items():
        _check_finite(key, value)


def check_config(config: Config, overrides: Mapping[str, object], original: Config) -> None:
    """Check what a training is asked to do.

    config (Config): The whole config, overrides in.
    overrides (Mapping): Values by dotted key.
    original (Config): Without them.
    RAISES (ValueError): T330 for an unknown key of [training], T331 for a value out of range, T332 for a number in
        quotation marks, T333 for one that is not finite, T334 for an override that nothing reads.
    """
    _check_read(config, overrides, original)
    _check_finite("", config)
    try:
        whole = DEFAULT_CONFIG.merge(config).interpolate()
    except (ValueError, ConfigValidationError):
        # `check_keys` lets it through.
        return
    check_training(whole["training"])


def check_training(training: ConfigMapping) -> None:
    """Check the block [training], interpolated.

    RAISES (ValueError): T330 to T332, see `check_config`.
    """
    known = list(ConfigSchemaTraining.model_fields)
    for key in training:
        if key not in known:
            hint = nearest(key, known)
            raise ValueError(
                T330.format(key=f"training.{key}", hint=hint, section="training", known=", ".join(sorted(known)))
            )
    for key, (least, most, want) in _WHOLE.items():
        value = training.get(key)
        if value is None and key == "seed":
            continue
        _check_text(f"training.{key}", value)
        if not (is_whole(value) and least <= value <= (most or math.inf)):
            raise ValueError(T331.format(key=f"training.{key}", value=value, want=want))
    dropout = training.get("dropout")
    if not isinstance(dropout, Mapping):
        _check_text("training.dropout", dropout)
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ValueError(
                T331.format(key="training.dropout", value=dropout, want="a number, 0 <= dropout < 1, or a schedule")
            )
    for block in ("dropout", "optimizer", "batcher"):
        _check_numbers(f"training.{block}", training.get(block))


def _check_numbers(key: str, block: object) -> None:
    """Of a block whose values are numbers: of a schedule, an optimizer, a batcher."""
    if not isinstance(block, Mapping):
        return
    is_numeric = any(kind in block for kind in ("@schedules", "@optimizers", "@batchers"))
    for name, value in block.items():
        dotted = f"{key}.{name}"
        if isinstance(value, Mapping):
            _check_numbers(dotted, value)
        elif is_numeric and not name.startswith("@"):
            _check_text(dotted, value)
            is_rate = name == "learn_rate" or (name.endswith("rate") and ".learn_rate" in key)
            if is_rate and isinstance(value, int | float) and value < 0:
                raise ValueError(T331.format(key=dotted, value=value, want="a rate of 0 or more"))


def _check_text(key: str, value: object) -> None:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return
        raise ValueError(T332.format(key=key, value=value))


def _check_finite(key: str, value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(T333.format(key=key, value=value))
    if isinstance(value, Mapping):
        for name, part in value.items():
            _check_finite(f"{key}.{name}".lstrip("."), part)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_finite(key, part)


def _check_read(config: Config, overrides: Mapping[str, object], original: Config) -> None:
    """An override of a variable, such as paths.train, that nothing refers to would change nothing."""
    if not overrides:
        return
    there = set(_dotted(DEFAULT_CONFIG.merge(original)))
    text = config.to_str()
    for key in overrides:
        section, _, rest = key.partition(".")
        if section in _READ or key in there:
            continue
        names = "|".join((re.escape(section), *(re.escape(f"{section}{mark}{rest}") for mark in ".:")))
        if not re.search(rf"\$\{{\s*({names})\s*\}}", text):
            raise ValueError(T334.format(key=key, hint=nearest(key, there)))


def _dotted(config: ConfigMapping, prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
