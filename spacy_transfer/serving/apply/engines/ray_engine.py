"""Scores rows by workers of a Ray cluster, which keeps them alive; blocks are given out by number and come in order."""

import logging
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO, cast

import numpy as np
import torch
from spacy.language import Language
from spacy.vocab import Vocab

from ....errors import T600, T600_CONNECTED, T601, T602, T602_VERSION, T603, T604, require
from ....json_types import JsonObject
from .engine import Engine, Facts, Scored, Work
from .ray_worker import Greeting, Worker
from .shipping import ShippedPipeline, ship_pipeline, ship_rows
from .workers import Workers

# Blocks that a worker has at a time: one that it scores, and one that waits, so that it need not.
_DEPTH = 2
# Workers that may be lost over the same block.
_MOST_LOST = 3
# Until the first worker must have loaded the pipeline; a cluster that grows as needed takes minutes.
_MOST_SECONDS = 900.0
_CONNECT_SECONDS = 10.0


@dataclass
class _Hired:
    """A worker.

    actor (Any): Ray's handle.
    n_works (int): Blocks that it has.
    """

    actor: Any
    n_works: int = 0


@dataclass
class _Given:
    """A block that was given out.

    work (Work): The block.
    scored (Scored | None): What came of it.
    """

    work: Work
    scored: Scored | None = None


