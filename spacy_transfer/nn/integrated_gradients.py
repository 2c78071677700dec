"""Integrated gradients: how much each piece of a document adds to the logit of a label.

The vectors of the pieces, as the encoder looks them up, move on a straight line from those of a baseline piece to their
own; the gradient of the logit is integrated on the way. What the pieces add sums to the difference of both ends, so the
integral checks itself: where a stretch of the way does not add up, it is divided.

SOURCE: Sundararajan, Taly & Yan 2017, arXiv:1703.01365; each stretch by Gauss-Legendre quadrature.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..errors import T742
from .devices.cpu_kernels import CpuKernels
from .network import Network, RowBatch
from .scratch.char_ngrams import CharNGramVectors

# Places of the quadrature in each stretch, and stretches to begin with.
_N_NODES = 6
_N_BEGIN = 3
# Differences of the logit below which a share of them says nothing: rounding.
_SMALL = 1e-3


@dataclass(frozen=True)
class PieceGradients:
    """What the pieces of one document add to a logit.

    values (Tensor): Of each piece, (n_rows, n_pieces), fp64 on the host; 0 where the baseline is the piece itself.
    reached (float): The logit of the document.
    baseline (float): The logit where all pieces are the baseline.
    n_steps (int): Gradients that were computed.
    """

    values: Tensor
    reached: float
    baseline: float
    n_steps: int

    @property
    def gap(self) -> float:
        """By how much the sum misses the difference of the logits."""
        return abs(float(self.values.sum()) - (self.reached - self.baseline))


@dataclass(frozen=True)
class Integral:
    """How the way is integrated.

    baseline_id (int): Piece at its beginning.
    tolerance (float): Largest gap, as a share of the difference of the logits.
    most_steps (int): Most gradients; then the gap stays as it is.
    budget (int): Most pieces that run at a time, padding included.
    """

    baseline_id: int
    tolerance: float
    most_steps: int
    budget: int


def log_odds(logits: Tensor, label: int, *, exclusive: bool) -> Tensor:
    """Compute what is explained: the logit whose sigmoid is the score.

    logits (Tensor): (n_docs, n_labels).
    label (int): Its column.
    exclusive (bool): Scores are a softmax: a logit says something only against the others.
    RETURNS (Tensor): (n_docs,).
    """
    if not exclusive:
        return logits[:, label]
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
    return logits[:, label] - others.logsumexp(dim=1)


def integrate(
    network: Network, batch: RowBatch, replaced: Tensor, explained: Callable[[Tensor], Tensor], how: Integral
) -> PieceGradients:
    """Integrate the gradients of a logit.

    network (Network): In evaluation mode.
    batch (RowBatch): Rows of one document.
    replaced (Tensor): True at pieces that begin as the baseline, (n_rows, n_pieces).
    explained (Callable): Logits (n, n_labels) to what is explained, (n,).
    how (Integral): How exactly.
    RETURNS (PieceGradients): Of all pieces, in fp32 whatever the network's precision.
    RAISES (ValueError): T742 for an encoder that does not look its pieces up in a table.
    """
    way = _Way(network, batch, replaced, explained, how)
    nodes, weights = np.polynomial.legendre.leggauss(_N_NODES)
    share = (nodes + 1.0) / 2.0
    ends = np.linspace(0.0, 1.0, _N_BEGIN + 1).tolist()
    logits = dict(zip(ends, way.logits(ends), strict=True))
    reached, baseline = logits[1.0], logits[0.0]
    allowed = how.tolerance * max(abs(reached - baseline), _SMALL)
    waiting = list(pairwise(ends))
    done: dict[tuple[float, float], tuple[Tensor, float]] = {}
    while waiting:
        places = [begin + (end - begin) * one for begin, end in waiting for one in share.tolist()]
        found = way.gradients(places).unflatten(0, (len(waiting), _N_NODES))
        for (begin, end), gradients in zip(waiting, found, strict=True):
            scale = torch.as_tensor(weights * (end - begin) / 2.0)
            values = (gradients * scale[:, None, None]).sum(dim=0)
            done[begin, end] = values, float(values.sum()) - (logits[end] - logits[begin])
        # Of signed gaps some would cancel out in the sum, and the pieces be wrong all the same.
        gaps = {stretch: abs(gap) for stretch, (_, gap) in done.items()}
        waiting = []
        if sum(gaps.values()) <= allowed:
            break
        middles: dict[tuple[float, float], float] = {}
        for begin, end in (one for one, gap in gaps.items() if gap > allowed / (2 * len(gaps))):
            if way.n_steps + 2 * _N_NODES * (len(middles) + 1) > how.most_steps:
                break
            middles[begin, end] = (begin + end) / 2.0
        logits.update(zip(middles.values(), way.logits(list(middles.values())), strict=True))
        for (begin, end), middle in middles.items():
            del done[begin, end]
            waiting += [(begin, middle), (middle, end)]
    total = torch.stack([values for values, _ in done.values()]).sum(dim=0)
    return PieceGradients(total, reached, baseline, way.n_steps)


@dataclass(frozen=True)
class _Copies:
    """Rows that run together: the document several times, or a part of it.

    rows (RowBatch): The rows.
    replaced (Tensor): True at pieces that begin as the baseline, (n_rows, n_pieces).
    shares (Tensor): Of each row its place on the way, (n_rows,).
    """

    rows: RowBatch
    replaced: Tensor
    shares: Tensor

    def parts(self, budget: int) -> list["_Copies"]:
        """Cut into parts of at most so many pieces, one row at least."""
        rows, (n_rows, n_pieces) = self.rows, self.rows.ids.shape
        size = max(1, budget // n_pieces)
        if n_rows <= size:
            return [self]
        cuts = [slice(begin, begin + size) for begin in range(0, n_rows, size)]
        return [
            _Copies(
                replace(rows, ids=rows.ids[cut], mask=rows.mask[cut], counted=rows.counted[cut], owner=rows.owner[cut]),
                self.replaced[cut], self.shares[cut],
            )
            for cut in cuts
        ]  # fmt: skip


class _Way:
    """The way from the baseline to a document, and the network at places on it."""

    def __init__(
        self, network: Network, batch: RowBatch, replaced: Tensor, explained: Callable[[Tensor], Tensor], how: Integral
    ) -> None:
        self.network, self.batch, self.replaced, self.explained, self.how = network, batch, replaced, explained, how
        self.n_steps = 0

    def logits(self, places: Sequence[float]) -> list[float]:
        """Compute what is explained at places between 0 and 1."""
        found: list[float] = []
        with torch.no_grad():
            for copies in self._copies(places):
                states = torch.cat([self._states(part)[0] for part in copies.parts(self.how.budget)])
                found += self._explain(states, copies.rows).double().tolist()
        return found

    def gradients(self, places: Sequence[float]) -> Tensor:
        """Compute gradient times way of each piece, (n_places, n_rows, n_pieces)."""
        self.n_steps += len(places)
        shape = (-1, *self.batch.ids.shape)
        return torch.cat([self._gradients(copies).view(shape) for copies in self._copies(places)]).cpu()

    def _gradients(self, copies: _Copies) -> Tensor:
        parts = copies.parts(self.how.budget)
        if len(parts) == 1:
            states, lookups = self._states(copies)
            return lookups.added(self._explain(states, copies.rows).sum(), None)
        # A document above the budget: the head sees all of it, the encoder runs part by part.
        with torch.no_grad():
            whole = torch.cat([self._states(part)[0] for part in parts])
        whole.requires_grad_()
        (wanted,) = torch.autograd.grad(self._explain(whole, copies.rows).sum(), whole)
        found, begin = [], 0
        for part in parts:
            states, lookups = self._states(part)
            found.append(lookups.added(states, wanted[begin : begin + len(states)]))
            begin += len(states)
        return torch.cat(found)

    def _explain(self, states: Tensor, rows: RowBatch) -> Tensor:
        return self.explained(self.network.head_from_states(states, rows))

    def _states(self, copies: _Copies) -> tuple[Tensor, "_Lookups"]:
        rows = copies.rows
        with _kernels(rows.ids), _Lookups(self.network, copies, self.how.baseline_id) as lookups:
            states: Tensor = self.network.encoder(rows.ids, rows.mask, rows.is_full)
        if not lookups.n_found:
            raise ValueError(T742.format(family=self.network.encoder.family))
        return states, lookups

    def _copies(self, places: Sequence[float]) -> list[_Copies]:
        """The document as often as the budget allows, and what is left."""
        batch, n_rows = self.batch, len(self.batch.ids)
        most = max(1, self.how.budget // batch.ids.numel())
        found = []
        for first in range(0, len(places), most):
            some = places[first : first + most]
            n = len(some)
            owner = torch.arange(n, device=batch.owner.device).repeat_interleave(n_rows)
            ids, mask, counted, replaced = (
                one.repeat(n, 1) for one in (batch.ids, batch.mask, batch.counted, self.replaced)
            )
            rows = RowBatch(ids, mask, counted, owner, n, None, batch.joined.of([0] * n))
            shares = torch.tensor(some, device=batch.ids.device, dtype=torch.float32)
            found.append(_Copies(rows, replaced, shares.repeat_interleave(n_rows)))
        return found


class _Lookups(TorchFunctionMode):
    """Within: this thread finds vectors on the way in the place of those in the tables of pieces.

    Not a hook, which would be there for other threads too, and not the input of the first layer: layers of DeBERTa read
    the embeddings once more.
    """

    def __init__(self, network: Network, copies: _Copies, baseline_id: int) -> None:
        super().__init__()
        encoder = network.encoder
        self._table = encoder.piece_table.weight
        self._n_grams = [one.table.weight for one in encoder.modules() if isinstance(one, CharNGramVectors)]
        self._replaced, self._shares, self._baseline_id = copies.replaced, copies.shares, baseline_id
        # Vectors on the way, and what they change by from its beginning to its end.
        self._found: list[tuple[Tensor, Tensor]] = []

    @property
    def n_found(self) -> int:
        """How often the pieces were looked up."""
        return len(self._found)

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:  # fmt: skip
        result = func(*args, **(kwargs or {}))
        weight = args[1] if len(args) > 1 else None
        if func is F.embedding and weight is self._table and isinstance(result, Tensor):
            ids = args[0]
            assert isinstance(ids, Tensor)
            # Filled up to whole windows of attention by the encoder.
            replaced = F.pad(self._replaced, (0, ids.shape[1] - self._replaced.shape[1]))
            begin = F.embedding(ids.masked_fill(replaced, self._baseline_id), self._table)
            return self._on_the_way(begin.detach(), result.detach(), self._shares[:, None, None])
        if func is F.embedding_bag and isinstance(result, Tensor) and any(weight is one for one in self._n_grams):
            # Special pieces have no n-grams.
            begin = result.detach().masked_fill(self._replaced.flatten()[:, None], 0.0)
            shares = self._shares.repeat_interleave(self._replaced.shape[1])
            return self._on_the_way(begin, result.detach(), shares[:, None])
        return result

    def _on_the_way(self, begin: Tensor, end: Tensor, shares: Tensor) -> Tensor:
        change = end - begin
        here = torch.lerp(begin, end, shares.to(begin.dtype))
        # Through: the tables themselves may have gradients that nobody asks for here.
        self._found.append((here.requires_grad_(torch.is_grad_enabled()), change))
        return here

    def added(self, outputs: Tensor, gradient: Tensor | None) -> Tensor:
        """Take the gradient of the vectors, times their change: (n_rows, n_pieces), fp64."""
        gradients = torch.autograd.grad(outputs, [here for here, _ in self._found], gradient)
        n_rows, n_pieces = self._replaced.shape
        total = torch.zeros((n_rows, n_pieces), dtype=torch.float64, device=self._replaced.device)
        for one, (_, change) in zip(gradients, self._found, strict=True):
            total += (one.double() * change.double()).sum(dim=-1).view(n_rows, -1)[:, :n_pieces]
        return total


def _kernels(ids: Tensor) -> AbstractContextManager[object]:
    return CpuKernels() if ids.device.type == "cpu" else nullcontext()
