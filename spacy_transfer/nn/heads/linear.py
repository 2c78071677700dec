"""From a document's vector to one logit per label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checks import check_share
from ...errors import T005

Activation = Literal["relu", "gelu", "tanh"]

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class LabelHead(nn.Module):
    """Hidden layers, then one row of weights per label.

    forward: vectors (n_docs, width) -> logits (n_docs, n_labels), in fp32.
    reads (Literal['vectors']): what the head reads of a document, its vector.
    awaited: labels that were added and not yet trained, by their place. In evaluation mode their logit is -inf, so they
        score 0 and the others score as if they were not there; in training mode they take part.
    """

    # Or "states", as the label decoder does, which then needs no pooling.
    reads: Literal["vectors"] = "vectors"

    def __init__(self, hidden: nn.Sequential, output: nn.Linear) -> None:
        super().__init__()
        self.hidden = hidden
        self.output = output
        self.awaited: tuple[int, ...] = ()

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        hidden = self.hidden(vectors)
        if self.training or not self.awaited:
            logits: Tensor = self.output(hidden)
            return logits
        n = n_scored(self.n_labels, self.awaited)
        return without_awaited(F.linear(hidden, self.output.weight[:n], self.output.bias[:n]), self)

    @property
    def n_labels(self) -> int:
        """Labels the head has a row for."""
        return self.output.out_features

    def resize(self, n_labels: int) -> None:
        """Add rows for new labels; the rows there are keep their weights, so old logits stay as they are.

        n_labels (int): New number of labels, not below the present one.
        """
        old = self.output
        new = nn.Linear(old.in_features, n_labels).to(old.weight.device)
        with torch.no_grad():
            new.weight[: old.out_features] = old.weight
            new.bias[: old.out_features] = old.bias
            # A new label starts as the mean of the others: neither ahead nor hopelessly behind, whatever the text.
            new.weight[old.out_features :] = old.weight.mean(dim=0)
            new.bias[old.out_features :] = old.bias.mean()
        self.output = new

    def set_dropout(self, rate: float) -> None:
        """Dropout of the head from now on; `[training] dropout` arrives here.

        rate (float): 0 <= rate < 1.
        """
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate


class Awaiting(Protocol):
    """A head with labels that are not yet trained."""

    awaited: tuple[int, ...]

    @property
    def n_labels(self) -> int:
        """All labels."""


def n_scored(n_labels: int, awaited: Sequence[int]) -> int:
    """Up to which label logits are computed: with just the old labels, the arithmetic is that of before, to the bit.

    n_labels (int): All labels.
    awaited (Sequence[int]): Those that are not yet trained.
    RETURNS (int): One past the last trained label.
    """
    return 1 + max(set(range(n_labels)).difference(awaited), default=-1)


def without_awaited(logits: Tensor, head: Awaiting) -> Tensor:
    """Logits of the first labels to those of all, -inf where a label is not yet trained.

    logits (Tensor): (n_docs, n_scored).
    head (Awaiting): Knows how many labels are awaited.
    RETURNS (Tensor): (n_docs, n_labels).
    """
    out = logits.new_full((len(logits), head.n_labels), -torch.inf)
    out[:, : logits.shape[1]] = logits
    out[:, list(head.awaited)] = -torch.inf
    return out


@dataclass(frozen=True)
class Head:
    """A linear layer, or hidden layers and a linear layer.

    hidden (list[int] | None): Widths of the hidden layers; none for a linear classifier.
    activation (str): Between the hidden layers.
    dropout (float | None): Before every linear layer. None takes `[training] dropout`, a number overrides it.
    norm (bool): Norm of the document vector, features included, before all of it (`torch.nn.LayerNorm`); for encoders
        whose states are not normed themselves.
    hidden_norm (bool): Norm after the activation of each hidden layer, as in ModernBERT's own classifier.
    """

    hidden: list[int] | None = None
    activation: Activation = "gelu"
    dropout: float | None = None
    norm: bool = False
    hidden_norm: bool = False
    reads = "vectors"

    def __post_init__(self) -> None:
        if self.dropout is not None:
            check_share("head", self, "dropout")
        for width in self.hidden or []:
            if width < 1:
                raise ValueError(T005.format(block="head", field="hidden", value=self.hidden, want="widths >= 1"))

    def build(self, width: int, n_labels: int) -> LabelHead:
        """Make the module; weights start small and the output at zero bias.

        width (int): Width of the document vectors.
        n_labels (int): Number of labels.
        """
        rate = 0.0 if self.dropout is None else self.dropout
        layers: list[nn.Module] = [nn.LayerNorm(width)] if self.norm else []
        for wide in self.hidden or []:
            layers += [nn.Dropout(rate), nn.Linear(width, wide), _ACTIVATIONS[self.activation]()]
            layers += [nn.LayerNorm(wide)] if self.hidden_norm else []
            width = wide
        layers.append(nn.Dropout(rate))
        output = nn.Linear(width, n_labels)
        # BERT's own initialization of new weights.
        for module in [*layers, output]:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        return LabelHead(nn.Sequential(*layers), output)
