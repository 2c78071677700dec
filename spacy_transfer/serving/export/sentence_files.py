"""Writes modules.json of sentence-transformers and what it names, in the form that `AutoPooling` reads."""

import json
from pathlib import Path

import safetensors.torch
from torch import nn

from ...files import write_text
from ...nn.sentence_pooling import MODES, Dense, SentenceModules

_MODULES = "sentence_transformers.models"
_IDENTITY = "torch.nn.modules.linear.Identity"


def dense_folders(modules: SentenceModules) -> list[str]:
    """The folder of each module behind the pooling, in order; "" for one that has none."""
    return [f"{i}_Dense" if isinstance(one, Dense) else "" for i, one in enumerate(modules.after, start=2)]


def write_modules(folder: Path, modules: SentenceModules, pooling: nn.Module, width: int, max_length: int) -> None:
    """Write what follows an encoder in a sentence-transformers folder.

    folder (Path): Of the encoder.
    modules (SentenceModules): What follows it.
    pooling (nn.Module): With the weights of its dense layers.
    width (int): Of the states.
    max_length (int): Longest text in pieces.
    """
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    weights = pooling.state_dict()
    for i, (one, place) in enumerate(zip(modules.after, dense_folders(modules), strict=True)):
        if not isinstance(one, Dense):
            kinds.append((f"{i + 2}_Normalize", "Normalize"))
            continue
        kinds.append((place, "Dense"))
        activation = _IDENTITY if one.activation == "Identity" else f"torch.nn.modules.activation.{one.activation}"
        dense = {"in_features": one.n_in, "out_features": one.n_out, "bias": one.bias}
        _write(folder / place / "config.json", {**dense, "activation_function": activation})
        prefix = f"after.{i}."
        own = {key.removeprefix(prefix): value.cpu() for key, value in weights.items() if key.startswith(prefix)}
        safetensors.torch.save_file(own, folder / place / "model.safetensors", metadata={"format": "pt"})
    listed = [
        {"idx": i, "name": str(i), "path": place, "type": f"{_MODULES}.{kind}"} for i, (place, kind) in enumerate(kinds)
    ]
    _write(folder / "modules.json", listed)
    modes = {key: mode in modules.modes for mode, key in MODES.items()}
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **modes})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})


def _write(path: Path, data: object) -> None:
    write_text(path, json.dumps(data, indent=2) + "\n")
