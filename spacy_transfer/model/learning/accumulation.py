"""Sums of gradients between two optimizer steps: scaled for fp16, and safe when memory runs out."""

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from ...errors import T079
from ...log import announce
from .memory import PieceBudget

# As torch's own GradScaler: start, growth after so many good steps.
_FIRST_SCALE, _PATIENCE = 65_536.0, 2_000
_LEAST_SCALE = 2.0**-24


class Gradients:
    """What has been summed since the last step.

    The loss scale changes only when a step is finished, so all sub-batches of a step are scaled alike and unscaled
    once, together with the division by the number of documents.

    half (bool): Whether the arithmetic is fp16, whose small gradients would vanish without a scale.
    SOURCE: Micikevicius et al. 2018, arXiv:1710.03740.
    """

    def __init__(self, half: bool) -> None:
        self.half = half
        self.loss_scale = _FIRST_SCALE if half else 1.0
        self.n_docs = 0
        self._n_good = 0
        # Whether the scale has been fitted to the size of a batch.
        self._is_fitted = not half
        # Zeros between steps: memory of an embedding's size that is fresh at each step costs more than the arithmetic.
        self._dense: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._touched: list[tuple[Tensor, Tensor]] = []

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch.

        loss (Tensor): Sum over its documents.
        """
        (loss * self.loss_scale if self.half else loss).backward()

    def sum_up(
        self,
        weights: Iterable[nn.Parameter],
        room: PieceBudget,
        device: torch.device,
        n_terms: int,
        run: Callable[[int], Tensor],
    ) -> Tensor:
        """Run a batch; when memory runs out, again in smaller micro-batches, and nothing is counted twice.

        weights (Iterable[nn.Parameter]): What moves.
        room (PieceBudget): Most pieces in a micro-batch.
        device (torch.device): Where the network computes.
        n_terms (int): About how many terms the sum of the losses has; the first scale of fp16 goes by it.
        run (Callable): Takes a budget, runs forward and backward of the whole batch, gives the sum of its losses.
        RETURNS (Tensor): What `run` gave.
        RAISES: As `PieceBudget.run`; then the sums are as they were before the batch.
        """
        weights = list(weights)
        # Gradients of earlier sub-batches of this step wait aside, so that a batch begun again starts from none.
        before = [weight.grad for weight in weights] if self.n_docs else []
        if not self._is_fitted:
            self._is_fitted = True
            # A scale is meant for the mean, and this is a sum. A power of two, which rounds nothing.
            self.loss_scale = 2.0 ** math.floor(math.log2(_FIRST_SCALE / max(n_terms, 1)))

        def forget() -> None:
            """Drop the gradients of an attempt that ran out of memory."""
            for weight in weights:
                weight.grad = None

        forget()
        try:
            return room.run(device, run, forget)
        except BaseException:
            forget()
            raise
        finally:
            for weight, gradient in zip(weights, before, strict=False):
                if gradient is not None:
                    weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)

    def make_dense(self, weights: Iterable[nn.Parameter]) -> None:
        """Turn the sparse gradients of large embeddings into dense ones, as optimizers want them."""
        for weight in weights:
            gradient = weight.grad
            if gradient is None or not gradient.is_sparse:
                continue
            dense = self._dense.get(weight)
            if dense is None or dense.shape != weight.shape or dense.device != weight.device:
                dense = self._dense[weight] = torch.zeros_like(weight, memory_format=torch.contiguous_format)
            rows = gradient._indices()[0]
            dense.index_add_(0, rows, gradient._values())
            self._touched.append((dense, rows))
            weight.grad = dense

    def factor(self) -> float:
        """Factor that makes of the sums the mean over documents. Gradients that came through `backprop` are the
        caller's own sums; they are not divided."""
        return 1.0 / ((self.n_docs or 1) * self.loss_scale)

    def accept(self, weights: Mapping[str, nn.Parameter]) -> bool:
        """Whether the sums are finite; in fp16 an overflow skips the step and halves the scale.

        weights (Mapping[str, nn.Parameter]): What moves.
        """
        if not self.half:
            return True
        norm = torch.nn.utils.get_total_norm([w.grad for w in weights.values() if w.grad is not None])
        if not torch.isfinite(norm):
            # Not to 0, which nothing could be divided by, where every gradient is NaN.
            lower = max(self.loss_scale / 2, _LEAST_SCALE)
            announce(T079.format(scale=self.loss_scale, half=lower))
            self.loss_scale, self._n_good = lower, 0
            return False
        self._n_good += 1
        return True

    def state(self) -> dict[str, float]:
        """Loss scale and the good steps since it changed, for `restore`."""
        return {"loss_scale": self.loss_scale, "n_good": self._n_good, "is_fitted": self._is_fitted}

    def restore(self, data: Mapping[str, float]) -> None:
        """Take what `state` gave."""
        self.loss_scale, self._n_good = data["loss_scale"], int(data["n_good"])
        self._is_fitted = bool(data["is_fitted"])

    def finish(self) -> None:
        """The step is done: nothing is summed any more, and after many good steps the scale grows."""
        self.n_docs = 0
        for dense, rows in self._touched:
            dense.index_fill_(0, rows, 0.0)
        self._touched.clear()
        if self.half and self._n_good >= _PATIENCE:
            self.loss_scale, self._n_good = self.loss_scale * 2, 0
