"""From the states of a document's pieces to one vector: mean, first piece, last piece, maximum, both, attention.

A document may lie in several rows (windows). `counted` marks each of its pieces once, whatever windows overlap there,
so that a text that fits one row gives the same vector with and without windows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..checks import check_least
from ..errors import T005


class Pooling(nn.Module):
    """States to vectors.

    forward: states (n_rows, n_pieces, width), counted (n_rows, n_pieces) 0/1, owner (n_rows,) the document of each
        row, n_docs -> vectors (n_docs, width) in fp32.

    n_largest (int | None): Of a pooling that is the mean of the states that are counted, but for the largest values of
        so many of their last dimensions; None for any other.
    """

    n_largest: int | None = None

    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        """See the class."""
        raise NotImplementedError


class _Mean(Pooling):
    n_largest = 0

    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        """Average the states of each document.

        states (Tensor): (n_rows, n_pieces, width).
        counted (Tensor): True at pieces that count, (n_rows, n_pieces).
        owner (Tensor): Document of each row, (n_rows,).
        n_docs (int): Documents.
        RETURNS (Tensor): One vector per document, fp32, (n_docs, width).
        """
        # As a matrix product: it reads the states once and makes no masked copy of them.
        sums = torch.bmm(counted.float().unsqueeze(1), states.float()).squeeze(1)
        counts = counted.sum(dim=1, dtype=torch.float32)
        sums, counts = _per_document(sums, owner, n_docs), _per_document(counts, owner, n_docs)
        return sums / counts.clamp(min=1.0).unsqueeze(1)


class _First(Pooling):
    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        """Average the first states of a document's rows.

        states (Tensor): (n_rows, n_pieces, width).
        counted (Tensor): True at pieces that count, (n_rows, n_pieces).
        owner (Tensor): Document of each row, (n_rows,).
        n_docs (int): Documents.
        RETURNS (Tensor): One vector per document, fp32, (n_docs, width).
        """
        rows = _per_document(torch.ones_like(owner, dtype=torch.float32), owner, n_docs)
        return _per_document(states[:, 0].float(), owner, n_docs) / rows.unsqueeze(1)


class _Last(Pooling):
    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        """Average the last counted states of a document's rows.

        states (Tensor): (n_rows, n_pieces, width).
        counted (Tensor): True at pieces that count, (n_rows, n_pieces).
        owner (Tensor): Document of each row, (n_rows,).
        n_docs (int): Documents.
        RETURNS (Tensor): One vector per document, fp32, (n_docs, width).
        """
        places = torch.arange(counted.shape[1], device=counted.device)
        last = (places * counted.long()).amax(dim=1).reshape(-1, 1, 1).expand(-1, 1, states.shape[2])
        rows = _per_document(torch.ones_like(owner, dtype=torch.float32), owner, n_docs)
        return _per_document(states.gather(1, last).squeeze(1).float(), owner, n_docs) / rows.unsqueeze(1)


class _Max(Pooling):
    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        """Take the largest value of each dimension over a document's states.

        states (Tensor): (n_rows, n_pieces, width).
        counted (Tensor): True at pieces that count, (n_rows, n_pieces).
        owner (Tensor): Document of each row, (n_rows,).
        n_docs (int): Documents.
        RETURNS (Tensor): One vector per document, fp32, (n_docs, width).
        """
        lowest = torch.finfo(torch.float32).min
        rows = states.float().masked_fill(~counted.bool().unsqueeze(2), lowest).amax(dim=1)
        if len(rows) == n_docs:
            return rows
        vectors = rows.new_full((n_docs, rows.shape[1]), lowest)
        found = vectors.scatter_reduce(0, owner.unsqueeze(1).expand_as(rows), rows, reduce="amax")
        # A trace would not know how many dimensions it has.
        return found.reshape(n_docs, rows.shape[1])


class _Mixed(Pooling):
    """The mean of the first dimensions, the largest values of the last `n_largest`."""

    def __init__(self, n_largest: int) -> None:
        super().__init__()
        self.n_largest: int = n_largest
        self.mean, self.max = _Mean(), _Max()

    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        """Take both of each document.

        states (Tensor): (n_rows, n_pieces, width).
        counted (Tensor): True at pieces that count, (n_rows, n_pieces).
        owner (Tensor): Document of each row, (n_rows,).
        n_docs (int): Documents.
        RETURNS (Tensor): One vector per document, fp32, (n_docs, width).
        """
        n_mean = states.shape[2] - self.n_largest
        means = self.mean(states[:, :, :n_mean], counted, owner, n_docs)
        return torch.cat([means, self.max(states[:, :, n_mean:], counted, owner, n_docs)], dim=1)


class _Attention(Pooling):
    """One learned query; a softmax over all counted pieces of the document."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, states: Tensor, counted: Tensor, owner: Tensor, n_docs: int) -> Tensor:
        """Weigh the states of each document by a learned query.

        states (Tensor): (n_rows, n_pieces, width).
        counted (Tensor): True at pieces that count, (n_rows, n_pieces).
        owner (Tensor): Document of each row, (n_rows,).
        n_docs (int): Documents.
        RETURNS (Tensor): One vector per document, fp32, (n_docs, width).
        """
        states = states.float()
        scores = self.score(states).squeeze(2)
        scores = scores.masked_fill(~counted.bool(), torch.finfo(torch.float32).min)
        highest = scores.detach().amax(dim=1)
        if len(highest) != n_docs:
            top = highest.new_full((n_docs,), torch.finfo(torch.float32).min)
            highest = top.scatter_reduce(0, owner, highest, reduce="amax")[owner]
        weights = torch.exp(scores - highest.unsqueeze(1)) * counted
        sums = torch.bmm(weights.unsqueeze(1), states).squeeze(1)
        totals = _per_document(weights.sum(dim=1), owner, n_docs)
        return _per_document(sums, owner, n_docs) / totals.clamp(min=1e-12).unsqueeze(1)


