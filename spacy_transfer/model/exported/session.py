"""A graph on ONNX Runtime: threads as elsewhere in the process, and safe where a process forks."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import T544, T544_INPUTS, T544_RUNTIME
from ...files.strangers import UnusableFile
from ...locks import CACHE, ForkLock
from .graph_bytes import GraphBytes
from .graph_file import check_graph
from .runtime import import_runtime

Threads = int | Literal["auto"]
Array = NDArray[np.generic]
# A message of the runtime, which may hold a whole graph.
_LONGEST = 300
_ERRORS_ONLY = 3
_FIRST_PID = os.getpid()


class _Input(Protocol):
    name: str


class _Session(Protocol):
    """What is used of `onnxruntime.InferenceSession`."""

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, Array]) -> list[NDArray[np.float32]]:
        """Compute outputs."""

    def get_inputs(self) -> Sequence["_Input"]:
        """Describe the inputs."""


class GraphSession:
    """Runs a graph. A forked process, which has none of the runtime's threads, makes a session of its own.

    graph (GraphBytes): The graph.
    inputs (Sequence[str]): Names that its inputs may have.
    threads (int | "auto"): Threads of one run.
    RAISES (UnusableFile): T544 for a file that the runtime cannot read.
    RAISES (OSError): T082 for an altered file.
    RAISES (ImportError): T081 without onnxruntime.
    """

    def __init__(self, graph: GraphBytes, inputs: Sequence[str], threads: Threads) -> None:
        self._graph, self._inputs, self._threads = graph, inputs, threads
        self._lock = ForkLock(CACHE)
        self._session: _Session | None = None
        self._pid = 0
        self._made()

    def run(self, output: str, values: Mapping[str, Array]) -> NDArray[np.float32]:
        """Compute.

        output (str): Name of what is wanted.
        values (Mapping): Inputs by name.
        RETURNS (NDArray): The output.
        """
        session = self._made()
        return session.run([output], {one.name: values[one.name] for one in session.get_inputs()})[0]

    @property
    def graph(self) -> GraphBytes:
        """The graph."""
        return self._graph

    def _made(self) -> _Session:
        with self._lock:
            if self._session is None or self._pid != os.getpid():
                # The parent's is never freed here: its destructor would wait for threads that are not there.
                _kept.append(self._session)
                self._session = make_session(self._graph.read(), self._graph.name, self._inputs, self._threads)
                self._pid = os.getpid()
            return self._session


_kept: list[object] = []


def make_session(data: bytes, file: Path | str, inputs: Sequence[str], threads: Threads = "auto") -> _Session:
    """Make a session of the runtime.

    data (bytes): The graph.
    file (Path | str): What messages call it.
    inputs (Sequence[str]): Names that its inputs may have.
    threads (int | "auto"): Threads of one run; "auto" is `n_threads()`.
    RETURNS (InferenceSession): On the CPU.
    RAISES (UnusableFile): T544.
    RAISES (ImportError): T081 without onnxruntime.
    """
    runtime = import_runtime()
    check_graph(data, file, runtime_version())
    options = runtime.SessionOptions()
    options.intra_op_num_threads = n_threads() if threads == "auto" else threads
    options.inter_op_num_threads = 1
    # Threads that wait for work would take the cores from everything else in the process, and from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # It would keep a plan of memory for every new shape of a micro-batch.
    options.enable_mem_pattern = False
    options.log_severity_level = _ERRORS_ONLY
    try:
        session: _Session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        found = [one.name for one in session.get_inputs()]
    # Of its own kinds, which share no class.
    except Exception as error:
        problem = T544_RUNTIME.format(error=f"{type(error).__name__}: {error}"[:_LONGEST])
        raise UnusableFile(T544.format(file=file, version=runtime_version(), problem=problem)) from error
    # What no node reads, PyTorch's exporter leaves out.
    if not found or not set(found) <= set(inputs):
        problem = T544_INPUTS.format(found=", ".join(found)[:_LONGEST], expected=", ".join(inputs))
        raise UnusableFile(T544.format(file=file, version=runtime_version(), problem=problem))
    return session


def runtime_version() -> str:
    """The installed version of onnxruntime."""
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return str(getattr(sys.modules.get("onnxruntime"), "__version__", "unknown"))


def n_threads() -> int:
    """Threads of one run, as torch would take them: `torch.set_num_threads` where torch is there, else OMP_NUM_THREADS,
    else the cores that this process may use. A forked process, which is one of several, takes one.

    RETURNS (int): At least 1.
    """
    if os.getpid() != _FIRST_PID:
        return 1
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return max(1, int(torch.get_num_threads()))
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if asked.isdecimal() and int(asked):
        return int(asked)
    return _n_cores()


def _n_cores() -> int:
    """Cores that this process may use; two threads of a core are one."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = set()
    for cpu in usable:
        try:
            siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text("ascii")
        except OSError:
            siblings = str(cpu)
        cores.add(siblings.strip())
    return max(1, len(cores))
