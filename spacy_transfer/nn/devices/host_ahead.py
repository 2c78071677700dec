"""Keeps the host ahead of a GPU while a transformers encoder makes its masks and positions.

Before the first layer most encoders ask the device whether anything is padded, or make positions on the host and copy
them. Each time the host stands still until the device has done everything it was given, and the device then idles until
the host has given it more.
"""

import threading
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode

_TO_GPU = ("cpu", "cuda")


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

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        first, other = (*args, None, None)[:2]
        # Comparing it narrows its type.
        call = func
        if not isinstance(first, Tensor):
            return func(*args, **kwargs)
        if func in (torch.all, Tensor.all) and self._answer is not None and len(args) == 1 and not kwargs:
            if first.dtype == torch.bool and first.shape == self._shape:
                return self._answer
        elif func is Tensor.to and first.device.type == "cpu" and _goes_to_cuda(args, kwargs):
            return call(first.pin_memory(), *args[1:], **{**kwargs, "non_blocking": True})
        elif func is Tensor.type_as and isinstance(other, Tensor) and (first.device.type, other.device.type) == _TO_GPU:
            return first.pin_memory().to(other.device, other.dtype, non_blocking=True)
        return func(*args, **kwargs)


def _goes_to_cuda(args: tuple[object, ...], kwargs: Mapping[str, object]) -> bool:
    """Whether a call of `Tensor.to` names a CUDA device: alone, or by another tensor."""
    target = kwargs.get("device", kwargs.get("other", args[1] if len(args) > 1 else None))
    target = target.device if isinstance(target, Tensor) else target
    return isinstance(target, int | str | torch.device) and torch.device(target).type == "cuda"
