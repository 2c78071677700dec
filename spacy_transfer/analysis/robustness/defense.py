"""Make the config that trains a pipeline against the noise that hurts it most."""

from spacy.language import Language
from thinc.api import Config

from ...errors import T751, T751_EXPORTED, T751_SHARED
from ...json_types import ConfigBlock
from ...pipeline.interface import ExportedInterface, SharedEncoderInterface, interface_of
from .noise import ATTACK, NOISES
from .robustness import Robustness

_AUGMENTATION = "spacy-transfer.Augmentation.v1"
# Kinds of noise that are trained against together: more of them, and hardly a text is as people write it.
_MOST = 3
# Of an augmentation that the pipeline does not have yet, what is on by default.
_OFF = ("drop", "swap", "repeat", "mask", "typing", "casing", "mixing")
_CLEAN = 0.5


def defense(pipeline: Language, found: Robustness) -> tuple[Config | None, list[str]]:
    """Put an augmentation into the config of a pipeline: what hurts most, as training can be shown it.

    pipeline (Language): The pipeline that was measured.
    found (Robustness): What `robustness` gave for it.
    RETURNS (tuple[Config | None, list[str]]): The config, and the kinds of noise that it trains against; None where
        none hurts of those that can be trained against.
    RAISES (ValueError): T751 for a pipeline whose training reads no changed texts.
    """
    net = interface_of(pipeline.get_pipe(found.component).model)
    if isinstance(net, ExportedInterface):
        raise ValueError(T751.format(name=found.component, problem=T751_EXPORTED.format(runtime=net.runtime)))
    if isinstance(net, SharedEncoderInterface):
        raise ValueError(T751.format(name=found.component, problem=T751_SHARED))
    kinds = {one.name: one for one in (*NOISES, ATTACK)}
    hurting = sorted((one for one in found.drops if one.hurts), key=lambda one: one.difference.value)
    chosen = [one.noise for one in hurting if kinds[one.noise].trained_by][:_MOST]
    if not chosen:
        return None, []
    config = Config(pipeline.config.copy())
    model = config["components"][found.component]["model"]
    model["augmentation"] = _block(model.get("augmentation"), [dict(kinds[name].trained_by) for name in chosen])
    return config, chosen


def _block(before: object, rates: list[dict[str, float]]) -> ConfigBlock:
    """What is drawn already stays, and gets more of what hurts."""
    if isinstance(before, dict) and before.get("@misc") == _AUGMENTATION:
        block: ConfigBlock = dict(before)
    else:
        block = {"@misc": _AUGMENTATION, "clean": _CLEAN, **dict.fromkeys(_OFF, 0.0), "seed": "${training.seed}"}
    for one in rates:
        for name, rate in one.items():
            block[name] = max(rate, float(block.get(name, 0.0)))
    return block
