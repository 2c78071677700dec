"""Shared code of losses that add to another loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ...errors import T101
from ..block_kinds import BlockKind
from .loss import ClassWeights, Loss, LossBuilder

# What is used of the block of a loss; see `LossBuilder`.
LOSS = BlockKind[LossBuilder]("loss", "a loss", ("exclusive", "class_weights", "balanced", "build", "activate"))


class WrappedLoss(Loss):
    """A loss that adds to another one; on logits alone it is the other one.

    inner (Loss): The other one.
    """

    def __init__(self, inner: Loss) -> None:
        super().__init__()
        self.inner = inner
        self.couples, self.n_passes, self.activation = inner.couples, inner.n_passes, inner.activation

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """See `Loss`."""
        value: Tensor = self.inner(logits, targets, known)
        return value


@dataclass(frozen=True)
class Wrapper:
    """A block around the block of another loss, from which it has kind, weights and activation.

    loss (block): The other block, [components.NAME.model.loss.loss].
    RAISES (ValueError): T001 if it is no loss, T101 if the same block stands inside already.
    """

    # A `LossBuilder`; the config system cannot check a protocol.
    loss: object

    def __post_init__(self) -> None:
        name = type(self).__name__
        inside: object = self._inner
        while isinstance(inside, Wrapper):
            if type(inside) is type(self):
                raise ValueError(T101.format(name=name))
            inside = inside.loss

    @property
    def exclusive(self) -> bool:
        """Exactly one label a document."""
        return self._inner.exclusive

    @property
    def class_weights(self) -> ClassWeights:
        """Those of the other block."""
        return self._inner.class_weights

    @cached_property
    def _inner(self) -> LossBuilder:
        return LOSS.check(self.loss, f"spacy-transfer.{type(self).__name__}.v1")

    def balanced(self, positives: Sequence[float], n_known: Sequence[float]) -> list[float]:
        """As the other block has it."""
        return self._inner.balanced(positives, n_known)

    def activate(self, logits: Tensor) -> Tensor:
        """As the other block has it."""
        return self._inner.activate(logits)
