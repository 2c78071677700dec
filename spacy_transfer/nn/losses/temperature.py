"""A temperature on the logits: how a student learns from softened scores."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...checks import check_number
from .loss import Classify, Loss
from .wrapper import WrappedLoss, Wrapper


class _Temperature(WrappedLoss):
    def __init__(self, inner: Loss, temperature: float) -> None:
        super().__init__(inner)
        self.temperature = temperature

    def forward(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """See `Loss`."""
        value: Tensor = self.inner(logits / self.temperature, targets, known)
        return value * self.temperature**2

    def of_batch(self, vectors: Tensor, classify: Classify, targets: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the inner loss on softened logits.

        vectors (Tensor): Of all passes, (n_passes, n_docs, width).
        classify (Callable): Vectors to logits.
        targets (Tensor): 0..1, (n_docs, n_labels).
        known (Tensor): 0 where the annotation is missing, (n_docs, n_labels).
        RETURNS (tuple[Tensor, Tensor]): Loss of each document, (n_docs,), and logits, (n_passes, n_docs, n_labels).
        """
        warm = self.temperature
        values, logits = self.inner.of_batch(vectors, lambda given: classify(given) / warm, targets, known)
        return values * warm**2, logits * warm


@dataclass(frozen=True)
class Temperature(Wrapper):
    """Another loss on logits divided by a temperature, for targets that were softened by the same temperature:
    `spacy transfer distill` writes it around the loss of a student. Scores are those of the logits themselves.

    loss (block): The block of the other loss.
    temperature (float): Above 0; 1 changes nothing. The loss is multiplied by its square, so that gradients keep their
        size.
    RAISES (ValueError): T001 if `loss` is no loss, T005 for values out of range, T101 for the same block inside.
    SOURCE: Hinton et al. 2015, arXiv:1503.02531.
    """

    temperature: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        want = "temperature > 0"
        check_number("loss", self, "temperature", want, lambda value: 0.0 < value < float("inf"))

    def build(self, weights: Sequence[float]) -> Loss:
        """Build the loss.

        weights (Sequence[float]): Weight of each label in the other loss.
        RETURNS (Loss): The module.
        """
        return _Temperature(self._inner.build(weights), self.temperature)
