"""Try every family of transformers that could be an encoder: which are refused, and why.

    python benchmarks/families.py [FAMILY ...]

Each is a random encoder of a few thousand weights with BERT's vocabulary; nothing is downloaded.
"""

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto import modeling_auto

from spacy_transfer.nn.encoders.config import DECODERS
from spacy_transfer.nn.encoders.encoder import Encoder
from spacy_transfer.nn.encoders.pretrained import PretrainedEncoder
from spacy_transfer.nn.encoders.trial import try_encoder

# Whatever a family calls it.
SMALL = {
    "vocab_size": 147, "hidden_size": 16, "d_model": 16, "dim": 16, "emb_dim": 16, "embedding_size": 16, "d_ff": 24,
    "n_embd": 16, "n_head": 2, "n_inner": 24, "n_layer": 3, "n_positions": 128, "num_key_value_heads": 1, "head_dim": 8,
    "num_hidden_layers": 3, "num_layers": 3, "encoder_layers": 3, "decoder_layers": 1, "num_decoder_layers": 1,
    "n_layers": 3, "num_attention_heads": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "n_heads": 2,
    "num_heads": 2, "intermediate_size": 24, "hidden_dim": 24, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "d_kv": 8,
    "max_position_embeddings": 128, "max_encoder_position_embeddings": 128, "max_decoder_position_embeddings": 128,
    "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2, "forced_eos_token_id": 3,
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "attention_window": 8, "block_size": 4,
    "num_random_blocks": 1, "segment_means_seq_len": 8, "num_landmarks": 2, "reference_compile": False,
}  # fmt: skip


def families() -> list[str]:
    """What T012 lets through by its name."""
    masked = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return sorted({*masked, *modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, *DECODERS})


def tried(family: str) -> str:
    """Make, save, load and try one. RETURNS (str): What came of it."""
    default = transformers.AutoConfig.for_model(family)
    own = {*default.to_dict(), *default.attribute_map}
    # One width under two names must be given once.
    values = {key: value for key, value in SMALL.items() if key in own and default.attribute_map.get(key) not in SMALL}
    config = transformers.AutoConfig.for_model(family, **values)
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        _write_tokenizer(Path(folder))
        encoder = PretrainedEncoder(folder).load().encoder
    _liven(encoder)
    found = try_encoder(encoder, family, *range(encoder.n_layers + 1))
    return f"works, {encoder.n_layers} layers, differs by {found:.0e} with padding"


def _liven(encoder: Encoder) -> None:
    with torch.no_grad():
        for weight in encoder.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.2)


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocab = {piece: i for i, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "card"])}
    tokenizer: Any = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', "utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    for name in sys.argv[1:] or families():
        try:
            outcome = tried(name)
        except Exception as error:
            outcome = f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"
        print(f"{name:25} {outcome}", flush=True)