class RayEngine:
    """Hires workers and gives them blocks.

    ray (ModuleType): Connected.
    shipped (ShippedPipeline): The pipeline.
    machine (dict): How the run computes, as far as it is known.
    folder (Path): Of the run, for messages.
    workers (Workers): Which ones.
    keeps_docs (bool): Whether documents are written.
    RAISES (RuntimeError): T602 for a worker that cannot load the pipeline, T603 for a cluster without room for one.
    """

    def __init__(
        self, ray: ModuleType, shipped: ShippedPipeline, machine: JsonObject, folder: Path, workers: Workers, *,
        keeps_docs: bool,
    ) -> None:  # fmt: skip
        self._ray, self._shipped, self._workers, self._keeps_docs = ray, shipped, workers, keeps_docs
        self._folder = folder
        machine = {"n_threads": torch.get_num_threads(), **machine}
        # A GPU is fed by one core.
        self._needs = {"num_gpus": 1, "num_cpus": 1} if workers.on_gpu else {"num_cpus": machine["n_threads"]}
        n_workers = self._room() if workers.n_workers is None else workers.n_workers
        self._stored = ray.put(shipped)
        first = self._hire(machine)
        self._hired, self._coming = [first], dict[Any, _Hired]()
        try:
            # It settles how all others compute.
            self._facts = self._greeted(first.actor.greet.remote(), _MOST_SECONDS).facts
        except BaseException:
            self.close()
            raise
        for _ in range(n_workers - 1):
            hired = self._hire(self._facts.machine)
            self._coming[hired.actor.greet.remote()] = hired
        # Only where a worker needs documents does this process make some, of `.spacy` files, to look at their texts.
        self._vocab = Vocab() if self._facts.makes_docs else None

    @property
    def facts(self) -> Facts:
        """See `Engine`."""
        return self._facts

    @property
    def vocab(self) -> Vocab | None:
        """See `Engine`."""
        return self._vocab

    def digest(self) -> str:
        """See `Engine`."""
        return self._shipped.digest

    # ---- workers -------------------------------------------------------------------------------------------------

    def _room(self) -> int:
        """How many workers the cluster has room for."""
        kind, needs = ("GPU", 1) if self._workers.on_gpu else ("CPU", self._needs["num_cpus"])
        nodes = [node for node in self._ray.nodes() if node.get("Alive")]
        room = sum(int(node.get("Resources", {}).get(kind, 0) // needs) for node in nodes)
        if not room:
            most = max((node.get("Resources", {}).get(kind, 0) for node in nodes), default=0)
            raise RuntimeError(T603.format(needs=needs, kind=kind, n_nodes=len(nodes), most=f"{most:g}"))
        return room

    def _hire(self, machine: JsonObject) -> _Hired:
        # Ray starts a lost worker again, and gives it the blocks that it had.
        remote = self._ray.remote(Worker).options(max_restarts=-1, max_task_retries=_MOST_LOST, **self._needs)
        # Ray's C++ warns that the pipeline must stay where it is stored, which it does as long as the run lasts.
        with _without_standard_error():
            actor = remote.remote(
                self._stored, machine, self._folder, keeps_docs=self._keeps_docs, on_gpu=self._workers.on_gpu
            )
        return _Hired(actor)

    def _greeted(self, greeting: Any, seconds: float | None = None) -> Greeting:
        """Wait for a worker to be ready."""
        errors = self._ray.exceptions
        try:
            greeted: Greeting = self._ray.get(greeting, timeout=seconds)
        except errors.GetTimeoutError as error:
            kind = "GPU" if self._workers.on_gpu else "CPU"
            have = self._ray.cluster_resources().get(kind, 0)
            needs = self._needs["num_gpus" if self._workers.on_gpu else "num_cpus"]
            n_nodes = len(self._ray.nodes())
            raise RuntimeError(T603.format(needs=needs, kind=kind, n_nodes=n_nodes, most=f"{have:g}")) from error
        except errors.RayError as error:
            if isinstance(cause := getattr(error, "cause", None), Exception):
                raise cause from None
            raise self._unable("?", _last_line(error)) from error
        if greeted.version != version("spacy-transfer"):
            raise self._unable(greeted.host, T602_VERSION.format(version=greeted.version))
        return greeted

    def _unable(self, host: str, reason: str) -> RuntimeError:
        return RuntimeError(T602.format(host=host, reason=reason, version=version("spacy-transfer")))

    def close(self) -> None:
        """Let all workers go."""
        for hired in [*self._hired, *self._coming.values()]:
            with suppress(Exception):
                self._ray.kill(hired.actor)

    # ---- blocks --------------------------------------------------------------------------------------------------

    def score_all(self, works: Iterable[Work]) -> Generator[tuple[Work, Scored], None, None]:
        """See `Engine`.

        RAISES (RuntimeError): T602 for a worker that cannot load the pipeline, T604 for rows over which worker after
            worker is lost.
        """
        left = iter(works)
        has_more = True
        given: deque[_Given] = deque()
        running: dict[Any, tuple[_Given, _Hired]] = {}
        while True:
            while has_more and (hired := self._free(len(given))) is not None:
                work = next(left, None)
                if work is None:
                    has_more = False
                    break
                given.append(_Given(work))
                if not work.new:
                    given[-1].scored = Scored(np.zeros((0, self._facts.n_columns), dtype=np.float32))
                    continue
                rows = ship_rows(work.new, self._facts, keeps_docs=self._keeps_docs)
                running[hired.actor.score.remote(rows)] = (given[-1], hired)
                hired.n_works += 1
            if not given:
                return
            if (scored := given[0].scored) is not None:
                yield given.popleft().work, scored
                continue
            for done in self._ray.wait([*running, *self._coming])[0]:
                if done in self._coming:
                    self._greeted(done)
                    self._hired.append(self._coming.pop(done))
                    continue
                of, hired = running.pop(done)
                hired.n_works -= 1
                of.scored = self._scored(done, of.work)

    def _free(self, n_given: int) -> _Hired | None:
        """The worker with the fewest blocks, if it may have one more."""
        # Blocks that came too early wait here, and take memory.
        if n_given >= 2 * _DEPTH * len(self._hired):
            return None
        hired = min(self._hired, key=lambda one: one.n_works)
        return hired if hired.n_works < _DEPTH else None

    def _scored(self, done: Any, work: Work) -> Scored:
        errors = self._ray.exceptions
        try:
            scored: Scored = self._ray.get(done)
            return scored
        except errors.RayTaskError as error:
            # What the pipeline raises comes as it would without Ray.
            cause = error.cause
            raise (cause if isinstance(cause, Exception) else error) from None
        except errors.RayError as error:
            first = work.block.last
            raise RuntimeError(
                T604.format(n_rows=len(work.new), line=first.last_line, n=_MOST_LOST + 1, reason=_last_line(error))
            ) from error


@contextmanager
def _without_standard_error() -> Iterator[None]:
    """Within: what libraries that know nothing of `sys.stderr` write there is lost."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:300]


@contextmanager
def ray_engine(
    pipeline: Language | str | Path, machine: JsonObject, folder: Path, workers: Workers, *, keeps_docs: bool
) -> Iterator[Engine]:
    """Connect to a cluster and hire workers; within, they compute as the run began.

    pipeline (Language | str | Path): A pipeline, or its folder or package.
    machine (dict): How the run computes, as far as it is known.
    folder (Path): Of the run, for messages.
    workers (Workers): Which ones.
    keeps_docs (bool): Whether documents are written.
    YIELDS (Engine): Scores in the cluster.
    RAISES (ImportError): T081 without Ray.
    RAISES (ConnectionError): T601 where no cluster answers.
    RAISES (RuntimeError): T602 for a worker that cannot load the pipeline, T603 for a cluster without room for one.
    RAISES (ValueError): T600 for an address where this process is connected to Ray already.
    """
    # Read when Ray is imported and when its processes start: it reports nothing to anybody.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # What newer versions will do, said in each process.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = require("ray", "ray")
    with (
        redirect_stdout(cast(TextIO, _WithoutRay(sys.stdout))),
        _connected(ray, workers, machine.get("n_threads") or torch.get_num_threads()),
    ):
        shipped = ship_pipeline(pipeline, workers.code)
        engine = RayEngine(ray, shipped, machine, folder, workers, keeps_docs=keeps_docs)
        try:
            yield engine
        finally:
            engine.close()


class _WithoutRay:
    """Standard output, which may be the result, without what threads of Ray write there.

    out (TextIO): As it is.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        """Write, but not for Ray."""
        return len(text) if threading.current_thread().name.startswith("ray_") else self._out.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._out, name)


@contextmanager
def _connected(ray: ModuleType, workers: Workers, n_threads: int) -> Iterator[None]:
    if ray.is_initialized():
        # A notebook's own connection stays.
        if workers.address is not None:
            raise ValueError(T600.format(problem=T600_CONNECTED.format(address=workers.address)))
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = workers.address or os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        n_cpus = max(os.cpu_count() or 1, n_threads * (workers.n_workers or 1))
        ray.init(address="local", num_cpus=n_cpus, include_dashboard=False, **quiet)
    else:
        _knock(address)
        try:
            ray.init(address=address, **quiet)
        except Exception as error:
            raise ConnectionError(T601.format(address=address, reason=_last_line(error))) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Find out soon whether anything answers; Ray itself takes a minute.

    RAISES (ConnectionError): T601.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        # "auto", or something that Ray knows.
        return
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(T601.format(address=address, reason=error)) from error