def _per_document(rows: Tensor, owner: Tensor, n_docs: int) -> Tensor:
    """Sum the rows of each document. With one row a document nothing is to be done: rows come in document order."""
    if len(rows) == n_docs:
        return rows
    sums = rows.new_zeros((n_docs, *rows.shape[1:]))
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        # In an ONNX graph an index_add would add only once at each place.
        return sums.scatter_add(0, owner.reshape(-1, *[1] * (rows.ndim - 1)).expand_as(rows), rows)
    return sums.index_add(0, owner, rows)


@dataclass(frozen=True)
class MeanPooling:
    """Average a document's states, padding left out; special pieces count, as in sentence-transformers.

    SOURCE: Reimers & Gurevych 2019, arXiv:1908.10084 (mean beats CLS for sentence vectors).
    """

    def build(self, width: int) -> Pooling:
        """Build the module.

        width (int): Width of the states.
        RETURNS (Pooling): A module without weights.
        """
        return _Mean()


@dataclass(frozen=True)
class ClsPooling:
    """The state of the first piece ([CLS], <s>), averaged over a document's windows.

    SOURCE: Devlin et al. 2019, arXiv:1810.04805.
    """

    def build(self, width: int) -> Pooling:
        """Build the module.

        width (int): Width of the states.
        RETURNS (Pooling): A module without weights.
        """
        return _First()


@dataclass(frozen=True)
class LastPooling:
    """The state of the last piece, averaged over a document's windows: in a decoder the only one that has seen all.

    SOURCE: Wang et al. 2024, arXiv:2401.00368.
    """

    def build(self, width: int) -> Pooling:
        """Build the module.

        width (int): Width of the states.
        RETURNS (Pooling): A module without weights.
        """
        return _Last()


@dataclass(frozen=True)
class MaxPooling:
    """The largest value of each dimension over a document's states.

    SOURCE: Collobert et al. 2011, arXiv:1103.0398.
    """

    def build(self, width: int) -> Pooling:
        """Build the module.

        width (int): Width of the states.
        RETURNS (Pooling): A module without weights.
        """
        return _Max()


@dataclass(frozen=True)
class MixedPooling:
    """Average a document's states, but take the largest value of each of their last dimensions: of those that say
    whether something occurs anywhere, such as the context of `StaticEncoder`.

    n_largest (int): How many dimensions; from 1 to the width of the states less 1.
    RAISES (ValueError): T005 for a number out of range.
    SOURCE: mean and maximum side by side: Howard & Ruder 2018 (ULMFiT), arXiv:1801.06146.
    """

    n_largest: int

    def __post_init__(self) -> None:
        check_least("MixedPooling", self, "n_largest", 1)

    def build(self, width: int) -> Pooling:
        """Build the module.

        width (int): Width of the states.
        RETURNS (Pooling): A module without weights.
        RAISES (ValueError): T005 if no dimension is left to average.
        """
        if self.n_largest >= width:
            want = f"less than the width of the states, {width}"
            raise ValueError(T005.format(block="MixedPooling", field="n_largest", value=self.n_largest, want=want))
        return _Mixed(self.n_largest)


@dataclass(frozen=True)
class AttentionPooling:
    """A learned weighting of a document's states, normalized over all its windows.

    SOURCE: Lin et al. 2017, arXiv:1703.03130 (one hop, without the hidden layer).
    """

    def build(self, width: int) -> Pooling:
        """Build the module.

        width (int): Width of the states.
        RETURNS (Pooling): A module with width + 1 weights.
        """
        return _Attention(width)
