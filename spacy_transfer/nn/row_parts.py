"""Rows of a long document, one part at a time, so that a document takes no more memory than a micro-batch.

Only its last states are kept as a whole, a few percent of what the layers inside keep for the backward pass. Pooling
and head read them as ever, so every kind of them works, and the gradient of the states goes back a part at a time: each
part is computed once more, with the random numbers it had.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .devices.host_rows import HostRows
from .network import Network, RowBatch


def logits_of(network: Network, batch: RowBatch, budget: int, states: Tensor | None = None) -> Tensor:
    """Logits of documents; what fits the budget runs at once, to the same bits as without a budget.

    network (Network): In any mode.
    batch (RowBatch): Rows of the documents.
    budget (int): Most pieces that run at a time, padding included.
    states (Tensor | None): States at the boundary, (n_rows, n_pieces, width), where they are known.
    RETURNS (Tensor): (n_docs, n_labels).
    """
    if _fits(batch, budget):
        return network(batch) if states is None else network.from_states(states, batch)
    return network.head_from_states(last_states(network, batch, budget, states), batch)


def last_states(network: Network, batch: RowBatch, budget: int, states: Tensor | None = None) -> Tensor:
    """States after the last depth, with a graph that holds one part at a time.

    RETURNS (Tensor): (n_rows, n_pieces, width).
    """
    learns = torch.is_grad_enabled() and network.boundary < network.n_layers
    if states is None and learns and network.boundary >= 1:
        states = prefix_states(network, batch, budget)
    found = []
    for begin, part in _parts(batch, budget):
        run: Callable[..., Tensor] = network.encode
        given: list[Tensor] = []
        if states is not None:
            run, given = _resume(network), [states[begin : begin + len(part.ids)]]
        found.append(_again(run, part, given) if learns else run(part, *given))
    return torch.cat(found)


def prefix_states(network: Network, batch: RowBatch, budget: int) -> Tensor:
    """What is frozen, without a graph.

    RETURNS (Tensor): States at the boundary, (n_rows, n_pieces, width).
    """
    if _fits(batch, budget):
        return network.prefix(batch)
    return torch.cat([network.prefix(part) for _, part in _parts(batch, budget)])


def _fits(batch: RowBatch, budget: int) -> bool:
    # One row is the least there is: as a part it would only be computed twice.
    return batch.ids.numel() <= budget or len(batch.ids) == 1


def _resume(network: Network) -> Callable[..., Tensor]:
    return lambda part, states: network.resume(states, part)


def _again(run: Callable[..., Tensor], part: RowBatch, states: list[Tensor]) -> Tensor:
    # The tensors as arguments: by them torch knows the device whose random numbers are to be drawn again.
    result: Tensor = checkpoint(
        lambda ids, mask, *given: run(part, *given), part.ids, part.mask, *states, use_reentrant=False
    )
    return result


def _parts(batch: RowBatch, budget: int) -> Iterator[tuple[int, RowBatch]]:
    """Rows under the budget, at least one at a time.

    YIELDS (tuple): Number of the first row, and the rows.
    """
    n_rows, n_pieces = batch.ids.shape
    size = max(1, budget // n_pieces)
    for begin in range(0, n_rows, size):
        ids, mask, counted, owner = (
            whole[begin : begin + size] for whole in (batch.ids, batch.mask, batch.counted, batch.owner)
        )
        host = batch.host
        if host is not None:
            rows = slice(begin, begin + size)
            host = HostRows(host.counted[rows], host.owner[rows], host.is_full)
        yield begin, replace(batch, ids=ids, mask=mask, counted=counted, owner=owner, host=host)
