"""Keeps the host ahead of a GPU while a transformers encoder makes its masks and positions.

Before the first layer most encoders ask the device whether anything is padded, or make positions on the host and copy
them. Each time the host stands still until the device has done everything it was given, and the device then idles until
the host has given it more.
"""

import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode


class HostAhead(TorchFunctionMode):
    """Within, until the first layer runs: questions about padding are answered by the host, copies are not waited for.

    Only until then, since a mode costs every call of torch some microseconds of the host. What is answered is what the
    device would say: `True` lets transformers leave the mask out, so that flash attention may be taken.

    mask (Tensor): (n_rows, n_pieces), on CUDA.
    is_full (bool | None): Whether it is all ones; None asks the device.
    first (nn.Module): The first layer.
    """

    def __init__(self, mask: Tensor, is_full: bool | None, first: nn.Module) -> None:
        super().__init__()
        self._shape = mask.shape
        self._answer = None if is_full is None else torch.tensor(is_full)
        self._first = first

    def __enter__(self) -> "HostAhead":
        super().__enter__()  # type: ignore[no-untyped-call]
        self._thread: int | None = threading.get_ident()
        # Where a layer is run without hooks (T5 with gradient checkpointing in transformers 4.45) it lasts to the end.
        self._hook = self._first.register_forward_pre_hook(self._end)
        return self

    def __exit__(self, *error: object) -> None:
        self._hook.remove()
        self._end()

    def _end(self, *_: object) -> None:
        # The layer may run in another thread, too, and another mode may have come on top.
        if self._thread == threading.get_ident() and _get_current_function_mode() is self:
            self._thread = None
            super().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        kwargs = kwargs or {}
        if func in (torch.all, Tensor.all) and self._answer is not None and len(args) == 1 and not kwargs:
            if args[0].dtype == torch.bool and args[0].shape == self._shape:
                return self._answer
        elif func is Tensor.to and args[0].device.type == "cpu" and _goes_to_cuda(args, kwargs):
            return func(args[0].pin_memory(), *args[1:], **{**kwargs, "non_blocking": True})
        elif func is Tensor.type_as and args[0].device.type == "cpu" and args[1].device.type == "cuda":
            return args[0].pin_memory().to(args[1].device, args[1].dtype, non_blocking=True)
        return func(*args, **kwargs)


def _goes_to_cuda(args: Any, kwargs: Any) -> bool:
    """Whether a call of `Tensor.to` names a CUDA device: alone, or by another tensor."""
    target = kwargs.get("device", kwargs.get("other", args[1] if len(args) > 1 else None))
    target = target.device if isinstance(target, Tensor) else target
    return isinstance(target, int | str | torch.device) and torch.device(target).type == "cuda"
