"""Which depth a weight belongs to: 0 = embeddings, 1..L = encoder layers."""

import re

from torch import nn

# Names of the list of layers in the encoders of transformers.
_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|block|h|albert_layer_groups)\.(\d+)\.")
# Inside layer 1, but used by every layer (T5's first block holds the position bias of all).
_SHARED_IN_LAYER = re.compile(r"relative_attention_bias")
# Outside the layers and above them; decoders have it next to the list of layers.
_FINAL = re.compile(r"(?:^|\.)(?:final_norm|final_layer_norm|layer_norm)\.|^(?:norm|ln_f)\.")
# DeBERTa-v2's convolution works on the output of layer 1.
_FIRST = re.compile(r"^encoder\.conv\.")


def find_layers(body: nn.Module) -> list[nn.Module]:
    """The encoder layers, lowest first.

    body (nn.Module): An encoder of transformers.
    RETURNS (list[nn.Module]): One module per layer; for ALBERT one per group of shared layers.
    """
    for name, module in body.named_modules():
        if isinstance(module, nn.ModuleList) and re.search(
            r"(?:^|\.)(layer|layers|block|h|albert_layer_groups)$", name
        ):
            return list(module)
    return []


def is_after_first(name: str) -> bool:
    """Whether a module changes what layer 1 gives before layer 2 receives it: DeBERTa-v2's convolution.

    name (str): Name of the module in the encoder.
    """
    return name == "encoder.conv"


def depth_of(name: str, n_layers: int, n_modules: int) -> int:
    """Depth of a weight by its name in the encoder.

    A weight that several depths use belongs to the lowest: T5's and MPNet's relative attention bias, DeBERTa-v2's
    `rel_embeddings` and `encoder.LayerNorm` (which normalizes them) and ALBERT's mapping are depth 0, ALBERT's shared
    layers belong to the first layer that uses them, so freezing one layer freezes all that share its weights.

    name (str): Name of the parameter.
    n_layers (int): Layers that are run.
    n_modules (int): Layers that have weights of their own (fewer than n_layers in ALBERT).
    RETURNS (int): 0 to n_layers.
    """
    if _SHARED_IN_LAYER.search(name):
        return 0
    if found := _LAYER.search(name):
        index = int(found.group(1))
        # ALBERT runs group g for the layers g * L / n_groups and up.
        return index + 1 if n_modules == n_layers else -(-index * n_layers // n_modules) + 1
    if _FIRST.search(name):
        return 1
    return n_layers if _FINAL.search(name) and "embeddings" not in name else 0
