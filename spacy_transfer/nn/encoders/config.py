"""Cleans an untrusted encoder configuration: keeps only what describes the network, each value with the right type and
range."""

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import T012, T016, T016_TYPE, T453, T453_LARGE, T780
from ...files.fields import (
    FLAG,
    NAME,
    OBJECT,
    TEXT,
    Kind,
    is_real,
    is_whole,
    list_of,
    maybe,
    one_of,
    real,
    refuse,
    take,
    whole,
)
from ...files.strangers import UnusableFile
from ...json_types import JsonMapping, JsonObject
from ...repository.encoder_demands import check_asks_nothing
from ..building import TooLarge
from ..scratch.transformer import SCRATCH
from ..static.body import STATIC

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Families that read from left to right; those whose layers take a mask of attention in both directions instead.
DECODERS = frozenset({"gemma", "gemma2", "gemma3_text", "gpt2", "llama", "mistral", "qwen2", "qwen3"})
_BOTH_WAYS = DECODERS - {"gpt2"}
# Key of ours in a configuration: whether a decoder's pieces see those to their right, too.
BIDIRECTIONAL = "bidirectional"
# Read by families through `getattr`, so they do not stand in the signature of their configuration.
_MORE = {
    "architectures", "attention_head_size", "chunk_size_feed_forward", "conv_act", "conv_groups", "conv_kernel_size",
    BIDIRECTIONAL, "embedding_size", "is_decoder", "layer_types", "norm_rel_ebd", "position_buckets",
    "rope_parameters", "rope_scaling", "rope_theta", "share_att_key", "talking_head", "tie_word_embeddings",
}  # fmt: skip
# What plays no part in an encoder's states: classification heads, generation, initialization.
_UNUSED = re.compile(
    r"summary_|classifier_|init_std$|initializer|embed_init|output_(attentions|hidden_states|router)|use_cache$|num_labels"
    r"|.*_loss|.*ignore_index|sparse_prediction|early_stopping|length_penalty|num_beams|max_length$|cls_dropout|onnx_export|forced_|.*decoder_start"
)
_SHARE = re.compile(r".*(dropout|layerdrop|_prob$|_probs$|dropout_rate)")
_TOKEN = re.compile(r".*(_token_id|_index)$")
_LAYERS = re.compile(r".*(layers|_blocks|_groups|group_num|num_networks)$|block_repeats")
_MOST_LAYERS = 1000
# Numbers by default that decoders may do without.
_OPTIONAL = ("sliding_window", "attn_logit_softcapping", "final_logit_softcapping")
_HALVED = "is_encoder_decoder"
_MOST = 2**31 - 1

_SCRATCH = {
    "vocab_size": whole(1, _MOST), "hidden_size": whole(1, _MOST), "num_hidden_layers": whole(1, _MOST_LAYERS),
    "num_attention_heads": whole(1, _MOST), "intermediate_size": whole(1, _MOST),
    "hidden_act": one_of("gelu", "relu"), "hidden_dropout_prob": real(0, 1), "word_dropout": real(0, 1),
    "positions": one_of("learned", "sinusoidal"), "max_position_embeddings": maybe(whole(1, _MOST)), "norm_first": FLAG,
}  # fmt: skip
_SCRATCH_LATER = {
    "pad_token_id": whole(0, 0), "norm_states": FLAG, "zero_init_residual": FLAG, "char_ngrams": maybe(OBJECT),
}  # fmt: skip
_STATIC = {
    "vocab_size": whole(1, _MOST), "hidden_size": whole(1, _MOST), "n_bigrams": whole(0, _MOST),
    "n_context": whole(0, _MOST), "word_dropout": real(0, 1), "pad_token_id": whole(0, _MOST),
}  # fmt: skip
_CHAR_NGRAMS = {"n_ngrams": whole(0, _MOST), "n_members": whole(0, _MOST), "dropout": real(0, 1)}


