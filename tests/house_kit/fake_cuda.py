"""A CUDA device for machines without one: tensors say that they are on "cuda:0" and compute on the CPU.

    with FakeCuda() as gpu:
        nlp = pipeline(folder, device="cuda", precision="fp32")
        with gpu.counting() as counts:
            nlp.update(examples, sgd=AdamW())
    counts.waits       # [(operation, "file:line"), ...]: each time the host stands still until the device has finished
    counts.launches    # operations on the device, a lower bound of kernel launches

The numbers are real, so whole training runs work, backward included, and an operation on tensors of two devices raises
as on a GPU. How: the device type PrivateUse1 is renamed "CUDA", which torch shows and parses in lower case; its tensors
are wrappers whose operations arrive in `__torch_dispatch__`. What it cannot show: kernels, their rounding, memory,
streams, NCCL, CuPy.

The name holds for the rest of the process, so tests on it run in one of their own: those in `on_fake_cuda/check_*.py`,
by `pytest --fake-cuda` (see conftest.py), which `test_on_fake_cuda.py` starts.
"""

import contextlib
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace, TracebackType
from typing import Any, ClassVar

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

# Registrations last as long as the process.
_registered: list[Any] = []
_aten = torch.ops.aten
# The size of their result is known to the device alone.
_SIZED = {_aten.nonzero, _aten.masked_select, _aten.unique_dim, _aten._unique2, _aten.unique_consecutive, _aten.equal}
# Tensors of the host may meet those of the device in copies, and as indices (which are copied, and waited for).
_INDEXED = {_aten.index, _aten.index_put_, _aten.index_put, _aten._index_put_impl_}
_MIXED = {_aten.copy_, _aten._to_copy, *_INDEXED}
# They make a view or ask for a number: nothing is launched.
_VIEWS = {
    "detach", "view", "t", "transpose", "unsqueeze", "expand", "slice", "select", "permute", "alias", "squeeze",
    "_unsafe_view", "as_strided", "split", "unbind", "split_with_sizes", "_local_scalar_dense", "_reshape_alias",
    "lift_fresh", "unflatten", "is_same_size", "_fused_sdp_choice",
}  # fmt: skip
# What autocast computes in the lower precision and what in fp32: of CUDA's lists, what encoders use.
_LOW = ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "scaled_dot_product_attention", "conv1d")
_HIGH = (
    "layer_norm",
    "softmax.int",
    "log_softmax.int",
    "cumsum",
    "exp",
    "log",
    "norm.Scalar",
    "sum",
    "sum.dim_IntList",
)


def why_not() -> str | None:
    """Why there is no such device with this torch (2.9 brought what it needs, and calls it experimental); else None."""
    needed = [
        (torch.utils, "rename_privateuse1_backend"),
        (torch._C, "_acc"),
        (getattr(torch._C, "_acc", None), "register_python_privateuseone_hook"),
        (getattr(torch._C, "_acc", None), "register_python_privateuseone_device_guard"),
        (backend_registration, "_DummyPrivateUse1Hook"),
        (backend_registration, "_DummyDeviceGuard"),
        (torch._C, "_only_lift_cpu_tensors"),
    ]
    missing = [name for owner, name in needed if not hasattr(owner, name)]
    if missing:
        return f"torch {torch.__version__} has no {', '.join(missing)}"
    # A true device has the name already.
    return "there is a CUDA device" if torch.version.cuda and torch.cuda.is_available() else None


