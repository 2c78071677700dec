"""Starts several ranks on this machine, and names the one that fails.

Ranks meet in a file of a folder that only this user can open, and talk over the loopback interface: nobody else on the
network can join, listen or send. torch's own launcher is not used for this: it keeps its state as a pickle in a store
that listens on all interfaces, whatever address it is given.
"""

import atexit
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

import torch

from ...errors import T178, T180
from ...nn.devices.precision import handed_on
from .ranks import MEETING_FILE

Result = TypeVar("Result")

_SECONDS_BETWEEN_LOOKS = 0.1
# A rank that is asked to end may first write a checkpoint; one whose neighbor has died only waits for it.
_SECONDS_TO_END = {"asked": 120.0, "bereft": 30.0}


def launch(n_ranks: int, arguments: Sequence[str], *, gpu: bool) -> None:
    """Run `python ARGUMENTS` in so many processes that know of each other, as `torchrun` does.

    n_ranks (int): Processes.
    arguments (Sequence[str]): What follows `python`.
    gpu (bool): One GPU each.
    RAISES (ValueError): T180 for more ranks than devices.
    RAISES (ChildProcessError): T178 if one of them fails.
    RAISES (Interrupted): After SIGTERM or Ctrl-C, which all ranks are told of.
    """
    n_devices = torch.cuda.device_count() if gpu else os.cpu_count() or 1
    if n_ranks > n_devices:
        raise ValueError(T180.format(ranks=n_ranks, devices=f"{n_devices} {'GPU(s)' if gpu else 'CPU core(s)'}"))
    # Ranks with all the cores each would only get in each other's way; on GPUs too, where the host tokenizes.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // n_ranks)))
    # Of mode 0700.
    with tempfile.TemporaryDirectory(prefix="spacy-transfer-ranks-") as folder, handed_on():
        started: list[subprocess.Popen[bytes]] = []
        with _passing_signals_to(started) as signals:
            try:
                for environment in _environments(n_ranks, Path(folder)):
                    # In sessions of their own: Ctrl-C reaches them once, through us.
                    started.append(
                        subprocess.Popen([sys.executable, *arguments], env=environment, start_new_session=True)
                    )
                failed = _wait(started, signals)
            finally:
                _end(started)
        if signals:
            from ..interrupted import Interrupted

            raise Interrupted(signals[0])
        if failed:
            rank = min(failed, key=lambda i: _told_at(_error_file(Path(folder), i)))
            reason = _reason(_error_file(Path(folder), rank), started[rank].returncode)
            raise ChildProcessError(T178.format(rank=rank, reason=reason))


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


def _environments(n_ranks: int, folder: Path) -> Iterator[Mapping[str, str]]:
    """What each rank is told, as torchrun tells it, but for the place where ranks meet."""
    # An address would be of another job.
    common = {key: value for key, value in os.environ.items() if key not in ("MASTER_ADDR", "MASTER_PORT")}
    common["TORCHELASTIC_RUN_ID"] = secrets.token_hex(16)
    common[MEETING_FILE] = str(folder / "meeting")
    if (loopback := _loopback()) is not None:
        common["GLOO_SOCKET_IFNAME"] = common["NCCL_SOCKET_IFNAME"] = loopback
    for rank in range(n_ranks):
        yield {
            **common,
            **dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)),
            **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(n_ranks)),
            "TORCHELASTIC_ERROR_FILE": str(_error_file(folder, rank)),
        }


def _loopback() -> str | None:
    """Name of the loopback interface: "lo" on Linux, "lo0" on macOS."""
    names = [name for _, name in socket.if_nameindex()] if hasattr(socket, "if_nameindex") else []
    return next((name for name in names if name in ("lo", "lo0")), None)


@contextmanager
def _passing_signals_to(started: Sequence["subprocess.Popen[bytes]"]) -> Iterator[list[int]]:
    """Within: SIGTERM and Ctrl-C are handed on to the ranks.

    YIELDS (list[int]): Those that came.
    """
    signals: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def hand_on(number: int, frame: FrameType | None) -> None:
        """Send the signal to all ranks that still run."""
        signals.append(number)
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(started: Sequence["subprocess.Popen[bytes]"], signals: Sequence[int]) -> list[int]:
    """Wait until all ranks have ended, one has failed, or a signal was not obeyed.

    RETURNS (list[int]): The failed.
    """
    deadline = float("inf")
    while True:
        statuses = [process.poll() for process in started]
        if signals and deadline == float("inf"):
            deadline = time.monotonic() + _SECONDS_TO_END["asked"]
        failed = [rank for rank, status in enumerate(statuses) if status]
        if None not in statuses or time.monotonic() > deadline or (failed and not signals):
            return failed
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _end(started: Sequence["subprocess.Popen[bytes]"]) -> None:
    """End ranks that still run: their job is over."""
    alive = [process for process in started if process.poll() is None]
    for process in alive:
        process.terminate()
    deadline = time.monotonic() + _SECONDS_TO_END["bereft"]
    for process in alive:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _error_file(folder: Path, rank: int) -> Path:
    return folder / f"error-{rank}.json"


def _told_at(file: Path) -> float:
    """When a failed rank has told its error; one that could not was killed, so it comes before those that miss it."""
    return file.stat().st_mtime if file.is_file() else 0.0


def _reason(file: Path, status: int | None) -> str:
    """Of a failed rank: the error it has told, else how it ended."""
    message: object = ""
    try:
        message = json.loads(file.read_text("utf-8"))["message"]
        message = message.get("message", message) if isinstance(message, dict) else message
    except (OSError, ValueError, KeyError):
        # It has told nothing, or was killed while it did.
        pass
    lines = [line for line in str(message).splitlines() if line.strip()]
    if lines:
        return lines[-1]
    return f"killed by signal {-status}" if status is not None and status < 0 else f"exit status {status}"
