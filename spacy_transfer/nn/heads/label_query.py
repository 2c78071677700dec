"""A decoder head: one learned query per label reads the states of a document's pieces.

Where a pooled vector must serve all labels at once, here each label looks at the pieces that speak for it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checks import check_least, check_share
from ...errors import T145
from ..devices.host_rows import HostRows
from ..devices.pinned import to_device
from .linear import n_scored, without_awaited

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class LabelQueryDecoder(nn.Module):
    """Decoder layers over the labels' queries, then one row of weights per label.

    forward: states (n_docs, n_pieces, width), seen (n_docs, n_pieces) bool, true where there is a piece -> logits
        (n_docs, n_labels), in fp32.
    awaited: labels that were added and not yet trained; see `LabelHead`.
    """

    reads: Literal["states"] = "states"

    def __init__(self, layers: list["_Layer"], width: int, n_labels: int, dropout: float) -> None:
        super().__init__()
        # As in the paper: far apart, so that the labels read differently from the first step on.
        self.queries = nn.Parameter(torch.empty(n_labels, width).normal_())
        # When each label came: 0 for those of the start, then counting up. Without this order a label that is added
        # later would be seen by the old ones and change their logits.
        self.register_buffer("arrivals", torch.zeros(n_labels, dtype=torch.int64))
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.output = _LabelWeights(width, n_labels)
        self.awaited: tuple[int, ...] = ()

    def forward(self, states: Tensor, seen: Tensor) -> Tensor:
        """See the class."""
        if self.training or not self.awaited:
            return self._logits(states, seen, self.n_labels)
        return without_awaited(self._logits(states, seen, n_scored(self.n_labels, self.awaited)), self)

    def _logits(self, states: Tensor, seen: Tensor, n: int) -> Tensor:
        """Of the first n labels, (n_docs, n)."""
        arrivals = self.get_buffer("arrivals")[:n]
        known = arrivals.unsqueeze(1) >= arrivals
        states, seen = states.float(), seen[:, None, None, :]
        # One copy for all documents, until the first of them has been read.
        decoded = self.queries[:n].unsqueeze(0)
        for layer in self.layers:
            decoded = layer(decoded, known, states, seen)
        return self.output(self.dropout(self.norm(decoded)))

    @property
    def n_labels(self) -> int:
        """Labels the head has a query for."""
        return len(self.queries)

    def start_from(self, vectors: Tensor) -> None:
        """Set the queries.

        vectors (Tensor): (n_labels, width).
        """
        with torch.no_grad():
            self.queries.copy_(vectors)

    def resize(self, n_labels: int, vectors: Tensor | None = None) -> None:
        """Add queries and rows for new labels; what is there keeps its weights, and does not see the new labels, so old
        logits stay as they are.

        n_labels (int): New number of labels, not below the present one.
        vectors (Tensor | None): Queries of the new labels, (n_new, width); by default they are drawn from where the old
            queries lie.
        """
        old, arrivals = self.queries, self.get_buffer("arrivals")
        n_new = n_labels - len(old)
        with torch.no_grad():
            if vectors is None:
                spread = old.std(dim=0, correction=0).clamp(min=0.02)
                vectors = old.mean(dim=0) + spread * torch.randn(n_new, old.shape[1]).to(old.device)
            self.queries = nn.Parameter(torch.cat([old, vectors.to(old)]))
            latest = arrivals.max() + 1 if len(arrivals) else arrivals.sum()
            self.register_buffer("arrivals", torch.cat([arrivals, latest.repeat(n_new)]))
        self.output.resize(n_labels)

    def set_dropout(self, rate: float) -> None:
        """Dropout of the head from now on; `[training] dropout` arrives here.

        rate (float): 0 <= rate < 1.
        """
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate


class _LabelWeights(nn.Module):
    """One row of weights and a bias per label: decoded queries (n_docs, n_labels, width) -> (n_docs, n_labels)."""

    def __init__(self, width: int, n_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_labels, width).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(n_labels))

    def forward(self, decoded: Tensor) -> Tensor:
        """Compute one logit from the decoded state of each label.

        decoded (Tensor): (n_docs, n_labels, width).
        RETURNS (Tensor): Logits, (n_docs, n_labels).
        """
        n = decoded.shape[1]
        return (decoded * self.weight[:n]).sum(dim=2) + self.bias[:n]

    def resize(self, n_labels: int) -> None:
        """Grow; a new label starts as the mean of the others.

        n_labels (int): Labels from now on.
        """
        weight, bias = self.weight.detach(), self.bias.detach()
        n_new = n_labels - len(bias)
        # As in the linear head, a new label starts as the mean of the others.
        self.weight = nn.Parameter(torch.cat([weight, weight.mean(dim=0).repeat(n_new, 1)]))
        self.bias = nn.Parameter(torch.cat([bias, bias.mean().repeat(n_new)]))


class _Layer(nn.Module):
    """Labels read each other (if asked for), then the document, then each thinks for itself; norms come first."""

    def __init__(self, width: int, heads: int, wide: int, activation: str, dropout: float, between: bool) -> None:
        super().__init__()
        self.between = _Attention(width, heads, dropout) if between else None
        self.between_norm = nn.LayerNorm(width) if between else None
        self.reading = _Attention(width, heads, dropout)
        self.reading_norm = nn.LayerNorm(width)
        self.feed_forward = (
            nn.Sequential(
                nn.LayerNorm(width), _xavier(width, wide), _ACTIVATIONS[activation](), nn.Dropout(dropout),
                _xavier(wide, width), nn.Dropout(dropout),
            )
            if wide else None
        )  # fmt: skip
        self.dropout = nn.Dropout(dropout)

    def forward(self, decoded: Tensor, known: Tensor, states: Tensor, seen: Tensor) -> Tensor:
        """Let each label read the other labels, then the states.

        decoded (Tensor): (1 or n_docs, n_labels, width).
        known (Tensor): Which labels a label may read, (n_labels, n_labels).
        states (Tensor): (n_docs, n_pieces, width).
        seen (Tensor): Which pieces count, (n_docs, 1, 1, n_pieces).
        RETURNS (Tensor): (n_docs, n_labels, width).
        """
        if self.between is not None and self.between_norm is not None:
            labels = self.between_norm(decoded)
            decoded = decoded + self.dropout(self.between(labels, labels, known))
        decoded = decoded + self.dropout(self.reading(self.reading_norm(decoded), states, seen))
        return decoded if self.feed_forward is None else decoded + self.feed_forward(decoded)


class _Attention(nn.Module):
    """Attention of several heads.

    On `scaled_dot_product_attention` and not `nn.MultiheadAttention`, whose inside `CpuKernels` cannot reach and whose
    shorter way in evaluation mode rounds otherwise than training does.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = _xavier(width, width)
        self.key_value = _xavier(width, 2 * width)
        self.output = _xavier(width, width)
        # Of the attention weights; a module, so that `set_dropout` finds it.
        self.dropout = nn.Dropout(dropout)

    def forward(self, asking: Tensor, asked: Tensor, mask: Tensor) -> Tensor:
        """Compute what each label finds.

        asking (Tensor): (1 or n_docs, n_labels, width).
        asked (Tensor): (n_docs, n_asked, width).
        mask (Tensor): True where to look, broadcast to (n_docs, heads, n_labels, n_asked).
        RETURNS (Tensor): (n_docs, n_labels, width).
        """
        # By its shape, which a trace follows, where `len` would be the number of the traced documents.
        query = self._split(self.query(asking)).expand(asked.shape[0], -1, -1, -1)
        key, value = (self._split(part) for part in self.key_value(asked).chunk(2, dim=2))
        if mask.ndim == 2:
            mask = mask[None, None]
        rate = self.dropout.p if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        return self.output(found.transpose(1, 2).flatten(2))

    def _split(self, vectors: Tensor) -> Tensor:
        return vectors.unflatten(2, (self.heads, -1)).transpose(1, 2)