def clean_config(values: JsonMapping, file: Path | str, name: str) -> JsonObject:
    """What of a configuration describes the network.

    values (Mapping): As config.json, or "config" of encoder.json, holds them.
    file (Path | str): Where they come from.
    name (str): What the user calls the encoder.
    RETURNS (dict): `model_type`, and what the configuration class of that family takes.
    RAISES (UnusableFile): T016 for a family that is not known, or a key that asks for more; T451 for a value of the
        wrong type or out of range.
    """
    check_asks_nothing(values, name)
    family = values.get("model_type")
    if not NAME.holds(family):
        refuse(file, "model_type", family, NAME.want)
    if family == SCRATCH:
        return _clean_scratch(values, file)
    if family == STATIC:
        cleaned = {"model_type": STATIC, **take(file, values, _STATIC)}
        if cleaned["n_context"] >= cleaned["hidden_size"]:
            refuse(file, "n_context", cleaned["n_context"], f"less than hidden_size, {cleaned['hidden_size']}")
        _check_ids(cleaned, file)
        return cleaned
    defaults = _defaults_of(str(family), name)
    kinds = {key: _kind_of(key, default) for key, default in defaults.items() if _is_used(key)}
    cleaned = take(file, values, {}, kinds)
    _check_ids(cleaned, file)
    # Which it is, the family says.
    return {"model_type": family, **cleaned, _HALVED: defaults.get(_HALVED) is True}


def build_config(cleaned: Mapping[str, object], file: Path | str) -> "PretrainedConfig":
    """The configuration object of transformers.

    cleaned (Mapping): As `clean_config` gives it.
    file (Path | str): Where it comes from.
    RETURNS (PretrainedConfig): Of the encoder's family.
    RAISES (UnusableFile): T453 where the family's own class refuses it.
    """
    from transformers import AutoConfig

    values = dict(cleaned)
    with naming_sizes(cleaned, file):
        return AutoConfig.for_model(values.pop("model_type"), **values)


@contextmanager
def naming_sizes(config: JsonMapping, file: Path | str) -> Iterator[None]:
    """Within: whatever fails is said of the configuration, with the keys that may be the reason.

    RAISES (UnusableFile): T453.
    """
    try:
        yield
    except UnusableFile:
        raise
    except TooLarge as error:
        problem = T453_LARGE.format(shape=error.shape)
        raise UnusableFile(T453.format(file=file, keys=suspects(config, set(error.shape)), problem=problem)) from error
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise UnusableFile(T453.format(file=file, keys=suspects(config, set(), told), problem=told)) from error


def check_family(config: "PretrainedConfig", name: str) -> None:
    """Refuse what is no text encoder.

    config (PretrainedConfig): Of transformers.
    name (str): Of the encoder, for the message.
    RAISES (ValueError): T012 unless it is a text encoder, or has one, or is a decoder that can be read as one.
    """
    from transformers.models.auto import modeling_auto

    family = config.model_type
    masked = family in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    halved = family in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    if (
        not (masked or halved or family in DECODERS)
        or not hasattr(config, "hidden_size")
        or getattr(config, "is_decoder", False)
    ):
        raise ValueError(T012.format(name=name, family=family))


def is_causal(config: JsonMapping) -> bool:
    """Whether a piece sees only itself and those to its left.

    config (Mapping): Of the encoder, cleaned.
    RETURNS (bool): True for a decoder, unless it reads in both directions.
    """
    return config.get("model_type") in DECODERS and config.get(BIDIRECTIONAL) is not True


def reading_both_ways(config: JsonMapping, bidirectional: bool | None, name: str) -> dict[str, bool]:
    """What an encoder block's `bidirectional` changes in a configuration.

    config (Mapping): Of the encoder, cleaned.
    bidirectional (bool | None): Of the block; None changes nothing.
    name (str): Of the encoder, for the message.
    RETURNS (dict): Keys and values.
    RAISES (ValueError): T780 where the family does not allow it.
    """
    family = config.get("model_type")
    if bidirectional is None or (family not in DECODERS and bidirectional):
        # Every other encoder reads so anyway.
        return {}
    if family not in (_BOTH_WAYS if bidirectional else DECODERS):
        raise ValueError(T780.format(name=name, family=family, value=str(bidirectional).lower()))
    return {BIDIRECTIONAL: bidirectional}


def suspects(config: JsonMapping, numbers: set[int], text: str = "") -> str:
    """Keys that may be the reason for sizes that do not fit, with their values, for messages.

    config (JsonMapping): Of the encoder.
    numbers (set[int]): Sizes.
    text (str): What another package says.
    RETURNS (str): Keys and values, in one line.
    """
    words = set(re.findall(r"[\w./-]+", text))
    found = [
        f"{key} = {value!r}" for key, value in config.items()
        if (is_whole(value) and (value in numbers or str(value) in words))
        or (isinstance(value, str) and value and value in words and key != "model_type")
    ]  # fmt: skip
    return ", ".join(found[:5]) or "its sizes"


