"""An encoder of pictures or sounds: numbers in, one vector for each out."""

import torch
from torch import Tensor, nn

from ...json_types import JsonObject
from .families import Family, Pooling


class MediaEncoder(nn.Module):
    """Pictures or sounds to vectors, with the depth scale 0 = patches or frames, 1..L = layers or stages.

    It always computes as in evaluation, while it is tuned too: without dropout, and with the stored statistics of batch
    normalization, which few pictures would only make worse. So a vector depends on nothing but its input.

    body (nn.Module): Of transformers.
    config (dict): Of which it was built.
    family (Family): Of the body.
    pooling (str): One of the family's, or "auto".
    """

    def __init__(self, body: nn.Module, config: JsonObject, family: Family, pooling: Pooling) -> None:
        super().__init__()
        self.body = body.eval()
        self.config = config
        self.family = family
        self.pooling = family.poolings[0] if pooling == "auto" else pooling
        self.n_layers = len(_part(body, family.layer_list))
        # Whisper calls it otherwise; a ResNet has one for each stage.
        sizes = config.get("hidden_sizes") or [config.get("hidden_size") or config["d_model"]]
        self.width = int(sizes[-1])

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.body.parameters()).device

    def depth_of(self, name: str) -> int:
        """Depth of a weight.

        name (str): As `named_parameters()` of this module gives it.
        RETURNS (int): 0 to n_layers.
        """
        return self.family.depth_of(name.removeprefix("body."), self.n_layers)

    def freeze(self, depth: int) -> None:
        """Keep the weights of the depths 0..depth as they are; -1 freezes nothing.

        depth (int): -1 to n_layers.
        """
        for name, weight in self.named_parameters():
            weight.requires_grad_(self.depth_of(name) > depth and not _is_never_trained(name))

    def forward(self, inputs: Tensor, n_inner: list[int] | None = None) -> Tensor:
        """Compute vectors.

        inputs (Tensor): Pictures (n, 3, height, width); samples (n, n_samples), all of one length; or log-mel spectra
            (n, n_bins, n_frames).
        n_inner (list[int] | None): Of each sound, how many states are not those of padding.
        RETURNS (Tensor): (n, width).
        """
        states: Tensor = self.body(inputs).last_hidden_state
        if states.ndim == 4:
            return states.mean(dim=(2, 3))
        if self.config["model_type"] == "clip_vision_model":
            states = self.body.get_submodule("vision_model.post_layernorm")(states)
        if self.pooling == "first":
            return states[:, 0]
        if self.family.has_class_position:
            return states[:, 1:].mean(dim=1)
        if n_inner is None:
            return states.mean(dim=1) if self.pooling == "mean" else states.amax(dim=1)
        parts = [row[:n] for row, n in zip(states, n_inner, strict=True)]
        return torch.stack([one.mean(dim=0) if self.pooling == "mean" else one.amax(dim=0) for one in parts])


def _part(body: nn.Module, path: str) -> nn.ModuleList:
    part = body.get_submodule(path)
    assert isinstance(part, nn.ModuleList)
    return part


def _is_never_trained(name: str) -> bool:
    """What stands for masked input in pretraining, and Whisper's positions, which are sines."""
    return name.endswith(("masked_spec_embed", "mask_token", "embed_positions.weight"))