def _xavier(width: int, wide: int) -> nn.Linear:
    layer = nn.Linear(width, wide)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def document_states(
    states: Tensor, counted: Tensor, owner: Tensor, n_docs: int, host: HostRows | None = None
) -> tuple[Tensor, Tensor]:
    """The states of each document's pieces in one row, whatever windows it was read in; each piece once.

    states (Tensor): (n_rows, n_pieces, width).
    counted (Tensor): (n_rows, n_pieces) 0/1.
    owner (Tensor): Document of each row, (n_rows,), ascending.
    n_docs (int): Documents.
    host (HostRows | None): The same on the host; without it the device is asked, and waited for.
    RETURNS (tuple[Tensor, Tensor]): States (n_docs, longest, width), and where there are any, (n_docs, longest) bool.
    """
    if len(states) == n_docs:
        return states, counted.bool()
    # Places are counted on the host, since the device would have to be asked for their number.
    inside = counted.bool().cpu().numpy() if host is None else host.counted
    document = np.repeat(owner.cpu().numpy() if host is None else host.owner, inside.sum(axis=1))
    lengths = np.bincount(document, minlength=n_docs)
    place = np.arange(len(document)) - (lengths.cumsum() - lengths)[document]
    longest, device = int(lengths.max()), states.device
    pieces = states.flatten(0, 1).index_select(0, to_device(np.flatnonzero(inside), device))
    found = states.new_zeros((n_docs * longest, states.shape[2]))
    found = found.index_copy(0, to_device(document * longest + place, device), pieces)
    return found.unflatten(0, (n_docs, longest)), to_device(np.arange(longest) < lengths[:, None], device)