class DeviceTensor(torch.Tensor):
    """A tensor on the device.

    elem (Tensor): Its numbers, on the CPU.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, elem: torch.Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(
            cls, elem.shape, strides=elem.stride(), storage_offset=elem.storage_offset(), dtype=elem.dtype,
            layout=elem.layout, device="cuda:0",
        )  # fmt: skip

    def __init__(self, elem: torch.Tensor) -> None:
        self.elem = elem

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {}, None)

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def data(self) -> Any:
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        torch.Tensor.data.__set__(self, value)
        self.elem = value.elem

    def __deepcopy__(self, memo: Any) -> Any:
        new = DeviceTensor(self.elem.detach().clone())
        if isinstance(self, torch.nn.Parameter):
            new = torch.nn.Parameter(new, self.requires_grad)
        return memo.setdefault(id(self), new)

    def __repr__(self) -> str:
        return f"DeviceTensor({self.elem})"


@dataclass
class Counts:
    """What was asked of the device.

    waits (list): Where the host waits: operation, and "file:line" below spacy_transfer.
    slow (list): Copies from memory that is not pinned, which wait though they say they do not.
    launches (int): Operations on the device. ops (Counter): Those by name.
    copies (int): From the host, that nobody waits for.
    """

    waits: list[tuple[str, str]] = field(default_factory=list)
    slow: list[tuple[str, str]] = field(default_factory=list)
    launches: int = 0
    copies: int = 0
    ops: Counter[str] = field(default_factory=Counter)


def _caller() -> str:
    below = ""
    for frame in reversed(traceback.extract_stack()):
        if "spacy_transfer/" in frame.filename:
            return f"{frame.filename.rpartition('spacy_transfer/')[2]}:{frame.lineno}{below}"
        if "/transformers/" in frame.filename or "/thinc/" in frame.filename or "/torch/optim" in frame.filename:
            below = below or f" ({frame.filename.rpartition('site-packages/')[2]}:{frame.lineno})"
    return f"elsewhere{below}"


def run(func: Any, args: Any, kwargs: Any, counts: Counts | None) -> Any:
    """One operation: check devices, count, compute on the CPU, wrap.

    RAISES (RuntimeError): For tensors of two devices, as on a GPU.
    """
    flat = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in flat if isinstance(tensor, DeviceTensor)]
    packet, to = func.overloadpacket, kwargs.get("device")
    to_device = to is not None and torch.device(to).type == "cuda"
    if not there and not to_device:
        if kwargs.pop("pin_memory", False):
            return _pin(func(*args, **kwargs))
        return func(*args, **kwargs)
    host = [tensor for tensor in flat if not isinstance(tensor, DeviceTensor)]
    if there and packet not in _MIXED and any(tensor.ndim > 0 for tensor in host):
        raise RuntimeError(f"Expected all tensors to be on the same device: {func} got cuda:0 and cpu, {_caller()}")
    indices = [index for index in (args[1] if packet in _INDEXED else ()) if isinstance(index, torch.Tensor)]
    if indices and not isinstance(args[0], DeviceTensor):
        raise RuntimeError(f"indices should be on the CPU as what is indexed: {func}, {_caller()}")
    if counts is not None:
        _count(packet, args, kwargs, to_device, indices, counts)
    if packet is _aten._fused_sdp_choice:
        return 0
    wrapped = {id(tensor.elem): tensor for tensor in there}
    args, kwargs = tree_map_only(DeviceTensor, lambda tensor: tensor.elem, (args, kwargs))
    if to is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    kwargs.pop("pin_memory", None)
    try:
        with _device_random(torch.Tag.nondeterministic_seeded in func.tags):
            out = func(*args, **kwargs)
    except RuntimeError as error:
        if "can't allocate memory" in str(error):
            raise torch.OutOfMemoryError(f"CUDA out of memory. {error}") from None
        raise
    if packet is _aten._to_copy and out is args[0]:
        out = out.clone()
    leaves_device = to is not None and not to_device
    if leaves_device or (packet is _aten.copy_ and id(args[0]) not in wrapped):
        return out
    return tree_map_only(
        torch.Tensor, lambda tensor: wrapped[id(tensor)] if id(tensor) in wrapped else DeviceTensor(tensor), out
    )


def _count(packet: Any, args: Any, kwargs: Any, to_device: bool, indices: list[Any], counts: Counts) -> None:
    name, at = str(packet).removeprefix("aten."), _caller()
    if packet in (_aten._to_copy, _aten.copy_):
        _count_copy(packet, args, kwargs, to_device, (name, at), counts)
        return
    if name not in _VIEWS:
        counts.launches += 1
        counts.ops[name] += 1
    sized = packet in _SIZED or (packet is _aten.repeat_interleave and kwargs.get("output_size") is None)
    if packet is _aten._local_scalar_dense or sized:
        counts.waits.append((name, at))
    elif any(index.dtype in (torch.bool, torch.uint8) for index in indices):
        counts.waits.append((f"{name} by a mask", at))
    elif any(not isinstance(index, DeviceTensor) for index in indices):
        counts.waits.append((f"{name} by indices of the host", at))


def _count_copy(packet: Any, args: Any, kwargs: Any, to_device: bool, what: tuple[str, str], counts: Counts) -> None:
    name, at = what
    source = args[0] if packet is _aten._to_copy else args[1]
    names_device = packet is _aten._to_copy and kwargs.get("device") is not None
    arrives = to_device if names_device else isinstance(args[0], DeviceTensor)
    if isinstance(source, DeviceTensor) == arrives:
        counts.launches += 1
        return
    lazy = kwargs.get("non_blocking", False) or (packet is _aten.copy_ and len(args) > 2 and args[2])
    if not (arrives and lazy):
        counts.waits.append((f"{name} {'to' if arrives else 'from'} the device", at))
        return
    counts.copies += 1
    if not getattr(source, "is_pinned_here", False):
        counts.slow.append((f"{tuple(source.shape)} {source.dtype}", at))


def _state(seed: int) -> torch.Tensor:
    return torch.Generator().manual_seed(seed).get_state()


class _device_random(contextlib.ContextDecorator):
    """Within: torch draws from the device's own random numbers."""

    state = _state(0)

    def __init__(self, draws: bool) -> None:
        self.draws = draws

    def __enter__(self) -> None:
        if self.draws:
            self.host = torch.get_rng_state()
            torch.set_rng_state(_device_random.state)

    def __exit__(self, *_: Any) -> None:
        if self.draws:
            _device_random.state = torch.get_rng_state()
            torch.set_rng_state(self.host)


