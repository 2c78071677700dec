"""The door to transformers: a pretrained encoder from a folder, a hub name or one of our own pipelines."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import T005, T012, T014, T015, T016, T017, T157, T158, T340, T348, T470, T471
from ..log import announce
from .adapters import fingerprint, merge, reattach
from .encoder import Encoder
from .folder_tokenizer import FolderTokenizer, own_files, settled
from .scratch_body import SCRATCH, ScratchBody
from .sentence_pooling import read_modules
from .sources import EncoderFolder, find_encoder
from .vocabulary import Texts, no_texts

# What families call the dropout of states and attention.
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "activation_dropout",
    "dropout_rate", "embedding_dropout", "mlp_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop",
)  # fmt: skip

# Markers in a message.
_SHOWN = 5

Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]


@dataclass(frozen=True)
class LoadedEncoder:
    """What `PretrainedEncoder.load` brings.

    encoder (Encoder): With weights, on the CPU, fp32.
    tokenizer (str): The fast tokenizer as JSON (the `tokenizers` library's own form).
    record (dict): What rebuilds the encoder offline: its configuration, source, revision, licence. JSON-able.
    """

    encoder: Encoder
    tokenizer: str
    record: dict[str, Any]
    # Of the dense layers that a sentence-transformers folder has behind its pooling, for `AutoPooling`.
    pooling_weights: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class PretrainedEncoder:
    """A pretrained encoder of transformers: BERT, RoBERTa, XLM-R, DistilBERT, ALBERT, ELECTRA, MPNet, DeBERTa-v2,
    ModernBERT, the encoder half of T5 and BART, and what is built like them.

    name (str): A folder with config.json, safetensors and tokenizer; the folder or package name of a spaCy pipeline
        that holds one of our components, whose encoder is taken over; or a name on the Hugging Face hub. Only read by
        `initialize`; a saved pipeline never looks at it again.
    revision (str | None): Branch, tag or commit of a hub name. Pin a commit to get the same weights for ever; None is
        the pinned commit of an encoder that this package knows, else "main".
    attention (str): Implementation of attention; "auto" lets transformers choose (SDPA where the family has it).
    dropout (float | None): Of states and attention in all layers that train; None leaves what config.json says, mostly
        0.1. `[training] dropout` is the head's alone, and frozen layers have none.
    RAISES (ValueError): T005 for a dropout that is none.
    """

    name: str
    revision: str | None = None
    attention: Attention = "auto"
    dropout: float | None = None

    def __post_init__(self) -> None:
        if self.dropout is not None and not 0.0 <= float(self.dropout) < 1.0:
            want = "0 <= dropout < 1, or null for the encoder's own"
            raise ValueError(T005.format(block="encoder", field="dropout", value=self.dropout, want=want))

    def load(self, texts: Texts = no_texts) -> LoadedEncoder:
        """Read weights, configuration and tokenizer.

        texts (Callable): The training texts, which are not looked at.

        RAISES (ValueError): T012 for a model that is no text encoder, T014 for weights that do not fit it.
        RAISES (OSError): T050 to T052 if it is nowhere, T015 if its weights are damaged.
        """
        found = find_encoder(self.name, self.revision)
        read = _from_component if found.is_component else _from_folder
        return read(found, self.attention, self.dropout)

    def load_base(self, sha256: str) -> Encoder:
        """Read the encoder under a stored adapter; the network is never asked.

        sha256 (str): Over its weights, as `fingerprint` gives it.
        RAISES (OSError): T157 if it is not on this machine, T158 if its weights are others.
        """
        try:
            found = find_encoder(self.name, self.revision, download=False)
            loaded = (_from_component if found.is_component else _from_folder)(found, self.attention, self.dropout)
        except (OSError, ValueError) as error:
            raise OSError(T157.format(name=self.name, error=error)) from error
        if (own := fingerprint(loaded.encoder)) != sha256:
            raise OSError(T158.format(name=self.name, found=own, expected=sha256))
        return loaded.encoder

    def rebuild(self, record: dict[str, Any]) -> Encoder:
        """Build the encoder of a saved pipeline. RETURNS (Encoder): With arbitrary weights; the caller loads them."""
        return build_encoder(record, self.attention, self.dropout)


def n_rows_of(encoder: Encoder) -> int:
    """Rows of the embedding: pieces that the encoder knows."""
    return int(cast(Any, encoder.body).get_input_embeddings().num_embeddings)


def transformers_version() -> str:
    """The installed version of transformers."""
    import transformers

    return str(transformers.__version__)


def tokenizer_of(name: str, revision: str | None = None) -> str:
    """The fast tokenizer of an encoder alone, as JSON.

    name, revision: As in `PretrainedEncoder`.
    RAISES (OSError): T050 to T052 if it is nowhere.
    """
    return read_tokenizer(find_encoder(name, revision).folder).text


def build_encoder(record: dict[str, Any], attention: Attention = "auto", dropout: float | None = None) -> Encoder:
    """Rebuild an encoder from its stored record, offline and without drawing random weights.

    record (dict): As `LoadedEncoder.record`. dropout (float | None): In place of the recorded one.
    RETURNS (Encoder): With weights of zero; the caller loads them all.
    """
    stored = {**record["config"], **_dropouts(record["config"], dropout)}
    if stored["model_type"] == SCRATCH:
        with _NoDraws():  # type: ignore[no-untyped-call]
            return Encoder(ScratchBody(stored), stored)
    from transformers import AutoConfig, AutoModel

    values = dict(stored)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    for name, value in _compiled(config).items():
        setattr(config, name, value)
    with quiet(), _NoDraws():  # type: ignore[no-untyped-call]
        body = AutoModel.from_config(config, torch_dtype=torch.float32, **_attention(attention))
    return Encoder(_encoder_half(body), stored)


def _dropouts(config: dict[str, Any], dropout: float | None) -> dict[str, float]:
    """Keys of a configuration that hold a dropout inside of the encoder, with another value.

    RAISES (ValueError): T340 for a family that has none.
    """
    if dropout is None:
        return {}
    found = {key: float(dropout) for key in _DROPOUTS if isinstance(config.get(key), int | float)}
    if not found:
        raise ValueError(T340.format(family=config.get("model_type")))
    return found


def _from_folder(found: EncoderFolder, attention: Attention, dropout: float | None = None) -> LoadedEncoder:
    from transformers import AutoModel

    config = _read_config(found)
    dropouts = _dropouts(config, dropout)
    config = {**config, **dropouts}
    with quiet():
        try:
            body, report = AutoModel.from_pretrained(
                str(found.folder), output_loading_info=True, use_safetensors=True, trust_remote_code=False,
                local_files_only=True, **_attention(attention), **dropouts,
                **{name: value for name, value in config.items() if name == "reference_compile"},
            )  # fmt: skip
        except SafetensorError as error:
            raise OSError(T015.format(file=found.folder, error=error)) from error
        except (RuntimeError, ValueError) as error:
            raise ValueError(T014.format(name=found.name, error=error)) from error
    part = "encoder." if body.config.is_encoder_decoder else ""
    body = _encoder_half(body).float()
    if missing := sorted({part + name for name, _ in body.named_parameters()} & set(report["missing_keys"])):
        raise ValueError(T014.format(name=found.name, error=f"no weights for {', '.join(missing[:5])}"))
    encoder = Encoder(body, config)
    record = {"config": config, "source": found.name, "revision": found.revision, "licence": found.licence}
    said, pooling_weights = read_modules(found.folder)
    if said is not None:
        record["sentence"] = said.to_json()
    if any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or []):
        labels = [str(label) for label in (config.get("id2label") or {}).values()]
        announce(T348.format(name=found.name, labels=labels[:10]))
    tokenizer = read_tokenizer(found.folder, n_rows_of(encoder))
    if tokenizer.markers:
        shown = ", ".join(tokenizer.markers[:_SHOWN]) + ", ..." * (len(tokenizer.markers) > _SHOWN)
        announce(T470.format(name=found.name, n=len(tokenizer.markers), markers=shown))
    return LoadedEncoder(encoder, tokenizer.text, portable(record), pooling_weights)


def _from_component(found: EncoderFolder, attention: Attention, dropout: float | None = None) -> LoadedEncoder:
    """Take over the encoder that one of our components holds, adapters merged: a transfer from one task to the next."""
    record = json.loads((found.folder / "encoder.json").read_text("utf-8"))
    adapter, base = record.pop("adapter", None), record.pop("base", None)
    record["config"] |= _dropouts(record["config"], dropout)
    if base is None:
        encoder = build_encoder(record, attention)
    else:
        encoder = PretrainedEncoder(base["name"], base["revision"], attention, dropout).load_base(base["sha256"])
    try:
        weights = load_file(found.folder / "weights.safetensors")
    except (SafetensorError, OSError) as error:
        raise OSError(T015.format(file=found.folder / "weights.safetensors", error=error)) from error
    own = {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}
    if adapter is not None:
        reattach(encoder, adapter)
    encoder.load_state_dict(own, strict=base is None)
    if adapter is not None:
        merge(encoder)
    pooling = {name.removeprefix("pooling."): value for name, value in weights.items() if name.startswith("pooling.")}
    return LoadedEncoder(encoder, (found.folder / "tokenizer.json").read_text("utf-8"), record, pooling)


def _read_config(found: EncoderFolder) -> dict[str, Any]:
    """The configuration as a plain dict; T012 unless it is a text encoder or has one."""
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    try:
        config = AutoConfig.from_pretrained(str(found.folder), trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(T016.format(name=found.name, error=error)) from error
    values: dict[str, Any] = config.to_dict()
    family = values["model_type"]
    masked = family in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    halved = family in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    if not (masked or halved) or not hasattr(config, "hidden_size") or getattr(config, "is_decoder", False):
        raise ValueError(T012.format(name=found.name, family=family))
    return {**values, **_compiled(config)}


def _compiled(config: Any) -> dict[str, bool]:
    """ModernBERT compiles itself in its first pass on a GPU, which takes 20 to 60 s and a C compiler: only where
    its own config says so."""
    return {"reference_compile": bool(config.reference_compile)} if hasattr(config, "reference_compile") else {}


def _encoder_half(body: Any) -> nn.Module:
    """The encoder of an encoder-decoder; without a pooler, which would never get a gradient from us."""
    if body.config.is_encoder_decoder:
        body = body.get_encoder()
    if getattr(body, "pooler", None) is not None:
        body.pooler = None
    return body


class _NoDraws(TorchDispatchMode):
    """Within: new weights are left as they are, not drawn: BERT-base takes 0.04 s instead of 0.9, and torch's random
    state does not move. All weights must be loaded afterwards."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("normal_", "uniform_", "random_", "trunc_normal_", "erfinv_"):
            return args[0]
        if name in ("lt", "gt") and args[0].is_floating_point():
            # torch draws truncated normals again while any lies outside; what is not drawn might do so for ever.
            return args[0].new_zeros((), dtype=torch.bool)
        return func(*args, **(kwargs or {}))


def _attention(attention: Attention) -> dict[str, Any]:
    return {} if attention == "auto" else {"attn_implementation": attention}


def read_tokenizer(folder: Path, n_rows: int | None = None) -> FolderTokenizer:
    """Read a folder's tokenizer as `AutoTokenizer` does, from the folder's own files alone.

    folder (Path): Of an encoder, or of one of our own components.
    n_rows (int | None): Rows of the embedding, if known: special pieces above them are text.
    RAISES (ValueError): T017 for a tokenizer that cannot be converted, T471 for one that cannot be read, T472 for
        pieces that have no row.
    """
    if (folder / "encoder.json").is_file():
        # Ours: it was read so when it was made.
        return FolderTokenizer((folder / "tokenizer.json").read_text("utf-8"), [])
    has_fast = (folder / "tokenizer.json").is_file()
    try:
        with quiet(), own_files(folder) as place:
            tokenizer = _load(place, has_fast=has_fast)
    # Whatever: tokenizers raises Exception itself, and a panic of its own that is not even one.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        raise ValueError((T471 if has_fast else T017).format(folder=folder, error=error)) from error
    return settled(tokenizer, folder.name, n_rows)


def _load(folder: Path, *, has_fast: bool) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    options = {"trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), use_fast=True, **options)
        # A slow one has no such thing.
        tokenizer.backend_tokenizer.to_str()
    except Exception:
        if not has_fast:
            raise
        # Of a class that this version does not know, or that has no fast tokenizer: the file speaks for itself.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder), **options)
    return tokenizer


def portable(record: dict[str, Any]) -> dict[str, Any]:
    """Through JSON and back, without the paths of this machine."""
    record = {**record, "config": {k: v for k, v in record["config"].items() if k != "_name_or_path"}}
    plain: dict[str, Any] = json.loads(json.dumps(record, default=str))
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