@dataclass(frozen=True)
class LabelQueryHead:
    """A Transformer decoder in which one learned query per label attends to the encoder's states: for many labels and
    for long documents, in place of pooling and a linear head. Pooling is then not used.

    layers (int): Decoder layers.
    heads (int): Attention heads; they must divide the encoder's width.
    feed_forward (int | None): Width between the two linear layers of each decoder layer; None is twice the encoder's, 0
        leaves them out, as LAAT does.
    activation (str): Between them.
    dropout (float | None): Of attention weights and after each part. None takes `[training] dropout`.
    self_attention (bool): Labels also attend to each other. A label that is added later sees those before it and is not
        seen by them, so their logits stay as they are. With one layer this happens before anything was read.
    init (str): What queries start from: "random", or "names": the mean of the states that the encoder gives for the
        words of the label's name ("card_lost", "card:lost" and "cardLost" are "card lost").
    SOURCE: Liu et al. 2021 (Query2Label), arXiv:2107.10834, with norms first; Vu et al. 2020 (LAAT), arXiv:2007.06351.
    """

    layers: int = 1
    heads: int = 8
    feed_forward: int | None = None
    activation: Literal["relu", "gelu"] = "gelu"
    dropout: float | None = None
    self_attention: bool = False
    init: Literal["random", "names"] = "random"
    reads = "states"

    def __post_init__(self) -> None:
        for field, least in (("layers", 1), ("heads", 1), ("feed_forward", 0)):
            if getattr(self, field) is not None:
                check_least("head", self, field, least)
        if self.dropout is not None:
            check_share("head", self, "dropout")

    def build(self, width: int, n_labels: int) -> LabelQueryDecoder:
        """Make the module, with random queries.

        width (int): Width of the states.
        n_labels (int): Number of labels.
        RAISES (ValueError): T145 if the heads do not divide the width.
        """
        if width % self.heads:
            fitting = [n for n in range(1, 33) if width % n == 0]
            raise ValueError(T145.format(heads=self.heads, width=width, fitting=fitting))
        rate = self.dropout or 0.0
        wide = 2 * width if self.feed_forward is None else self.feed_forward
        layers = [
            _Layer(width, self.heads, wide, self.activation, rate, self.self_attention) for _ in range(self.layers)
        ]
        return LabelQueryDecoder(layers, width, n_labels, rate)