def _defaults_of(family: str, name: str) -> dict[str, object]:
    """The keys of a family's configuration, and the defaults that its class has."""
    from transformers import CONFIG_MAPPING

    try:
        kind = CONFIG_MAPPING[family]
    except KeyError as error:
        raise UnusableFile(T016.format(name=name, error=T016_TYPE.format(family=family))) from error
    parameters = inspect.signature(kind.__init__).parameters
    defaults = {key: one.default for key, one in parameters.items() if one.kind is not one.VAR_KEYWORD}
    return {**dict.fromkeys(_MORE), **dict.fromkeys(kind.attribute_map), **defaults}


def _is_used(key: str) -> bool:
    return key not in ("self", _HALVED) and not _UNUSED.match(key)


def _kind_of(key: str, default: object) -> Kind:
    if isinstance(default, bool) or key in ("is_decoder", "tie_word_embeddings", BIDIRECTIONAL):
        return FLAG
    if _SHARE.match(key):
        return maybe(real(0, 1)) if default is None else real(0, 1)
    if _TOKEN.match(key):
        return _IDS
    if _LAYERS.match(key) and (default is None or is_whole(default)):
        return maybe(whole(0, _MOST_LAYERS)) if default is None else whole(0, _MOST_LAYERS)
    if key in _OPTIONAL:
        return maybe(real(1e-6, _MOST) if "softcapping" in key else whole(1, _MOST))
    if key == "architectures":
        return maybe(list_of(TEXT))
    if is_whole(default):
        return _WHOLE_OR_LIST if key == "attention_window" else whole(min(default, 0), _MOST)
    if is_real(default):
        return real(0, 1) if "eps" in key else real(-_MOST, _MOST)
    if isinstance(default, str):
        return TEXT
    return _PLAIN


def _check_ids(config: JsonMapping, file: Path | str) -> None:
    """A padding piece above the table of the pieces ends deep inside torch."""
    size = config.get("vocab_size")
    for key in ("pad_token_id", "pad_index"):
        found = config.get(key)
        if is_whole(size) and found is not None and not (is_whole(found) and found < size):
            refuse(file, key, found, f"a piece id below vocab_size = {size}")


def _clean_scratch(values: JsonMapping, file: Path | str) -> dict[str, object]:
    cleaned = {"model_type": SCRATCH, **take(file, values, _SCRATCH, _SCRATCH_LATER)}
    if cleaned["positions"] == "learned" and cleaned["max_position_embeddings"] is None:
        refuse(file, "max_position_embeddings", None, "a whole number where positions are learned")
    if cleaned["hidden_size"] % cleaned["num_attention_heads"]:
        want = f"a divisor of hidden_size = {cleaned['hidden_size']}"
        refuse(file, "num_attention_heads", cleaned["num_attention_heads"], want)
    if cleaned.get("char_ngrams") is not None:
        cleaned["char_ngrams"] = take(file, cleaned["char_ngrams"], _CHAR_NGRAMS, within="char_ngrams.")
    return cleaned


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= 200
    return value is None or isinstance(value, bool) or (is_real(value) and abs(value) <= _MOST)


def _is_plain(value: object, depth: int = 0) -> bool:
    if isinstance(value, list) and depth < 3 and len(value) <= _MOST_LAYERS:
        return all(_is_plain(one, depth + 1) for one in value)
    if isinstance(value, dict) and depth < 3 and len(value) <= _MOST_LAYERS:
        return all(_is_plain(one, depth + 1) for one in value.values())
    return _is_scalar(value)


_PLAIN = Kind("a number, a string, true, false, null, or a list of these", _is_plain)
_IDS = Kind(
    "a piece id, a list of them, or null",
    lambda value: value is None or all(
        is_whole(one) and 0 <= one <= _MOST for one in (value if isinstance(value, list) else [value])
    ),
)  # fmt: skip
_WHOLE_OR_LIST = Kind(
    "a whole number, or a list of them",
    lambda value: all(is_whole(one) and 0 < one <= _MOST for one in (value if isinstance(value, list) else [value])),
)
