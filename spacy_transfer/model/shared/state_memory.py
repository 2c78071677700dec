"""States of rows kept on a GPU, so that a cached row needs no copy and no launch."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...nn.devices.pinned import to_device

# Room at first, in pieces; it doubles as it fills.
_FIRST = 65_536
# Of the memory that is free on the device when the cache is made, the share that it may take.
_SHARE = 0.5


class StateMemory:
    """States by key, one after the other in one tensor.

    width (int): Of a state.
    dtype (torch.dtype): Of what is kept.
    device (torch.device): A CUDA device.
    room (int): Bytes that it is asked to keep at most.
    """

    def __init__(self, width: int, dtype: torch.dtype, device: torch.device, room: int) -> None:
        self.width = width
        self._most = 1 + room // (width * dtype.itemsize)
        self._places: dict[bytes, tuple[int, int]] = {}
        # The first row is padding.
        self._states = torch.zeros((1, width), dtype=dtype, device=device)
        self._used = 1

    @staticmethod
    def room_on(device: torch.device) -> int:
        """Bytes that it may take at most."""
        return int(_SHARE * torch.cuda.mem_get_info(device)[0])

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def add(self, entries: Mapping[bytes, Tensor]) -> bool:
        """Keep states, (n_pieces, width) each.

        RETURNS (bool): False, and nothing is kept, where the device has no room left.
        """
        if not entries:
            return True
        end = self._used + sum(len(states) for states in entries.values())
        if end > len(self._states) and not self._grow(end):
            return False
        parts = [to_device(states, self._states.device) for states in entries.values()]
        self._states[self._used : end] = torch.cat(parts)
        for key, states in entries.items():
            self._places[key] = (self._used, len(states))
            self._used += len(states)
        return True

    def get(self, key: bytes) -> Tensor | None:
        """States of a key, (n_pieces, width) on the device, or None."""
        if (place := self._places.get(key)) is None:
            return None
        return self._states[place[0] : place[0] + place[1]]

    def padded(self, keys: Sequence[bytes], n_pieces: int) -> Tensor:
        """States of some keys, all of which are there, filled up with zeros: (n_rows, n_pieces, width)."""
        places = np.asarray([self._places[key] for key in keys])
        positions = np.arange(n_pieces)
        rows = np.where(positions < places[:, 1:], places[:, :1] + positions, 0)
        return self._states[to_device(rows, self._states.device)]

    def _grow(self, least: int) -> bool:
        size = max(least, min(self._most, max(_FIRST, 2 * len(self._states))))
        try:
            states = self._states.new_zeros((size, self.width))
        except torch.cuda.OutOfMemoryError:
            return False
        states[: self._used] = self._states[: self._used]
        self._states = states
        return True