def _pin(tensor: torch.Tensor) -> torch.Tensor:
    if getattr(tensor, "is_pinned_here", False):
        return tensor
    pinned: Any = tensor.clone()
    pinned.is_pinned_here = True
    return pinned


def _casting(op: Any, low: bool) -> Any:
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def cast(value: Any) -> Any:
        if not isinstance(value, DeviceTensor) or not value.is_floating_point() or value.dtype == torch.float64:
            return value
        return value.to(torch.get_autocast_dtype("cuda") if low else torch.float32)

    def call(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(key):
            args, kwargs = tree_map_only(torch.Tensor, cast, (args, kwargs))
            return op(*args, **kwargs)

    return call


def _register() -> None:
    torch.utils.rename_privateuse1_backend("CUDA")
    hook, guard = backend_registration._DummyPrivateUse1Hook(), backend_registration._DummyDeviceGuard()
    torch._C._acc.register_python_privateuseone_hook(hook)
    torch._C._acc.register_python_privateuseone_device_guard(guard)
    everything, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name in (*_LOW, *_HIGH):
        packet, _, overload = name.partition(".")
        op = getattr(getattr(_aten, packet), overload or "default")
        aten.impl(op, _casting(op, name in _LOW), "AutocastPrivateUse1")
    _registered.extend((hook, guard, everything, aten))


PROPERTIES = SimpleNamespace(name="Fake GPU", major=9, minor=0, total_memory=80 * 2**30, multi_processor_count=132)


class FakeCuda(TorchDispatchMode):
    """Within: there is one CUDA device, of compute capability 9.0."""

    # What torch.cuda answers; each takes whatever arguments the true one does.
    ANSWERS: ClassVar[dict[str, Any]] = {
        "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0, "_lazy_init": None,
        "get_device_capability": (9, 0), "get_device_name": "Fake GPU", "get_device_properties": PROPERTIES,
        "is_bf16_supported": True, "empty_cache": None, "reset_peak_memory_stats": None,
        "synchronize": None, "set_device": None, "_is_in_bad_fork": False, "memory_allocated": 0,
        "max_memory_allocated": 0, "mem_get_info": (80 * 10**9, 80 * 10**9),
        "get_amp_supported_dtype": [torch.bfloat16, torch.float16],
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        if not _registered:
            _register()
        self.counts: Counts | None = None
        self._undo = contextlib.ExitStack()

    @contextlib.contextmanager
    def counting(self) -> Iterator[Counts]:
        """Within: waits and launches are counted."""
        self.counts = counts = Counts()
        try:
            yield counts
        finally:
            self.counts = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {}, self.counts)

    def __enter__(self) -> "FakeCuda":
        for name, value in self.ANSWERS.items():
            self._put(torch.cuda, name, lambda *_, value=value, **__: value)
        self._put(torch.cuda, "_initialized", True)
        self._put(torch.cuda, "device", lambda *_: contextlib.nullcontext())
        for name in ("manual_seed", "manual_seed_all"):
            self._put(torch.cuda, name, lambda seed: setattr(_device_random, "state", _state(seed)))
        self._put(torch.cuda, "get_rng_state", lambda *_: _device_random.state.clone())
        self._put(torch.cuda, "get_rng_state_all", lambda *_: [_device_random.state.clone()])
        self._put(torch.cuda, "set_rng_state", lambda state, *_: setattr(_device_random, "state", state.clone()))
        self._put(torch.cuda, "set_rng_state_all", lambda states: setattr(_device_random, "state", states[0].clone()))
        self._put(torch.Tensor, "pin_memory", _pin)
        # Otherwise the engine wants a thread of the device, which it makes at the process's first backward pass alone.
        self._undo.enter_context(torch.autograd.set_multithreading_enabled(False))
        swap = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        self._undo.callback(torch.__future__.set_swap_module_params_on_conversion, swap)
        lift = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        self._undo.callback(torch._C._set_only_lift_cpu_tensors, lift)
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._undo.close()

    def _put(self, owner: Any, name: str, value: Any) -> None:
        if hasattr(owner, name):
            self._undo.callback(setattr, owner, name, getattr(owner, name))
        else:
            self._undo.callback(delattr, owner, name)
        setattr(owner, name, value)
