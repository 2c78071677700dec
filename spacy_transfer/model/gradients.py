"""Sums of gradients between two optimizer steps: scaled for fp16, and safe against running out of memory."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from ..errors import T078, T079
from ..log import announce, logger

# As torch's own GradScaler: start, growth after so many good steps.
_FIRST_SCALE, _PATIENCE = 65_536.0, 2_000


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
        # Zeros between steps: memory of an embedding's size that is fresh at each step costs more than the arithmetic.
        self._dense: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._touched: list[tuple[Tensor, Tensor]] = []

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch. loss (Tensor): Sum over its documents."""
        (loss * self.loss_scale if self.half else loss).backward()

    def sum_up(self, weights: Iterable[nn.Parameter], budget: int, least: int, run: Callable[[int], Tensor]) -> Tensor:
        """Run a batch; when the device runs out of memory, again with half the budget, and nothing is counted twice.

        weights (Iterable[nn.Parameter]): What moves. budget (int): Most pieces in a micro-batch.
        least (int): Pieces of one window, below which there is nothing to halve.
        run (Callable): Takes a budget, runs forward and backward of the whole batch, gives the sum of its losses.
        RETURNS (Tensor): What `run` gave.
        RAISES (torch.OutOfMemoryError): If one window at a time is still too much.
        """
        weights = list(weights)
        # Gradients of earlier sub-batches of this step wait aside, so that a batch begun again starts from none.
        before = [weight.grad for weight in weights] if self.n_docs else []
        for weight in weights:
            weight.grad = None
        while True:
            try:
                total = run(budget)
                break
            except torch.cuda.OutOfMemoryError:
                for weight in weights:
                    weight.grad = None
                if budget // 2 < least:
                    for weight, gradient in zip(weights, before, strict=False):
                        weight.grad = gradient
                    raise
                logger.warning(T078.format(budget=budget, half=budget // 2))
                budget //= 2
            # Outside the handler: inside it the error still holds the tensors of the failed pass.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        for weight, gradient in zip(weights, before, strict=False):
            if gradient is not None:
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
        return total

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
            announce(T079.format(scale=self.loss_scale, half=self.loss_scale / 2))
            self.loss_scale, self._n_good = self.loss_scale / 2, 0
            return False
        self._n_good += 1
        return True

    def state(self) -> dict[str, float]:
        """Loss scale and the good steps since it changed, for `restore`."""
        return {"loss_scale": self.loss_scale, "n_good": self._n_good}

    def restore(self, data: Mapping[str, float]) -> None:
        """Take what `state` gave."""
        self.loss_scale, self._n_good = data["loss_scale"], int(data["n_good"])

    def finish(self) -> None:
        """The step is done: nothing is summed any more, and after many good steps the scale grows."""
        self.n_docs = 0
        for dense, rows in self._touched:
            dense.index_fill_(0, rows, 0.0)
        self._touched.clear()
        if self.half and self._n_good >= _PATIENCE:
            self.loss_scale, self._n_good = self.loss_scale * 2, 0
