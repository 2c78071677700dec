"""Labels added later count as trained once a text with them was in a training step."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class MetLabels:
    """Texts of each label since the last step."""

    def __init__(self) -> None:
        self._counts: NDArray[np.float32] | None = None
        # A loop with a loss of its own says nothing of labels: it counts as having had all of them.
        self._all = False
        self._summed: nn.Parameter | None = None

    def add(self, targets: NDArray[np.float32]) -> None:
        """Count a batch.

        targets (NDArray): What is known of each label, (n_docs, n_labels).
        """
        counts = (targets > 0).sum(axis=0).astype(np.float32)
        self._counts = counts if self._counts is None else self._counts + counts

    def add_all(self) -> None:
        """Count a batch of whose labels nothing is known."""
        self._all = True

    def as_gradients(self, awaited: Sequence[int], device: torch.device) -> Mapping[str, nn.Parameter]:
        """The counts as the gradient of a weight, for the ranks to sum in place; none where nothing is awaited."""
        if not awaited:
            return {}
        met = [self._has(i) for i in awaited]
        self._summed = nn.Parameter(torch.zeros(len(awaited), device=device))
        self._summed.grad = torch.tensor(met, dtype=torch.float32, device=device)
        return {"labels met": self._summed}

    def still_awaited(self, awaited: Sequence[int]) -> tuple[int, ...]:
        """Say which labels are still waiting for a text.

        awaited (Sequence[int]): Indices of labels that were added later.
        RETURNS (tuple[int, ...]): Those of which no text has come, on any rank.
        """
        if self._summed is not None and self._summed.grad is not None:
            met = (self._summed.grad > 0).tolist()
        else:
            met = [self._has(i) for i in awaited]
        return tuple(i for i, has_come in zip(awaited, met, strict=True) if not has_come)

    def _has(self, label: int) -> bool:
        return self._all or (self._counts is not None and bool(self._counts[label] > 0))
