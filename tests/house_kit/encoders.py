"""Tiny random encoders of every family; nothing comes from the network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from house_kit.texts import LETTERS, WORDS


def _template(tokenizer: Tokenizer, single: str) -> None:
    pieces = [piece for piece in single.split() if piece != "$A"]
    ids = [(piece, tokenizer.token_to_id(piece)) for piece in pieces]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)


def _special(tokenizer: Tokenizer, pieces: Sequence[str]) -> None:
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in pieces])


def word_pieces(special: Sequence[str], single: str, unk: str) -> Tokenizer:
    """BERT's kind."""
    vocab = [*special, *LETTERS, *[f"##{c}" for c in LETTERS], *[w for w in WORDS if len(w) > 1]]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(vocab)}, unk_token=unk))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    _special(tokenizer, special)
    _template(tokenizer, single)
    return tokenizer


def byte_pairs(special: Sequence[str], single: str) -> Tokenizer:
    """RoBERTa's kind: bytes, and merges that build the words."""
    vocab = {piece: i for i, piece in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    merges: list[tuple[str, str]] = []
    for word in (f"Ġ{word}" for word in WORDS if len(word) > 1):
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                vocab[word[:end]] = len(vocab)
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    _special(tokenizer, special)
    _template(tokenizer, single)
    return tokenizer


def unigrams(special: Sequence[str], single: str, unk: str) -> Tokenizer:
    """SentencePiece's kind."""
    vocab = [(piece, 0.0) for piece in special] + [("▁", -4.0)] + [(c, -6.0) for c in LETTERS]
    vocab += [(f"▁{word}", -5.0) for word in WORDS]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=list(special).index(unk), byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    _special(tokenizer, special)
    _template(tokenizer, single)
    return tokenizer


_BERT_LIKE = (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "[CLS] $A [SEP]", "[UNK]")
_ROBERTA_LIKE = (["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<s> $A </s>")
TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bert": lambda: word_pieces(*_BERT_LIKE),
    "roberta": lambda: byte_pairs(*_ROBERTA_LIKE),
    "xlm-roberta": lambda: unigrams(*_ROBERTA_LIKE, "<unk>"),
    "mpnet": lambda: word_pieces(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"], "<s> $A </s>", "[UNK]"),
    "albert": lambda: unigrams(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], "[CLS] $A [SEP]", "<unk>"),
    "deberta": lambda: unigrams(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"], "[CLS] $A [SEP]", "[UNK]"),
    "modernbert": lambda: byte_pairs(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], "[CLS] $A [SEP]"),
    "gpt2": lambda: byte_pairs(["<|endoftext|>"], "$A"),
    "llama": lambda: byte_pairs(["<unk>", "<s>", "</s>"], "<s> $A"),
    "gemma": lambda: byte_pairs(["<pad>", "<eos>", "<bos>", "<unk>"], "<bos> $A"),
    "t5": lambda: unigrams(["<pad>", "</s>", "<unk>"], "$A </s>", "<unk>"),
}
WIDTH = 16
POSITIONS = 40
_BODY = {"hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": POSITIONS}
_ROBERTA = {**_BODY, "max_position_embeddings": POSITIONS + 2, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_ALBERT = {**_BODY, "embedding_size": 8, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
_DEBERTA = {
    **_BODY, "num_hidden_layers": 3, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "pad_token_id": 0,
}  # fmt: skip
_DECODER = {
    **_BODY, "num_key_value_heads": 1, "num_hidden_layers": 3, "attention_dropout": 0.1, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
_QWEN = {**_DECODER, "bos_token_id": None, "eos_token_id": 0}
_GEMMA = {
    **_DECODER, "head_dim": 8, "query_pre_attn_scalar": 8, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
}  # fmt: skip
# Family: model type, tokenizer, configuration.
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("bert", "bert", {**_BODY, "num_hidden_layers": 3}),
    "roberta": ("roberta", "roberta", {**_ROBERTA, "num_hidden_layers": 3}),
    "xlm-roberta": ("xlm-roberta", "xlm-roberta", {**_ROBERTA, "num_hidden_layers": 2}),
    "distilbert": (
        "distilbert", "bert",
        {"dim": WIDTH, "n_heads": 2, "hidden_dim": 24, "n_layers": 3, "max_position_embeddings": POSITIONS},
    ),
    "albert": ("albert", "albert", {**_ALBERT, "num_hidden_layers": 3, "num_hidden_groups": 1}),
    "albert-two-groups": ("albert", "albert", {**_ALBERT, "num_hidden_layers": 4, "num_hidden_groups": 2}),
    "electra": ("electra", "bert", {**_BODY, "embedding_size": 8, "num_hidden_layers": 3}),
    "mpnet": ("mpnet", "mpnet", {**_ROBERTA, "num_hidden_layers": 3}),
    "deberta-v2": ("deberta-v2", "deberta", _DEBERTA),
    "deberta-v3": ("deberta-v2", "deberta", {**_DEBERTA, "position_biased_input": False, "type_vocab_size": 0}),
    "deberta-v2-conv": ("deberta-v2", "deberta", {**_DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu"}),
    "modernbert": (
        "modernbert", "modernbert",
        {
            **_BODY, "num_hidden_layers": 4, "global_attn_every_n_layers": 2, "local_attention": 4, "pad_token_id": 3,
            "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "reference_compile": False,
            "embedding_dropout": 0.1, "mlp_dropout": 0.1, "attention_dropout": 0.1,
        },
    ),
    "t5": (
        "t5", "t5",
        {
            "d_model": WIDTH, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 2,
            "relative_attention_num_buckets": 8, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
        },
    ),
    "gpt2": (
        "gpt2", "gpt2",
        {
            "n_embd": WIDTH, "n_head": 2, "n_inner": 24, "n_layer": 3, "n_positions": POSITIONS, "bos_token_id": 0,
            "eos_token_id": 0,
        },
    ),
    "llama": ("llama", "llama", _DECODER),
    "mistral": ("mistral", "llama", {**_DECODER, "sliding_window": 4}),
    "qwen2": ("qwen2", "gpt2", {**_QWEN, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen3": ("qwen3", "gpt2", {**_QWEN, "head_dim": 8}),
    "gemma": ("gemma", "gemma", _GEMMA),
    "gemma2": ("gemma2", "gemma", {**_GEMMA, "sliding_window": 4}),
    "gemma3": ("gemma3_text", "gemma", {**_GEMMA, "sliding_window": 4, "sliding_window_pattern": 2}),
    "bart": (
        "bart", "roberta",
        {
            "d_model": WIDTH, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
            "max_position_embeddings": POSITIONS, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
            "decoder_start_token_id": 2, "forced_eos_token_id": 2,
        },
    ),
}  # fmt: skip


def knows(family: str) -> bool:
    """Whether the installed transformers has this family (ModernBERT came with 4.48)."""
    return FAMILIES[family][0] in transformers.CONFIG_MAPPING


# Those that read from left to right; the first three stand for all of them where a test takes every family.
_DECODERS = ("gpt2", "llama", "gemma3", "mistral", "qwen2", "qwen3", "gemma", "gemma2")
DECODERS = [family for family in _DECODERS if knows(family)]
KNOWN_FAMILIES = [family for family in FAMILIES if knows(family) and family not in _DECODERS[3:]]


def write_encoder(folder: Path, family: str, **changes: Any) -> Path:
    """Write config.json, model.safetensors and tokenizer.json of a random encoder."""
    model_type, tokenizer_name, values = FAMILIES[family]
    tokenizer = TOKENIZERS[tokenizer_name]()
    config = transformers.AutoConfig.for_model(
        model_type, **{**values, **changes}, vocab_size=tokenizer.get_vocab_size()
    )
    write_lively(folder, transformers.AutoModel, config, seed=sum(map(ord, family)))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_lively(folder: Path, kind: Any, config: Any, *, seed: int) -> None:
    """Write config.json and model.safetensors of one of transformers' `AutoModel...` with random weights."""
    random = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = kind.from_config(config)
    with torch.no_grad():
        # Far livelier than an untrained encoder, so that every weight shows in the scores.
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.4)
            else:
                weight.add_(torch.randn_like(weight) * 0.2)
    torch.random.set_rng_state(random)
    model.save_pretrained(folder, safe_serialization=True)
