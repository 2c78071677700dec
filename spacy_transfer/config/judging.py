"""Chooses the score that judges a run: the user's choice instead of the components' weights."""

from spacy.language import DEFAULT_CONFIG
from thinc.api import Config

from ..errors import T431
from ..json_types import ConfigBlock, ConfigMapping
from .blocks import factory_weights
from .nearest import nearest

# Words for measures that have another name among the scores.
_WORDS = {"accuracy": "cats_acc", "macro_f": "cats_macro_f", "micro_f": "cats_micro_f", "auc": "cats_macro_auc"}
_NO_NUMBERS = ("_desc", "_per_type", "_per_feat")


def judged_by(config: Config, measure: str) -> ConfigBlock:
    """Values of a config with which one measure on the dev data decides: which pipeline of a run is the best, when
    patience ends, and which trial of a study is better.

    config (Config): As `read_config` gives it.
    measure (str): Name of a score, or a word for it, such as "accuracy".
    RETURNS (dict): By dotted key, of [training.score_weights].
    RAISES (ValueError): T431 for a measure that no component gives.
    """
    whole = DEFAULT_CONFIG.merge(config).interpolate()
    known: dict[str, float | None] = {}
    is_all_known = True
    for name in whole["nlp"]["pipeline"]:
        block = whole["components"].get(name, {})
        weights = factory_weights(whole, block)
        is_all_known &= weights is not None
        prefix = _prefix(block)
        known.update({f"{prefix}{key}": value for key, value in (weights or {}).items()})
        # spaCy weighs by the names that the factory gives, prefix or not.
        known.update({key: value for key, value in (weights or {}).items() if value})
    known.update(whole["training"]["score_weights"])
    names = [name for name in known if not name.endswith(_NO_NUMBERS)]
    chosen = [name for name in names if name == measure or name.endswith(_WORDS.get(measure, "\0"))]
    if len(chosen) != 1:
        if chosen or is_all_known:
            hint = nearest(measure, [*names, *_WORDS])
            raise ValueError(T431.format(measure=measure, hint=hint, known=", ".join(sorted(names))))
        # A component from another pipeline may give any.
        chosen = [measure]
    zeros = {f"training.score_weights.{name}": 0.0 for name, weight in known.items() if weight and name != chosen[0]}
    return {**zeros, f"training.score_weights.{chosen[0]}": 1.0}


def _prefix(block: ConfigMapping) -> str:
    return str(block.get("score_prefix") or "")
