"""Device and precision. `precision = "auto"` is measured once per process, device and shapes, and kept with a run, so
that resumed runs, ranks and the other runs of a search compute in the same way."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, TypedDict, get_args

import torch

from ...errors import T071, T072, T300, T304
from ...log import logger
from .product_speed import LEAST_WIDTH, USUAL, Shapes, product_speeds

Precision = Literal["auto", "fp32", "bf16", "fp16"]
# What "auto" means where neither a config nor a run says otherwise: "fp32", "bf16", "fp16", or "auto" to measure.
VARIABLE = "SPACY_TRANSFER_PRECISION"
# The record of a run, for the ranks that it starts.
_FOR_RANKS = "SPACY_TRANSFER_PRECISION_RECORD"
# A lower precision is taken when it is at least so many times as fast as fp32.
LEAST_GAIN = 1.2
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# What "auto" means for our networks where a loop of ours has been told a GPU and Thinc cannot use one without CuPy.
_preferred: torch.device | None = None


@dataclass(frozen=True)
class Choice:
    """The precision of a network's arithmetic, and why.

    precision (str): "fp32", "bf16" or "fp16".
    by (str): "config", "measured", "device" where there is but one, "small" where the network is too small to gain, or
        the name of the environment variable.
    gflops (dict[str, float]): What was measured, by precision.
    """

    precision: str
    by: str
    gflops: dict[str, float] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        """As torch calls it."""
        return _DTYPES[self.precision]

    def __str__(self) -> str:
        speeds = ", ".join(f"{name} {speed:g} GFLOP/s" for name, speed in self.gflops.items())
        return f"{self.precision} ({self.by}{': ' * bool(speeds)}{speeds})"


# What was measured in this process, by device and shapes.
_measured: dict[tuple[str, Shapes], Choice] = {}


class Recorded(TypedDict):
    """A `Choice` as JSON."""

    precision: str
    by: str
    gflops: dict[str, float]


# What runs under way have taken, by kind of device and shapes; the innermost last.
Record = dict[str, Recorded]
_records: ContextVar[tuple[Record, ...]] = ContextVar("records", default=())
# Gives every rank what the first one makes.
_share: ContextVar[Callable[[Callable[[], str]], str] | None] = ContextVar("share", default=None)


# ---- device ------------------------------------------------------------------------------------------------------


def prefer_device(device: torch.device | None) -> None:
    """Set what "auto" means from now on.

    device (torch.device | None): None for the device of Thinc's ops.
    """
    global _preferred
    _preferred = device


def resolve_device(device: str, default: torch.device) -> torch.device:
    """The torch device for a setting.

    device (str): "auto", "cpu", "cuda", "cuda:1", "mps".
    default (torch.device): What "auto" means: the device of Thinc's ops.
    RAISES (ValueError): T071 for a device that is not there.
    """
    if device == "auto":
        return _preferred or default
    have = ["cpu"]
    have += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    have += ["mps"] if torch.backends.mps.is_available() else []
    # The current one: that of `require_gpu`, of --gpu-id, of a rank.
    wanted = f"cuda:{torch.cuda.current_device()}" if device == "cuda" and torch.cuda.is_available() else device
    if wanted not in have:
        raise ValueError(T071.format(device=device, have=", ".join(have)))
    return torch.device(wanted)


# ---- precision ---------------------------------------------------------------------------------------------------


def choose_precision(precision: Precision, device: torch.device, shapes: Shapes = USUAL) -> Choice:
    """The precision of the encoder's arithmetic on a device.

    precision (str): "auto" takes what the run under way has recorded, else what the environment variable says, else
        what is measured: bf16 where it is at least 1.2 times as fast as fp32. fp16 is never taken by itself.
    device (torch.device): Where the network computes.
    shapes (Shapes): Of the encoder's weights.
    RETURNS (Choice): The precision.
    RAISES (ValueError): T072 for a precision the device lacks, T300 for another value of the environment variable.
    """
    if precision != "auto":
        return Choice(_offered(precision, device), "config")
    key = f"{device.type} {'+'.join(f'{n}x{m}' for n, m in shapes)}"
    records = _records.get()
    known = next((record[key] for record in reversed(records) if key in record), None)
    if known is not None:
        choice = Choice(**known)
        _offered(choice.precision, device)
    else:
        wanted = _from_environment()
        share = _share.get()
        choice = (
            Choice(**json.loads(share(lambda: json.dumps(_as_json(_choose(wanted, device, shapes))))))
            if share
            else (_choose(wanted, device, shapes))
        )
    for record in records:
        record.setdefault(key, _as_json(choice))
    return choice


def _as_json(choice: Choice) -> Recorded:
    return {"precision": choice.precision, "by": choice.by, "gflops": dict(choice.gflops)}


def resolve_precision(precision: Precision, device: torch.device, shapes: Shapes = USUAL) -> torch.dtype:
    """dtype of the encoder's arithmetic; see `choose_precision`."""
    return choose_precision(precision, device, shapes).dtype


