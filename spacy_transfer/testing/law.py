"""Reports a law that a block breaks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..errors import T501

# What two ways of the same arithmetic in fp32 may differ by.
TOLERANCE = 1e-4


def require(law: str, holds: bool, block: object, found: object = "") -> None:
    """Fail unless a law holds.

    law (str): As a sentence, of what must be so.
    holds (bool): Whether it is.
    block (object): The block.
    found (object): What was seen.
    RAISES (AssertionError): T501 if it does not hold.
    """
    if not holds:
        seen = f", found {found}" if str(found) else ""
        raise AssertionError(T501.format(block=type(block).__name__, law=law, found=seen))


def require_close(law: str, first: Tensor, second: Tensor, block: object) -> None:
    """Fail unless two results are the same but for rounding.

    law (str): As a sentence.
    first (Tensor): Of any shape.
    second (Tensor): The same shape.
    block (object): The block.
    RAISES (AssertionError): T501 if they differ.
    """
    require(law, first.shape == second.shape, block, f"shapes {tuple(first.shape)} and {tuple(second.shape)}")
    if first.numel():
        apart = float((first.double() - second.double()).abs().max())
        require(law, apart <= TOLERANCE * max(1.0, float(second.abs().max())), block, f"a difference of {apart:.3g}")


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Draw the same random numbers within, and go on with the old ones afterwards.

    seed (int): Which ones.
    """
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
