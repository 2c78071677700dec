"""Tries an encoder once before it is trained: an untested family is refused if its states are not reliable.

Texts run together with others, padded, and from stored states on: a score must not depend on it. Families of
transformers differ in more than their config says: some mix padding into texts, some draw random numbers, some have no
layers that can be told apart.
"""

import torch

from ...errors import T473, T473_ALONE, T473_DIRECTION, T473_RESUMED, T473_RUNS, T473_SHAPE, T474, T475
from ...log import announce
from ..static.body import STATIC
from .config import DECODERS
from .encoder import Encoder, in_evaluation

# Lengths of the rows: neither a multiple of a window, nor of one another.
_LENGTHS = (11, 6)
# Largest difference between states of a row alone and among others, as a share of the largest state. Rounding makes
# up to 1e-5 in fp32; up to the second number a family is taken, and a message says so (ConvBERT, whose convolutions
# read the padding next to the last pieces).
_ROUNDING = 2e-4
_TOLERATED = 1e-2
# A state that sees another piece differs by more than this when that piece is another one.
_SEEN = 1e-6


@torch.no_grad()
def try_encoder(encoder: Encoder, name: str, *depths: int) -> float:
    """Run two rows of different length, alone and together, whole and from the states at some depths on.

    encoder (Encoder): With weights, on any device; modes and torch's random state are left as they are.
    name (str): What messages call it.
    depths (int): -1 to n_layers each; the states at these depths will be stored.
    RETURNS (float): Largest difference by padding, as a share of the largest state.
    RAISES (ValueError): T473 where something does not agree, T475 for an encoder whose layers are not found.
    """
    if not encoder.n_layers and encoder.family != STATIC:
        raise ValueError(T475.format(name=name, family=encoder.family))
    device = next(encoder.parameters()).device
    n_rows = encoder.n_pieces
    longest = min(_LENGTHS[0], encoder.max_pieces or _LENGTHS[0])
    lengths = (longest, max(1, min(_LENGTHS[1], longest - 1)))
    ids = torch.arange(2 * longest, device=device).reshape(2, longest) * 7 % max(n_rows - 1, 1) + 1
    ids[ids == encoder.pad_id] = 0 if encoder.pad_id else 1
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
        ids[row, length:] = encoder.pad_id
    with torch.random.fork_rng(devices=[]), in_evaluation(encoder):
        return _differences(encoder, name, set(depths), ids, mask, lengths)


def _differences(
    encoder: Encoder, name: str, depths: set[int], ids: torch.Tensor, mask: torch.Tensor, lengths: tuple[int, ...]
) -> float:
    def refused(problem: str) -> ValueError:
        """Make the error for an encoder whose states cannot be relied on."""
        return ValueError(T473.format(name=name, family=encoder.family, problem=problem))

    try:
        whole = encoder(ids, mask)
        alone = [encoder(ids[i : i + 1, :n], mask[i : i + 1, :n])[0] for i, n in enumerate(lengths)]
    except Exception as error:
        raise refused(T473_RUNS.format(error=f"{type(error).__name__}: {error}")) from error
    if whole.shape != (*ids.shape, encoder.width):
        raise refused(T473_SHAPE.format(shape=tuple(whole.shape), expected=(*ids.shape, encoder.width)))
    largest = max(float(one.abs().max()) for one in alone) or 1.0
    found = max(float((whole[i, :n] - alone[i]).abs().max()) for i, n in enumerate(lengths)) / largest
    if not found <= _TOLERATED:
        raise refused(T473_ALONE.format(share=found))
    if encoder.family in DECODERS and lengths[0] > 1:
        others, n = ids[:1].clone(), lengths[0]
        others[0, n - 1] = ids[0, n - 2]
        difference = float((encoder(others, mask[:1])[0, 0] - encoder(ids[:1], mask[:1])[0, 0]).abs().max())
        if (difference / largest > _SEEN) == encoder.is_causal:
            raise refused(T473_DIRECTION.format(sees="sees" if encoder.is_causal else "does not see"))
    for at in sorted(depths - {-1, encoder.n_layers}):
        try:
            resumed = encoder.resume(ids, mask, encoder.prefix(ids, mask, at), at)
        except Exception as error:
            raise refused(T473_RUNS.format(error=f"{type(error).__name__}: {error}")) from error
        share = float((resumed - whole).mul(mask.unsqueeze(2)).abs().max()) / largest
        if not share <= _ROUNDING:
            raise refused(T473_RESUMED.format(share=share, depth=at))
    if found > _ROUNDING:
        announce(T474.format(name=name, family=encoder.family, share=found))
    return found
