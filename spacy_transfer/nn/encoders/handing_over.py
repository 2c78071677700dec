"""Takes over an encoder from a transformer component, and exports one to a folder that it can read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

from ...errors import T208, T210, T783
from ...json_types import JsonMapping, JsonObject
from ...repository.tokenizer_files import settled
from .config import BIDIRECTIONAL
from .encoder import Encoder
from .pretrained import LoadedEncoder, build_encoder, portable, quiet

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

Loaded = TypeVar("Loaded")


def from_body(body: nn.Module, tokenizer: "PreTrainedTokenizerFast", name: str) -> LoadedEncoder:
    """A copy of an encoder that a transformer component holds.

    body (nn.Module): An encoder of transformers; a pooler is left behind.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    name (str): What the record calls it.
    RAISES (ValueError): T208 for an encoder-decoder, T210 for a slow tokenizer.
    """
    config: PretrainedConfig = body.config
    if config.is_encoder_decoder:
        raise ValueError(T208.format(family=config.model_type))
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(T210.format(name=name))
    record = portable({"config": config.to_dict(), "source": name, "revision": None, "license": None})
    encoder = build_encoder(record)
    state = {key: value for key, value in body.state_dict().items() if not key.startswith("pooler.")}
    encoder.body.load_state_dict(state)
    return LoadedEncoder(encoder.cpu(), settled(tokenizer, encoder.n_pieces).text, record)


def write_folder(encoder: Encoder, tokenizer: str, record: JsonObject, folder: Path) -> None:
    """Write an encoder of ours so that `from_pretrained` of transformers reads it, texts cut as we cut them.

    encoder (Encoder): With weights.
    tokenizer (str): As JSON.
    record (dict): As `LoadedEncoder.record`.
    folder (Path): Where they go; it is there.
    RAISES (ValueError): T208 for half of an encoder-decoder, T783 for a decoder that reads in both directions: the
        other component cannot run them.
    """
    if is_half(encoder, record):
        raise ValueError(T208.format(family=encoder.family))
    if record["config"].get(BIDIRECTIONAL):
        raise ValueError(T783.format(family=encoder.family))
    safetensors.torch.save_file(tensors_of(encoder), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(record["config"], indent=2), "utf-8")
    (folder / "tokenizer.json").write_text(tokenizer, "utf-8")
    settings = tokenizer_settings(encoder, tokenizer)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), "utf-8")


def is_half(encoder: Encoder, record: JsonMapping) -> bool:
    """Whether an encoder is half of an encoder-decoder, whose class would want both halves."""
    config: PretrainedConfig = encoder.body.config
    return bool(config.is_encoder_decoder or record["config"].get("is_encoder_decoder"))


def tensors_of(encoder: Encoder, prefix: str = "") -> dict[str, Tensor]:
    """The weights of an encoder as a class of transformers names them.

    encoder (Encoder): With weights.
    prefix (str): Put before each name.
    RETURNS (dict[str, Tensor]): On the CPU.
    """
    found = encoder.body.named_parameters()
    return {f"{prefix}{name}": weight.detach().cpu().contiguous() for name, weight in found}


def tokenizer_settings(encoder: Encoder, tokenizer: str) -> JsonObject:
    """What tokenizer_config.json says, so that transformers cuts texts as we do.

    encoder (Encoder): Of the tokenizer.
    tokenizer (str): As JSON.
    RETURNS (dict): JSON-able.
    """
    form = json.loads(tokenizer)
    pieces = {piece["id"]: piece["content"] for piece in form.get("added_tokens", [])}
    return {
        # Not the family's own class: that of XLM-R and others wants the slow tokenizer's file beside it.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": pieces.get(encoder.pad_id) or next(iter(pieces.values()), "[PAD]"),
        "model_max_length": encoder.max_pieces or int(1e30),
        # Without types, which are 0 where nobody gives them, and which not every family takes.
        "model_input_names": ["input_ids", "attention_mask"],
        # "[SEP]" in a text is text, as in our own component.
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        # Left out, the class would change the tokenizer's own setting to false.
        "add_prefix_space": bool((form.get("pre_tokenizer") or {}).get("add_prefix_space", False)),
    }


def load_folder(folder: Path, load: Callable[[str], Loaded]) -> Loaded:
    """Call a loader of another package on such a folder, without noise, and without moving torch's random state: a
    pooler that nobody uses is drawn anew.

    folder (Path): As `write_folder` wrote it.
    load (Callable): Takes the folder as a str.
    RETURNS (Loaded): What the loader gives.
    """
    random = torch.get_rng_state()
    try:
        with quiet():
            return load(str(folder))
    finally:
        torch.set_rng_state(random)
