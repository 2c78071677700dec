"""The only entry to transformers: a pretrained encoder from a folder, a hub name or a trained pipeline."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from ...errors import T005, T157, T158, T340, T348, T470, T781, T781_BOTH_WAYS, T781_CAP
from ...files.strangers import read_object, read_string
from ...json_types import JsonMapping, JsonObject
from ...log import announce
from ...repository.encoder_folder import weight_paths
from ...repository.resolve import EncoderFolder, find_encoder
from ...repository.tokenizer_files import MOST_BYTES, TOKENIZER_FILE, fast_tokenizer
from ...repository.weight_files import open_weights
from ..building import no_larger_than, without_draws
from ..scratch.tokenizer_training import Texts, no_texts
from ..scratch.transformer import SCRATCH, ScratchBody
from ..sentence_pooling import read_modules
from ..static.body import STATIC, StaticBody
from .adapters import fingerprint, merge, reattach
from .body_weights import fill_body, fill_encoder
from .config import BIDIRECTIONAL, DECODERS, build_config, check_family, clean_config, naming_sizes, reading_both_ways
from .encoder import Encoder
from .record import read_record

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# What families call the dropout of states and attention.
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "activation_dropout",
    "dropout_rate", "embedding_dropout", "mlp_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop",
)  # fmt: skip

# What is not of transformers.
OwnBody = ScratchBody | StaticBody
_OWN: dict[str, type[OwnBody]] = {SCRATCH: ScratchBody, STATIC: StaticBody}

# Markers in a message.
_SHOWN = 5

Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]


@dataclass(frozen=True)
class LoadedEncoder:
    """What `PretrainedEncoder.load` brings.

    encoder (Encoder): With weights, on the CPU, fp32.
    tokenizer (str): The fast tokenizer as JSON (the `tokenizers` library's own form).
    record (dict): What rebuilds the encoder offline: its configuration, source, revision, license. JSON-able.
    """

    encoder: Encoder
    tokenizer: str
    record: JsonObject
    # Of the dense layers that a sentence-transformers folder has behind its pooling, for `AutoPooling`.
    pooling_weights: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class PretrainedEncoder:
    """A pretrained encoder of transformers: BERT, RoBERTa, XLM-R, DistilBERT, ALBERT, ELECTRA, MPNet, DeBERTa-v2,
    ModernBERT, the encoder half of T5 and BART, Longformer, BigBird (with full attention), the encoder half of LED, and
    what is built like them (CamemBERT, RoFormer, RemBERT, I-BERT, Megatron-BERT, LayoutLM's text, ESM, LongT5 pass
    `benchmarks/families.py`); and decoders: GPT-2, Llama, Mistral, Qwen2, Qwen3, Gemma, Gemma 2 and 3 (text).
    `initialize` tries an encoder once and refuses it where its states cannot be relied on.

    name (str): A folder with config.json, safetensors and tokenizer; the folder or package name of a spaCy pipeline
        that holds one of our components, whose encoder is taken over; or a name on the Hugging Face hub. Only read by
        `initialize`; a saved pipeline never looks at it again.
    revision (str | None): Branch, tag or commit of a hub name. Pin a commit to get the same weights for ever; None is
        the pinned commit of an encoder that this package knows, else "main".
    attention (str): Implementation of attention; "auto" lets transformers choose (SDPA where the family has it).
    dropout (float | None): Of states and attention in all layers that train; None leaves what config.json says, mostly
        0.1. `[training] dropout` is the head's alone, and frozen layers have none.
    bidirectional (bool | None): Whether the pieces of a decoder see those to their right, too; fine-tune it then. None
        leaves a folder's decoder as it was trained, from left to right, and that of a pipeline as it is there.
        SOURCE: BehnamGhader et al. 2024, arXiv:2404.05961.
    RAISES (ValueError): T005 for a dropout that is none.
    """

    name: str
    revision: str | None = None
    attention: Attention = "auto"
    dropout: float | None = None
    bidirectional: bool | None = None

    def __post_init__(self) -> None:
        if self.dropout is not None and not 0.0 <= float(self.dropout) < 1.0:
            want = "0 <= dropout < 1, or null for the encoder's own"
            raise ValueError(T005.format(block="encoder", field="dropout", value=self.dropout, want=want))
        if self.attention not in get_args(Attention):
            # Any other name makes transformers fetch a kernel, which is code, from the hub.
            want = f"one of {', '.join(get_args(Attention))}"
            raise ValueError(T005.format(block="encoder", field="attention", value=self.attention, want=want))

    def load(self, texts: Texts = no_texts) -> LoadedEncoder:
        """Read weights, configuration and tokenizer.

        texts (Callable): The training texts, which are not looked at.

        RAISES (ValueError): T012 for a model that is no text encoder, T014 for weights that do not fit it.
        RAISES (OSError): T050 to T052 if it is nowhere, T015 if its weights are damaged.
        """
        found = find_encoder(self.name, self.revision)
        loaded = self._read(found)
        if not found.is_component:
            _announce_unused_head(found)
        return loaded

    def _read(self, found: EncoderFolder) -> LoadedEncoder:
        return read_encoder(found, self.attention, self.dropout, self.bidirectional)

    def load_base(self, sha256: str) -> Encoder:
        """Read the encoder under a stored adapter; the network is never asked.

        sha256 (str): Over its weights, as `fingerprint` gives it.
        RAISES (OSError): T157 if it is not on this machine, T158 if its weights are others.
        """
        try:
            found = find_encoder(self.name, self.revision, download=False)
            loaded = self._read(found)
        except (OSError, ValueError) as error:
            raise OSError(T157.format(name=self.name, error=error)) from error
        if (own := fingerprint(loaded.encoder)) != sha256:
            raise OSError(T158.format(name=self.name, found=own, expected=sha256))
        return loaded.encoder

    def rebuild(self, record: JsonObject) -> Encoder:
        """Build the encoder of a saved pipeline.

        RETURNS (Encoder): With arbitrary weights; the caller loads them.
        """
        return build_encoder(record, self.attention, self.dropout)


def transformers_version() -> str:
    """The installed version of transformers."""
    import transformers

    return str(transformers.__version__)


def tokenizer_of(name: str, revision: str | None = None) -> str:
    """The fast tokenizer of an encoder alone, as JSON.

    name (str): As in `PretrainedEncoder`.
    revision (str | None): As in `PretrainedEncoder`.
    RAISES (OSError): T050 to T052 if it is nowhere.
    """
    found = find_encoder(name, revision)
    if found.is_component:
        return read_string(found.folder / TOKENIZER_FILE, MOST_BYTES)
    return fast_tokenizer(found.folder, read_object(found.folder / "config.json")).text


def build_encoder(record: JsonObject, attention: Attention = "auto", dropout: float | None = None) -> Encoder:
    """Rebuild an encoder from its stored record, offline and without drawing random weights.

    record (dict): As `LoadedEncoder.record`.
    attention (Attention): Which implementation.
    dropout (float | None): In place of the recorded one.
    RETURNS (Encoder): With arbitrary weights; the caller loads them all.
    RAISES (ValueError): T014, T016, T451, T453 for a configuration of which no encoder can be built.
    """
    file = "encoder.json"
    stored = {**record["config"], **_dropouts(record["config"], dropout)}
    body = _build_body(clean_config(stored, file, str(record.get("source"))), attention, file)
    return Encoder(body if stored["model_type"] in _OWN else _encoder_half(body), stored)


def _build_body(config: JsonObject, attention: Attention, file: Path | str) -> "OwnBody | PreTrainedModel":
    """A network with arbitrary weights.

    config (dict): Cleaned.
    """
    if (own := _OWN.get(config["model_type"])) is not None:
        with naming_sizes(config, file), without_draws():
            return own(config)
    from transformers import AutoModel

    made = build_config(config, file)
    for name, value in _compiled(made).items():
        setattr(made, name, value)
    with naming_sizes(config, file), quiet(), without_draws():
        return AutoModel.from_config(made, torch_dtype=torch.float32, **_attention(attention, config))


def _dropouts(config: JsonObject, dropout: float | None) -> dict[str, float]:
    """Keys of a configuration that hold a dropout inside of the encoder, with another value.

    RAISES (ValueError): T340 for a family that has none.
    """
    if dropout is None:
        return {}
    found = {key: float(dropout) for key in _DROPOUTS if isinstance(config.get(key), int | float)}
    if not found:
        raise ValueError(T340.format(family=config.get("model_type")))
    return found


def read_encoder(
    found: EncoderFolder, attention: Attention = "auto", dropout: float | None = None, bidirectional: bool | None = None
) -> LoadedEncoder:  # fmt: skip
    """Read the encoder of a folder; a head that it has is left there.

    found (EncoderFolder): Of transformers, or one of our components.
    attention (Attention): Which implementation.
    dropout (float | None): As in `PretrainedEncoder`.
    bidirectional (bool | None): As in `PretrainedEncoder`.
    RETURNS (LoadedEncoder): With weights.
    RAISES (ValueError, OSError): As `PretrainedEncoder.load`.
    """
    return (_from_component if found.is_component else _from_folder)(found, attention, dropout, bidirectional)


def _announce_unused_head(found: EncoderFolder) -> None:
    said = read_object(found.folder / "config.json")
    if any(str(name).endswith("ForSequenceClassification") for name in said.get("architectures") or []):
        names = said.get("id2label")
        labels = [str(label) for label in names.values()] if isinstance(names, dict) else []
        announce(T348.format(name=found.name, labels=labels[:10]))


def _from_folder(
    found: EncoderFolder, attention: Attention, dropout: float | None, bidirectional: bool | None
) -> LoadedEncoder:
    file = found.folder / "config.json"
    made = build_config(clean_config(read_object(file), file, found.name), file)
    check_family(made, found.name)
    # With the defaults of its family.
    config = clean_config({**made.to_dict(), **_compiled(made)}, file, found.name)
    config |= {**_dropouts(config, dropout), **reading_both_ways(config, bidirectional, found.name)}
    with open_weights(weight_paths(found.folder)) as weights:
        with no_larger_than(weights.shapes):
            body = _build_body(config, attention, file)
        half = fill_body(body, _encoder_half(body), weights, config, file)
    encoder = Encoder(half, config)
    record = {"config": config, "source": found.name, "revision": found.revision, "license": found.license}
    modules, pooling_weights = read_modules(found.folder)
    if modules is not None:
        record["sentence"] = modules.to_json()
    tokenizer = fast_tokenizer(found.folder, config, encoder.n_pieces)
    if tokenizer.markers:
        shown = ", ".join(tokenizer.markers[:_SHOWN]) + ", ..." * (len(tokenizer.markers) > _SHOWN)
        announce(T470.format(name=found.name, n=len(tokenizer.markers), markers=shown))
    return LoadedEncoder(encoder, tokenizer.text, portable(record), pooling_weights)


def _from_component(
    found: EncoderFolder, attention: Attention, dropout: float | None, bidirectional: bool | None
) -> LoadedEncoder:
    """Take over the encoder that one of our components holds, adapters merged: a transfer from one task to the next."""
    record = read_record(found.folder / "encoder.json")
    adapter, base = record.pop("adapter", None), record.pop("base", None)
    config = record["config"]
    config |= {**_dropouts(config, dropout), **reading_both_ways(config, bidirectional, found.name)}
    with open_weights([found.folder / "weights.safetensors"]) as weights:
        if base is None:
            with no_larger_than(weights.shapes):
                encoder = build_encoder(record, attention)
        else:
            block = PretrainedEncoder(base["name"], base["revision"], attention, dropout, config.get(BIDIRECTIONAL))
            encoder = block.load_base(base["sha256"])
        if adapter is not None:
            with naming_sizes(adapter, found.folder / "encoder.json"), no_larger_than(weights.shapes):
                reattach(encoder, adapter)
        fill_encoder(encoder, weights, is_whole=base is None)
        pooling = {
            name.removeprefix("pooling."): weights.floats(name)
            for name in weights.stored if name.startswith("pooling.")
        }  # fmt: skip
    if adapter is not None:
        merge(encoder)
    return LoadedEncoder(encoder, read_string(found.folder / TOKENIZER_FILE, MOST_BYTES), record, pooling)


def _compiled(config: "PretrainedConfig") -> dict[str, bool]:
    """ModernBERT compiles itself in its first pass on a GPU, which takes 20 to 60 s and a C compiler: only where
    its own config says so."""
    return {"reference_compile": bool(config.reference_compile)} if hasattr(config, "reference_compile") else {}


def _encoder_half(body: "PreTrainedModel") -> nn.Module:
    """The encoder of an encoder-decoder; without a pooler, which would never get a gradient from us."""
    if body.config.is_encoder_decoder:
        body = body.get_encoder()
    if body.config.model_type in DECODERS:
        # Nothing is generated: keys and values of each layer would be kept for nothing.
        body.config.use_cache = False
    if getattr(body, "pooler", None) is not None:
        # Not None: SqueezeBERT and LayoutLM call it all the same.
        body.pooler = _NoPooler()
    if hasattr(body, "set_attention_type") and body.config.attention_type != "original_full":
        # BigBird's sparse attention needs some 700 pieces; a shorter row would change it to full attention for all
        # rows that follow, so that states depended on what was read before.
        body.set_attention_type("original_full")
    return body


class _NoPooler(nn.Module):
    """In the place of a pooler; without weights."""

    def forward(self, states: Tensor, *_: object, **__: object) -> Tensor:
        """Gives back what it was given, which nobody reads. BigBird applies an activation to it."""
        return states


def _attention(attention: Attention, config: JsonMapping) -> dict[str, object]:
    """RAISES (ValueError): T781 for one that would compute something else than the encoder was trained with."""
    if config.get("attn_logit_softcapping") is not None and config["model_type"] in DECODERS:
        # torch's kernel knows no cap, and transformers would leave it out without a word.
        if attention == "sdpa":
            raise ValueError(T781.format(attention=attention, reason=T781_CAP))
        attention = "eager" if attention == "auto" else attention
    if config.get(BIDIRECTIONAL) and attention == "flash_attention_2":
        raise ValueError(T781.format(attention=attention, reason=T781_BOTH_WAYS))
    return {} if attention == "auto" else {"attn_implementation": attention}


def portable(record: JsonObject) -> JsonObject:
    """Through JSON and back, without the paths of this machine."""
    record = {**record, "config": {k: v for k, v in record["config"].items() if k != "_name_or_path"}}
    plain: dict[str, object] = json.loads(json.dumps(record, default=str))
    return plain


@contextmanager
def quiet() -> Iterator[None]:
    """Within: transformers neither warns about the pooler we drop nor draws bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
