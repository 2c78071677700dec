"""Gradients of a pipeline, memory that runs out while they are summed, and what the encoder is asked for."""

from typing import Any

import torch

from house_kit.pipelines import network_of, shim_of


def gradients_of(nlp: Any) -> dict[str, torch.Tensor]:
    return {name: w.grad.clone() for name, w in network_of(nlp).named_parameters() if w.grad is not None}


class Exhausted:
    """Stands before `backward` of the sums and fails as a GPU does, at the calls it was told."""

    def __init__(self, nlp: Any, fails: set[int]) -> None:
        self.calls, self.fails = 0, fails
        self.gradients = shim_of(nlp).gradients
        self.original = self.gradients.backward
        self.gradients.backward = self

    def __call__(self, loss: torch.Tensor) -> None:
        self.calls += 1
        # After the gradients were added, as when it happens late in a backward pass.
        self.original(loss)
        if self.calls in self.fails:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def count_runs(nlp: Any) -> list[int]:
    """Pieces that the encoder gets, run by run, from now on."""
    sizes: list[int] = []
    body = network_of(nlp).encoder.body
    body.register_forward_pre_hook(lambda _, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True)
    return sizes
