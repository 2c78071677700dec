"""The size of a micro-batch, and what to do when the device runs out of memory."""

from collections.abc import Callable
from typing import Literal, TypeVar

import torch

from ...errors import T078
from ...log import logger

Result = TypeVar("Result")

# Most pieces in a micro-batch by kind of device: beyond 4,096 a CPU only gets slower.
_BUDGETS = {"cpu": 4096, "cuda": 65_536}
# Of what is only predicted on a CPU, in "auto": so many a thread keep it busy (from 512 on products are as fast as they
# get), and with no more a process stays smaller.
_PREDICTED, _PREDICTED_A_THREAD = 1024, 512
# How torch and the libraries below it say that memory is used up, where the error has no class of its own: allocators
# of CPU, CUDA, HIP and MPS; cuBLAS and cuDNN, which want a workspace.
_SAYINGS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_NOT_SUPPORTED")


def piece_budget_on(device: torch.device, setting: int | Literal["auto"]) -> int:
    """Most pieces in a micro-batch.

    device (torch.device): Where the network computes.
    setting (int | "auto"): Of the config.
    RETURNS (int): Pieces, padding included.
    """
    return _BUDGETS.get(device.type, 8192) if setting == "auto" else setting


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up: torch's, CuPy's (a MemoryError), or one of a library below."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)


class PieceBudget:
    """Most pieces in a micro-batch: what the config says, until the device has run out of memory; then half of it, and
    so on. What fits is kept, so that not every long batch fails first.

    setting (int | "auto"): Of the config.
    least (int): Pieces of one window, below which there is nothing to halve.
    """

    def __init__(self, setting: int | Literal["auto"], least: int) -> None:
        self.setting, self.least = setting, least
        # After the device has run out of memory.
        self.limit: int | None = None

    def on(self, device: torch.device) -> int:
        """Most pieces now."""
        wanted = piece_budget_on(device, self.setting)
        return wanted if self.limit is None else min(wanted, self.limit)

    def for_prediction(self, device: torch.device) -> int:
        """Most pieces now in a micro-batch that is only predicted."""
        wanted = self.on(device)
        if self.setting != "auto" or device.type != "cpu":
            return wanted
        return min(wanted, max(_PREDICTED, _PREDICTED_A_THREAD * torch.get_num_threads()))

    def run(
        self, device: torch.device, work: Callable[[int], Result], forget: Callable[[], None] = lambda: None
    ) -> Result:
        """Do something in micro-batches; when the device runs out of memory, again with half the budget.

        device (torch.device): Where the network computes.
        work (Callable): Takes the budget.
        forget (Callable): Undoes what a failed try has left.
        RETURNS (Result): What `work` gave.
        RAISES: What `work` raised, if one window at a time is still too much or it was something else.
        """
        while True:
            budget = self.on(device)
            try:
                return work(budget)
            except (RuntimeError, MemoryError) as error:
                forget()
                if not is_out_of_memory(error) or budget <= self.least:
                    raise
            # Outside the handler: inside it the error still holds the tensors of the failed try.
            self.limit = max(budget // 2, self.least)
            logger.warning(T078.format(budget=budget, half=self.limit))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            elif device.type == "mps":
                torch.mps.empty_cache()
