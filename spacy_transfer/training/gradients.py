"""Gradients of any Thinc model, summed over several sub-batches, thrown away."""

from collections.abc import Iterable

from thinc.api import Model

from ..model.thinc_optimizers import forget_gradients


def drop_gradients(models: Iterable[Model]) -> None:
    """Forget what was summed since the last step, as if the batch had not been.

    models (Iterable[Model]): Of the components that learn.
    """
    for model in models:
        forget_gradients(model)
