"""Start several ranks on this machine, and name the one that fails."""

import atexit
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from ..errors import T178, T180
from ..nn.precision import handed_on

Result = TypeVar("Result")


def launch(n_ranks: int, arguments: Sequence[str], *, gpu: bool) -> None:
    """Run `python ARGUMENTS` in so many processes that know of each other, as `torchrun` does.

    n_ranks (int): Processes. arguments (Sequence[str]): What follows `python`. gpu (bool): One GPU each.
    RAISES (ValueError): T180 for more ranks than devices. RAISES (ChildProcessError): T178 if one of them fails.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    n_devices = torch.cuda.device_count() if gpu else os.cpu_count() or 1
    if n_ranks > n_devices:
        raise ValueError(T180.format(ranks=n_ranks, devices=f"{n_devices} {'GPU(s)' if gpu else 'CPU core(s)'}"))
    # Ranks with all the cores each would only get in each other's way; on GPUs too, where the host tokenizes.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // n_ranks)))
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=n_ranks, run_id="spacy-transfer", rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0, monitor_interval=0.2,
    )  # fmt: skip
    # The launcher leaves handlers of its own behind.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with handed_on():
            elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise ChildProcessError(T178.format(rank=rank, reason=_reason(failure))) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def told_to_launcher(work: Callable[[], Result]) -> Result:
    """Do something in a rank; what goes wrong in it reaches whoever has started it."""
    from torch.distributed.elastic.multiprocessing.errors import record

    result: Result | None = record(work)()
    return result  # type: ignore[return-value]


def end_of_rank(status: int) -> None:
    """End a process that a launcher has started as a rank, its work being done; in any other, do nothing.

    Torch's threads of a job are not joined by the interpreter: one time in some, the process would be aborted while it
    ends, and the job would count as failed.

    status (int): For the launcher.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _reason(failure: Any) -> str:
    """Of a failed process: the error it has told, else how it ended."""
    message = failure.message
    if isinstance(message, str) and message.startswith("{"):
        message = json.loads(message)
    if isinstance(message, dict):
        message = message.get("message", message)
    lines = [line for line in str(message).splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {failure.exitcode}"