@contextmanager
def recorded(
    known: Mapping[str, Recorded] | None = None, share: Callable[[Callable[[], str]], str] | None = None
) -> Iterator[Record]:
    """Within: "auto" is what is known, and what it turns out to be is known from then on.

    known (Mapping | None): What an earlier part of the run has recorded.
    share (Callable | None): Where several ranks train: called by all of them with a function, gives them what that
        function returns on the first.
    YIELDS (dict): The record, JSON-able; it grows.
    """
    record: Record = {**json.loads(os.environ.get(_FOR_RANKS, "{}")), **(known or {})}
    before = _records.set((*_records.get(), record))
    shared = _share.set(share or _share.get())
    try:
        yield record
    finally:
        _share.reset(shared)
        _records.reset(before)


def current_record() -> Record:
    """What the run under way, and those around it, have recorded."""
    found: Record = {}
    for record in _records.get():
        found.update(record)
    return found


@contextmanager
def handed_on() -> Iterator[None]:
    """Within: processes that are started know the record of the run under way."""
    before = os.environ.get(_FOR_RANKS)
    os.environ[_FOR_RANKS] = json.dumps(current_record())
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FOR_RANKS]
        else:
            os.environ[_FOR_RANKS] = before


def _choose(wanted: str, device: torch.device, shapes: Shapes) -> Choice:
    if wanted != "auto":
        return Choice(_offered(wanted, device), VARIABLE)
    candidates = [name for name in ("fp32", "bf16") if name in _have(device)]
    if device.type not in ("cpu", "cuda") or len(candidates) == 1:
        return Choice("fp32", "device")
    if max(min(shape) for shape in shapes) < LEAST_WIDTH:
        return Choice("fp32", "small")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    if (name, shapes) not in _measured:
        speeds = product_speeds(device, shapes, candidates)
        lower = speeds.get("bf16", 0.0) >= LEAST_GAIN * speeds["fp32"]
        # Of two threads that measure at once the first one counts.
        choice = _measured.setdefault((name, shapes), Choice("bf16" if lower else "fp32", "measured", speeds))
        logger.info("precision on %s: %s", name, choice)
    return _measured[name, shapes]


def _from_environment() -> str:
    wanted = os.environ.get(VARIABLE, "") or "auto"
    if wanted not in get_args(Precision):
        raise ValueError(T300.format(name=VARIABLE, value=wanted, known=", ".join(get_args(Precision))))
    return wanted


def _have(device: torch.device) -> list[str]:
    """Precisions that work on a device. A CPU without instructions for bf16 emulates it."""
    if device.type == "cuda":
        return ["fp32", "fp16", *(["bf16"] if torch.cuda.get_device_capability(device) >= (8, 0) else [])]
    return ["fp32", "bf16"] if device.type == "cpu" else ["fp32"]


def _offered(precision: str, device: torch.device) -> str:
    have = _have(device)
    if precision not in have:
        raise ValueError(T072.format(precision=precision, device=device, have=", ".join(have)))
    if precision == "bf16" and device.type == "cpu" and not _has_fast_bf16():
        logger.info(T304)
    return precision


def _has_fast_bf16() -> bool:
    # Whether oneDNN has kernels for it; otherwise torch computes one number after the other.
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) if torch.backends.mkldnn.is_available() else False
