"""Gradients of any Thinc model: summed over sub-batches, or discarded."""

import math
from collections.abc import Iterable

from thinc.api import Model
from torch import nn

from ...model.learning.thinc_optimizers import forget_gradients
from ...model.shims.torch_shim import TorchShim


def are_finite(models: Iterable[Model]) -> bool:
    """Whether all gradients that were summed since the last step are finite numbers.

    models (Iterable[Model]): Of the components that learn, on any device; asking a GPU waits for it.
    """
    for model in models:
        for node in model.walk():
            for name in node.param_names:
                # A sum is not finite where a part of it is not; one that overflows is as bad.
                if node.has_grad(name) and not math.isfinite(float(node.get_grad(name).sum())):
                    return False
            for shim in node.shims:
                network = shim.network if isinstance(shim, TorchShim) and shim.is_built else shim._model
                for weight in network.parameters() if isinstance(network, nn.Module) else ():
                    if weight.grad is not None and not math.isfinite(float(weight.grad.sum())):
                        return False
    return True


def drop_gradients(models: Iterable[Model]) -> None:
    """Forget what was summed since the last step, as if the batch had not been.

    models (Iterable[Model]): Of the components that learn.
    """
    for model in models:
        forget_gradients(model)
