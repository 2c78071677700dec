"""Sequence classifiers of transformers on tiny random encoders, and what they score."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from house_kit.encoders import FAMILIES, TOKENIZERS
from house_kit.texts import LABELS


def write_classifier(
    folder: Path, family: str, *, labels: Sequence[str] = LABELS, problem: str | None = None, **changes: Any
) -> Path:
    """Write a random classifier as transformers saves it, with the tokenizer that belongs to its family."""
    model_type, tokenizer_name, values = FAMILIES[family]
    tokenizer = TOKENIZERS[tokenizer_name]()
    names = dict(enumerate(labels))
    config = transformers.AutoConfig.for_model(
        model_type, **{**values, **changes}, vocab_size=tokenizer.get_vocab_size(), id2label=names,
        label2id={label: i for i, label in names.items()}, problem_type=problem,
    )  # fmt: skip
    random = torch.random.get_rng_state()
    torch.manual_seed(sum(map(ord, family)))
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.4)
            else:
                weight.add_(torch.randn_like(weight) * 0.2)
    torch.random.set_rng_state(random)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    pad = tokenizer.id_to_token(config.pad_token_id or 0)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad, "model_max_length": 36}
    settings["model_input_names"] = ["input_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@torch.no_grad()
def logits_of(folder: Path, texts: Sequence[str]) -> torch.Tensor:
    """What transformers makes of texts, (n_texts, n_labels)."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    found: torch.Tensor = model(**rows).logits
    return found


def write_head(folder: Path, weight: torch.Tensor, bias: torch.Tensor, **notes: str) -> None:
    """Write model_head.safetensors, as the lines in T563 do."""
    save_file({"weight": weight, "bias": bias}, folder / "model_head.safetensors", {"format": "pt", **notes})
