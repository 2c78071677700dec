"""Gradients of any Thinc model, summed over several sub-batches, thrown away."""

from collections.abc import Iterable
from typing import Any

from thinc.api import Model


def drop_gradients(models: Iterable[Model]) -> None:
    """Forget what was summed since the last step, as if the batch had not been.

    models (Iterable[Model]): Of the components that learn.
    """
    for model in models:
        for node in model.walk():
            for name in node.param_names:
                if node.has_grad(name):
                    # In place: layers keep views of it.
                    node.get_grad(name)[...] = 0.0
            for shim in node.shims:
                _drop_torch(shim)


def _drop_torch(shim: Any) -> None:
    if hasattr(shim, "drop_gradients"):
        shim.drop_gradients()
    elif hasattr(shim._model, "zero_grad"):
        shim._model.zero_grad()
