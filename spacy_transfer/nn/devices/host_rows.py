"""What the host knows about a batch of rows, so that it does not need to ask the device."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class HostRows:
    """Rows of pieces, on the host.

    counted (NDArray): True where pooling counts the piece, (n_rows, n_pieces).
    owner (NDArray): Document of each row, (n_rows,), ascending from 0.
    is_full (bool): Whether nothing is padding.
    """

    counted: NDArray[np.bool_]
    owner: NDArray[np.int64]
    is_full: bool
