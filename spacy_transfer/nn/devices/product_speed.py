"""Measures how fast a device multiplies matrices in each precision, since feature flags do not say.

Tried for all-MiniLM-L6-v2's shapes: on an Intel Xeon with AVX512-BF16 and without AMX, bf16 products run at half the
speed of fp32 (162 to 169 against 290 to 325 GFLOP/s), on an AMD EPYC with AVX512-BF16 at twice (360 against 180), on an
AMD EPYC with AVX2 alone at a twentieth (2 against 45, one thread).
"""

from collections.abc import Sequence
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Rows, columns of a weight.
Shapes = tuple[tuple[int, int], ...]
# A small BERT's (all-MiniLM-L6-v2), where no encoder is at hand.
USUAL: Shapes = ((1536, 384), (384, 384))
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Rows of a product, as in a usual micro-batch; fewer on a CPU where they alone would take tens of milliseconds.
_ROWS = {"cpu": 512, "cuda": 8192}
_MOST_WORK = 2e9
# A precision that is emulated takes twenty times as long: seen on few rows, none is tried on many.
_FEW_ROWS, _HOPELESS = 64, 2.5
_TURNS, _SECONDS = 5, 0.1
# A network narrower than this has nothing to gain, and its products are too short to be timed.
LEAST_WIDTH = 128

Pairs = list[tuple[Tensor, Tensor]]


def shapes_of(encoder: nn.Module) -> Shapes:
    """The shapes of the linear layers that an encoder spends its time in, largest first.

    encoder (nn.Module): Of transformers, or ours.
    RETURNS (Shapes): One or two.
    """
    found = {tuple(sorted(m.weight.shape, reverse=True)) for m in encoder.modules() if isinstance(m, nn.Linear)}
    ordered = sorted(found, key=lambda shape: (-shape[0] * shape[1], shape))
    # The matrices of an adapter, or of relative positions, decide nothing.
    large = [(int(n), int(m)) for n, m in ordered if 8 * n * m >= ordered[0][0] * ordered[0][1]]
    return tuple(large[:1] + large[-1:] if len(large) > 1 else large) or USUAL


def product_speeds(device: torch.device, shapes: Shapes, precisions: Sequence[str]) -> dict[str, float]:
    """Speed of matrix products, the best of several interleaved turns; some tens of milliseconds in all.

    device (torch.device): Where.
    shapes (Shapes): Of the weights.
    precisions (Sequence[str]): "fp32", "bf16".
    RETURNS (dict[str, float]): GFLOP/s by precision; one that the device refuses is missing.
    """
    work = 2.0 * sum(n * m for n, m in shapes)
    n_rows = _ROWS.get(device.type, 512)
    if device.type == "cpu" and n_rows * work > _MOST_WORK:
        n_rows //= 2
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        few = _best(device, shapes, _FEW_ROWS, precisions)
        fastest = min(few.values(), default=0.0)
        hopeful = [name for name in few if few[name] <= _HOPELESS * fastest]
        best = _best(device, shapes, n_rows, hopeful) if len(hopeful) > 1 else {}
    seconds = {name: few[name] / _FEW_ROWS for name in few} | {name: best[name] / n_rows for name in best}
    return {name: round(work / seconds[name] / 1e9, 1) for name in precisions if name in seconds}


def _best(device: torch.device, shapes: Shapes, n_rows: int, precisions: Sequence[str]) -> dict[str, float]:
    """Seconds of the fastest turn by precision."""
    best: dict[str, float] = {}
    operands: dict[str, Pairs] = {}
    for name in precisions:
        try:
            # The same numbers each time: torch's random state is not ours to move.
            operands[name] = [
                (
                    torch.full((n_rows, m), 0.5, dtype=_DTYPES[name], device=device),
                    torch.full((n, m), 0.5, dtype=_DTYPES[name], device=device),
                )
                for n, m in shapes
            ]
            # The first one makes kernels.
            _seconds(device, operands[name])
            best[name] = float("inf")
        except RuntimeError:
            continue
    begin = perf_counter()
    for turn in range(_TURNS):
        for name in best:
            best[name] = min(best[name], _seconds(device, operands[name]))
        # On a busy machine a turn may take a hundred times as long.
        if perf_counter() - begin > _SECONDS / (1 if turn else 4):
            break
    return best


def _seconds(device: torch.device, pairs: Pairs) -> float:
    _wait(device)
    begin = perf_counter()
    for values, weight in pairs:
        F.linear(values, weight)
    _wait(device)
    return max(perf_counter() - begin, 1e-9)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
